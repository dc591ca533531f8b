//! How every stage is: kept here, and published on the compacted status topic, where any process
//! can read it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cmsync_queue::{Output, Queue};
use cmsync_schemas::{Activity, Clock, Health, Kind, Note, STATUS, Status, topics};
use tokio::sync::watch;
use tokio::time::Instant;
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
    /// Told of stages that pause, stop and work again.
    note: Note,
    shutdown: CancellationToken,
}

impl StatusBoard {
    pub(crate) fn new(
        (queue, note, shutdown): (Arc<dyn Queue>, Note, CancellationToken),
        clock: Clock,
        is_shared: bool,
    ) -> Self {
        let (stages, hold) = (Arc::default(), Arc::default());
        Self { queue, clock, stages, hold, is_shared, note, shutdown }
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
        tokio::spawn(tell(Arc::clone(&self.note), receiver.clone(), shutdown.clone()));
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

/// A stage that pauses and goes on more often is told of once in this time.
const TOLD_ONCE_IN: Duration = Duration::from_secs(60);

/// Tells when a stage waits or stopped, for another reason too, and when it works again after that.
async fn tell(note: Note, mut status: watch::Receiver<Status>, shutdown: CancellationToken) {
    // What was told last, and when: nothing to begin with.
    let mut told: Option<(Health, String, Instant)> = None;
    loop {
        let now = status.borrow_and_update().clone();
        let waits = matches!(now.state, Health::Paused | Health::Stopped);
        let is_news = match &told {
            None => waits,
            Some((Health::Working, ..)) => waits,
            Some((state, cause, _)) => {
                now.state == Health::Working
                    || (waits && (now.state != *state || now.cause != *cause))
            }
        };
        // What stops is told at once; what comes and goes, at its next turn.
        let due = told.as_ref().map(|(_, _, at)| *at + TOLD_ONCE_IN);
        let due = due.filter(|due| now.state != Health::Stopped && *due > Instant::now());
        if is_news && due.is_none() {
            let text = match now.state {
                Health::Working => "works again".to_owned(),
                Health::Stopped => format!("stopped: {}", now.reason),
                Health::Paused | Health::Starting => format!("waits: {}", now.reason),
            };
            let Status { connection, stage, since, .. } = &now;
            note(Activity::new(connection, *since, Kind::Stage, stage, text));
            told = Some((now.state, now.cause.clone(), Instant::now()));
        }
        let wake = async {
            match due.filter(|_| is_news) {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = wake => {}
            changed = status.changed() => if changed.is_err() { return },
        }
    }
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
