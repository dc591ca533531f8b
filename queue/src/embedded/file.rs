//! The redb file: opening, checking, applying batches, reading.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, Table, TableDefinition,
    WriteTransaction,
};

use crate::local::{Batch, Extent, Store, Stored, StoredTopic};
use crate::{Error, Message, Position, State, TopicKind};

const FORMAT: u64 = 1;
/// redb's own cache. The operating system caches the file as well, so it needs to hold little more
/// than the branches of the trees and one batch.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

type TopicPartition = (u32, u32);
type LogKey = (u32, u32, u64);

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const TOPICS: TableDefinition<'_, &str, (u32, u32, u8)> = TableDefinition::new("topics");
const EXTENTS: TableDefinition<'_, TopicPartition, (u64, u64, u64)> =
    TableDefinition::new("extents");
const POSITIONS: TableDefinition<'_, (u32, u32, &str), (u64, &str)> =
    TableDefinition::new("positions");
const LOG: TableDefinition<'_, LogKey, &[u8]> = TableDefinition::new("log");
const LATEST: TableDefinition<'_, (u32, u32, &[u8]), &[u8]> = TableDefinition::new("latest");

/// The file.
#[derive(Debug)]
pub struct RedbStore {
    path: PathBuf,
    /// `None` between a failed write and a successful [`Store::recover`].
    database: RwLock<Option<Database>>,
}

impl RedbStore {
    /// Opens or makes the file in `directory`.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Damaged`], [`Error::Format`], or when the directory cannot be used.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let told =
            |e: std::io::Error| Error::Place { path: directory.to_owned(), detail: e.to_string() };
        cmsync_files::create_directory(directory).map_err(told)?;
        let path = super::path_in(directory);
        let database = open_database(&path)?;
        check_format(&path, &database)?;
        Ok(Self { path, database: RwLock::new(Some(database)) })
    }

    fn read_with<T>(
        &self,
        read: impl FnOnce(&redb::ReadTransaction) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database =
            database.as_ref().ok_or_else(|| Error::storage("read", "file is being recovered"))?;
        read(&database.begin_read().map_err(|e| self.failed("read", e.into()))?)
    }

    fn failed(&self, action: &'static str, error: redb::Error) -> Error {
        classify(&self.path, action, error)
    }
}

fn classify(path: &Path, action: &'static str, error: redb::Error) -> Error {
    match error {
        redb::Error::Corrupted(detail) => Error::Damaged { path: path.to_owned(), detail },
        redb::Error::DatabaseAlreadyOpen => Error::Locked(path.to_owned()),
        other => Error::storage(action, other),
    }
}

fn open_database(path: &Path) -> Result<Database, Error> {
    let is_empty = std::fs::metadata(path).map_or(true, |m| m.len() == 0);
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    let opened = if is_empty { builder.create(path) } else { builder.open(path) };
    if is_empty {
        cmsync_files::adopt(path);
    }
    opened.map_err(|error| match error {
        DatabaseError::UpgradeRequired(found) => {
            Error::Format { path: path.to_owned(), found: u64::from(found), expected: FORMAT }
        }
        DatabaseError::Storage(StorageError::Io(e))
            if matches!(
                e.kind(),
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
            ) =>
        {
            Error::Damaged { path: path.to_owned(), detail: e.to_string() }
        }
        DatabaseError::Storage(StorageError::Io(e))
            if e.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            Error::Place { path: path.to_owned(), detail: e.to_string() }
        }
        DatabaseError::RepairAborted => {
            Error::Damaged { path: path.to_owned(), detail: "repair was aborted".into() }
        }
        other => classify(path, "open", other.into()),
    })
}

/// Writes the format into a new file, and refuses another's.
fn check_format(path: &Path, database: &Database) -> Result<(), Error> {
    let check = || -> Result<Option<u64>, redb::Error> {
        let write = database.begin_write()?;
        let found = write.open_table(META)?.get("format")?.map(|v| v.value());
        if found.is_some() {
            write.abort()?;
            return Ok(found);
        }
        write.open_table(META)?.insert("format", FORMAT)?;
        write.open_table(TOPICS)?;
        write.open_table(EXTENTS)?;
        write.open_table(POSITIONS)?;
        write.open_table(LOG)?;
        write.open_table(LATEST)?;
        write.commit()?;
        Ok(Some(FORMAT))
    };
    match check().map_err(|e| classify(path, "open", e))? {
        Some(found) if found != FORMAT => {
            Err(Error::Format { path: path.to_owned(), found, expected: FORMAT })
        }
        _ => Ok(()),
    }
}

/// One batch being written.
struct Applying<'txn> {
    extents: Table<'txn, TopicPartition, (u64, u64, u64)>,
    touched: BTreeMap<TopicPartition, Extent>,
    /// Where each touched partition ended before: what lies below was counted when it was written.
    ended: BTreeMap<TopicPartition, u64>,
}

impl Applying<'_> {
    fn extent(&mut self, at: TopicPartition) -> Result<&mut Extent, StorageError> {
        if !self.touched.contains_key(&at) {
            let (start, end, bytes) = self.extents.get(at)?.map(|v| v.value()).unwrap_or_default();
            self.touched.insert(at, Extent { start, end, bytes });
            self.ended.insert(at, end);
        }
        Ok(self.touched.entry(at).or_default())
    }

    fn append(&mut self, write: &WriteTransaction, batch: &Batch) -> Result<(), redb::Error> {
        let mut log = write.open_table(LOG)?;
        for ((topic, partition), offset, key, value) in &batch.appends {
            let mut slot =
                log.insert_reserve((*topic, *partition, *offset), 4 + key.len() + value.len())?;
            let (length, rest) = slot.as_mut().split_at_mut(4);
            length.copy_from_slice(&u32::try_from(key.len()).unwrap_or(0).to_le_bytes());
            let (to_key, to_value) = rest.split_at_mut(key.len());
            to_key.copy_from_slice(key);
            to_value.copy_from_slice(value);
            drop(slot);
            let at = (*topic, *partition);
            self.extent(at)?;
            let added = (key.len() + value.len()) as u64;
            // A batch whose commit failed may have become durable: applied again, it adds nothing.
            if self.ended.get(&at).is_none_or(|end| offset >= end) {
                self.touched.entry(at).or_default().bytes += added;
            }
        }
        for (at, from, to) in &batch.trims {
            for offset in *from..*to {
                let gone = log.remove((at.0, at.1, offset))?.map_or(0, |v| v.value().len() - 4);
                let extent = self.extent(*at)?;
                extent.bytes = extent.bytes.saturating_sub(gone as u64);
            }
            self.extent(*at)?.start = *to;
        }
        Ok(())
    }

    fn upsert(&mut self, write: &WriteTransaction, batch: &Batch) -> Result<(), redb::Error> {
        let mut latest = write.open_table(LATEST)?;
        for (at, key, value) in &batch.upserts {
            let entry = (at.0, at.1, key.as_ref());
            let old = match value {
                Some(value) => latest.insert(entry, value.as_ref())?,
                None => latest.remove(entry)?,
            };
            let gone = old.map_or(0, |v| key.len() + v.value().len()) as u64;
            let added = value.as_ref().map_or(0, |v| key.len() + v.len()) as u64;
            let extent = self.extent(*at)?;
            extent.bytes = (extent.bytes + added).saturating_sub(gone);
        }
        Ok(())
    }
}

fn apply(database: &Database, batch: &Batch) -> Result<Vec<(TopicPartition, Extent)>, redb::Error> {
    let write = database.begin_write()?;
    let touched = write_batch(&write, batch)?;
    write.commit()?;
    Ok(touched.into_iter().collect())
}

fn write_batch(
    write: &WriteTransaction,
    batch: &Batch,
) -> Result<BTreeMap<TopicPartition, Extent>, redb::Error> {
    let mut applying = Applying {
        extents: write.open_table(EXTENTS)?,
        touched: BTreeMap::new(),
        ended: BTreeMap::new(),
    };
    for (at, end) in &batch.ends {
        applying.extent(*at)?.end = *end;
    }
    applying.append(write, batch)?;
    applying.upsert(write, batch)?;
    let Applying { mut extents, touched, .. } = applying;
    for (at, extent) in &touched {
        extents.insert(*at, (extent.start, extent.end, extent.bytes))?;
    }
    {
        let mut positions = write.open_table(POSITIONS)?;
        for ((topic, partition), group, position) in &batch.positions {
            let key = (*topic, *partition, group.as_str());
            positions.insert(key, (position.offset, position.note.as_str()))?;
        }
        let mut topics = write.open_table(TOPICS)?;
        for topic in &batch.new_topics {
            let kind = u8::from(topic.kind == TopicKind::Compacted);
            topics.insert(topic.name.as_str(), (topic.id, topic.partitions, kind))?;
        }
        for id in &batch.removed_topics {
            topics.retain(|_, (of, _, _)| of != *id)?;
            positions.retain(|(of, _, _), _| of != *id)?;
            extents.retain(|(of, _), _| of != *id)?;
            write
                .open_table(LOG)?
                .retain_in((*id, 0, 0)..=(*id, u32::MAX, u64::MAX), |_, _| false)?;
            write.open_table(LATEST)?.retain(|(of, _, _), _| of != *id)?;
        }
    }
    Ok(touched)
}

impl Store for RedbStore {
    fn load(&self) -> Result<Stored, Error> {
        let load = |read: &redb::ReadTransaction| -> Result<Stored, redb::Error> {
            let mut stored = Stored::default();
            for row in read.open_table(TOPICS)?.iter()? {
                let (name, value) = row?;
                let (id, partitions, kind) = value.value();
                let kind = if kind == 0 { TopicKind::Log } else { TopicKind::Compacted };
                let name = name.value().to_owned();
                stored.topics.push(StoredTopic { id, name, partitions, kind });
            }
            for row in read.open_table(EXTENTS)?.iter()? {
                let (at, value) = row?;
                let (start, end, bytes) = value.value();
                stored.extents.push((at.value(), Extent { start, end, bytes }));
            }
            for row in read.open_table(POSITIONS)?.iter()? {
                let (key, value) = row?;
                let ((topic, partition, group), (offset, note)) = (key.value(), value.value());
                let position = Position { offset, note: note.to_owned() };
                stored.positions.push(((topic, partition), group.to_owned(), position));
            }
            Ok(stored)
        };
        self.read_with(|read| load(read).map_err(|e| self.failed("read", e)))
    }

    fn apply(&self, batch: &Batch) -> Result<Vec<(TopicPartition, Extent)>, Error> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database =
            database.as_ref().ok_or_else(|| Error::storage("write", "file is being recovered"))?;
        apply(database, batch).map_err(|e| self.failed("write", e))
    }

    fn recover(&self) -> Result<(), Error> {
        // After an I/O error redb refuses everything until the file is opened again, which also
        // rolls back what was not committed.
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        *database = None;
        *database = Some(open_database(&self.path)?);
        Ok(())
    }

    fn read(&self, at: TopicPartition, from: u64, max_bytes: usize) -> Result<Vec<Message>, Error> {
        let collect = |read: &redb::ReadTransaction| -> Result<Vec<Message>, redb::Error> {
            let log = read.open_table(LOG)?;
            let mut bytes = 0;
            let mut messages = Vec::new();
            for row in log.range((at.0, at.1, from)..=(at.0, at.1, u64::MAX))? {
                let (key, value) = row?;
                let framed = Bytes::copy_from_slice(value.value());
                bytes += framed.len();
                if bytes > max_bytes && !messages.is_empty() {
                    break;
                }
                let length =
                    framed.first_chunk::<4>().map_or(0, |l| u32::from_le_bytes(*l)) as usize;
                let value_at = (4 + length).min(framed.len());
                messages.push(Message {
                    offset: key.value().2,
                    key: framed.slice(4.min(value_at)..value_at),
                    value: framed.slice(value_at..),
                });
            }
            Ok(messages)
        };
        self.read_with(|read| collect(read).map_err(|e| self.failed("read", e)))
    }

    fn scan_within(&self, at: TopicPartition, prefix: &Bytes) -> Result<State, Error> {
        let (path, prefix) = (self.path.clone(), prefix.clone());
        self.read_with(|read| {
            let open = || -> Result<_, redb::Error> {
                let latest = read.open_table(LATEST)?;
                let low: &[u8] = &[];
                let bounds = (at.0, at.1, &*prefix)..(at.0, at.1 + 1, low);
                Ok(latest.range(bounds)?)
            };
            let rows = open().map_err(|e: redb::Error| self.failed("read", e))?;
            let entries = rows.map_while(move |row| match row {
                Ok((key, _)) if !key.value().2.starts_with(&prefix) => None,
                Ok((key, value)) => {
                    let key = Bytes::copy_from_slice(key.value().2);
                    Some(Ok((key, Bytes::copy_from_slice(value.value()))))
                }
                Err(e) => Some(Err(classify(&path, "read", e.into()))),
            });
            Ok(Box::new(entries) as State)
        })
    }
}
