//! One connection while it runs: what it does next, and how it says how it is.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use cmsync_queue::Queue;
use cmsync_schemas::{Cause, Clock, Control, Health, Status, topics};
use roaring::RoaringBitmap;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::claim::Claim;
use crate::config::{ConnectionConfig, Options};
use crate::devices::DeviceTable;
use crate::error::Error;
use crate::measured::Measured;
use crate::metrics::Metrics;
use crate::publish::Publisher;
use crate::schedule;
use crate::state::{Kept, Memory};
use crate::sweep::Sweep;
use crate::tracking::Look;

/// Why a connection that was taken back is not read.
const CLOSED: &str =
    "taken back by `cmsync disconnect`; `cmsync connection resume` has it read again";
/// Cycles that `--once` makes until everything has settled, at most.
const ONCE_CYCLES: u32 = 5;

/// A connection that runs.
pub(crate) struct Connection {
    pub(crate) config: ConnectionConfig,
    pub(crate) options: Options,
    pub(crate) site: Arc<Measured>,
    pub(crate) memory: Memory,
    pub(crate) devices: Arc<RwLock<DeviceTable>>,
    pub(crate) publisher: Publisher,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) claim: Claim,
    /// Whether the account had fewer rights when they were looked at last.
    pub(crate) had_fewer_rights: bool,
    /// Why they could not be looked at before the reads.
    pub(crate) unread_rights: Option<cmsync_configmgr::Error>,
    /// Whether the last poll found a site that is not to be read.
    pub(crate) is_misplaced: bool,
    /// What people asked for, by key.
    pub(crate) asked: BTreeMap<String, Control>,
    /// Members that have no system record, as of the last sweep.
    pub(crate) no_record: RoaringBitmap,
    pub(crate) sweep: Sweep,
    /// Where the site's track of changes stands.
    pub(crate) track: Look,
    /// When the hierarchy is looked at again.
    pub(crate) hierarchy_at: Option<Instant>,
    /// The site's answers show another time: nothing is published with this one.
    pub(crate) clock_is_wrong: bool,
    pub(crate) warnings: Vec<String>,
    /// Those of the poll before, which were logged then.
    pub(crate) former_warnings: Vec<String>,
    /// Rows published today: the day and the count.
    pub(crate) today: (i64, u64),
}

/// What is left when a connection has stopped.
pub(crate) struct Stopped {
    /// Removals that wait for a person.
    pub(crate) held: usize,
    pub(crate) outcome: Result<(), Error>,
}

impl Connection {
    pub(crate) fn devices_mut(&self) -> RwLockWriteGuard<'_, DeviceTable> {
        self.devices.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> i64 {
        (self.clock)()
    }

    /// Runs until `shutdown`, or with `once` until everything is published.
    pub(crate) async fn run(mut self, once: bool, shutdown: CancellationToken) -> Stopped {
        let outcome = tokio::select! {
            biased;
            () = shutdown.cancelled() => Ok(()),
            outcome = async { if once { self.run_once().await } else { self.run_on().await } } => outcome,
        };
        if let Err(error) = &outcome {
            self.say_failed(error);
        }
        self.publisher.diary.tell();
        let held = self.memory.collections.values().filter(|kept| kept.waits()).count();
        Stopped { held, outcome }
    }

    async fn run_once(&mut self) -> Result<(), Error> {
        for _ in 0..ONCE_CYCLES {
            self.apply_control().await?;
            if !self.config.import || self.is_closing() {
                break;
            }
            self.poll().await?;
            while let Some(id) = self.next_snapshot().await? {
                self.send_snapshot(&id).await?;
            }
            self.publisher.flush().await?;
            let is_open = |kept: &Kept| {
                kept.run.pending.is_some()
                    || kept.run.vanished == 1
                    || kept.run.difference.1 > 0
                    || (kept.run.recheck && kept.waits())
            };
            if !self.memory.collections.values().any(is_open) {
                break;
            }
        }
        self.publisher.diary.tell();
        self.report();
        if self.is_closing() {
            self.say(Health::Paused, (Cause::Asked, CLOSED));
        }
        Ok(())
    }

    async fn run_on(&mut self) -> Result<(), Error> {
        let mut control = self.queue.watch(topics::CONTROL)?;
        let mut records = self.queue.watch(&topics::records(&self.config.name))?;
        let mut next_poll = Instant::now();
        loop {
            control.borrow_and_update();
            records.borrow_and_update();
            let mut waits_for_room = false;
            let mut has_failed = false;
            match self.apply_control().await {
                Ok(()) => {}
                Err(Error::Backlog { .. }) => waits_for_room = true,
                Err(error) if error.is_fatal() => return Err(error),
                Err(error) => self.say_failed(&error),
            }
            if Instant::now() >= next_poll {
                let started = Instant::now();
                self.flush().await?;
                self.poll_or_rest().await?;
                self.metrics.poll_seconds.record(started.elapsed());
                next_poll = started + self.options.poll_interval;
            }
            // Work that is due goes in small steps, so that polls keep their time.
            match self.step().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(Error::Backlog { .. }) => (waits_for_room, has_failed) = (true, true),
                Err(error) if error.is_fatal() => return Err(error),
                Err(error) => {
                    has_failed = true;
                    self.say_failed(&error);
                }
            }
            self.flush().await?;
            // What failed is tried again with the next poll, not at once.
            let wake = match has_failed {
                true => next_poll,
                false => next_poll.min(self.sweep.next_at(!self.may_sweep())),
            };
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(wake) => {}
                changed = control.changed() => changed.map_err(|_| cmsync_queue::Error::Closed)?,
                changed = records.changed(), if waits_for_room => {
                    changed.map_err(|_| cmsync_queue::Error::Closed)?;
                }
            }
        }
    }

    /// Makes durable what waits; what fails is told, and tried again with the next.
    async fn flush(&mut self) -> Result<(), Error> {
        match self.publisher.flush().await {
            Err(error) if error.is_fatal() => Err(error),
            Err(error) => {
                self.say_failed(&error);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// One small piece of what is due; false when nothing is.
    async fn step(&mut self) -> Result<bool, Error> {
        // Whoever does not import is billed for nothing; a pause alone lets snapshots go on, so that the
        // groups stay within what readers look back.
        if self.clock_is_wrong || !self.config.import {
            return Ok(false);
        }
        if let Some(id) = self.next_snapshot().await? {
            if self.snapshot_step(&id).await? {
                self.note_snapshots();
            }
            return Ok(true);
        }
        if self.may_sweep() && self.sweep.is_due() {
            self.publisher.flush().await?;
            self.sweep_page().await?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn poll_or_rest(&mut self) -> Result<(), Error> {
        // What orders did meanwhile.
        self.publisher.diary.tell();
        if self.is_resting() {
            let reason = if self.is_closing() {
                CLOSED
            } else if self.is_paused() {
                "paused by `connection pause`"
            } else {
                "quiet hours, or `import = false`"
            };
            self.say(Health::Paused, (Cause::Asked, reason));
            return Ok(());
        }
        let polled = self.poll().await;
        self.publisher.diary.tell();
        self.is_misplaced = polled.as_ref().is_err_and(Error::is_of_place);
        match polled {
            Ok(()) => self.report(),
            Err(error) if error.is_fatal() => return Err(error),
            Err(error) => {
                self.metrics.poll_failures.increment(1);
                self.say_failed(&error);
            }
        }
        Ok(())
    }

    /// The next step of a snapshot, its rows counted; true when it is out whole.
    pub(crate) async fn snapshot_step(&mut self, id: &str) -> Result<bool, Error> {
        let sent = |memory: &Memory| {
            let kept = memory.collections.get(id);
            kept.map_or((0, false), |kept| (kept.state.rows_sent, kept.state.sending))
        };
        let (before, was_sending) = sent(&self.memory);
        let is_whole = self.publisher.snapshot(&mut self.memory, id).await?;
        let rows = sent(&self.memory).0 - if was_sending { before } else { 0 };
        self.note_rows(u64::try_from(rows).unwrap_or(0));
        Ok(is_whole)
    }

    /// Sends a snapshot whole, waiting for room as often as it takes.
    pub(crate) async fn send_snapshot(&mut self, id: &str) -> Result<(), Error> {
        let mut records = self.queue.watch(&topics::records(&self.config.name))?;
        loop {
            records.borrow_and_update();
            match self.snapshot_step(id).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(Error::Backlog { .. }) => {
                    self.publisher.flush().await?;
                    records.changed().await.map_err(|_| cmsync_queue::Error::Closed)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The next collection that is to be sent whole: those on their way first, then those never
    /// sent, then those whose turn has come.
    async fn next_snapshot(&self) -> Result<Option<String>, Error> {
        let now = self.now();
        let has_members = |kept: &Kept| kept.state.rows_read >= 0;
        let collections = || self.memory.collections.iter().filter(|(_, kept)| has_members(kept));
        if let Some((id, _)) = collections().find(|(_, kept)| kept.state.sending) {
            return Ok(Some(id.clone()));
        }
        if let Some((id, _)) = collections().find(|(_, kept)| kept.state.start_seq == 0) {
            return Ok(Some(id.clone()));
        }
        for (id, kept) in collections() {
            if schedule::is_due(id, kept.state.started_at, now, self.options.snapshot_interval)
                && self.publisher.is_delivered(id).await?
            {
                return Ok(Some(id.clone()));
            }
        }
        Ok(None)
    }

    /// Another site's devices must not be taken for those of this one; and with a wrong clock nothing is
    /// published, so a sweep that is due must not be waited for.
    fn may_sweep(&self) -> bool {
        !self.is_resting() && !self.is_misplaced && !self.clock_is_wrong
    }

    fn is_resting(&self) -> bool {
        let quiet = self.config.quiet_hours.is_some_and(|(from, to)| {
            let now = jiff::Timestamp::from_microsecond(self.now())
                .unwrap_or(jiff::Timestamp::UNIX_EPOCH);
            let time = now.to_zoned(jiff::tz::TimeZone::system()).time();
            if from <= to { from <= time && time < to } else { from <= time || time < to }
        });
        quiet || !self.config.import || self.is_paused() || self.is_closing()
    }

    /// Says how old the oldest snapshot is; also while the site is away, as snapshots go on.
    fn note_snapshots(&self) {
        let sent = self.memory.collections.values().filter(|kept| kept.state.start_seq > 0);
        let oldest = sent.map(|kept| kept.state.started_at).min().unwrap_or(0);
        self.metrics.oldest_snapshot.set(oldest as f64 / 1e6);
    }

    /// Says how the connection is.
    pub(crate) fn report(&mut self) {
        let collections = &self.memory.collections;
        let held = collections.values().filter(|kept| kept.waits()).count();
        let members: u64 = collections.values().map(|kept| kept.members.len()).sum();
        self.metrics.holds.set(held as f64);
        self.metrics.members.set(members as f64);
        self.note_snapshots();
        self.metrics.last_poll.set(self.now() as f64 / 1e6);
        let (now, warnings) = (self.now(), self.warnings.clone());
        let site = self.memory.connection.site_code.clone();
        let count = i64::try_from(collections.len()).unwrap_or(i64::MAX);
        self.status.send_modify(|status| {
            status.turn(Health::Working, (Cause::Nothing, ""), now);
            status.last_success = now;
            status.site_code = site;
            status.collections = count;
            status.members = i64::try_from(members).unwrap_or(i64::MAX);
            status.holds = i64::try_from(held).unwrap_or(i64::MAX);
            status.warnings = warnings;
        });
    }

    fn say_failed(&self, error: &Error) {
        tracing::warn!(%error, "the connection does not go on for now");
        let state =
            if error.is_fatal() || error.is_of_place() { Health::Stopped } else { Health::Paused };
        self.say(state, (error.cause(), &error.to_string()));
    }

    fn say(&self, state: Health, why: (Cause, &str)) {
        let now = self.now();
        self.status.send_if_modified(|status| status.turn(state, why, now));
    }

    /// Counts what goes out today, and warns before the bill does.
    pub(crate) fn note_rows(&mut self, rows: u64) {
        let day = self.now() / Duration::from_secs(86_400).as_micros() as i64;
        self.today = if self.today.0 == day { (day, self.today.1 + rows) } else { (day, rows) };
        if self.today.1 > self.options.max_rows_per_day {
            let limit = self.options.max_rows_per_day;
            self.warn_once(format!("more than {limit} rows (`max_rows_per_day`) were sent today"));
        }
    }

    pub(crate) fn warn_once(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            if !self.former_warnings.contains(&warning) {
                tracing::warn!("{warning}");
            }
            self.warnings.push(warning);
        }
    }
}
