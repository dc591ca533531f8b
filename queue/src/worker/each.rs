//! One message, some outputs: exactly once from topic to topic.

use tokio_util::sync::CancellationToken;

use super::next_event;
use crate::{
    Commit, Committed, Committer, Error, Event, Events, MAX_COMMIT_BYTES, MAX_COMMIT_MESSAGES,
    Message, Output, Position,
};

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

    /// Called after the outputs of `messages` messages became durable.
    fn committed(&mut self, messages: usize);
}

/// Runs until `shutdown` is cancelled: takes messages, commits their outputs with the positions.
///
/// # Errors
/// When the queue is closed or a commit breaks the contract.
pub async fn each(
    mut events: Box<dyn Events>,
    committer: &dyn Committer,
    stage: &mut dyn Each,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    loop {
        let event = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            event = next_event(&mut *events) => event?,
        };
        match event {
            Event::Assigned { partition, position, lost, .. } => {
                events.resume(partition);
                if lost > 0 {
                    let outputs = stage.lost(partition, lost);
                    let positions = vec![(partition, position)];
                    let pending = Commit { outputs, positions, ..Commit::default() };
                    pass(committer, pending).await?;
                }
            }
            Event::Revoked { .. } => {}
            Event::Messages { partition, messages } => {
                if let Some(held) = run(committer, stage, partition, &messages).await? {
                    tracing::error!(partition, reason = %held, "holding a partition");
                    stage.held(partition, &held);
                    events.pause(partition);
                }
            }
        }
    }
}

/// Handles the messages of one partition; gives the reason if the partition must be held.
async fn run(
    committer: &dyn Committer,
    stage: &mut dyn Each,
    partition: u32,
    messages: &[Message],
) -> Result<Option<String>, Error> {
    let mut pending = Commit::default();
    let mut count = 0;
    for message in messages {
        let mut outputs = match stage.handle(partition, message) {
            Handled::Outputs(outputs) => outputs,
            Handled::Hold(reason) => {
                commit(committer, stage, pending, count).await?;
                return Ok(Some(reason));
            }
        };
        // More than one commit's worth: all but the last go ahead without the position. They come
        // again after a crash, which keys make harmless.
        while outputs.len() > MAX_COMMIT_MESSAGES {
            let ahead = outputs.drain(..MAX_COMMIT_MESSAGES).collect();
            let ahead = Commit { outputs: ahead, ..Commit::default() };
            if !commit(committer, stage, std::mem::take(&mut pending), count).await?
                || !commit(committer, stage, ahead, 1).await?
            {
                return Ok(None);
            }
            count = 0;
        }
        let bytes: usize = outputs.iter().map(Output::size).sum();
        let is_full = pending.outputs.len() + outputs.len() > MAX_COMMIT_MESSAGES
            || pending.bytes() + bytes > MAX_COMMIT_BYTES;
        if is_full && count > 0 {
            if !commit(committer, stage, std::mem::take(&mut pending), count).await? {
                return Ok(None);
            }
            count = 0;
        }
        pending.outputs.extend(outputs);
        let position = Position { offset: message.offset + 1, note: String::new() };
        pending.positions = vec![(partition, position)];
        count += 1;
    }
    commit(committer, stage, pending, count).await?;
    Ok(None)
}

/// Commits, repeating what was aborted; false when the partition was lost.
async fn commit(
    committer: &dyn Committer,
    stage: &mut dyn Each,
    pending: Commit,
    count: usize,
) -> Result<bool, Error> {
    if count == 0 {
        return Ok(true);
    }
    let is_done = pass(committer, pending).await?;
    if is_done {
        stage.committed(count);
    }
    Ok(is_done)
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
