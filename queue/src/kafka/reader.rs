//! Reads topics without joining a group: ends, messages, the latest entries of compacted topics.
//!
//! Everything here is as new as its question: a transaction that was committed before is seen. The
//! brokers answer a commit before its markers are written, so a read waits until the end of what is
//! stable has reached what was the end when it was asked.

#![expect(clippy::disallowed_methods, reason = "its threads are its own and may wait")]

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message as _;
use rdkafka::types::RDKafkaErrorCode;

use super::client::{Clients, Link, PATIENCE, as_i32, at, lock, offsets, whole};
use crate::Error;
use crate::contract::size;

/// How often an open transaction is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// A message, or a tombstone.
pub(super) struct Found {
    pub(super) partition: u32,
    pub(super) offset: u64,
    pub(super) key: Bytes,
    pub(super) value: Option<Bytes>,
}

impl Found {
    /// Bytes of key and value.
    pub(super) fn size(&self) -> u64 {
        size(&self.key, self.value.as_ref()) as u64
    }
}

/// Reads without a group. Its calls wait: they belong on a thread that may.
pub(super) struct Reader {
    pub(super) clients: Clients,
    /// Sees what open transactions have written.
    pub(super) all: BaseConsumer<Link>,
    /// Sees what is committed.
    pub(super) stable: BaseConsumer<Link>,
    /// Know where groups stand.
    pub(super) groups: Mutex<HashMap<String, Arc<BaseConsumer<Link>>>>,
    /// Consumers that read and do not at the moment.
    pub(super) idle: Mutex<Vec<BaseConsumer<Link>>>,
}

fn firsts(offsets: Vec<Option<u64>>) -> Vec<u64> {
    offsets.into_iter().map(Option::unwrap_or_default).collect()
}

pub(super) fn number(offset: Offset) -> Option<u64> {
    offset.to_raw().and_then(|raw| u64::try_from(raw).ok())
}

/// A consumer that reads without a group, and sees where a partition ends.
fn outsider(clients: &Clients, isolation: &str) -> Result<BaseConsumer<Link>, Error> {
    let group = clients.name("cmsync-reader");
    let more = [("enable.partition.eof", "true"), ("fetch.wait.max.ms", "10")];
    clients.consumer(&group, isolation, clients.link.clone(), &more)
}

impl Reader {
    pub(super) fn new(clients: Clients) -> Result<Self, Error> {
        Ok(Self {
            all: outsider(&clients, "read_uncommitted")?,
            stable: outsider(&clients, "read_committed")?,
            groups: Mutex::default(),
            idle: Mutex::default(),
            clients,
        })
    }

    /// The names and partitions of all topics with the installation's prefix.
    pub(super) fn topics(&self) -> Result<Vec<(String, u32)>, Error> {
        let metadata = self.all.fetch_metadata(None, PATIENCE);
        let metadata = metadata.map_err(|e| self.clients.failed("ask", &e))?;
        let own = metadata.topics().iter().filter_map(|topic| {
            let name = topic.name().strip_prefix(&self.clients.options.prefix)?;
            let partitions = u32::try_from(topic.partitions().len()).ok()?;
            (topic.error().is_none() && partitions > 0).then(|| (name.to_owned(), partitions))
        });
        Ok(own.collect())
    }

    /// First, next, or by a time; none where there is no message so young. Asked again while partitions change their leader.
    fn offsets(
        &self,
        consumer: &BaseConsumer<Link>,
        topic: (&str, u32),
        which: Offset,
    ) -> Result<Vec<Option<u64>>, Error> {
        let started = Instant::now();
        loop {
            match self.offsets_once(consumer, topic, which) {
                Err(error) if is_moving(&error) && started.elapsed() < PATIENCE * 2 => {
                    std::thread::sleep(LOOK_AGAIN * 10);
                    // Who leads now.
                    drop(consumer.fetch_metadata(Some(&self.clients.name(topic.0)), PATIENCE));
                }
                told => return told.map_err(|e| self.clients.failed("ask", &e)),
            }
        }
    }

    fn offsets_once(
        &self,
        consumer: &BaseConsumer<Link>,
        (topic, partitions): (&str, u32),
        which: Offset,
    ) -> KafkaResult<Vec<Option<u64>>> {
        let asked = offsets(&self.clients.name(topic), (0..partitions).map(|p| (p, which)))?;
        // In place of times, ListOffsets takes the two that librdkafka writes as -1 and -2.
        let told = whole(consumer.offsets_for_times(asked, PATIENCE)?)?;
        let mut found = vec![None; partitions as usize];
        for element in told.elements() {
            let slot = usize::try_from(element.partition()).ok().and_then(|p| found.get_mut(p));
            if let Some(slot) = slot {
                *slot = number(element.offset());
            }
        }
        Ok(found)
    }

    /// The first offsets that are there.
    pub(super) fn starts(&self, topic: (&str, u32)) -> Result<Vec<u64>, Error> {
        Ok(firsts(self.offsets(&self.all, topic, Offset::Beginning)?))
    }

    /// The ends of all that is written, committed or not.
    pub(super) fn written(&self, topic: (&str, u32)) -> Result<Vec<u64>, Error> {
        Ok(firsts(self.offsets(&self.all, topic, Offset::End)?))
    }

    /// The first offsets that are as young as that; none where all are older.
    pub(super) fn since(
        &self,
        topic: (&str, u32),
        time: SystemTime,
    ) -> Result<Vec<Option<u64>>, Error> {
        let time = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        // In place of offsets, ListOffsets takes times.
        let time = Offset::Offset(i64::try_from(time).unwrap_or(i64::MAX));
        self.offsets(&self.stable, topic, time)
    }

    /// The ends of what is committed; waits until everything that was written before is committed or
    /// aborted.
    pub(super) fn ends(&self, topic: (&str, u32)) -> Result<Vec<u64>, Error> {
        let written = self.written(topic)?;
        let started = Instant::now();
        loop {
            let stable = firsts(self.offsets(&self.stable, topic, Offset::End)?);
            if stable.iter().zip(&written).all(|(stable, written)| stable >= written) {
                return Ok(stable);
            }
            // A transaction whose writer died ends with its time-out.
            if started.elapsed() > self.clients.options.transaction_timeout * 3 + PATIENCE {
                let detail = format!("a transaction on `{}` does not end", topic.0);
                return Err(self.clients.broker_error("read from", detail));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Gives every message of these partitions from their offsets on, in order of each partition, to
    /// `take` until it has enough, or the end is reached.
    pub(super) fn read(
        &self,
        topic: &str,
        from: &BTreeMap<u32, u64>,
        mut take: impl FnMut(Found) -> bool,
    ) -> Result<(), Error> {
        if from.is_empty() {
            return Ok(());
        }
        let idle = lock(&self.idle).pop();
        let consumer = match idle {
            Some(consumer) => consumer,
            None => outsider(&self.clients, "read_committed")?,
        };
        let outcome = self.read_with(&consumer, topic, from, &mut take);
        let freed = consumer.unassign();
        if outcome.is_ok() && freed.is_ok() {
            self.keep(consumer);
        }
        outcome
    }

    fn read_with(
        &self,
        consumer: &BaseConsumer<Link>,
        topic: &str,
        from: &BTreeMap<u32, u64>,
        take: &mut impl FnMut(Found) -> bool,
    ) -> Result<(), Error> {
        let fail = |e: &KafkaError| self.clients.failed("read from", e);
        let full = self.clients.name(topic);
        let wanted =
            offsets(&full, from.iter().map(|(partition, offset)| (*partition, at(*offset))));
        wanted.and_then(|wanted| consumer.assign(&wanted)).map_err(|e| fail(&e))?;
        let mut open: std::collections::BTreeSet<i32> = from.keys().map(|p| as_i32(*p)).collect();
        let mut silent_since = Instant::now();
        while !open.is_empty() {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    silent_since = Instant::now();
                    let found = Found {
                        partition: u32::try_from(message.partition()).unwrap_or(0),
                        offset: u64::try_from(message.offset()).unwrap_or(0),
                        key: Bytes::copy_from_slice(message.key().unwrap_or_default()),
                        value: message.payload().map(Bytes::copy_from_slice),
                    };
                    if !take(found) {
                        return Ok(());
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    silent_since = Instant::now();
                    open.remove(&partition);
                }
                Some(Err(error)) => {
                    // What is retried inside comes again as silence.
                    if error.rdkafka_error_code()
                        == Some(RDKafkaErrorCode::TopicAuthorizationFailed)
                    {
                        return Err(fail(&error));
                    }
                    tracing::debug!(%error, topic, "a read goes on");
                }
                None => {}
            }
            if silent_since.elapsed() > PATIENCE * 2 {
                let detail = self.clients.link.trouble();
                let detail = detail.unwrap_or_else(|| format!("no answer for `{topic}`"));
                return Err(self.clients.broker_error("read from", detail));
            }
        }
        Ok(())
    }

    /// The latest entries of one partition of a compacted topic, after everything that was written
    /// before. `progress` is told of messages read.
    pub(super) fn table(
        &self,
        (topic, partitions): (&str, u32),
        partition: u32,
        progress: impl FnMut(),
    ) -> Result<BTreeMap<Bytes, Bytes>, Error> {
        let tables = self.latest((topic, partitions), Some(partition), progress)?;
        Ok(tables.into_iter().map(|((_, key), value)| (key, value)).collect())
    }

    /// The same of all partitions, by partition and key.
    pub(super) fn tables(
        &self,
        topic: &str,
        partitions: u32,
    ) -> Result<BTreeMap<(u32, Bytes), Bytes>, Error> {
        self.latest((topic, partitions), None, || {})
    }

    fn latest(
        &self,
        topic: (&str, u32),
        of: Option<u32>,
        mut told: impl FnMut(),
    ) -> Result<BTreeMap<(u32, Bytes), Bytes>, Error> {
        let ends = self.ends(topic)?;
        let starts = (0..).zip(self.starts(topic)?).zip(ends);
        let is_wanted = |partition: u32| of.is_none_or(|of| of == partition);
        // An empty partition has no end that could be reached.
        let from = starts.filter(|((partition, start), end)| is_wanted(*partition) && start < end);
        let from = from.map(|(start, _)| start).collect();
        let mut table = BTreeMap::new();
        self.read(topic.0, &from, |found| {
            let key = (found.partition, found.key);
            match found.value {
                Some(value) => drop(table.insert(key, value)),
                None => drop(table.remove(&key)),
            }
            told();
            true
        })?;
        Ok(table)
    }
}

/// Whether partitions are between two leaders, as right after they were made or when a broker dies.
fn is_moving(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        BrokerDestroy, BrokerTransportFailure, FencedLeaderEpoch, LeaderNotAvailable,
        NotLeaderForPartition, OffsetNotAvailable, ReplicaNotAvailable, UnknownLeaderEpoch,
        UnknownPartition,
    };
    matches!(
        error.rdkafka_error_code(),
        Some(
            BrokerDestroy
                | BrokerTransportFailure
                | FencedLeaderEpoch
                | LeaderNotAvailable
                | NotLeaderForPartition
                | OffsetNotAvailable
                | ReplicaNotAvailable
                | UnknownLeaderEpoch
                | UnknownPartition
        )
    )
}
