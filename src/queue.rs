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

/// Opens the queue. One in a file may be held for a moment by a process that is just starting or
/// stopping, or by a command: that is waited out.
pub(crate) async fn open(config: &Config) -> Result<(Arc<dyn Queue>, Option<Trouble>), Error> {
    if let Some(kafka) = &config.kafka {
        let queue = KafkaQueue::open(kafka.options.clone()).await?;
        return Ok((Arc::new(queue), None));
    }
    let started = Instant::now();
    loop {
        match embedded::open(&config.queue_directory) {
            Err(Error::Locked(_)) if started.elapsed() < LOCK_PATIENCE => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            opened => {
                let queue = Arc::new(opened?);
                let trouble = queue.trouble();
                return Ok((queue, Some(trouble)));
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
