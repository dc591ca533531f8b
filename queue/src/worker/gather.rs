//! Many messages open, each finished once, in any order; positions follow the lowest one open.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::next_event;
use crate::{
    Commit, Committed, Committer, Error, Event, Events, MAX_COMMIT_BYTES, MAX_COMMIT_MESSAGES,
    Message, Output, Position,
};

/// A message that is open. Ids of lost assignments never come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId {
    /// The partition.
    pub partition: u32,
    /// The offset.
    pub offset: u64,
    /// Counts assignments, so that what was open before a loss is told from what came after.
    pub generation: u64,
}

/// What [`Gather::next`] found.
#[derive(Debug)]
pub enum Gathered {
    /// The partition is assigned; whatever was open in it is void.
    Assigned {
        /// The partition.
        partition: u32,
        /// Where taking starts.
        position: Position,
        /// Offsets below it that the log deleted before they were taken: the position moves over them
        /// with the next commit.
        lost: u64,
    },
    /// A message, open until it is finished.
    Message(MessageId, Message),
    /// The partition is gone; whatever was open in it is void.
    Revoked(u32),
    /// Finished work became durable.
    Committed,
    /// Whatever was open anywhere is void: partitions that are still this member's are assigned again.
    Lost,
}

#[derive(Default)]
struct Partition {
    generation: u64,
    /// Open and finished messages at and above the committed position: offset to note when finished.
    open: BTreeMap<u64, Option<String>>,
    held: bool,
    /// The position above what was deleted.
    passed: Option<Position>,
}

type Committing = Pin<Box<dyn Future<Output = Result<Committed, Error>> + Send>>;

/// The loop's state. The stage calls [`Gather::next`] in a `select!` beside its own work, and
/// [`Gather::finish`] for each message that is delivered or set aside.
pub struct Gather {
    events: Box<dyn Events>,
    committer: Arc<dyn Committer>,
    partitions: BTreeMap<u32, Partition>,
    inbox: VecDeque<(MessageId, Message)>,
    /// Outputs that must be durable before the positions of what made them.
    outputs: VecDeque<Output>,
    progress: bool,
    committing: Option<Committing>,
    max_open: usize,
    generation: u64,
    taking: bool,
}

impl Gather {
    /// Starts gathering; at most `max_open` messages are open at once.
    #[must_use]
    pub fn new(events: Box<dyn Events>, committer: Arc<dyn Committer>, max_open: usize) -> Self {
        Self {
            events,
            committer,
            partitions: BTreeMap::new(),
            inbox: VecDeque::new(),
            outputs: VecDeque::new(),
            progress: false,
            committing: None,
            max_open,
            generation: 0,
            taking: true,
        }
    }

    /// Messages taken whose positions are not on their way yet.
    #[must_use]
    pub fn open(&self) -> usize {
        self.partitions.values().map(|p| p.open.len()).sum()
    }

    /// Whether everything that was finished is committed.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !self.progress && self.outputs.is_empty() && self.committing.is_none()
    }

    /// Whether to take more messages. Commits go on in any case.
    pub fn set_taking(&mut self, taking: bool) {
        self.taking = taking;
    }

    /// Holds a partition: no more messages come from it until it is assigned again.
    pub fn hold(&mut self, partition: u32) {
        self.events.pause(partition);
        self.inbox.retain(|(id, _)| id.partition != partition);
        if let Some(found) = self.partitions.get_mut(&partition) {
            found.held = true;
        }
    }

    /// Finishes a message. `outputs` become durable before or with the position above it; `note` is
    /// kept beside the position once everything below is finished too.
    pub fn finish(&mut self, id: MessageId, outputs: Vec<Output>, note: String) {
        let Some(partition) = self.partitions.get_mut(&id.partition) else {
            return;
        };
        if partition.generation != id.generation {
            return;
        }
        if let Some(slot) = partition.open.get_mut(&id.offset) {
            *slot = Some(note);
            self.outputs.extend(outputs);
            self.progress = true;
        }
    }

    /// Writes outputs with the next commit, without finishing anything.
    pub fn emit(&mut self, outputs: Vec<Output>) {
        self.outputs.extend(outputs);
    }

    /// What comes next; commits finished work on the way. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the queue is closed or a commit breaks the contract.
    pub async fn next(&mut self) -> Result<Gathered, Error> {
        loop {
            self.start_commit();
            if self.taking
                && let Some((id, message)) = self.inbox.pop_front()
            {
                let Some(partition) = self.partitions.get_mut(&id.partition) else {
                    continue;
                };
                if partition.generation == id.generation && !partition.held {
                    partition.open.insert(id.offset, None);
                    return Ok(Gathered::Message(id, message));
                }
                continue;
            }
            let room = self.taking && self.open() < self.max_open;
            tokio::select! {
                biased;
                outcome = poll_commit(&mut self.committing) => {
                    return Ok(self.committed(outcome?));
                }
                event = next_event(&mut *self.events), if room => {
                    if let Some(found) = self.take(event?) {
                        return Ok(found);
                    }
                }
            }
        }
    }

    fn take(&mut self, event: Event) -> Option<Gathered> {
        match event {
            Event::Assigned { partition, position, lost, .. } => {
                self.generation += 1;
                self.inbox.retain(|(id, _)| id.partition != partition);
                self.events.resume(partition);
                let passed = (lost > 0).then(|| position.clone());
                self.progress |= passed.is_some();
                let generation = self.generation;
                let fresh = Partition { generation, passed, ..Partition::default() };
                self.partitions.insert(partition, fresh);
                Some(Gathered::Assigned { partition, position, lost })
            }
            Event::Revoked { partition } => {
                self.partitions.remove(&partition);
                self.inbox.retain(|(id, _)| id.partition != partition);
                Some(Gathered::Revoked(partition))
            }
            Event::Messages { partition, messages } => {
                let generation = self.partitions.get(&partition)?.generation;
                self.inbox.extend(messages.into_iter().map(|message| {
                    (MessageId { partition, offset: message.offset, generation }, message)
                }));
                None
            }
        }
    }

    /// Starts a commit when there is something to commit and none is under way.
    fn start_commit(&mut self) {
        if self.committing.is_some() || (!self.progress && self.outputs.is_empty()) {
            return;
        }
        let mut commit = Commit::default();
        while let Some(output) = self.outputs.pop_front() {
            let full = commit.outputs.len() == MAX_COMMIT_MESSAGES
                || commit.bytes() + output.size() > MAX_COMMIT_BYTES;
            if full && !commit.outputs.is_empty() {
                self.outputs.push_front(output);
                break;
            }
            commit.outputs.push(output);
        }
        // Positions wait for the last of the outputs that they stand behind.
        if self.outputs.is_empty() {
            self.progress = false;
            for (number, partition) in &mut self.partitions {
                let mut done = partition.passed.take();
                while let Some(entry) = partition.open.first_entry()
                    && entry.get().is_some()
                {
                    let (offset, note) = entry.remove_entry();
                    done = Some(Position { offset: offset + 1, note: note.unwrap_or_default() });
                }
                commit.positions.extend(done.map(|position| (*number, position)));
            }
        }
        if commit.is_empty() {
            return;
        }
        let committer = Arc::clone(&self.committer);
        self.committing = Some(Box::pin(async move {
            let mut commit = commit;
            loop {
                match committer.commit(commit).await? {
                    Committed::Retry(again) => commit = again,
                    other => return Ok(other),
                }
            }
        }));
    }

    fn committed(&mut self, outcome: Committed) -> Gathered {
        self.committing = None;
        if outcome != Committed::Lost {
            return Gathered::Committed;
        }
        self.partitions.clear();
        self.inbox.clear();
        self.outputs.clear();
        self.progress = false;
        Gathered::Lost
    }
}

/// Waits for the commit under way, or for ever. The commit stays in its slot until it has ended.
async fn poll_commit(slot: &mut Option<Committing>) -> Result<Committed, Error> {
    match slot {
        Some(commit) => commit.await,
        None => std::future::pending().await,
    }
}
