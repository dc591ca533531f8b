//! A real broker.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cmsync_queue::Queue;
use cmsync_queue::kafka::{GroupProtocol, KafkaOptions, KafkaQueue};
use cmsync_queue::local::Faults;

use super::Backend;

/// A real broker, shared by all tests; each has a prefix of its own.
pub(crate) struct Kafka {
    prefix: String,
    group_protocol: GroupProtocol,
    open: Mutex<Option<Arc<KafkaQueue>>>,
}

impl Kafka {
    pub(crate) fn new() -> Self {
        Self::with(GroupProtocol::Classic)
    }

    pub(crate) fn with(group_protocol: GroupProtocol) -> Self {
        let prefix = format!("t{:016x}.", rand::random::<u64>());
        Self { prefix, group_protocol, open: Mutex::new(None) }
    }

    pub(crate) async fn delete_below(&self, topic: &str, at: (u32, u64)) {
        self.opened().delete_below(topic, at).await.unwrap();
    }

    fn opened(&self) -> Arc<KafkaQueue> {
        Arc::clone(self.open.lock().unwrap().as_ref().expect("open"))
    }
}

#[async_trait]
impl Backend for Kafka {
    async fn open(&self) -> Arc<dyn Queue> {
        let options = KafkaOptions {
            brokers: cmsync_broker::Broker::shared().brokers(),
            prefix: self.prefix.clone(),
            replication: 1,
            min_in_sync: 1,
            session_timeout: Duration::from_secs(2),
            transaction_timeout: Duration::from_secs(2),
            group_protocol: self.group_protocol,
            drain: Duration::from_millis(300),
            ..KafkaOptions::default()
        };
        let queue = Arc::new(KafkaQueue::open(options).await.unwrap());
        let former = self.open.lock().unwrap().replace(Arc::clone(&queue));
        if let Some(former) = former {
            former.crash();
        }
        queue
    }
    async fn restart(&self, queue: Arc<dyn Queue>) -> Arc<dyn Queue> {
        drop(queue);
        self.open().await
    }
    fn with_faults(&self, act: &dyn Fn(&Faults)) {
        act(self.opened().faults());
    }
    fn revoke(&self, _queue: &dyn Queue, group: &str, topic: &str) {
        self.opened().revoke(group, topic);
    }
    fn silence(&self) -> Duration {
        Duration::from_secs(1)
    }
}
