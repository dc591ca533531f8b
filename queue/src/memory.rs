//! A store in memory: what was applied survives a crash of the broker, and nothing else does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::local::{Batch, Extent, LocalQueue, Store, Stored, StoredTopic};
use crate::{Error, Message, Position, State};

/// The in-memory queue. It can be crashed, fenced, revoked and made to abort through
/// [`LocalQueue::faults`] and [`LocalQueue::revoke`]; opened again over the same store it goes on
/// from what was durable.
pub type MemoryQueue = LocalQueue<MemoryStore>;

type TopicPartition = (u32, u32);

/// What the in-memory queue counts as durable.
#[derive(Debug, Default)]
pub struct MemoryStore {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    topics: Vec<StoredTopic>,
    extents: BTreeMap<TopicPartition, Extent>,
    positions: BTreeMap<(TopicPartition, String), Position>,
    log: BTreeMap<(TopicPartition, u64), (Bytes, Bytes)>,
    latest: BTreeMap<(TopicPartition, Bytes), Bytes>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    const WAITS: bool = false;

    fn load(&self) -> Result<Stored, Error> {
        let held = self.held();
        let positions = held.positions.iter();
        Ok(Stored {
            topics: held.topics.clone(),
            extents: held.extents.iter().map(|(at, e)| (*at, *e)).collect(),
            positions: positions.map(|((at, g), p)| (*at, g.clone(), p.clone())).collect(),
        })
    }

    fn apply(&self, batch: &Batch) -> Result<Vec<(TopicPartition, Extent)>, Error> {
        let mut held = self.held();
        held.topics.extend(batch.new_topics.iter().cloned());
        let mut touched: BTreeMap<TopicPartition, Extent> = BTreeMap::new();
        let extents = held.extents.clone();
        let mut extent = |at: TopicPartition, change: &dyn Fn(&mut Extent)| {
            change(
                touched.entry(at).or_insert_with(|| extents.get(&at).copied().unwrap_or_default()),
            );
        };
        for (at, end) in &batch.ends {
            extent(*at, &|e| e.end = *end);
        }
        for (at, offset, key, value) in &batch.appends {
            held.log.insert((*at, *offset), (key.clone(), value.clone()));
            extent(*at, &|e| e.bytes += (key.len() + value.len()) as u64);
        }
        for (at, key, value) in &batch.upserts {
            let size = |v: &Bytes| (key.len() + v.len()) as u64;
            let old = match value {
                Some(value) => held.latest.insert((*at, key.clone()), value.clone()),
                None => held.latest.remove(&(*at, key.clone())),
            };
            let (added, gone) = (value.as_ref().map_or(0, size), old.as_ref().map_or(0, size));
            extent(*at, &|e| e.bytes = e.bytes + added - gone);
        }
        for (at, from, to) in &batch.trims {
            for offset in *from..*to {
                if let Some((key, value)) = held.log.remove(&(*at, offset)) {
                    extent(*at, &|e| e.bytes -= (key.len() + value.len()) as u64);
                }
            }
            extent(*at, &|e| e.start = *to);
        }
        for (at, group, position) in &batch.positions {
            held.positions.insert((*at, group.clone()), position.clone());
        }
        for id in &batch.removed_topics {
            held.topics.retain(|t| t.id != *id);
            held.extents.retain(|(of, _), _| of != id);
            held.positions.retain(|((of, _), _), _| of != id);
            held.log.retain(|((of, _), _), _| of != id);
            held.latest.retain(|((of, _), _), _| of != id);
        }
        held.extents.extend(touched.iter().map(|(at, e)| (*at, *e)));
        Ok(touched.into_iter().collect())
    }

    fn recover(&self) -> Result<(), Error> {
        Ok(())
    }

    fn read(&self, at: TopicPartition, from: u64, max_bytes: usize) -> Result<Vec<Message>, Error> {
        let held = self.held();
        let mut bytes = 0;
        let range = held.log.range((at, from)..=(at, u64::MAX));
        let within = range.take_while(|(_, (key, value))| {
            let first = bytes == 0;
            bytes += key.len() + value.len() + 1;
            first || bytes <= max_bytes
        });
        let message = |((_, offset), (key, value)): (&(TopicPartition, u64), &(Bytes, Bytes))| {
            Message { offset: *offset, key: key.clone(), value: value.clone() }
        };
        Ok(within.map(message).collect())
    }

    fn scan_within(&self, at: TopicPartition, prefix: &Bytes) -> Result<State, Error> {
        let held = self.held();
        let is_within = |(of, key): &(_, Bytes)| *of == at && key.starts_with(prefix);
        let range = held.latest.range((at, prefix.clone())..).take_while(|(key, _)| is_within(key));
        let entries: Vec<_> = range.map(|((_, k), v)| Ok((k.clone(), v.clone()))).collect();
        Ok(Box::new(entries.into_iter()))
    }
}
