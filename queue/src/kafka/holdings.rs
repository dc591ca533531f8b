//! What a member holds: its partitions, what waits for its stage, and what its stage was told of.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::writer::Writer;
use crate::{Event, Message, Position};

/// Bytes of one event, about.
const EVENT_BYTES: usize = 2 * 1024 * 1024;

/// Where a group stands in a partition.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    /// What is committed; where the log has deleted what is above it, raised to the log's start.
    pub(super) position: Option<Position>,
    /// What was deleted before the group took it, in offsets.
    pub(super) lost: u64,
    /// Where reading goes on.
    pub(super) next: u64,
}

impl Standing {
    /// Of a group that committed this, in a log that starts and ends there. A log that ends below was
    /// made anew, or brokers lost some of it: it is read from its start, and what is missing counts
    /// as deleted.
    pub(super) fn new(committed: Option<Position>, (start, end): (u64, u64)) -> Self {
        let stands = committed.as_ref().map_or(start, |position| position.offset);
        let is_beyond = stands > end.max(start);
        let lost = if is_beyond { stands - end } else { start.saturating_sub(stands) };
        let offset = if is_beyond { start } else { stands.max(start) };
        let position = committed.map(|position| Position { offset, ..position });
        let next = position.as_ref().map_or(start, |position| position.offset);
        Self { position, lost, next }
    }
}

/// A partition that the brokers gave to this member.
#[derive(Debug, Default)]
pub(super) struct Owned {
    pub(super) epoch: u64,
    /// What is committed.
    pub(super) position: Option<Position>,
    /// The next offset after what the stage has taken.
    pub(super) taken: u64,
    /// Whether the stage may commit for it: a partition of state must have been read first.
    pub(super) is_ready: bool,
}

pub(super) enum Queued {
    Assigned { partition: u32, epoch: u64, standing: Standing, state: BTreeMap<Bytes, Bytes> },
    Messages { partition: u32, epoch: u64, messages: Vec<Message>, bytes: usize },
    Revoked { partition: u32 },
}

#[derive(Default)]
pub(super) struct State {
    /// Counts assignments.
    pub(super) epoch: u64,
    pub(super) owned: BTreeMap<u32, Owned>,
    /// What the stage was told of: the epoch of each.
    pub(super) told: BTreeMap<u32, u64>,
    pub(super) inbox: VecDeque<Queued>,
    pub(super) bytes: usize,
    pub(super) paused: BTreeSet<u32>,
    /// Partitions of which messages were dropped: reading goes back to what the stage has taken.
    pub(super) gaps: BTreeSet<u32>,
    pub(super) committing: u32,
    pub(super) writers: BTreeMap<u32, Arc<Writer>>,
    /// Nothing more comes.
    pub(super) has_ended: bool,
}

impl State {
    /// Takes a message in; what nobody wants at the moment is read again later.
    pub(super) fn push_message(&mut self, partition: u32, message: Message) {
        let Some(epoch) = self.owned.get(&partition).map(|owned| owned.epoch) else {
            return;
        };
        if self.paused.contains(&partition) || self.gaps.contains(&partition) {
            self.gaps.insert(partition);
            return;
        }
        let size = message.key.len() + message.value.len();
        self.bytes += size;
        match self.inbox.back_mut() {
            Some(Queued::Messages { partition: of, epoch: then, messages, bytes })
                if *of == partition && *then == epoch && *bytes < EVENT_BYTES =>
            {
                messages.push(message);
                *bytes += size;
            }
            _ => {
                let messages = vec![message];
                self.inbox.push_back(Queued::Messages { partition, epoch, messages, bytes: size });
            }
        }
    }

    /// The stage is told of a partition.
    pub(super) fn push_assigned(
        &mut self,
        partition: u32,
        epoch: u64,
        standing: Standing,
        state: BTreeMap<Bytes, Bytes>,
    ) {
        self.gaps.remove(&partition);
        self.inbox.push_back(Queued::Assigned { partition, epoch, standing, state });
    }

    /// Forgets messages of these partitions; whether there were any.
    pub(super) fn forget_messages(&mut self, of: impl Fn(u32) -> bool) -> bool {
        let mut freed = 0;
        self.inbox.retain(|queued| match queued {
            Queued::Messages { partition, bytes, .. } if of(*partition) => {
                freed += *bytes;
                false
            }
            _ => true,
        });
        self.bytes -= freed;
        freed > 0
    }

    /// Nothing counts that was told or waits, but that partitions went.
    pub(super) fn void(&mut self) {
        self.inbox.retain(|queued| matches!(queued, Queued::Revoked { .. }));
        self.bytes = 0;
        self.writers.clear();
        for owned in self.owned.values_mut() {
            self.epoch += 1;
            (owned.epoch, owned.is_ready) = (self.epoch, false);
        }
    }

    /// What the stage hears next.
    pub(super) fn take(&mut self) -> Option<Event> {
        while let Some(queued) = self.inbox.pop_front() {
            let event = match queued {
                Queued::Assigned { partition, epoch, standing, state } => {
                    self.assigned((partition, epoch), standing, state)
                }
                Queued::Revoked { partition } => {
                    self.told.remove(&partition).map(|_| Event::Revoked { partition })
                }
                Queued::Messages { partition, epoch, messages, bytes } => {
                    self.bytes -= bytes;
                    self.messages(partition, epoch, messages)
                }
            };
            if event.is_some() {
                return event;
            }
        }
        None
    }

    fn assigned(
        &mut self,
        (partition, epoch): (u32, u64),
        standing: Standing,
        state: BTreeMap<Bytes, Bytes>,
    ) -> Option<Event> {
        let owned = self.owned.get(&partition).filter(|owned| owned.epoch == epoch)?;
        self.told.insert(partition, owned.epoch);
        let state = Box::new(state.into_iter().map(Ok));
        let (position, lost) = (standing.position.unwrap_or_default(), standing.lost);
        Some(Event::Assigned { partition, position, lost, state })
    }

    fn messages(&mut self, partition: u32, epoch: u64, messages: Vec<Message>) -> Option<Event> {
        if self.told.get(&partition) != Some(&epoch) {
            return None;
        }
        let owned = self.owned.get_mut(&partition).filter(|owned| owned.epoch == epoch)?;
        owned.taken = messages.last().map_or(owned.taken, |last| last.offset + 1);
        Some(Event::Messages { partition, messages })
    }
}
