//! Dead letters: what was set aside, and what a person decides about it.

use cmsync_queue::Error;
use cmsync_schemas::{DEAD_LETTER, DeadLetter, Subject, topics};

use crate::desk::Desk;
use crate::views::{Answer, DeadLetterView};

impl Desk {
    pub(crate) async fn letters(&self, connection: &str) -> Result<Vec<DeadLetter>, Error> {
        let mut letters = Vec::new();
        for entry in self.queue.scan(&topics::dead_letters(connection)).await? {
            letters.extend(DEAD_LETTER.decode(&entry?.1));
        }
        Ok(letters)
    }

    pub(crate) async fn dead_letters(&self) -> Result<Answer, Error> {
        let mut views = Vec::new();
        for connection in self.connections().await? {
            let letters = self.letters(&connection).await?;
            views.extend(letters.into_iter().map(|l| DeadLetterView {
                id: l.id,
                connection: l.connection,
                stage: l.stage,
                reason: l.reason,
                error: l.error,
                collection: l.group_id,
                first_seen: l.first_seen,
                payload: String::from_utf8_lossy(&l.payload).into_owned(),
            }));
        }
        Ok(Answer::DeadLetters(views))
    }

    pub(crate) async fn decide_dead_letter(&self, id: &str, replay: bool) -> Result<Answer, Error> {
        for connection in self.connections().await? {
            if self.letters(&connection).await?.iter().any(|l| l.id == id) {
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
