//! How every stage is: kept here, and published on the compacted status topic, where any process
//! can read it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use cmsync_queue::{Output, Queue};
use cmsync_schemas::{Clock, Health, STATUS, Status, topics};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// All stages of this process.
#[derive(Clone)]
pub(crate) struct StatusBoard {
    queue: Arc<dyn Queue>,
    clock: Clock,
    stages: Arc<Mutex<BTreeMap<String, watch::Sender<Status>>>>,
    /// What keeps the whole process from being ready.
    hold: Arc<Mutex<Option<String>>>,
    /// Whether other copies say how the same stages are: one that does nothing yet says nothing.
    is_shared: bool,
    shutdown: CancellationToken,
}

impl StatusBoard {
    pub(crate) fn new(
        queue: Arc<dyn Queue>,
        clock: Clock,
        is_shared: bool,
        shutdown: CancellationToken,
    ) -> Self {
        Self { queue, clock, stages: Arc::default(), hold: Arc::default(), is_shared, shutdown }
    }

    /// The place where a stage says how it is; the same at every call.
    pub(crate) fn stage(&self, connection: &str, stage: &str) -> watch::Sender<Status> {
        let key = format!("{connection}/{stage}");
        let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = stages.get(&key) {
            return sender.clone();
        }
        let (sender, receiver) =
            watch::channel(Status::starting(connection, stage, (self.clock)()));
        stages.insert(key.clone(), sender.clone());
        drop(stages);
        tokio::spawn(self.clone().measure(connection.to_owned(), receiver.clone()));
        let (queue, shutdown) = (Arc::clone(&self.queue), self.shutdown.clone());
        tokio::spawn(publish(queue, (key, self.is_shared), receiver, shutdown));
        sender
    }

    /// Keeps the metrics of a connection's stages, as one of them changes.
    async fn measure(self, connection: String, mut changes: watch::Receiver<Status>) {
        let metrics = Metrics::new(&connection);
        loop {
            changes.mark_unchanged();
            self.measure_now(&connection, &metrics);
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Forgets a stage that is not wanted any longer.
    pub(crate) async fn forget_stage(
        &self,
        connection: &str,
        stage: &str,
    ) -> Result<(), cmsync_queue::Error> {
        let key = format!("{connection}/{stage}");
        self.stages.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        // Also one that a process before this one left.
        self.measure_now(connection, &Metrics::new(connection));
        self.queue.publish(vec![output(key, None)]).await.map(drop)
    }

    fn measure_now(&self, connection: &str, metrics: &Metrics) {
        let stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        let own = stages.values().map(|s| s.borrow()).filter(|s| s.connection == connection);
        let own: Vec<Status> = own.map(|s| s.clone()).collect();
        metrics.note_stages(own.iter());
    }

    /// Forgets a connection that is configured no longer.
    pub(crate) async fn forget(&self, connection: &str) -> Result<(), cmsync_queue::Error> {
        let prefix = format!("{connection}/");
        let keys: Vec<String> = {
            let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
            let keys = stages.keys().filter(|key| key.starts_with(&prefix)).cloned().collect();
            stages.retain(|key, _| !key.starts_with(&prefix));
            keys
        };
        self.queue.publish(keys.into_iter().map(|key| output(key, None)).collect()).await.map(drop)
    }

    /// The process is not ready, for this reason.
    pub(crate) fn hold(&self, reason: Option<String>) {
        *self.hold.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    /// What keeps the process from being ready.
    pub(crate) fn not_ready(&self) -> Vec<String> {
        let stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        let stages = stages.values().map(|s| s.borrow().clone());
        let stopped = stages.filter(|s| s.state == Health::Stopped);
        let stopped = stopped.map(|s| format!("{}/{}: {}", s.connection, s.stage, s.reason));
        let hold = self.hold.lock().unwrap_or_else(PoisonError::into_inner).clone();
        stopped.chain(hold).collect()
    }

    /// How a stage is now.
    pub(crate) fn get(&self, connection: &str, stage: &str) -> Option<Status> {
        let stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        stages.get(&format!("{connection}/{stage}")).map(|s| s.borrow().clone())
    }
}

fn output(key: String, status: Option<&Status>) -> Output {
    let value = status.map(|s| STATUS.encode(s));
    Output { topic: topics::STATUS.to_owned(), partition: 0, key: key.into(), value }
}

async fn publish(
    queue: Arc<dyn Queue>,
    (key, is_shared): (String, bool),
    mut status: watch::Receiver<Status>,
    shutdown: CancellationToken,
) {
    loop {
        let now = status.borrow_and_update().clone();
        // Whoever stands by leaves the word to the copy that does it.
        let is_told = !(is_shared && now.state == Health::Starting);
        if is_told && let Err(error) = queue.publish(vec![output(key.clone(), Some(&now))]).await {
            tracing::warn!(%error, "failed to publish a stage's status");
            return;
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = status.changed() => if changed.is_err() { return },
        }
    }
}
