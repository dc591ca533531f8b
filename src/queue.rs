//! Where the queue is: a file of this machine, or Kafka.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cmsync_queue::kafka::{KafkaOptions, KafkaQueue};
use cmsync_queue::{Error, Queue, embedded};
use tokio::sync::watch;

use crate::config::Config;

/// How long a queue that another process holds is waited for.
pub(crate) const LOCK_PATIENCE: Duration = Duration::from_secs(5);
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long a command waits for brokers that do not answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why writing fails at the moment, if it does.
pub(crate) type Trouble = watch::Receiver<Option<String>>;

/// An open queue.
pub(crate) struct Opened {
    pub(crate) queue: Arc<dyn Queue>,
    /// One in a file says when it cannot be written.
    pub(crate) trouble: Option<Trouble>,
    /// One on Kafka says what this copy owns.
    pub(crate) kafka: Option<Arc<KafkaQueue>>,
}

impl Opened {
    /// Why writing fails, if it does.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.as_ref().and_then(|trouble| trouble.borrow().clone())
    }

    /// What this copy owns, where several share the work.
    pub(crate) fn owned(&self) -> Vec<String> {
        let owned = self.kafka.as_ref().map(|kafka| kafka.owned()).unwrap_or_default();
        let told = owned.into_iter().map(|(group, topic, count)| match count {
            0 => format!("{group} on {topic}: standing by"),
            1 => format!("{group} on {topic}: 1 partition"),
            _ => format!("{group} on {topic}: {count} partitions"),
        });
        told.collect()
    }
}

/// Opens the queue. One in a file may be held for a moment by a process that is just starting or
/// stopping, or by a command: that is waited out.
pub(crate) async fn open(config: &Config) -> Result<Opened, Error> {
    if let Some(kafka) = &config.kafka {
        let kafka = Arc::new(KafkaQueue::open(kafka.options.clone()).await?);
        let queue = Arc::clone(&kafka) as Arc<dyn Queue>;
        return Ok(Opened { queue, trouble: None, kafka: Some(kafka) });
    }
    let started = Instant::now();
    loop {
        match embedded::open(&config.queue_directory) {
            Err(Error::Locked(_)) if started.elapsed() < LOCK_PATIENCE => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            opened => {
                let queue = Arc::new(opened?);
                let trouble = Some(queue.trouble());
                return Ok(Opened { queue, trouble, kafka: None });
            }
        }
    }
}

/// Opens the queue for a command, if nobody holds it.
pub(crate) async fn open_if_free(config: &Config) -> Result<Option<Arc<dyn Queue>>, Error> {
    if let Some(kafka) = &config.kafka {
        let options = KafkaOptions { patience: Some(PATIENCE), ..kafka.options.clone() };
        return Ok(Some(Arc::new(KafkaQueue::open(options).await?)));
    }
    match embedded::open(&config.queue_directory) {
        Ok(queue) => Ok(Some(Arc::new(queue))),
        Err(Error::Locked(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens the queue for a command; an error where somebody holds it.
pub(crate) async fn open_for_command(config: &Config) -> Result<Arc<dyn Queue>, Error> {
    let locked = || Error::Locked(config.queue_directory.clone());
    open_if_free(config).await?.ok_or_else(locked)
}
