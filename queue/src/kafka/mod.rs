//! The queue on Apache Kafka, or whatever speaks its protocol: consumer groups own partitions,
//! transactions make outputs, positions and state durable together, compaction keeps the latest.
//!
//! Nothing that Kafka does is done again here. What a member may write for is decided by the brokers:
//! the generation of its group refuses positions of a former member, and the transactional id of a
//! partition of state (`<prefix><group>-<partition>`) fences its former owner.
//!
//! `rdkafka` is named in this folder alone. Its calls wait, so they run on threads that may.

mod client;
mod core;
mod groups;
mod growth;
mod holdings;
mod member;
mod metrics;
mod options;
mod outbox;
mod parting;
mod pump;
mod reader;
mod restore;
mod session;
mod steadfast;
mod token;
mod topics;
mod watcher;
mod writer;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use async_trait::async_trait;
use rdkafka::producer::FutureProducer;
use tokio::sync::watch;

pub use metrics::METRICS;
pub use options::{GroupProtocol, KafkaOptions, Readers, Token, TokenSource};

use self::client::{Clients, Link, lock};
use self::core::Core;
use self::member::Member;
use self::steadfast::blocking;
use self::watcher::Watchers;
use self::writer::{Ended, Writer};
use crate::local::{CrashPoint, Faults};
use crate::{
    Commit, Committer, Error, Events, Message, Output, PartitionLog, Queue, State, TopicKind,
    TopicSpec,
};

/// Bytes that one [`Queue::peek`] gives, about.
const PEEK_BYTES: usize = 1024 * 1024;

/// A queue on Kafka's brokers.
pub struct KafkaQueue {
    core: Arc<Core>,
    /// Writes single messages.
    single: FutureProducer<Link>,
    /// Writes several as one.
    several: tokio::sync::Mutex<Option<Arc<Writer>>>,
    /// Its id, the same for each of this process: a new one ends what the one before left open.
    several_id: String,
    watchers: Watchers,
    members: Mutex<Vec<std::sync::Weak<Member>>>,
}

impl KafkaQueue {
    /// Reaches the brokers.
    ///
    /// # Errors
    /// When they cannot be reached, do not know the credentials, or a setting is not known.
    pub async fn open(options: KafkaOptions) -> Result<Self, Error> {
        let clients = Clients::new(options);
        let core = Arc::new(Core::new(clients.clone())?);
        pump::start(&core)?;
        let single = clients.producer(None)?;
        if let Some(source) = clients.options.token.clone() {
            let token = blocking(move || Ok(source())).await?;
            token.map(drop).map_err(|detail| clients.unsigned(detail))?;
        }
        // At the start it is told at once what is wrong; later it is waited for.
        let asked = Arc::clone(&core);
        let found = blocking(move || asked.reader.topics()).await?;
        core.learn(found).await?;
        let watchers = Watchers::new(Arc::clone(&core));
        Ok(Self {
            core,
            single,
            several: tokio::sync::Mutex::default(),
            several_id: clients.name(&format!("cmsync-{:016x}", rand::random::<u64>())),
            watchers,
            members: Mutex::default(),
        })
    }

    /// Whether the brokers have transactions, and let this principal use them.
    ///
    /// # Errors
    /// [`Error::TooOld`] or [`Error::NotAllowed`], or when they do not answer.
    pub async fn probe(&self) -> Result<(), Error> {
        let id = self.core.clients.name("cmsync-check");
        let open = move |core: &Core| Writer::open(&core.clients, &id);
        self.core.steadfast(open).await.map(drop)
    }

    /// What the members of this process own: group, topic and number of partitions.
    #[must_use]
    pub fn owned(&self) -> Vec<(String, String, usize)> {
        let members = lock(&self.members);
        let members = members.iter().filter_map(std::sync::Weak::upgrade);
        members.map(|m| (m.group.clone(), m.topic.clone(), m.owned().len())).collect()
    }

    /// Leaves all groups, so that others need not wait for this copy's sessions to end.
    pub async fn leave(&self) {
        let members: Vec<_> =
            lock(&self.members).iter().filter_map(std::sync::Weak::upgrade).collect();
        for member in &members {
            member.order(|orders| orders.stop = true);
        }
        let left = async {
            for member in &members {
                drop(member.left.subscribe().wait_for(|left| *left).await);
            }
        };
        // Brokers that do not answer see it when the sessions end.
        drop(tokio::time::timeout(self.core.clients.options.session_timeout, left).await);
    }

    /// Faults for tests.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.core.faults
    }

    /// Makes the members of a group in this process leave it and join it again, for tests.
    pub fn revoke(&self, group: &str, topic: &str) {
        let members = lock(&self.members);
        for member in members.iter().filter_map(std::sync::Weak::upgrade) {
            if member.group == group && member.topic == topic {
                member.revoke();
            }
        }
    }

    /// Gives logs the partitions that they lack, where no member of these groups runs and nothing waits
    /// for them; how many logs grew. `aside` is a topic that none of these groups reads.
    ///
    /// # Errors
    /// [`Error::NotDrained`] says what is on its way, or when the brokers refuse.
    pub async fn grow(
        &self,
        topics: &[TopicSpec],
        groups: &[&str],
        aside: &str,
    ) -> Result<usize, Error> {
        self.core.grow(topics, groups, aside).await
    }

    /// Deletes a partition's messages below an offset as retention does, for tests.
    ///
    /// # Errors
    /// When the brokers refuse.
    pub async fn delete_below(&self, topic: &str, at: (u32, u64)) -> Result<(), Error> {
        self.core.delete_below(topic, at).await
    }

    /// Ends as a killed process would, for tests: members' threads stop, nothing is written any more.
    pub fn crash(&self) {
        self.core.close();
    }

    async fn written(&self, outputs: &[Output]) -> Result<Vec<u64>, Error> {
        let core = &self.core;
        if core.faults.crashes(CrashPoint::BeforeApply) {
            core.close();
            return Err(Error::Closed);
        }
        let sent = writer::send(&self.single, outputs).await;
        if core.faults.crashes(CrashPoint::AfterApply) {
            core.close();
            return Err(Error::Closed);
        }
        sent.map_err(|e| core.clients.failed("write to", &e))
    }
}

impl Drop for KafkaQueue {
    fn drop(&mut self) {
        self.core.close();
    }
}

#[async_trait]
impl Queue for KafkaQueue {
    async fn declare(&self, topics: &[TopicSpec]) -> Result<(), Error> {
        self.core.declare(topics).await
    }

    async fn remove(&self, topics: &[String]) -> Result<(), Error> {
        self.core.remove(topics).await
    }

    async fn join(
        &self,
        group: &str,
        topic: &str,
    ) -> Result<(Box<dyn Events>, Arc<dyn Committer>), Error> {
        let spec = self.core.topic(topic).await?;
        self.core.reads(group, topic);
        let names = (group, topic, self.core.clients.name(topic));
        let member = Arc::new(Member::new(names, (spec.partitions, spec.kind)));
        let (inbox, consumer) = session::join(&self.core, &member)?;
        let mut members = lock(&self.members);
        members.retain(|member| member.strong_count() > 0);
        members.push(Arc::downgrade(&member));
        let core = Arc::clone(&self.core);
        let outbox = outbox::Outbox {
            core,
            member,
            consumer,
            writer: Arc::default(),
            aborted: Arc::default(),
        };
        Ok((Box::new(inbox), Arc::new(outbox)))
    }

    async fn publish(&self, outputs: Vec<Output>) -> Result<Vec<u64>, Error> {
        let core = &self.core;
        if outputs.is_empty() {
            // Whatever was on its way before has ended.
            drop(core.on_their_way.write().await);
            return Ok(Vec::new());
        }
        let commit = Commit { outputs, ..Commit::default() };
        core.check(&commit, None).await?;
        core.wait_for_room(&commit.outputs).await?;
        let names: Vec<String> = commit.outputs.iter().map(|o| o.topic.clone()).collect();
        let outputs = core.clients.named(&commit.outputs);
        if outputs.len() == 1 {
            let written = self.written(&outputs).await;
            core.changed(names.iter().map(String::as_str));
            return written;
        }
        let mut several = self.several.lock().await;
        let started = Instant::now();
        loop {
            let writer = match &*several {
                Some(writer) => Arc::clone(writer),
                None => {
                    let id = self.several_id.clone();
                    let open = move |core: &Core| Writer::open(&core.clients, &id);
                    let made = core.steadfast(open).await?;
                    Arc::clone(several.insert(Arc::new(made)))
                }
            };
            match writer.write(&outputs, None, &core.faults).await {
                Ended::Done(offsets) => {
                    core.changed(names.iter().map(String::as_str));
                    return Ok(offsets);
                }
                Ended::Aborted(reason) => core.again(started, reason)?,
                Ended::Fenced(reason) => {
                    *several = None;
                    core.again(started, reason)?;
                }
                Ended::Crashed => {
                    core.close();
                    return Err(Error::Closed);
                }
            }
            tokio::time::sleep(outbox::REST).await;
        }
    }

    async fn scan(&self, topic: &str) -> Result<State, Error> {
        let spec = self.core.topic(topic).await?;
        if spec.kind != TopicKind::Compacted {
            return Err(Error::TopicDiffers {
                topic: topic.to_owned(),
                found: format!("{:?}", spec.kind),
                wanted: format!("{:?}", TopicKind::Compacted),
            });
        }
        let read = move |core: &Core| core.reader.tables(&spec.name, spec.partitions);
        let tables = self.core.steadfast(read).await?;
        Ok(Box::new(tables.into_iter().map(|((_, key), value)| Ok((key, value)))))
    }

    async fn peek(&self, topic: &str, partition: u32, from: u64) -> Result<Vec<Message>, Error> {
        let spec = self.core.topic(topic).await?;
        self.core.steadfast(move |core| core.peek(&spec, partition, from, PEEK_BYTES)).await
    }

    async fn log(&self, topic: &str, group: &str) -> Result<Vec<PartitionLog>, Error> {
        let spec = self.core.topic(topic).await?;
        let group = group.to_owned();
        self.core.steadfast(move |core| core.log(&spec, &group)).await
    }

    fn watch(&self, topic: &str) -> Result<watch::Receiver<u64>, Error> {
        self.watchers.watch(topic)
    }

    async fn version(&self, topic: &str) -> Result<u64, Error> {
        let spec = self.core.topic(topic).await?;
        let ends = move |core: &Core| core.reader.ends((&spec.name, spec.partitions));
        Ok(self.core.steadfast(ends).await?.iter().sum())
    }

    async fn topics(&self) -> Result<Vec<TopicSpec>, Error> {
        self.core.refresh().await?;
        Ok(self.core.all())
    }
}

impl Core {
    /// An error where what was not written is not to be tried again.
    fn again(&self, started: Instant, detail: String) -> Result<(), Error> {
        tracing::debug!(detail, "written again");
        match self.waits(started) {
            true => Ok(()),
            false if self.is_closed() => Err(Error::Closed),
            false => Err(self.clients.broker_error("write to", detail)),
        }
    }

    /// Messages of a log from `from` on, those that every group has taken left out.
    fn peek(
        &self,
        spec: &TopicSpec,
        partition: u32,
        from: u64,
        bytes: usize,
    ) -> Result<Vec<Message>, Error> {
        let topic = (spec.name.as_str(), spec.partitions);
        self.reader.ends(topic)?;
        let start = self.start_of(spec, None)?.get(partition as usize).copied().unwrap_or(0);
        let mut messages = Vec::new();
        let mut taken = 0;
        self.reader.read(&spec.name, &BTreeMap::from([(partition, from.max(start))]), |found| {
            let value = found.value.unwrap_or_default();
            taken += found.key.len() + value.len();
            messages.push(Message { offset: found.offset, key: found.key, value });
            taken < bytes
        })?;
        Ok(messages)
    }
}
