//! Confluent's framing over any queue: a schema's id in a registry stands for its fingerprint in
//! every message that leaves, and the other way round in every one that comes. Stages know of
//! fingerprints alone, and messages of both framings lie side by side.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cmsync_http::Policy;
use cmsync_queue::{
    Commit, Committed, Committer, Error, Event, Events, Message, Output, PartitionLog, Queue,
    State, TopicSpec,
};
use cmsync_registry::Registry;
use cmsync_schemas::{fingerprint, framed, schemas, unframed};
use tokio::sync::watch;

/// Confluent's first byte, and the length of what stands before the datum.
const MAGIC: u8 = 0;
const HEADER: usize = 5;
/// Ids of nobody's that are kept in mind: a foreign message may name any.
const MAX_UNKNOWN: usize = 1_000;

/// Ids and fingerprints.
pub(crate) struct Ids {
    registry: Registry,
    /// Of the schemas that this version writes.
    out: HashMap<u64, u32>,
    /// Of every schema that was met; `None` for an id that the registry does not know.
    met: RwLock<HashMap<u32, Option<u64>>>,
}

impl Ids {
    /// Registers every schema of this version. Subjects are the records' names behind `prefix`.
    ///
    /// # Errors
    /// Those of the registry; an incompatible schema before anything is written.
    pub(crate) async fn register(
        registry: Registry,
        prefix: &str,
    ) -> Result<Self, cmsync_registry::Error> {
        let (mut out, mut met) = (HashMap::new(), HashMap::new());
        for (name, text) in schemas() {
            let id = registry.register(&format!("{prefix}{name}"), text).await?;
            if let Some(fingerprint) = fingerprint(text) {
                out.insert(fingerprint, id);
                met.insert(id, Some(fingerprint));
            }
        }
        Ok(Self { registry, out, met: RwLock::new(met) })
    }

    fn known(&self, id: u32) -> Option<Option<u64>> {
        self.met.read().unwrap_or_else(PoisonError::into_inner).get(&id).copied()
    }

    fn leaving(&self, value: Bytes) -> Bytes {
        let framed = unframed(&value)
            .and_then(|(fingerprint, datum)| Some((*self.out.get(&fingerprint)?, datum)));
        let Some((id, datum)) = framed else { return value };
        let mut bytes = Vec::with_capacity(HEADER + datum.len());
        bytes.push(MAGIC);
        bytes.extend_from_slice(&id.to_be_bytes());
        bytes.extend_from_slice(datum);
        bytes.into()
    }

    fn leaving_all(&self, outputs: Vec<Output>) -> Vec<Output> {
        let leaving = |output: Output| Output {
            value: output.value.map(|value| self.leaving(value)),
            ..output
        };
        outputs.into_iter().map(leaving).collect()
    }

    /// A value whose id was met.
    fn coming(&self, value: Bytes) -> Bytes {
        let fingerprint = id_of(&value).and_then(|id| self.known(id).flatten());
        match (fingerprint, value.get(HEADER..)) {
            (Some(fingerprint), Some(datum)) => framed(fingerprint, datum).into(),
            _ => value,
        }
    }

    /// Learns the ids of these values; waits while the registry does not answer.
    async fn meet<'a>(&self, values: impl Iterator<Item = &'a Bytes>) {
        let new: BTreeSet<u32> =
            values.filter_map(id_of).filter(|id| self.known(*id).is_none()).collect();
        for id in new {
            let found = self.ask(id).await;
            let mut met = self.met.write().unwrap_or_else(PoisonError::into_inner);
            if met.values().filter(|found| found.is_none()).count() > MAX_UNKNOWN {
                met.retain(|_, found| found.is_some());
            }
            met.insert(id, found);
        }
    }

    /// Messages with the fingerprints of their schemas.
    async fn messages(&self, messages: Vec<Message>) -> Vec<Message> {
        self.meet(messages.iter().map(|message| &message.value)).await;
        let coming = |message: Message| Message { value: self.coming(message.value), ..message };
        messages.into_iter().map(coming).collect()
    }

    /// The same of entries of a compacted topic.
    async fn entries(&self, entries: Vec<(Bytes, Bytes)>) -> Vec<(Bytes, Bytes)> {
        self.meet(entries.iter().map(|(_, value)| value)).await;
        entries.into_iter().map(|(key, value)| (key, self.coming(value))).collect()
    }

    async fn ask(&self, id: u32) -> Option<u64> {
        let mut policy = Policy::new(Duration::from_secs(1), Duration::from_secs(60));
        loop {
            match self.registry.schema(id).await {
                Ok(text) => return text.as_deref().and_then(fingerprint),
                Err(error) => {
                    tracing::warn!(%error, id, "a message waits for its schema");
                    tokio::time::sleep(policy.next_delay()).await;
                }
            }
        }
    }
}

fn id_of(value: &Bytes) -> Option<u32> {
    let (header, _) = value.split_first_chunk::<HEADER>()?;
    let [MAGIC, id @ ..] = *header else { return None };
    Some(u32::from_be_bytes(id))
}

/// A queue whose messages carry ids.
pub(crate) struct Framed {
    queue: Arc<dyn Queue>,
    ids: Arc<Ids>,
}

impl Framed {
    pub(crate) fn new(queue: Arc<dyn Queue>, ids: Ids) -> Self {
        Self { queue, ids: Arc::new(ids) }
    }
}

#[async_trait]
impl Queue for Framed {
    async fn declare(&self, topics: &[TopicSpec]) -> Result<(), Error> {
        self.queue.declare(topics).await
    }

    async fn remove(&self, topics: &[String]) -> Result<(), Error> {
        self.queue.remove(topics).await
    }

    async fn join(
        &self,
        group: &str,
        topic: &str,
    ) -> Result<(Box<dyn Events>, Arc<dyn Committer>), Error> {
        let (events, committer) = self.queue.join(group, topic).await?;
        let ids = Arc::clone(&self.ids);
        let events = Inbox {
            events,
            ids: Arc::clone(&ids),
            pending: VecDeque::new(),
            parked: BTreeMap::new(),
        };
        Ok((Box::new(events), Arc::new(Outbox { committer, ids })))
    }

    async fn publish(&self, outputs: Vec<Output>) -> Result<Vec<u64>, Error> {
        self.queue.publish(self.ids.leaving_all(outputs)).await
    }

    async fn scan(&self, topic: &str) -> Result<State, Error> {
        let entries = self.queue.scan(topic).await?.collect::<Result<_, _>>()?;
        Ok(Box::new(self.ids.entries(entries).await.into_iter().map(Ok)))
    }

    async fn peek(&self, topic: &str, partition: u32, from: u64) -> Result<Vec<Message>, Error> {
        Ok(self.ids.messages(self.queue.peek(topic, partition, from).await?).await)
    }

    async fn log(&self, topic: &str, group: &str) -> Result<Vec<PartitionLog>, Error> {
        self.queue.log(topic, group).await
    }

    fn watch(&self, topic: &str) -> Result<watch::Receiver<u64>, Error> {
        self.queue.watch(topic)
    }

    async fn version(&self, topic: &str) -> Result<u64, Error> {
        self.queue.version(topic).await
    }

    async fn topics(&self) -> Result<Vec<TopicSpec>, Error> {
        self.queue.topics().await
    }
}

struct Inbox {
    events: Box<dyn Events>,
    ids: Arc<Ids>,
    /// What was taken and waits for its schema: dropping the future of `next` loses nothing.
    pending: VecDeque<Event>,
    /// The same of partitions that are paused.
    parked: BTreeMap<u32, Event>,
}

impl Inbox {
    /// What comes next, with its schemas known; a copy stays until then.
    async fn met(&mut self) -> Result<Event, Error> {
        let event = match self.pending.pop_front() {
            Some(event) => event,
            None => self.events.next().await?,
        };
        match event {
            Event::Messages { partition, messages } => {
                self.pending.push_front(Event::Messages { partition, messages: messages.clone() });
                let messages = self.ids.messages(messages).await;
                self.pending.pop_front();
                Ok(Event::Messages { partition, messages })
            }
            Event::Assigned { partition, position, lost, state } => {
                let entries: Vec<(Bytes, Bytes)> = state.collect::<Result<_, _>>()?;
                let with = |entries: Vec<(Bytes, Bytes)>| Event::Assigned {
                    partition,
                    position: position.clone(),
                    lost,
                    state: Box::new(entries.into_iter().map(Ok)),
                };
                self.pending.push_front(with(entries.clone()));
                let entries = self.ids.entries(entries).await;
                self.pending.pop_front();
                Ok(with(entries))
            }
            revoked @ Event::Revoked { .. } => Ok(revoked),
        }
    }
}

#[async_trait]
impl Events for Inbox {
    async fn next(&mut self) -> Result<Event, Error> {
        let event = self.met().await?;
        if let Event::Assigned { partition, .. } | Event::Revoked { partition } = &event {
            self.parked.remove(partition);
        }
        Ok(event)
    }

    fn pause(&mut self, partition: u32) {
        self.events.pause(partition);
        let is_of = |event: &Event| matches!(event, Event::Messages { partition: p, .. } if *p == partition);
        if let Some(at) = self.pending.iter().position(is_of)
            && let Some(event) = self.pending.remove(at)
        {
            self.parked.insert(partition, event);
        }
    }

    fn resume(&mut self, partition: u32) {
        self.events.resume(partition);
        self.pending.extend(self.parked.remove(&partition));
    }
}

struct Outbox {
    committer: Arc<dyn Committer>,
    ids: Arc<Ids>,
}

#[async_trait]
impl Committer for Outbox {
    async fn commit(&self, commit: Commit) -> Result<Committed, Error> {
        let Commit { outputs, positions, mut state } = commit;
        for entry in &mut state {
            entry.value = entry.value.take().map(|value| self.ids.leaving(value));
        }
        let outputs = self.ids.leaving_all(outputs);
        self.committer.commit(Commit { outputs, positions, state }).await
    }
}
