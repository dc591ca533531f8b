//! Measures what waits: messages, bytes and their age, dead letters, and the queue's file.
//!
//! Every process does it for every connection, so that what waits is seen whichever stage is down; of
//! several the largest is the truth.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cmsync_control::{Backlog, Desk, Kind};
use cmsync_queue::{Error, Queue};
use cmsync_schemas::{Clock, counted, topics};
use tokio::sync::watch;
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
    backlog: Backlog,
    /// Told of what was set aside, by the one process that uploads it.
    desk: Option<Desk>,
}

impl Meter {
    pub(crate) fn new(desk: &Desk, clock: Clock, connection: &str, is_told: bool) -> Self {
        let queue = desk.queue();
        let (metrics, backlog) = (Metrics::new(connection), Backlog::new(Arc::clone(&queue)));
        let desk = is_told.then(|| desk.clone());
        Self { queue, clock, connection: connection.to_owned(), metrics, backlog, desk }
    }

    /// Measures until `stop`.
    pub(crate) async fn keep(self, stop: CancellationToken) {
        let letters = topics::dead_letters(&self.connection);
        let (mut aside, mut before) = (None, None);
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let looked = async {
                self.look().await?;
                self.count_letters(&letters, (&mut aside, &mut before)).await
            };
            // What is not known now is asked for again.
            if let Err(error) = looked.await {
                tracing::debug!(%error, connection = self.connection, "what waits is not known");
            }
        }
    }

    /// Counts the dead letters where they changed since the last look.
    async fn count_letters(
        &self,
        topic: &str,
        (watched, before): (&mut Option<watch::Receiver<u64>>, &mut Option<usize>),
    ) -> Result<(), Error> {
        let changes = match watched {
            Some(changes) if !changes.has_changed().unwrap_or(false) => return Ok(()),
            Some(changes) => changes,
            None => watched.insert(self.queue.watch(topic)?),
        };
        changes.mark_unchanged();
        let entries = self.queue.scan(topic).await?;
        let counting = tokio::task::spawn_blocking(move || entries.filter(Result::is_ok).count());
        if let Ok(count) = counting.await {
            self.metrics.dead_letters.set(count as f64);
            let more = before.replace(count).map_or(0, |before| count.saturating_sub(before));
            if let (1.., Some(desk)) = (more, &self.desk) {
                let records = counted(more as u64, "record was", "records were");
                let text = format!("{records} set aside; {count} wait for a decision");
                desk.note(&self.connection, Kind::DeadLetters, ("", text), "");
            }
        }
        Ok(())
    }

    async fn look(&self) -> Result<(), Error> {
        let waiting = self.backlog.of(&self.connection).await?;
        self.metrics.waiting.of(WaitsFor::Transformer).set(waiting.changes as f64);
        self.metrics.waiting.of(WaitsFor::Uploader).set(waiting.records as f64);
        let age = waiting.oldest.map_or(0, |oldest| ((self.clock)() - oldest).max(0));
        self.metrics.oldest.set(age as f64 / 1e6);
        self.metrics.backlog.set(waiting.bytes as f64);
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
    /// Of polls, snapshots and verifications.
    pub(crate) intervals: [Duration; 3],
}

/// Measures the queue itself and the log until `stop`.
pub(crate) async fn keep_process(sources: Sources, max_backlog: u64, stop: CancellationToken) {
    let Sources { file, trouble, dropped, intervals } = sources;
    let metrics = ProcessMetrics::new();
    metrics.max_backlog.set(max_backlog as f64);
    let [polls, snapshots, verifications] = intervals.map(|interval| interval.as_secs_f64());
    metrics.poll_interval.set(polls);
    metrics.snapshot_interval.set(snapshots);
    metrics.verify_interval.set(verifications);
    // The file that was read is followed, until it changes.
    metrics.configuration_accepted.set(1.0);
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
