//! Measures what waits: messages, bytes and their age, dead letters, and the queue's file.
//!
//! Every process does it for every connection, so that what waits is seen whichever stage is down; of
//! several the largest is the truth.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cmsync_queue::{Error, Queue};
use cmsync_schemas::{CHANGE, Clock, RECORD_BATCH, topics};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing_appender::non_blocking::ErrorCounter;

use crate::metrics::{Metrics, ProcessMetrics, WaitsFor};
use crate::queue::Trouble;

/// How often it is looked at.
pub(crate) const LOOK: Duration = Duration::from_secs(10);

/// What waits of one connection.
pub(crate) struct Meter {
    queue: Arc<dyn Queue>,
    clock: Clock,
    connection: String,
    metrics: Metrics,
}

impl Meter {
    pub(crate) fn new(queue: Arc<dyn Queue>, clock: Clock, connection: &str) -> Self {
        let metrics = Metrics::new(connection);
        Self { queue, clock, connection: connection.to_owned(), metrics }
    }

    /// Measures until `stop`.
    pub(crate) async fn keep(self, stop: CancellationToken) -> Result<(), Error> {
        let letters = topics::dead_letters(&self.connection);
        let mut aside = self.queue.watch(&letters)?;
        aside.mark_changed();
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = ticks.tick() => if let Err(error) = self.look().await {
                    tracing::debug!(%error, connection = self.connection, "what waits is not known");
                },
                changed = aside.changed() => {
                    changed.map_err(|_| Error::Closed)?;
                    let count = self.queue.scan(&letters).await?.filter(Result::is_ok).count();
                    self.metrics.dead_letters.set(count as f64);
                }
            }
        }
    }

    async fn look(&self) -> Result<(), Error> {
        let (mut bytes, mut oldest) = (0, None);
        for (stage, topic, group) in [
            (WaitsFor::Transformer, topics::changes(&self.connection), topics::TRANSFORMER),
            (WaitsFor::Uploader, topics::records(&self.connection), topics::UPLOADER),
        ] {
            let mut messages = 0;
            let logs = self.queue.log(&topic, group).await?;
            for (partition, log) in (0..).zip(logs).filter(|(_, log)| log.waiting > 0) {
                messages += log.waiting;
                bytes += log.bytes;
                let from = log.position.map_or(log.start, |position| position.offset);
                let first = self.queue.peek(&topic, partition, from.max(log.start)).await?;
                let value = first.first().map(|message| &*message.value).unwrap_or_default();
                let observed = match stage {
                    WaitsFor::Transformer => CHANGE.decode(value).ok().map(|c| c.observed_at),
                    WaitsFor::Uploader => {
                        RECORD_BATCH.decode(value).ok().map(|batch| batch.time_generated)
                    }
                };
                oldest = oldest.into_iter().chain(observed).min();
            }
            self.metrics.waiting.of(stage).set(messages as f64);
        }
        let age = oldest.map_or(0, |oldest| ((self.clock)() - oldest).max(0));
        self.metrics.oldest.set(age as f64 / 1e6);
        self.metrics.backlog.set(bytes as f64);
        Ok(())
    }
}

/// What is measured of the process.
pub(crate) struct Sources {
    /// The queue's file, where it is in one.
    pub(crate) file: Option<PathBuf>,
    /// Why it cannot be written, if it cannot.
    pub(crate) trouble: Option<Trouble>,
    /// Lines of the log that nobody took in time.
    pub(crate) dropped: ErrorCounter,
}

/// Measures the queue itself and the log until `stop`.
pub(crate) async fn keep_process(sources: Sources, max_backlog: u64, stop: CancellationToken) {
    let Sources { file, trouble, dropped } = sources;
    let metrics = ProcessMetrics::new();
    metrics.max_backlog.set(max_backlog as f64);
    let mut next = Instant::now();
    loop {
        let size = file.as_ref().and_then(|file| std::fs::metadata(file).ok());
        metrics.file_bytes.set(size.map_or(0, |size| size.len()) as f64);
        let is_troubled = trouble.as_ref().is_some_and(|trouble| trouble.borrow().is_some());
        metrics.writable.set(if is_troubled { 0.0 } else { 1.0 });
        metrics.log_lines_dropped.absolute(dropped.dropped_lines() as u64);
        next += LOOK;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(next) => {}
        }
    }
}
