//! Where the queue is: a file of this machine, or Kafka.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cmsync_queue::kafka::KafkaQueue;
use cmsync_queue::{Error, Queue, embedded};
use tokio::sync::watch;

use crate::config::Config;

/// How long a queue that another process holds is waited for.
pub(crate) const LOCK_PATIENCE: Duration = Duration::from_secs(5);
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(50);

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

/// Opens the queue if nobody holds it.
pub(crate) async fn open_if_free(config: &Config) -> Result<Option<Arc<dyn Queue>>, Error> {
    if config.kafka.is_some() {
        return open(config).await.map(|(queue, _)| Some(queue));
    }
    match embedded::open(&config.queue_directory) {
        Ok(queue) => Ok(Some(Arc::new(queue))),
        Err(Error::Locked(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
