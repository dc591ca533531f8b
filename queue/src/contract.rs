//! The contract that every backend keeps.
//!
//! A topic has a fixed number of partitions and is a log (messages in order, reclaimed once every
//! group that reads it is past them) or compacted (the latest value per key, tombstones). A stage
//! joins a group on a topic and is assigned partitions; it takes messages, and commits outputs,
//! positions and state together.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use crate::Error;

/// Most outputs that one commit may carry.
pub const MAX_COMMIT_MESSAGES: usize = 64;
/// Most bytes that one commit may carry, outputs and state together.
pub const MAX_COMMIT_BYTES: usize = 16 * 1024 * 1024;

/// The state of one partition, as one scan in key order.
pub type State = Box<dyn Iterator<Item = Result<(Bytes, Bytes), Error>> + Send>;

/// Whether a topic keeps every message or the latest per key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicKind {
    /// Messages in order, reclaimed when every reading group is past them.
    Log,
    /// The latest value per key.
    Compacted,
}

/// What a topic must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// The topic's name, for example `cmsync.changes.contoso`.
    pub name: String,
    /// How many partitions; fixed for the topic's life.
    pub partitions: u32,
    /// Log or compacted.
    pub kind: TopicKind,
    /// Bytes of keys and values that the topic may hold; a commit that would pass it waits.
    pub max_bytes: u64,
}

/// A message to write. `value: None` is a tombstone and allowed on compacted topics only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The topic's name.
    pub topic: String,
    /// The partition, below the topic's number of partitions.
    pub partition: u32,
    /// Orders messages within a partition; identity on a compacted topic.
    pub key: Bytes,
    /// The payload.
    pub value: Option<Bytes>,
}

impl Output {
    /// Bytes of key and value.
    #[must_use]
    pub fn size(&self) -> usize {
        size(&self.key, self.value.as_ref())
    }
}

impl StateEntry {
    /// Bytes of key and value.
    #[must_use]
    pub fn size(&self) -> usize {
        size(&self.key, self.value.as_ref())
    }
}

/// Bytes of a key and its value.
pub(crate) fn size(key: &Bytes, value: Option<&Bytes>) -> usize {
    key.len() + value.map_or(0, Bytes::len)
}

/// A message as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its place in the partition, counted from 0.
    pub offset: u64,
    /// The key it was written with.
    pub key: Bytes,
    /// The payload.
    pub value: Bytes,
}

/// How far a group has come in a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    /// The next offset that the group wants. May lie below what was pulled.
    pub offset: u64,
    /// A short text of the caller's, kept beside the offset (Kafka: commit metadata).
    pub note: String,
}

/// One entry of a member's own state; `None` forgets the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateEntry {
    /// The owned partition that the entry belongs to.
    pub partition: u32,
    /// The key.
    pub key: Bytes,
    /// The value, or `None` to forget the key.
    pub value: Option<Bytes>,
}

/// What becomes durable together, or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// Messages to other topics.
    pub outputs: Vec<Output>,
    /// New positions on the member's own topic.
    pub positions: Vec<(u32, Position)>,
    /// New state, where the member's own topic is a compacted one.
    pub state: Vec<StateEntry>,
}

impl Commit {
    /// Bytes of keys and values that the commit carries.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.outputs.iter().map(Output::size).sum::<usize>()
            + self.state.iter().map(StateEntry::size).sum::<usize>()
    }

    /// Whether there is nothing to commit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.outputs.is_empty() && self.positions.is_empty() && self.state.is_empty()
    }
}

/// How a commit ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Committed {
    /// Durable. The offsets of the outputs, in their order.
    Done(Vec<u64>),
    /// Aborted as a whole; the same commit, given back, may be tried again.
    Retry(Commit),
    /// The member no longer owns what it wrote for. Everything since its last commit is forgotten
    /// and [`Event::Assigned`] comes again for what it owns now.
    Lost,
}

/// What happens to a member of a group.
pub enum Event {
    /// The member owns the partition from here on.
    Assigned {
        /// The partition.
        partition: u32,
        /// Where the group stands; reading goes on here.
        position: Position,
        /// Offsets between what the group had committed and `position` whose messages nobody took: the
        /// log deleted them. Zero on backends that keep what nobody took.
        lost: u64,
        /// The partition's state where the topic is compacted, else empty. What the store frees stays
        /// taken while this is held: it is read, and let go of.
        state: State,
    },
    /// Messages of one assigned partition, in order.
    Messages {
        /// The partition.
        partition: u32,
        /// At least one message.
        messages: Vec<Message>,
    },
    /// The member owns the partition no longer.
    Revoked {
        /// The partition.
        partition: u32,
    },
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Assigned { partition, position, .. } => {
                write!(f, "Assigned({partition} at {})", position.offset)
            }
            Self::Messages { partition, messages } => {
                write!(f, "Messages({partition}: {} messages)", messages.len())
            }
            Self::Revoked { partition } => write!(f, "Revoked({partition})"),
        }
    }
}

/// A partition as anyone may see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartitionLog {
    /// The first offset that is still there.
    pub start: u64,
    /// The offset that the next message will get.
    pub end: u64,
    /// Bytes of keys and values held. Kafka: of those that wait; far behind the end, estimated.
    pub bytes: u64,
    /// Messages that the group that was asked for has not taken. Kafka: far behind the end, an
    /// upper bound, because transactions take offsets of their own.
    pub waiting: u64,
    /// Where the group that was asked for stands, if it ever committed.
    pub position: Option<Position>,
    /// Whether what waits is older than half of the time after which the log deletes it. Never on
    /// backends that keep what nobody took.
    pub expires: bool,
}

/// A message queue.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Makes the topics that are missing and checks those that exist.
    ///
    /// # Errors
    /// [`Error::TopicDiffers`] when one exists with other partitions or another kind.
    async fn declare(&self, topics: &[TopicSpec]) -> Result<(), Error>;

    /// Forgets topics and everything in them. Unknown names are passed over.
    ///
    /// # Errors
    /// When the store fails.
    async fn remove(&self, topics: &[String]) -> Result<(), Error>;

    /// Joins `group` on `topic`. A log's members take messages; a compacted topic's members own
    /// state. Leaving is dropping the [`Events`].
    ///
    /// # Errors
    /// [`Error::UnknownTopic`], or when the queue is closed.
    async fn join(
        &self,
        group: &str,
        topic: &str,
    ) -> Result<(Box<dyn Events>, std::sync::Arc<dyn Committer>), Error>;

    /// Writes outside any group, all or nothing; waits while a topic is full. Without outputs it writes
    /// nothing, and returns when every commit that was begun before it has ended.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`], or when the queue is closed.
    async fn publish(&self, outputs: Vec<Output>) -> Result<Vec<u64>, Error>;

    /// The latest entries of a compacted topic, partition by partition in key order.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`], or when the store fails.
    async fn scan(&self, topic: &str) -> Result<State, Error>;

    /// Those of the latest entries whose keys begin with `prefix`, partition by partition in key order.
    ///
    /// # Errors
    /// As [`Queue::scan`].
    async fn scan_within(&self, topic: &str, prefix: Bytes) -> Result<State, Error> {
        // A backend that keeps no order by key reads all.
        let all = self.scan(topic).await?;
        Ok(Box::new(
            all.filter(move |e| e.as_ref().map_or(true, |(key, _)| key.starts_with(&prefix))),
        ))
    }

    /// Messages of a log from `from` on, without joining a group.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`], or when the store fails.
    async fn peek(&self, topic: &str, partition: u32, from: u64) -> Result<Vec<Message>, Error>;

    /// Every partition of a topic, with the position of `group`.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`].
    async fn log(&self, topic: &str, group: &str) -> Result<Vec<PartitionLog>, Error>;

    /// A number that changes with each commit that touches the topic or a position on it.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`].
    fn watch(&self, topic: &str) -> Result<watch::Receiver<u64>, Error>;

    /// A number that differs when something was committed to the topic since it was asked for last.
    /// Unlike what [`Queue::watch`] tells, it is never late.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`], or when the store fails.
    async fn version(&self, topic: &str) -> Result<u64, Error>;

    /// The topics that exist.
    ///
    /// # Errors
    /// When the store cannot be asked.
    async fn topics(&self) -> Result<Vec<TopicSpec>, Error>;
}

/// A member's inbox.
#[async_trait]
pub trait Events: Send {
    /// The next event; waits until there is one. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the queue is closed or a read fails.
    async fn next(&mut self) -> Result<Event, Error>;

    /// Stops taking messages of a partition; ownership stays.
    fn pause(&mut self, partition: u32);

    /// Takes messages of a partition again.
    fn resume(&mut self, partition: u32);
}

/// A member's way to commit.
#[async_trait]
pub trait Committer: Send + Sync {
    /// Makes `commit` durable as a whole. Waits while a topic that it writes to is full.
    ///
    /// # Errors
    /// [`Error::InvalidCommit`] above [`MAX_COMMIT_MESSAGES`] or [`MAX_COMMIT_BYTES`], or when the
    /// queue is closed.
    async fn commit(&self, commit: Commit) -> Result<Committed, Error>;
}

/// The partition of a key: FNV-1a over the key with a final mix, the same on every host and in every
/// version.
#[must_use]
pub fn partition_for(key: &[u8], partitions: u32) -> u32 {
    let hash = key
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
    // Keys that differ in one digit would differ in few bits: the mix spreads them over all.
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    u32::try_from((mixed ^ (mixed >> 33)) % u64::from(partitions.max(1))).unwrap_or(0)
}
