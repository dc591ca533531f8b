//! What the broker asks of the place where bytes rest.

use std::sync::Arc;

use bytes::Bytes;

use crate::{Error, Message, Position, State, TopicKind};

/// A topic's number inside a store, and a partition of it.
pub(crate) type TopicPartition = (u32, u32);

/// A topic as a store remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTopic {
    /// Its number in this store.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: u32,
    /// Log or compacted.
    pub kind: TopicKind,
}

/// A partition's counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// First offset kept.
    pub start: u64,
    /// Next offset.
    pub end: u64,
    /// Bytes of keys and values held.
    pub bytes: u64,
}

/// Everything that a store knows besides messages and entries.
#[derive(Debug, Default)]
pub struct Stored {
    /// The topics.
    pub topics: Vec<StoredTopic>,
    /// Counters of partitions that were ever written.
    pub extents: Vec<(TopicPartition, Extent)>,
    /// Positions by partition and group.
    pub positions: Vec<(TopicPartition, String, Position)>,
}

/// One atomic change of a store.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    /// Topics to add.
    pub new_topics: Vec<StoredTopic>,
    /// Topics to forget with all they hold.
    pub removed_topics: Vec<u32>,
    /// Log messages with the offsets that the broker gave them.
    pub appends: Vec<(TopicPartition, u64, Bytes, Bytes)>,
    /// Entries of compacted topics; `None` is a tombstone.
    pub upserts: Vec<(TopicPartition, Bytes, Option<Bytes>)>,
    /// Offsets of logs, from and below, that nobody needs any longer.
    pub trims: Vec<(TopicPartition, u64, u64)>,
    /// New positions.
    pub positions: Vec<(TopicPartition, String, Position)>,
    /// Where each touched partition ends after the batch.
    pub ends: Vec<(TopicPartition, u64)>,
}

/// Makes a call of a store without holding up the async threads.
pub(crate) async fn call<S, T>(
    store: &Arc<S>,
    what: &'static str,
    call: impl FnOnce(&S) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error>
where
    S: Store,
    T: Send + 'static,
{
    if !S::WAITS {
        return call(store);
    }
    let store = Arc::clone(store);
    let called = tokio::task::spawn_blocking(move || call(&store));
    called.await.map_err(|error| Error::storage(what, error)).flatten()
}

/// Where bytes rest. All calls block; the broker makes them off the async threads, but for
/// scans, which are opened in place and read by whoever iterates.
pub trait Store: Send + Sync + 'static {
    /// Whether a call may take time. What has no disk to wait for is called in place: then all of the
    /// queue runs in one thread, and a simulation of it goes the same way each time.
    const WAITS: bool = true;

    /// Reads everything but messages and entries.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn load(&self) -> Result<Stored, Error>;

    /// Applies a batch, durably, as a whole; gives the counters of the partitions it touched.
    ///
    /// # Errors
    /// When nothing of the batch became durable, or it is not known whether it did; in the second
    /// case [`Store::recover`] tells.
    fn apply(&self, batch: &Batch) -> Result<Vec<(TopicPartition, Extent)>, Error>;

    /// Makes the store usable after a failed [`Store::apply`].
    ///
    /// # Errors
    /// When it still is not.
    fn recover(&self) -> Result<(), Error>;

    /// Messages of a log from an offset on, at least one if there is one, about `max_bytes`.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn read(&self, at: TopicPartition, from: u64, max_bytes: usize) -> Result<Vec<Message>, Error>;

    /// Entries of one partition of a compacted topic, in key order.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn scan(&self, at: TopicPartition) -> Result<State, Error> {
        self.scan_within(at, &Bytes::new())
    }

    /// Those of them whose keys begin with `prefix`.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn scan_within(&self, at: TopicPartition, prefix: &Bytes) -> Result<State, Error>;
}
