//! One message, some outputs: exactly once from topic to topic.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::next_event;
use crate::{
    Commit, Committed, Committer, Error, Event, Events, MAX_COMMIT_BYTES, MAX_COMMIT_MESSAGES,
    Message, Output, Position,
};

/// How long what was handled waits for more.
const COMPANY: Duration = Duration::from_millis(2);

/// How long a stop waits for a commit that waits itself, for room in a topic perhaps: what it would have
/// made durable comes again.
const STOPS_WITHIN: Duration = Duration::from_secs(2);

/// What became of a message.
#[derive(Debug)]
pub enum Handled {
    /// It becomes these outputs (none is fine) and is done with.
    Outputs(Vec<Output>),
    /// It cannot be handled by this copy. Its partition waits, the others go on.
    Hold(String),
}

/// The stage's part of the [`each`] loop.
pub trait Each: Send {
    /// Turns one message into outputs. Called again for the same message after a lost commit.
    fn handle(&mut self, partition: u32, message: &Message) -> Handled;

    /// Called when the log deleted so many offsets of a partition before they were taken. The outputs
    /// become durable before the position moves over them; called again where that failed.
    fn lost(&mut self, partition: u32, offsets: u64) -> Vec<Output>;

    /// Called when a partition is held, with the reason.
    fn held(&mut self, partition: u32, reason: &str);

    /// Called when a partition went to another copy, or comes anew.
    fn left(&mut self, partition: u32) {
        let _ = partition;
    }

    /// Called after the outputs of `messages` messages became durable.
    fn committed(&mut self, messages: usize);
}

/// Runs until `shutdown` is cancelled: takes messages, commits their outputs with the positions. What
/// comes together, of whatever partitions, shares a commit: each costs a sync of the disk, or a
/// transaction of the brokers.
///
/// # Errors
/// When the queue is closed or a commit breaks the contract.
pub async fn each(
    events: Box<dyn Events>,
    committer: &dyn Committer,
    stage: &mut dyn Each,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    let is_late = async {
        shutdown.cancelled().await;
        tokio::time::sleep(STOPS_WITHIN).await;
    };
    tokio::select! {
        biased;
        ended = take_each(events, committer, stage, shutdown) => ended,
        () = is_late => Ok(()),
    }
}

async fn take_each(
    mut events: Box<dyn Events>,
    committer: &dyn Committer,
    stage: &mut dyn Each,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    let mut batch = Batch { committer, parts: BTreeMap::new() };
    loop {
        let event = tokio::select! {
            biased;
            () = shutdown.cancelled() => return batch.commit(stage).await.map(drop),
            event = next_event(&mut *events) => event?,
            () = tokio::time::sleep(COMPANY), if !batch.parts.is_empty() => {
                batch.commit(stage).await?;
                continue;
            }
        };
        match event {
            Event::Assigned { partition, position, lost, .. } => {
                // What was handled of it before comes again.
                batch.parts.remove(&partition);
                stage.left(partition);
                events.resume(partition);
                if lost > 0 {
                    let outputs = stage.lost(partition, lost);
                    let positions = vec![(partition, position)];
                    let pending = Commit { outputs, positions, ..Commit::default() };
                    pass(committer, pending).await?;
                }
            }
            Event::Revoked { partition } => {
                batch.parts.remove(&partition);
                stage.left(partition);
            }
            Event::Messages { partition, messages } => {
                if let Some(held) = batch.take(stage, partition, &messages).await? {
                    tracing::error!(partition, reason = %held, "holding a partition");
                    stage.held(partition, &held);
                    events.pause(partition);
                }
            }
        }
    }
}

/// What was handled of a partition and is not committed yet.
#[derive(Default)]
struct Part {
    outputs: Vec<Output>,
    bytes: usize,
    /// Above the last message.
    next: u64,
    messages: usize,
}

/// What was handled and is not committed yet.
struct Batch<'a> {
    committer: &'a dyn Committer,
    parts: BTreeMap<u32, Part>,
}

impl Batch<'_> {
    /// Handles the messages of one partition; gives the reason if the partition must be held.
    async fn take(
        &mut self,
        stage: &mut dyn Each,
        partition: u32,
        messages: &[Message],
    ) -> Result<Option<String>, Error> {
        for message in messages {
            let mut outputs = match stage.handle(partition, message) {
                Handled::Outputs(outputs) => outputs,
                Handled::Hold(reason) => {
                    self.commit(stage).await?;
                    return Ok(Some(reason));
                }
            };
            // More than one commit's worth: all but the last go ahead without the position. They come
            // again after a crash, which keys make harmless.
            while outputs.len() > MAX_COMMIT_MESSAGES {
                let outputs = outputs.drain(..MAX_COMMIT_MESSAGES).collect();
                let ahead = Commit { outputs, ..Commit::default() };
                if !self.commit(stage).await? || !pass(self.committer, ahead).await? {
                    return Ok(None);
                }
            }
            let bytes: usize = outputs.iter().map(Output::size).sum();
            if !self.fits(outputs.len(), bytes) && !self.commit(stage).await? {
                return Ok(None);
            }
            let part = self.parts.entry(partition).or_default();
            part.outputs.extend(outputs);
            part.bytes += bytes;
            part.next = message.offset + 1;
            part.messages += 1;
        }
        Ok(None)
    }

    fn fits(&self, outputs: usize, bytes: usize) -> bool {
        let (mut all, mut size) = (outputs, bytes);
        for part in self.parts.values() {
            (all, size) = (all + part.outputs.len(), size + part.bytes);
        }
        all <= MAX_COMMIT_MESSAGES && size <= MAX_COMMIT_BYTES
    }

    /// Commits, repeating what was aborted; false when a partition was lost: what was handled comes
    /// again.
    async fn commit(&mut self, stage: &mut dyn Each) -> Result<bool, Error> {
        let (mut pending, mut messages) = (Commit::default(), 0);
        for (partition, part) in std::mem::take(&mut self.parts) {
            pending.outputs.extend(part.outputs);
            let position = Position { offset: part.next, note: String::new() };
            pending.positions.push((partition, position));
            messages += part.messages;
        }
        if messages == 0 {
            return Ok(true);
        }
        let is_done = pass(self.committer, pending).await?;
        if is_done {
            stage.committed(messages);
        }
        Ok(is_done)
    }
}

async fn pass(committer: &dyn Committer, mut pending: Commit) -> Result<bool, Error> {
    loop {
        match committer.commit(pending).await? {
            Committed::Done(_) => return Ok(true),
            Committed::Retry(again) => pending = again,
            Committed::Lost => return Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{MemoryQueue, MemoryStore};
    use crate::{Queue, TopicKind, TopicSpec};

    /// Passes every message on.
    struct Copies;

    impl Each for Copies {
        fn handle(&mut self, partition: u32, message: &Message) -> Handled {
            Handled::Outputs(vec![output("to", partition, message)])
        }

        fn lost(&mut self, _: u32, _: u64) -> Vec<Output> {
            Vec::new()
        }

        fn held(&mut self, _: u32, _: &str) {}

        fn committed(&mut self, _: usize) {}
    }

    fn output(topic: &str, partition: u32, message: &Message) -> Output {
        let (key, value) = (message.key.clone(), Some(message.value.clone()));
        Output { topic: topic.into(), partition, key, value }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_does_not_wait_for_room_and_nothing_is_passed() {
        let queue = MemoryQueue::open(MemoryStore::new()).unwrap();
        let topic = |name: &str, max_bytes| TopicSpec {
            name: name.into(),
            partitions: 1,
            kind: TopicKind::Log,
            max_bytes,
        };
        queue.declare(&[topic("from", u64::MAX), topic("to", 1)]).await.unwrap();
        let message = Message { offset: 0, key: "k".into(), value: "v".into() };
        // The first is taken whatever its size, and leaves no room.
        queue.publish(vec![output("to", 0, &message), output("from", 0, &message)]).await.unwrap();
        let (events, committer) = queue.join("group", "from").await.unwrap();
        let (stop, started) = (CancellationToken::new(), tokio::time::Instant::now());
        let stopping = async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            stop.cancel();
        };
        let mut copies = Copies;
        let (ended, ()) = tokio::join!(each(events, &*committer, &mut copies, &stop), stopping);
        ended.unwrap();
        assert!(started.elapsed() < Duration::from_secs(63), "{:?}", started.elapsed());
        assert_eq!(queue.log("from", "group").await.unwrap()[0].waiting, 1);
    }
}
