//! Dead letters: what was set aside, and what a person decides about it.

use std::collections::{BTreeSet, HashMap, HashSet};

use cmsync_queue::Error;
use cmsync_schemas::{DEAD_LETTER, DeadLetter, Subject, topics};

use crate::desk::Desk;
use crate::lists::first_of;
use crate::state;
use crate::views::{Answer, DeadLetterView};

impl Desk {
    /// Calls `found` for each dead letter of a connection.
    pub(crate) async fn each_letter(
        &self,
        connection: &str,
        mut found: impl FnMut(DeadLetter),
    ) -> Result<(), Error> {
        state::each(&*self.queue, (&topics::dead_letters(connection), ""), |_, value| {
            if let Ok(letter) = DEAD_LETTER.decode(value) {
                found(letter);
            }
        })
        .await
    }

    /// The dead letters, newest first, and of those the ones on a page whole; with the number of all.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn list_letters(
        &self,
        first: usize,
        limit: usize,
    ) -> Result<(usize, Vec<DeadLetterView>), Error> {
        let _one = self.shelf.heavy.acquire().await;
        let mut all: Vec<(i64, String, String)> = Vec::new();
        for connection in self.connections().await? {
            self.each_letter(&connection, |l| all.push((-l.first_seen, connection.clone(), l.id)))
                .await?;
        }
        all.sort_unstable();
        let asked = self.orders(Subject::DeadLetter).await?;
        let page = all.iter().skip(first_of(first, limit, all.len())).take(limit);
        let page: Vec<(&str, &str)> = page.map(|(_, c, id)| (c.as_str(), id.as_str())).collect();
        let is_shown: HashSet<(&str, &str)> = page.iter().copied().collect();
        let mut found: HashMap<(String, String), DeadLetterView> = HashMap::new();
        for connection in page.iter().map(|(connection, _)| *connection).collect::<BTreeSet<_>>() {
            self.each_letter(connection, |letter| {
                if is_shown.contains(&(connection, &letter.id)) {
                    found.insert((connection.to_owned(), letter.id.clone()), view(letter));
                }
            })
            .await?;
        }
        let whole = |(connection, id): (&str, &str)| {
            let mut letter = found.remove(&(connection.to_owned(), id.to_owned()))?;
            let order = asked.iter().find(|c| c.connection == connection && c.item == id);
            letter.asked = order.map(|c| c.action.clone());
            Some(letter)
        };
        let views = page.into_iter().filter_map(whole).collect();
        Ok((all.len(), views))
    }

    async fn letter(&self, connection: &str, id: &str) -> Result<Option<DeadLetterView>, Error> {
        let mut found = None;
        state::each(&*self.queue, (&topics::dead_letters(connection), id), |key, value| {
            if key == id.as_bytes() {
                found = DEAD_LETTER.decode(value).ok().map(view);
            }
        })
        .await?;
        Ok(found)
    }

    pub(crate) async fn dead_letters(&self) -> Result<Answer, Error> {
        let mut views = Vec::new();
        for connection in self.connections().await? {
            self.each_letter(&connection, |letter| views.push(view(letter))).await?;
        }
        Ok(Answer::DeadLetters(views))
    }

    pub(crate) async fn decide_dead_letter(&self, id: &str, replay: bool) -> Result<Answer, Error> {
        for connection in self.connections().await? {
            if self.letter(&connection, id).await?.is_some() {
                let (action, then) =
                    if replay { ("replay", "it is sent again") } else { ("drop", "it is dropped") };
                return self.order(&connection, (Subject::DeadLetter, id), action, then).await;
            }
        }
        Ok(Answer::Refused(format!(
            "there is no dead letter `{id}`; see `cmsync dead-letters list`"
        )))
    }
}

fn view(letter: DeadLetter) -> DeadLetterView {
    DeadLetterView {
        id: letter.id,
        connection: letter.connection,
        stage: letter.stage,
        reason: letter.reason,
        error: letter.error,
        collection: letter.group_id,
        first_seen: letter.first_seen,
        payload: String::from_utf8_lossy(&letter.payload).into_owned(),
        asked: None,
    }
}
