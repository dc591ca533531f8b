//! The connection's dead letters: how many of a run there are, and what a person decided.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use cmsync_queue::{Error, Output, Queue};
use cmsync_schemas::{CONTROL, Control, DEAD_LETTER, DeadLetter, Subject, topics};

/// Dead letters of one connection as far as they are known here.
pub(crate) struct DeadLetters {
    queue: Arc<dyn Queue>,
    connection: String,
    topic: String,
    scanned: Option<u64>,
    /// Ids by run and seq: those of the topic, and those that are on their way to it. Changes that follow a run
    /// carry its name too, with a seq of their own.
    by_run: HashMap<(String, i64), HashSet<String>>,
}

/// What a person decided about a dead letter.
pub(crate) struct Decision {
    pub(crate) control_key: Bytes,
    pub(crate) letter: Option<DeadLetter>,
    pub(crate) replays: bool,
}

impl DeadLetters {
    pub(crate) fn new(queue: Arc<dyn Queue>, connection: &str) -> Self {
        let topic = topics::dead_letters(connection);
        let connection = connection.to_owned();
        Self { queue, connection, topic, scanned: None, by_run: HashMap::new() }
    }

    /// A message for the topic; counted at once.
    pub(crate) fn add(&mut self, letter: &DeadLetter) -> Output {
        let run = (letter.run_id.clone(), letter.seq);
        self.by_run.entry(run).or_default().insert(letter.id.clone());
        Output {
            topic: self.topic.clone(),
            partition: 0,
            key: Bytes::copy_from_slice(letter.id.as_bytes()),
            value: Some(DEAD_LETTER.encode(letter)),
        }
    }

    /// A tombstone.
    pub(crate) fn forget(&self, id: &str) -> Output {
        let key = Bytes::copy_from_slice(id.as_bytes());
        Output { topic: self.topic.clone(), partition: 0, key, value: None }
    }

    /// Writes tombstones past the commits that may wait for the very room that these make.
    pub(crate) async fn settle(&self, tombstones: Vec<Output>) -> Result<(), Error> {
        if tombstones.is_empty() {
            return Ok(());
        }
        self.queue.publish(tombstones).await.map(drop)
    }

    /// How many records of the snapshot that began a run were set aside, by either stage.
    pub(crate) async fn of_run(&mut self, run: &str, start_seq: i64) -> Result<i64, Error> {
        let version = self.queue.version(&self.topic).await?;
        if self.scanned != Some(version) {
            for entry in self.queue.scan(&self.topic).await? {
                let (_, value) = entry?;
                if let Ok(letter) = DEAD_LETTER.decode(&value)
                    && !letter.run_id.is_empty()
                {
                    let run = (letter.run_id, letter.seq);
                    self.by_run.entry(run).or_default().insert(letter.id);
                }
            }
            self.scanned = Some(version);
        }
        let aside = self.by_run.get(&(run.to_owned(), start_seq));
        Ok(aside.map_or(0, |ids| i64::try_from(ids.len()).unwrap_or(i64::MAX)))
    }

    /// What people decided and nobody has done yet.
    pub(crate) async fn decisions(&self) -> Result<Vec<Decision>, Error> {
        let mut asked = Vec::new();
        for entry in self.queue.scan(topics::CONTROL).await? {
            let (control_key, value) = entry?;
            if let Ok(control) = CONTROL.decode(&value)
                && control.connection == self.connection
                && control.subject == Subject::DeadLetter
            {
                asked.push((control_key, control));
            }
        }
        let mut letters = self.letters(asked.iter().map(|(_, control)| &*control.item)).await?;
        let decision = |(control_key, control): (Bytes, Control)| {
            let letter = letters.remove(control.item.as_bytes());
            Decision { control_key, letter, replays: control.action == "replay" }
        };
        Ok(asked.into_iter().map(decision).collect())
    }

    /// The letters with these ids, read in one go.
    async fn letters<'a>(
        &self,
        ids: impl Iterator<Item = &'a str>,
    ) -> Result<HashMap<Bytes, DeadLetter>, Error> {
        let ids: HashSet<&[u8]> = ids.map(str::as_bytes).collect();
        let mut found = HashMap::new();
        if ids.is_empty() {
            return Ok(found);
        }
        for entry in self.queue.scan(&self.topic).await? {
            let (key, value) = entry?;
            if ids.contains(&*key)
                && let Ok(letter) = DEAD_LETTER.decode(&value)
            {
                found.insert(key, letter);
            }
        }
        Ok(found)
    }
}
