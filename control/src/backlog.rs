//! What waits of a connection, and for how long it does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use cmsync_queue::{Error, Queue};
use cmsync_schemas::{CHANGE, RECORD_BATCH, topics};

/// What waits of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waiting {
    /// Bytes.
    pub bytes: u64,
    /// Messages that wait to be transformed.
    pub changes: u64,
    /// Messages that wait for the workspace.
    pub records: u64,
    /// When the oldest of them was observed; microseconds since 1970.
    pub oldest: Option<i64>,
}

/// Topic and partition.
type Place = (String, u32);
/// A message's offset, and when it was observed.
type First = (u64, Option<i64>);

/// Looks at what waits.
#[derive(Clone)]
pub struct Backlog {
    queue: Arc<dyn Queue>,
    /// When the first message that waits was observed, with its offset: in an outage it stays the same,
    /// and need not be read again.
    first: Arc<Mutex<HashMap<Place, First>>>,
}

impl Backlog {
    /// Of this queue.
    #[must_use]
    pub fn new(queue: Arc<dyn Queue>) -> Self {
        Self { queue, first: Arc::default() }
    }

    /// What waits of a connection.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn of(&self, connection: &str) -> Result<Waiting, Error> {
        let mut waiting = Waiting::default();
        for (topic, group) in [
            (topics::changes(connection), topics::TRANSFORMER),
            (topics::records(connection), topics::UPLOADER),
        ] {
            let is_changes = group == topics::TRANSFORMER;
            let logs = self.queue.log(&topic, group).await?;
            for (partition, log) in (0..).zip(logs).filter(|(_, log)| log.waiting > 0) {
                let count = if is_changes { &mut waiting.changes } else { &mut waiting.records };
                *count += log.waiting;
                waiting.bytes += log.bytes;
                let from = log.position.map_or(log.start, |p| p.offset).max(log.start);
                let observed = self.observed((topic.clone(), partition), is_changes, from).await?;
                waiting.oldest = waiting.oldest.into_iter().chain(observed).min();
            }
        }
        Ok(waiting)
    }

    /// When the message at an offset was observed; `None` where it cannot be read.
    async fn observed(
        &self,
        place: Place,
        is_changes: bool,
        offset: u64,
    ) -> Result<Option<i64>, Error> {
        let known = self.first.lock().unwrap_or_else(PoisonError::into_inner).get(&place).copied();
        if let Some((_, observed)) = known.filter(|(known, _)| *known == offset) {
            return Ok(observed);
        }
        let first = self.queue.peek(&place.0, place.1, offset).await?;
        let value = first.first().map(|message| &*message.value).unwrap_or_default();
        let observed = match is_changes {
            true => CHANGE.decode(value).ok().map(|change| change.observed_at),
            false => RECORD_BATCH.decode(value).ok().map(|batch| batch.time_generated),
        };
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.insert(place, (offset, observed));
        Ok(observed)
    }
}
