//! The broker that the embedded and the in-memory queue share: groups, ownership, limits, wake-ups.

mod catalog;
mod faults;
mod member;
mod store;
mod versions;
mod writer;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{mpsc, watch};

pub use faults::{CrashPoint, Faults};
pub use store::{Batch, Extent, Store, Stored, StoredTopic};

use crate::metrics::Metrics;
use crate::{
    Commit, Committed, Committer, Error, Events, Message, Output, PartitionLog, Queue, State,
    TopicKind, TopicSpec,
};
use catalog::Catalog;
use writer::{Ask, Request, Writer};

/// Requests that may wait for the writer; more make their callers wait.
const REQUESTS: usize = 256;
/// Bytes that one [`Queue::peek`] gives, about.
const PEEK_BYTES: usize = 1024 * 1024;
/// How long a scan rests after a failed one, and how long it is tried.
const REST: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(60);

/// A queue in this process over a store.
pub struct LocalQueue<S> {
    store: Arc<S>,
    catalog: Arc<Mutex<Catalog>>,
    requests: mpsc::Sender<Request>,
    trouble: watch::Receiver<Option<String>>,
    faults: Arc<Faults>,
}

impl<S: Store> LocalQueue<S> {
    /// Builds the broker over what the store holds. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open(store: Arc<S>) -> Result<Self, Error> {
        let catalog = Arc::new(Mutex::new(Catalog::from_stored(store.load()?)));
        let (requests, inbox) = mpsc::channel(REQUESTS);
        let (trouble, troubled) = watch::channel(None);
        let faults = Arc::new(Faults::default());
        let writer = Writer {
            store: Arc::clone(&store),
            catalog: Arc::clone(&catalog),
            requests: inbox,
            trouble,
            faults: Arc::clone(&faults),
            metrics: Metrics::new(),
        };
        tokio::spawn(writer.run());
        Ok(Self { store, catalog, requests, trouble: troubled, faults })
    }

    /// Why writing fails at the moment, if it does.
    #[must_use]
    pub fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.trouble.clone()
    }

    /// Faults for tests.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Takes all partitions of a group away and gives them back: what its members have open is void.
    pub fn revoke(&self, group: &str, topic: &str) {
        self.catalog().reassign(group, topic, None);
    }

    fn catalog(&self) -> MutexGuard<'_, Catalog> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn partitions(&self, topic: &str, kind: TopicKind) -> Result<(u32, u32), Error> {
        let catalog = self.catalog();
        let found = catalog.topic(topic)?;
        if found.spec.kind == kind {
            Ok((found.id, found.spec.partitions))
        } else {
            Err(Error::TopicDiffers {
                topic: topic.to_owned(),
                found: format!("{:?}", found.spec.kind),
                wanted: format!("{kind:?}"),
            })
        }
    }
}

#[async_trait]
impl<S: Store> Queue for LocalQueue<S> {
    async fn declare(&self, topics: &[TopicSpec]) -> Result<(), Error> {
        member::ask(&self.requests, Ask::Declare(topics.to_vec())).await?;
        let mut catalog = self.catalog();
        for spec in topics {
            if let Some(topic) = catalog.topic_mut(&spec.name) {
                topic.spec.max_bytes = spec.max_bytes;
            }
        }
        Ok(())
    }

    async fn remove(&self, topics: &[String]) -> Result<(), Error> {
        member::ask(&self.requests, Ask::Remove(topics.to_vec())).await.map(drop)
    }

    async fn join(
        &self,
        group: &str,
        topic: &str,
    ) -> Result<(Box<dyn Events>, Arc<dyn Committer>), Error> {
        let (id, changed) = {
            let mut catalog = self.catalog();
            let id = catalog.join(group, topic)?;
            let changed = catalog.subscribe(topic)?;
            (id, changed)
        };
        let (inbox, outbox) = member::member(
            (group, topic, id),
            Arc::clone(&self.store),
            Arc::clone(&self.catalog),
            self.requests.clone(),
            changed,
        );
        Ok((Box::new(inbox), Arc::new(outbox)))
    }

    async fn publish(&self, outputs: Vec<Output>) -> Result<Vec<u64>, Error> {
        let commit = Commit { outputs, ..Commit::default() };
        match member::ask(&self.requests, Ask::Commit(None, commit)).await? {
            Committed::Done(offsets) => Ok(offsets),
            Committed::Retry(_) | Committed::Lost => Err(Error::Closed),
        }
    }

    async fn scan(&self, topic: &str) -> Result<State, Error> {
        self.scan_within(topic, Bytes::new()).await
    }

    async fn scan_within(&self, topic: &str, prefix: Bytes) -> Result<State, Error> {
        let (id, partitions) = self.partitions(topic, TopicKind::Compacted)?;
        let open = || (0..partitions).map(|p| self.store.scan_within((id, p), &prefix)).collect();
        let since = tokio::time::Instant::now();
        loop {
            let opened: Result<Vec<State>, Error> = open();
            match opened {
                // Whoever reads waits too while the file is opened anew, but not for ever.
                Err(error) if error.is_transient() && since.elapsed() < PATIENCE => {
                    tracing::warn!(%error, "failed to read the queue; waiting and trying again");
                    tokio::time::sleep(REST).await;
                }
                opened => return Ok(Box::new(opened?.into_iter().flatten())),
            }
        }
    }

    async fn peek(&self, topic: &str, partition: u32, from: u64) -> Result<Vec<Message>, Error> {
        let (id, _) = self.partitions(topic, TopicKind::Log)?;
        let read = move |store: &S| store.read((id, partition), from, PEEK_BYTES);
        store::call(&self.store, "read", read).await
    }

    async fn log(&self, topic: &str, group: &str) -> Result<Vec<PartitionLog>, Error> {
        let catalog = self.catalog();
        let found = catalog.topic(topic)?;
        let logs = (0_u32..).zip(&found.extents).map(|(partition, extent)| {
            let position = catalog.position((found.id, partition), group).cloned();
            PartitionLog {
                start: extent.start,
                end: extent.end,
                bytes: extent.bytes,
                waiting: extent
                    .end
                    .saturating_sub(position.as_ref().map_or(extent.start, |p| p.offset)),
                position,
                expires: false,
            }
        });
        Ok(logs.collect())
    }

    fn watch(&self, topic: &str) -> Result<watch::Receiver<u64>, Error> {
        self.catalog().subscribe(topic)
    }

    async fn version(&self, topic: &str) -> Result<u64, Error> {
        Ok(self.catalog().topic(topic)?.versions.latest())
    }

    async fn topics(&self) -> Result<Vec<TopicSpec>, Error> {
        Ok(self.catalog().topics().map(|t| t.spec.clone()).collect())
    }
}
