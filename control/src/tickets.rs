//! Tickets: whoever may use the queue's directory may sign in to the console with one, once and soon.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::RngCore as _;
use tokio::time::Instant;

/// How long a ticket is good.
const GOOD_FOR: Duration = Duration::from_secs(300);
/// Tickets at a time; one more takes the place of the oldest.
const MOST: usize = 16;

/// Tickets that were issued and not used.
#[derive(Debug, Clone, Default)]
pub struct Tickets {
    open: Arc<Mutex<VecDeque<Ticket>>>,
}

#[derive(Debug)]
struct Ticket {
    text: String,
    who: String,
    until: Instant,
}

/// 256 bits that nobody can guess, as text.
#[must_use]
pub fn token() -> String {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Tickets {
    /// A new one for somebody.
    #[must_use]
    pub fn issue(&self, who: &str) -> String {
        let text = token();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() == MOST {
            open.pop_front();
        }
        let until = Instant::now() + GOOD_FOR;
        open.push_back(Ticket { text: text.clone(), who: who.to_owned(), until });
        text
    }

    /// For whom a ticket was issued; it is used up by that.
    #[must_use]
    pub fn redeem(&self, text: &str) -> Option<String> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        open.retain(|ticket| ticket.until > now);
        // Guessing 32 bytes by the time that a comparison takes is no danger to what is good once.
        let at = open.iter().position(|ticket| ticket.text == text)?;
        open.remove(at).map(|ticket| ticket.who)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_ticket_signs_in_once_and_not_later_than_five_minutes() {
        let tickets = Tickets::default();
        let (one, other) = (tickets.issue("uid 0"), tickets.issue("uid 7"));
        assert_eq!((one.len(), tickets.redeem("")), (64, None));
        assert_eq!(tickets.redeem(&other).as_deref(), Some("uid 7"));
        assert_eq!(tickets.redeem(&other), None);
        tokio::time::advance(GOOD_FOR).await;
        assert_eq!(tickets.redeem(&one), None);
        let many: Vec<String> = (0..=MOST).map(|_| tickets.issue("uid 0")).collect();
        assert_eq!(tickets.redeem(&many[0]), None);
        assert!(tickets.redeem(&many[1]).is_some());
    }
}
