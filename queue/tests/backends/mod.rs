//! The backends that the suite runs against, behind one handle.

#[cfg(feature = "kafka")]
mod kafka;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cmsync_queue::Queue;
use cmsync_queue::embedded::{self, EmbeddedQueue};
use cmsync_queue::local::{CrashPoint, Faults, LocalQueue};
use cmsync_queue::memory::{MemoryQueue, MemoryStore};

#[cfg(feature = "kafka")]
pub(crate) use kafka::Kafka;

/// A backend under test. Faults are asked for through it, because only it knows its own type.
#[async_trait]
pub(crate) trait Backend: Send + Sync {
    /// Opens the queue, empty on the first call.
    async fn open(&self) -> Arc<dyn Queue>;
    /// Gives up `queue` as a killed process would and opens it again.
    async fn restart(&self, queue: Arc<dyn Queue>) -> Arc<dyn Queue>;
    fn with_faults(&self, act: &dyn Fn(&Faults));
    fn revoke(&self, queue: &dyn Queue, group: &str, topic: &str);
    /// How long nothing must have happened to say that nothing happens. Where time is paused, it
    /// passes at once.
    fn silence(&self) -> Duration {
        Duration::from_secs(3_600)
    }

    fn abort_next(&self, _queue: &dyn Queue, count: u32) {
        self.with_faults(&|f| f.abort_next(count));
    }
    fn crash_at(&self, _queue: &dyn Queue, after: bool, nth: u32) {
        let point = if after { CrashPoint::AfterApply } else { CrashPoint::BeforeApply };
        self.with_faults(&|f| f.crash_at(point, nth));
    }
    fn crash_next(&self, queue: &dyn Queue, after: bool) {
        self.crash_at(queue, after, 0);
    }
}

pub(crate) struct Memory {
    store: Arc<MemoryStore>,
    open: Mutex<Option<Arc<MemoryQueue>>>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self { store: MemoryStore::new(), open: Mutex::new(None) }
    }
}

#[async_trait]
impl Backend for Memory {
    async fn open(&self) -> Arc<dyn Queue> {
        let queue = Arc::new(LocalQueue::open(Arc::clone(&self.store)).unwrap());
        *self.open.lock().unwrap() = Some(Arc::clone(&queue));
        queue
    }
    async fn restart(&self, queue: Arc<dyn Queue>) -> Arc<dyn Queue> {
        drop(queue);
        self.open().await
    }
    fn with_faults(&self, act: &dyn Fn(&Faults)) {
        act(self.open.lock().unwrap().as_ref().expect("open").faults());
    }
    fn revoke(&self, _queue: &dyn Queue, group: &str, topic: &str) {
        self.open.lock().unwrap().as_ref().expect("open").revoke(group, topic);
    }
}

pub(crate) struct Embedded {
    directory: tempfile::TempDir,
    open: Mutex<Option<Arc<EmbeddedQueue>>>,
}

impl Embedded {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), open: Mutex::new(None) }
    }
}

#[async_trait]
impl Backend for Embedded {
    async fn open(&self) -> Arc<dyn Queue> {
        self.open.lock().unwrap().take();
        // The file's lock goes when the last reader and the writer of the former one are gone.
        let queue = loop {
            match embedded::open(self.directory.path()) {
                Ok(queue) => break Arc::new(queue),
                Err(cmsync_queue::Error::Locked(_)) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        };
        *self.open.lock().unwrap() = Some(Arc::clone(&queue));
        queue
    }
    async fn restart(&self, queue: Arc<dyn Queue>) -> Arc<dyn Queue> {
        drop(queue);
        self.open().await
    }
    fn with_faults(&self, act: &dyn Fn(&Faults)) {
        act(self.open.lock().unwrap().as_ref().expect("open").faults());
    }
    fn revoke(&self, _queue: &dyn Queue, group: &str, topic: &str) {
        self.open.lock().unwrap().as_ref().expect("open").revoke(group, topic);
    }
}
