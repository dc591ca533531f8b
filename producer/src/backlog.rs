//! What waits between the site and the workspace: above a limit nothing is published, and the next poll
//! carries it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cmsync_queue::Queue;
use cmsync_schemas::topics;
use tokio::time::Instant;

use crate::error::Error;

/// How long an answer of the queue counts: on brokers one costs as much as a small commit.
const COUNTS_FOR: Duration = Duration::from_millis(500);

/// The backlog of one connection.
pub(crate) struct Backlog {
    queue: Arc<dyn Queue>,
    connection: String,
    /// Bytes.
    max: u64,
    known: Mutex<Option<Known>>,
}

/// The last answer, and what was published since.
#[derive(Clone, Copy)]
struct Known {
    at: Instant,
    /// Bytes at most: others only take from it.
    waiting: u64,
}

impl Backlog {
    pub(crate) fn new(queue: Arc<dyn Queue>, connection: String, max: u64) -> Self {
        Self { queue, connection, max, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many bytes were published.
    pub(crate) fn add(&self, bytes: u64) {
        if let Some(known) = self.known().as_mut() {
            known.waiting += bytes;
        }
    }

    /// # Errors
    /// [`Error::Backlog`] when too much waits, or the queue's.
    pub(crate) async fn check(&self) -> Result<(), Error> {
        let known = *self.known();
        if known.is_some_and(|k| k.at.elapsed() < COUNTS_FOR && k.waiting <= self.max) {
            return Ok(());
        }
        match self.ask().await? {
            (waiting, _) if waiting > self.max => {
                Err(Error::Backlog { waiting, why: "more than `max_backlog`" })
            }
            (waiting, true) => {
                Err(Error::Backlog { waiting, why: "for more than half of the queue's retention" })
            }
            (waiting, false) => {
                let now = Known { at: Instant::now(), waiting };
                *self.known() = Some(now);
                Ok(())
            }
        }
    }

    /// Bytes that wait for the workspace, and whether the queue will delete them before long.
    async fn ask(&self) -> Result<(u64, bool), Error> {
        let (mut waiting, mut expires) = (0, false);
        for (topic, group) in [
            (topics::changes(&self.connection), topics::TRANSFORMER),
            (topics::records(&self.connection), topics::UPLOADER),
        ] {
            for partition in self.queue.log(&topic, group).await? {
                waiting += partition.bytes;
                expires |= partition.expires;
            }
        }
        Ok((waiting, expires))
    }
}
