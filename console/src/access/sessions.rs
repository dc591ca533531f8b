//! Who is signed in: kept in the process, so that a stop ends all sessions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use tokio::time::Instant;

use super::person::{By, Person, Role};

/// A session that nobody uses ends after this.
const IDLE: Duration = Duration::from_secs(3_600);
/// Every session ends after this.
const LONGEST: Duration = Duration::from_secs(12 * 3_600);
/// One by an identity provider, whose roles are known from the sign-in alone.
const LONGEST_ELSEWHERE: Duration = Duration::from_secs(3_600);
/// Sessions at a time; one more ends the one that was used least lately.
const MOST: usize = 1_000;

/// All sessions, by the hash of what their browsers hold.
#[derive(Clone, Default)]
pub(crate) struct Sessions {
    open: Arc<Mutex<HashMap<[u8; 32], Session>>>,
}

struct Session {
    person: Person,
    begun: Instant,
    used: Instant,
    /// What the next page is to say.
    said: Option<String>,
}

impl Session {
    fn is_over(&self, now: Instant) -> bool {
        let longest = match self.person.by {
            By::OpenId(_) => LONGEST_ELSEWHERE,
            By::Ticket | By::Password(_) | By::Token(_) => LONGEST,
        };
        now - self.used >= IDLE || now - self.begun >= longest
    }
}

fn key(token: &str) -> [u8; 32] {
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    key
}

impl Sessions {
    /// A new one; gives what the browser holds.
    pub(crate) fn begin(&self, (name, by): (String, By), role: Role) -> String {
        let (token, now) = (cmsync_control::token(), Instant::now());
        let person = Person { name, by, role, csrf: cmsync_control::token() };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, session| !session.is_over(now));
        if open.len() >= MOST
            && let Some(oldest) = open.iter().min_by_key(|(_, s)| s.used).map(|(key, _)| *key)
        {
            open.remove(&oldest);
        }
        open.insert(key(&token), Session { person, begun: now, used: now, said: None });
        token
    }

    /// Whose session it is, while it lasts; `uses` prolongs it.
    pub(crate) fn find(&self, token: &str, uses: bool) -> Option<Person> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let session = open.get_mut(&key(token))?;
        let now = Instant::now();
        if session.is_over(now) {
            open.remove(&key(token));
            return None;
        }
        if uses {
            session.used = now;
        }
        Some(session.person.clone())
    }

    /// Has the next page say something.
    pub(crate) fn say(&self, token: &str, text: String) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = open.get_mut(&key(token)) {
            session.said = Some(text);
        }
    }

    /// What the next page is to say, once.
    pub(crate) fn said(&self, token: &str) -> Option<String> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get_mut(&key(token))?.said.take()
    }

    /// Ends one.
    pub(crate) fn end(&self, token: &str) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(token));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_session_ends_unused_after_an_hour_and_used_after_twelve() {
        let sessions = Sessions::default();
        let one = sessions.begin(("alice".into(), By::Ticket), Role::Reader);
        let other = sessions.begin(("bob".into(), By::Ticket), Role::Operator);
        assert_ne!(
            sessions.find(&one, true).unwrap().csrf,
            sessions.find(&other, true).unwrap().csrf
        );
        for minutes in (30..720).step_by(30) {
            tokio::time::advance(Duration::from_secs(1_800)).await;
            assert!(sessions.find(&one, true).is_some(), "{minutes}");
            // Looking without using prolongs nothing.
            assert_eq!(sessions.find(&other, false).is_some(), minutes < 60, "{minutes}");
        }
        tokio::time::advance(Duration::from_secs(1_800)).await;
        assert!(sessions.find(&one, true).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn roles_that_a_provider_gave_last_an_hour() {
        let sessions = Sessions::default();
        let token = sessions.begin(("alice".into(), By::OpenId("s-1".into())), Role::Reader);
        for _ in 0..59 {
            tokio::time::advance(Duration::from_secs(60)).await;
            assert!(sessions.find(&token, true).is_some());
        }
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(sessions.find(&token, true).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_is_known_by_its_token_alone_until_it_is_ended() {
        let sessions = Sessions::default();
        let token = sessions.begin(("alice".into(), By::Ticket), Role::Reader);
        assert_eq!(token.len(), 64);
        for other in ["", "x", token.get(1..).unwrap(), &"0".repeat(64)] {
            assert!(sessions.find(other, true).is_none(), "{other}");
        }
        sessions.end(&token);
        assert!(sessions.find(&token, true).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_are_bounded_and_the_one_that_is_used_stays() {
        let sessions = Sessions::default();
        let first = sessions.begin(("alice".into(), By::Ticket), Role::Reader);
        let second = sessions.begin(("bob".into(), By::Ticket), Role::Reader);
        for _ in 0..MOST {
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(sessions.find(&first, true).is_some());
            sessions.begin(("crowd".into(), By::Ticket), Role::Reader);
        }
        assert!(sessions.find(&second, true).is_none());
        assert_eq!(sessions.open.lock().unwrap().len(), MOST);
    }
}
