//! The embedded queue: one redb file in one directory, one `fdatasync` a commit.
//!
//! Layout of `queue.redb`, format 1 (redb tables; integers are redb's own little-endian keys):
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `"format"` | 1 |
//! | `topics` | name | id, partitions, kind (0 log, 1 compacted) |
//! | `extents` | topic id, partition | start, end, bytes |
//! | `positions` | topic id, partition, group | offset, note |
//! | `log` | topic id, partition, offset | key length (u32, little endian), key, value |
//! | `latest` | topic id, partition, key | value |
//!
//! Invariants: a batch is one redb transaction, so after a crash it is there whole or not at all;
//! offsets in `log` run from `start` to `end` without a gap; `bytes` is the sum of key and value
//! lengths of the partition. redb locks the file: a second process is refused. The file does not
//! shrink, freed pages are used again.

mod file;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use file::RedbStore;

use crate::Error;
use crate::local::LocalQueue;

/// The embedded queue.
pub type EmbeddedQueue = LocalQueue<RedbStore>;

/// The queue's file in `directory`.
#[must_use]
pub fn path_in(directory: &Path) -> PathBuf {
    directory.join("queue.redb")
}

/// Opens the queue in `directory`, which is made if it is missing. Must be called inside a tokio
/// runtime.
///
/// # Errors
/// [`Error::Locked`], [`Error::Damaged`], [`Error::Format`], or when the directory cannot be used.
pub fn open(directory: &Path) -> Result<EmbeddedQueue, Error> {
    LocalQueue::open(Arc::new(RedbStore::open(directory)?))
}
