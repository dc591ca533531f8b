//! What all members of a process share: clients, what is known of topics, and their room.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use super::client::{Clients, lock};
use super::reader::Reader;
use crate::contract::size;
use crate::limits::{check, fits, wanted};
use crate::local::Faults;
use crate::{Commit, Error, Output, PartitionLog, Position, TopicKind, TopicSpec};

/// Messages up to which what waits is counted one by one; beyond, it is estimated.
const NEAR: u64 = 64;
/// Bytes that are looked at to count messages; where there is more, it is estimated.
const ENOUGH: u64 = 1024 * 1024;
/// How often a full topic is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How long what waits is not asked for again, unless this process changed it: stages ask it for every
/// collection.
const KNOWN_FOR: Duration = Duration::from_millis(250);

/// What a topic held at the last look, and what this process wrote since.
#[derive(Default, Clone, Copy)]
struct Room {
    held: u64,
    since: u64,
}

/// What was told of a topic, and when.
struct Told {
    at: Instant,
    logs: Vec<PartitionLog>,
    /// This process wrote to the topic since, or moved positions on it.
    is_old: bool,
}

impl Told {
    /// Where much waits, a moment more or less says nothing, and asking costs the most.
    fn holds(&self) -> bool {
        let waiting: u64 = self.logs.iter().map(|log| log.waiting).sum();
        self.at.elapsed() < KNOWN_FOR && (!self.is_old || waiting > NEAR)
    }
}

pub(super) struct Core {
    pub(super) clients: Clients,
    pub(super) reader: Reader,
    pub(super) faults: Faults,
    topics: Mutex<BTreeMap<String, TopicSpec>>,
    /// Those whose settings were looked at.
    checked: Mutex<BTreeSet<String>>,
    /// After what time topics delete messages.
    retentions: Mutex<HashMap<String, Option<Duration>>>,
    /// Groups that read a topic, as far as this process knows.
    groups: Mutex<BTreeMap<String, BTreeSet<String>>>,
    rooms: Mutex<HashMap<String, Room>>,
    /// Bytes of a message, by topic.
    means: Mutex<HashMap<String, u64>>,
    /// What `log` told a moment ago, by topic and group.
    logs: Mutex<HashMap<(String, String), Told>>,
    /// Offsets that hold no messages: markers of transactions, and what was aborted.
    silent: Mutex<HashMap<(String, u32), Range<u64>>>,
    /// Commits that are on their way hold it for reading.
    pub(super) on_their_way: Arc<tokio::sync::RwLock<()>>,
}

/// Counts offsets as messages of this size.
fn estimate(log: &mut PartitionLog, mean: u64) {
    let from = log.position.as_ref().map_or(log.start, |p| p.offset).max(log.start);
    log.waiting = log.end.saturating_sub(from);
    log.bytes = (log.end - log.start) * mean;
}

impl Drop for Core {
    fn drop(&mut self) {
        self.close();
    }
}

impl Core {
    pub(super) fn new(clients: Clients) -> Result<Self, Error> {
        Ok(Self {
            reader: Reader::new(clients.clone())?,
            clients,
            faults: Faults::default(),
            topics: Mutex::default(),
            checked: Mutex::default(),
            retentions: Mutex::default(),
            groups: Mutex::default(),
            rooms: Mutex::default(),
            means: Mutex::default(),
            logs: Mutex::default(),
            silent: Mutex::default(),
            on_their_way: Arc::default(),
        })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.clients.is_closed()
    }

    pub(super) fn close(&self) {
        self.clients.close();
    }

    // Topics.

    pub(super) fn remember(&self, spec: TopicSpec) {
        lock(&self.topics).insert(spec.name.clone(), spec);
    }

    /// A topic is as it was declared, its settings too.
    pub(super) fn checked(&self, spec: TopicSpec) {
        lock(&self.checked).insert(spec.name.clone());
        self.remember(spec);
    }

    pub(super) fn is_checked(&self, spec: &TopicSpec) -> bool {
        let is_same =
            |known: TopicSpec| (known.partitions, known.kind) == (spec.partitions, spec.kind);
        lock(&self.checked).contains(&spec.name) && self.known(&spec.name).is_some_and(is_same)
    }

    /// After what time a topic deletes messages, if it does.
    pub(super) fn keeps(&self, name: &str, retention: Option<Duration>) {
        lock(&self.retentions).insert(name.to_owned(), retention);
    }

    pub(super) fn forget(&self, name: &str) {
        lock(&self.topics).remove(name);
        lock(&self.checked).remove(name);
        lock(&self.retentions).remove(name);
        lock(&self.rooms).remove(name);
        lock(&self.silent).retain(|(topic, _), _| topic != name);
        lock(&self.logs).retain(|(topic, _), _| topic != name);
    }

    pub(super) fn known(&self, name: &str) -> Option<TopicSpec> {
        lock(&self.topics).get(name).cloned()
    }

    /// All that are known.
    pub(super) fn all(&self) -> Vec<TopicSpec> {
        lock(&self.topics).values().cloned().collect()
    }

    /// What a topic is; asked of the brokers where nobody declared it here.
    pub(super) async fn topic(self: &Arc<Self>, name: &str) -> Result<TopicSpec, Error> {
        if self.is_closed() {
            return Err(Error::Closed);
        }
        if let Some(spec) = self.known(name) {
            return Ok(spec);
        }
        self.refresh().await?;
        self.known(name).ok_or_else(|| Error::UnknownTopic(name.to_owned()))
    }

    /// Refuses what breaks the contract.
    pub(super) async fn check(
        self: &Arc<Self>,
        commit: &Commit,
        own: Option<&str>,
    ) -> Result<(), Error> {
        for output in &commit.outputs {
            self.topic(&output.topic).await?;
        }
        check(commit, own, |name| {
            let spec = self.known(name).ok_or_else(|| Error::UnknownTopic(name.to_owned()))?;
            Ok((spec.partitions, spec.kind))
        })
    }

    /// A group reads a topic.
    pub(super) fn reads(&self, group: &str, topic: &str) {
        lock(&self.groups).entry(topic.to_owned()).or_default().insert(group.to_owned());
    }

    fn readers(&self, topic: &str) -> BTreeSet<String> {
        let mut readers = lock(&self.groups).get(topic).cloned().unwrap_or_default();
        readers.extend((self.clients.options.readers)(topic));
        readers
    }

    // What waits.

    /// This process wrote to these topics, or moved positions on them.
    pub(super) fn changed<'a>(&self, topics: impl IntoIterator<Item = &'a str>) {
        let mut logs = lock(&self.logs);
        for topic in topics {
            let of_it = logs.iter_mut().filter(|((of, _), _)| of == topic);
            of_it.for_each(|(_, told)| told.is_old = true);
        }
    }

    /// Every partition of a topic, with the position of `group`. Waits for the brokers.
    pub(super) fn log(&self, spec: &TopicSpec, group: &str) -> Result<Vec<PartitionLog>, Error> {
        let key = (spec.name.clone(), group.to_owned());
        if let Some(told) = lock(&self.logs).get(&key).filter(|told| told.holds()) {
            return Ok(told.logs.clone());
        }
        let at = Instant::now();
        let logs = self.ask_log(spec, group)?;
        lock(&self.logs).insert(key, Told { at, logs: logs.clone(), is_old: false });
        Ok(logs)
    }

    fn ask_log(&self, spec: &TopicSpec, group: &str) -> Result<Vec<PartitionLog>, Error> {
        let topic = (spec.name.as_str(), spec.partitions);
        let ends = self.reader.ends(topic)?;
        let positions = self.reader.positions(&self.clients.name(group), topic)?;
        if spec.kind == TopicKind::Compacted {
            return self.table_log(spec, (self.reader.starts(topic)?, ends), positions);
        }
        self.reads(group, &spec.name);
        let starts = self.start_of(spec, Some((group, &positions)))?;
        let logs = starts.into_iter().zip(ends).zip(positions);
        let log = |((start, end), position): ((u64, u64), _)| PartitionLog {
            start,
            end: end.max(start),
            position,
            ..PartitionLog::default()
        };
        let mut logs: Vec<PartitionLog> = logs.map(log).collect();
        self.weigh(&spec.name, &mut logs)?;
        let retention = lock(&self.retentions).get(&spec.name).copied().flatten();
        if let Some(retention) = retention.filter(|_| logs.iter().any(|log| log.waiting > 0)) {
            let fresh = self.reader.since(topic, SystemTime::now() - retention / 2)?;
            for (log, fresh) in logs.iter_mut().zip(fresh) {
                let next = log.position.as_ref().map_or(log.start, |p| p.offset.max(log.start));
                log.expires = log.waiting > 0 && next < fresh.unwrap_or(log.end);
            }
        }
        Ok(logs)
    }

    /// The first offsets that are in sight: what every group has taken is not. When it goes is the
    /// brokers' business. `known` is where one group stands.
    pub(super) fn start_of(
        &self,
        spec: &TopicSpec,
        known: Option<(&str, &[Option<Position>])>,
    ) -> Result<Vec<u64>, Error> {
        let topic = (spec.name.as_str(), spec.partitions);
        let mut starts = self.reader.starts(topic)?;
        let mut taken = vec![u64::MAX; starts.len()];
        let readers = self.readers(&spec.name);
        for reader in &readers {
            let stands = match known.filter(|(group, _)| group == reader) {
                Some((_, stands)) => stands.to_vec(),
                None => self.reader.positions(&self.clients.name(reader), topic)?,
            };
            for (taken, stands) in taken.iter_mut().zip(stands) {
                *taken = (*taken).min(stands.map_or(0, |p| p.offset));
            }
        }
        if !readers.is_empty() {
            for (start, taken) in starts.iter_mut().zip(taken) {
                *start = (*start).max(taken);
            }
        }
        Ok(starts)
    }

    /// Counts what is held and what waits: transactions take offsets that are no messages. Near the
    /// end, messages are looked at; far from it, the mean of those seen last counts for all.
    fn weigh(&self, topic: &str, logs: &mut [PartitionLog]) -> Result<(), Error> {
        let mut near = BTreeMap::new();
        for (partition, log) in (0..).zip(logs.iter_mut()) {
            let held = log.end - log.start;
            let is_known_silent = lock(&self.silent)
                .get(&(topic.to_owned(), partition))
                .is_some_and(|silent| silent.start <= log.start && log.end <= silent.end);
            if held == 0 || is_known_silent {
                continue;
            }
            if held <= NEAR {
                near.insert(partition, log.start);
                continue;
            }
            estimate(log, self.mean(topic, (partition, log.start))?);
        }
        let (mut bytes, mut count) = (0, 0);
        self.reader.read(topic, &near, |found| {
            let Some(log) = logs.get_mut(found.partition as usize) else { return true };
            if found.offset < log.end {
                let size = found.size();
                (bytes, count) = (bytes + size, count + 1);
                log.bytes += size;
                let is_taken = log.position.as_ref().is_some_and(|p| found.offset < p.offset);
                log.waiting += u64::from(!is_taken);
            }
            bytes < ENOUGH
        })?;
        if let Some(mean) = u64::checked_div(bytes, count) {
            lock(&self.means).insert(topic.to_owned(), mean);
            if bytes >= ENOUGH {
                for partition in near.into_keys() {
                    logs.get_mut(partition as usize)
                        .into_iter()
                        .for_each(|log| estimate(log, mean));
                }
                return Ok(());
            }
        }
        for partition in near.into_keys() {
            if let Some(log) = logs.get(partition as usize).filter(|log| log.bytes == 0) {
                let silent = log.start..log.end;
                lock(&self.silent).insert((topic.to_owned(), partition), silent);
            }
        }
        Ok(())
    }

    /// Bytes of a message; where none was seen yet, of some from here on.
    fn mean(&self, topic: &str, (partition, from): (u32, u64)) -> Result<u64, Error> {
        if let Some(mean) = lock(&self.means).get(topic) {
            return Ok(*mean);
        }
        let (mut bytes, mut count) = (0, 0);
        self.reader.read(topic, &BTreeMap::from([(partition, from)]), |found| {
            (bytes, count) = (bytes + found.size(), count + 1);
            count < NEAR
        })?;
        // Markers of transactions are no messages: what comes later tells.
        let Some(mean) = u64::checked_div(bytes, count) else { return Ok(0) };
        lock(&self.means).insert(topic.to_owned(), mean);
        Ok(mean)
    }

    fn table_log(
        &self,
        spec: &TopicSpec,
        (starts, ends): (Vec<u64>, Vec<u64>),
        positions: Vec<Option<Position>>,
    ) -> Result<Vec<PartitionLog>, Error> {
        let mut held = vec![0; spec.partitions as usize];
        for ((partition, key), value) in self.reader.tables(&spec.name, spec.partitions)? {
            if let Some(held) = held.get_mut(partition as usize) {
                *held += size(&key, Some(&value)) as u64;
            }
        }
        let logs = starts.into_iter().zip(ends).zip(positions).zip(held);
        let log = |(((start, end), position), bytes)| PartitionLog {
            start,
            end,
            bytes,
            position,
            ..PartitionLog::default()
        };
        Ok(logs.map(log).collect())
    }

    // Room.

    /// Waits until the topics have room for what is to be written. An empty topic takes anything: a
    /// single message above the limit must not wait for ever.
    pub(super) async fn wait_for_room(self: &Arc<Self>, outputs: &[Output]) -> Result<(), Error> {
        for (name, bytes) in wanted(outputs) {
            let spec = self.topic(name).await?;
            while !self.takes(&spec, bytes).await? {
                tokio::time::sleep(LOOK_AGAIN).await;
                if self.is_closed() {
                    return Err(Error::Closed);
                }
            }
        }
        Ok(())
    }

    async fn takes(self: &Arc<Self>, spec: &TopicSpec, bytes: u64) -> Result<bool, Error> {
        if spec.max_bytes == u64::MAX {
            return Ok(true);
        }
        let known = lock(&self.rooms).get(&spec.name).copied();
        let takes = |room: &Room| fits(room.held + room.since, bytes, spec.max_bytes);
        if let Some(room) = known.filter(takes) {
            let since = room.since + bytes;
            lock(&self.rooms).insert(spec.name.clone(), Room { since, ..room });
            return Ok(true);
        }
        let of = spec.clone();
        let group = self.readers(&spec.name).into_iter().next();
        let group = group.unwrap_or_else(|| "cmsync-reader".into());
        let logs = self.steadfast(move |core| core.log(&of, &group));
        let held = logs.await?.iter().map(|log| log.bytes).sum();
        let is_room = takes(&Room { held, since: 0 });
        let since = if is_room { bytes } else { 0 };
        lock(&self.rooms).insert(spec.name.clone(), Room { held, since });
        Ok(is_room)
    }
}
