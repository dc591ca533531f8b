//! The uploader over the queue: fills bodies from messages, keeps several on their way, and finishes
//! messages as their rows are taken.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use cmsync_queue::worker::{Gather, Gathered};
use cmsync_queue::{Error, Output, Queue};
use cmsync_schemas::tables::{COLLECTION_STREAM, MEMBER_STREAM};
use cmsync_schemas::{Clock, Control, DeadLetter, DecodeError, LOST, RECORD_BATCH, Status, topics};
use cmsync_telemetry::trace;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::aside::REPLAYED;
use crate::body::{Body, Builder, Rows};
use crate::config::Options;
use crate::dead_letters::DeadLetters;
use crate::delivery::{Delivery, Outcome, Target};
use crate::health::InFlight;
use crate::metrics::{Aside, Metrics, Split};
use crate::orders::Orders;
use crate::rules::{Pause, Rules};
use crate::runs::Runs;

/// Of several copies, the one that has this partition does what people decide.
const DECIDING: u32 = 0;
/// A change that took longer from the poll that saw it to its acceptance is late; microseconds.
const IN_TIME: i64 = 300 * 1_000_000;
/// Messages that may be open at once: their rows are in bodies, so this bounds bookkeeping.
const MAX_OPEN: usize = 4_096;

/// The uploader of one connection.
pub struct Uploader {
    /// The connection.
    pub connection: String,
    /// The queue.
    pub queue: Arc<dyn Queue>,
    /// Where records go.
    pub target: Target,
    /// Options.
    pub options: Options,
    /// Wall time.
    pub clock: Clock,
    /// Where it says how it is.
    pub status: watch::Sender<Status>,
    /// How long a stop may take.
    pub drain: Duration,
}

pub(crate) struct Stage {
    pub(crate) connection: String,
    pub(crate) gather: Gather,
    pub(crate) delivery: Arc<Delivery>,
    pub(crate) options: Options,
    pub(crate) clock: Clock,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) letters: DeadLetters,
    pub(crate) runs: Runs,
    pub(crate) members: Builder,
    pub(crate) markers: Builder,
    pub(crate) rows: Rows,
    /// When the bodies of members and of markers leave though they are not full.
    pub(crate) leaves: (Option<Instant>, Option<Instant>),
    /// The smallest body that was too large, less something.
    pub(crate) wire_limit: usize,
    pub(crate) ready: Vec<Body>,
    pub(crate) on_their_way: JoinSet<(Body, Outcome)>,
    /// Dead letters that are being replayed, with the key of what asked for it.
    pub(crate) replays: HashMap<u32, (DeadLetter, Bytes)>,
    pub(crate) next_replay: u32,
    /// What asked for a message to be taken anew, and is not settled yet.
    pub(crate) emitted: HashSet<Bytes>,
    /// What ends the replays that have ended.
    pub(crate) settled: Vec<Output>,
    /// What verification and people ask for.
    pub(crate) orders: Orders,
    /// Until when nothing is sent.
    pub(crate) held_until: Option<Instant>,
    /// Why, in words.
    pub(crate) cap: Option<Pause>,
    /// Partitions that this copy has.
    pub(crate) owned: BTreeSet<u32>,
    pub(crate) queue: Arc<dyn Queue>,
    /// Whether this copy does what people decide about dead letters.
    pub(crate) decides: bool,
    /// Partitions that wait for a newer version of this program, and why.
    pub(crate) held: BTreeMap<u32, String>,
}

/// Runs the uploader of one connection until `shutdown`, then drains.
///
/// # Errors
/// When the queue is closed or breaks its contract.
pub async fn run(uploader: Uploader, shutdown: CancellationToken) -> Result<(), Error> {
    let queue = Arc::clone(&uploader.queue);
    let drain = uploader.drain;
    let mut control = queue.watch(topics::CONTROL)?;
    let mut stage = Stage::new(uploader).await?;
    let mut paused = stage.delivery.rules.paused();
    // What an uploader before this one said is over.
    let now = stage.now();
    stage.status.send_if_modified(|status| status.stand_by(now));
    stage.follow_orders().await?;
    let mut stopping: Option<Instant> = None;
    loop {
        if stopping.is_some() {
            stage.flush();
        }
        stage.send_ready();
        let held = stage.held_until;
        if stopping.is_some() && stage.is_drained(paused.borrow().is_some() || held.is_some()) {
            return Ok(());
        }
        let leaves = stage.next_leave();
        stage.gather.set_taking(stopping.is_none() && stage.has_room());
        tokio::select! {
            biased;
            () = shutdown.cancelled(), if stopping.is_none() => {
                stopping = Some(Instant::now() + drain);
            }
            () = sleep_until(stopping), if stopping.is_some() => {
                tracing::warn!("stopping with records on their way; they are sent again");
                return Ok(());
            }
            Some(done) = stage.on_their_way.join_next() => match done {
                Ok((body, outcome)) => stage.ended(body, outcome).await?,
                // Its rows would be on their way for ever: the process ends, and they come again.
                Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
            },
            () = sleep_until(leaves), if leaves.is_some() => stage.flush_due(),
            found = stage.gather.next() => stage.take(found?).await?,
            Ok(()) = paused.changed() => {
                paused.mark_unchanged();
                stage.say();
            }
            Ok(()) = control.changed() => {
                stage.decide().await?;
                stage.follow_orders().await?;
            }
            () = sleep_until(held), if held.is_some() => stage.follow_orders().await?,
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Stage {
    async fn new(uploader: Uploader) -> Result<Self, Error> {
        let Uploader { connection, queue, target, options, clock, status, .. } = uploader;
        let metrics = Arc::new(Metrics::new(&connection));
        let (events, committer) =
            queue.join(topics::UPLOADER, &topics::records(&connection)).await?;
        let rules = Rules::new(target.rules.clone(), &options);
        let delivery =
            Delivery::new(target, rules, Arc::clone(&metrics), Arc::clone(&clock), &options);
        Ok(Self {
            gather: Gather::new(events, committer, MAX_OPEN),
            delivery: Arc::new(delivery),
            wire_limit: usize::try_from(options.max_wire_body.as_u64()).unwrap_or(usize::MAX),
            letters: DeadLetters::new(Arc::clone(&queue), &connection),
            connection,
            options,
            clock,
            status,
            metrics,
            runs: Runs::default(),
            members: Builder::new(MEMBER_STREAM),
            markers: Builder::new(COLLECTION_STREAM),
            rows: Rows::new(),
            leaves: (None, None),
            ready: Vec::new(),
            on_their_way: JoinSet::new(),
            replays: HashMap::new(),
            next_replay: 0,
            emitted: HashSet::new(),
            settled: Vec::new(),
            held: BTreeMap::new(),
            decides: false,
            orders: Orders::default(),
            held_until: None,
            cap: None,
            owned: BTreeSet::new(),
            queue,
        })
    }

    pub(crate) fn now(&self) -> i64 {
        (self.clock)()
    }

    /// Whether more may be taken: bodies that wait for their turn hold up the queue, not memory.
    fn has_room(&self) -> bool {
        self.ready.is_empty() && self.held_until.is_none()
    }

    /// Whether a body could leave at once.
    pub(crate) fn has_turn(&self) -> bool {
        let allowed = self.delivery.allowed.load(Ordering::Relaxed);
        self.ready.is_empty() && self.on_their_way.len() < allowed
    }

    /// Whether nothing is left that a stop should wait for: all that was taken is delivered, or none
    /// of it can be now. What is left is sent by the next process.
    fn is_drained(&self, is_paused: bool) -> bool {
        let is_idle = self.on_their_way.is_empty() && self.ready.is_empty();
        let is_empty = is_idle && self.members.is_empty() && self.markers.is_empty();
        self.gather.is_settled() && (is_empty || is_paused)
    }

    async fn take(&mut self, found: Gathered) -> Result<(), Error> {
        match found {
            Gathered::Assigned { partition, lost, .. } => {
                self.owned.insert(partition);
                self.held.remove(&partition);
                self.say_if_not_well();
                self.runs.forget(|of| of == partition);
                if lost > 0 {
                    self.lost(partition, lost);
                }
                if partition == DECIDING {
                    self.decides = true;
                    self.decide().await?;
                }
            }
            Gathered::Revoked(partition) => {
                self.runs.forget(|of| of == partition);
                self.decides &= partition != DECIDING;
                self.owned.remove(&partition);
                self.held.remove(&partition);
                self.say();
            }
            Gathered::Message(id, message) => match RECORD_BATCH.decode(&message.value) {
                Ok(batch) => self.fill(id, batch).await?,
                Err(error @ DecodeError::UnknownFingerprint(_)) => {
                    self.gather.hold(id.partition);
                    let why = format!("partition {} of the records: {error}", id.partition);
                    self.held.insert(id.partition, why);
                    self.say();
                }
                Err(error) => self.set_aside_message(id, &message, &error),
            },
            Gathered::Committed => {}
            Gathered::Lost => {
                self.emitted.clear();
                self.runs.forget(|_| true);
                self.decides = false;
                self.owned.clear();
                self.held.clear();
            }
        }
        Ok(())
    }

    /// The queue deleted records before they were taken.
    fn lost(&mut self, partition: u32, offsets: u64) {
        let topic = topics::records(&self.connection);
        tracing::error!(topic, partition, offsets, "{LOST}");
        self.metrics.lost.increment(offsets);
        let (key, value) = Control::resend_all(&self.connection, self.now()).wish();
        let (key, value) = (key.into(), Some(value));
        self.gather.emit(vec![Output { topic: topics::CONTROL.into(), partition: 0, key, value }]);
    }

    fn send_ready(&mut self) {
        if self.held_until.is_some() {
            return;
        }
        let allowed = self.delivery.allowed.load(Ordering::Relaxed);
        while self.on_their_way.len() < allowed
            && let Some(body) = (!self.ready.is_empty()).then(|| self.ready.remove(0))
        {
            let is_too_large = body.bytes.len() > self.wire_limit && body.rows > 1;
            if is_too_large {
                let (left, right) = body.halves();
                self.ready.splice(0..0, [left, right]);
                continue;
            }
            let delivery = Arc::clone(&self.delivery);
            let deliver = async move {
                let outcome = delivery.deliver(&body).await;
                (body, outcome)
            };
            let in_flight = InFlight::new(&self.metrics);
            let deliver = async move {
                let done = deliver.await;
                drop(in_flight);
                done
            };
            self.on_their_way.spawn(deliver.in_current_span());
        }
    }

    /// A body's way has ended.
    async fn ended(&mut self, body: Body, outcome: Outcome) -> Result<(), Error> {
        match outcome {
            Outcome::Delivered => {
                let now = self.now();
                self.status.send_if_modified(|status| status.note_success(now));
                self.done(&body);
            }
            Outcome::TooLarge if body.rows > 1 => {
                self.metrics.splits.of(Split::TooLarge).increment(1);
                self.wire_limit = self.wire_limit.min((body.bytes.len() / 2).max(4_096));
                let (left, right) = body.halves();
                self.ready.splice(0..0, [left, right]);
            }
            Outcome::Refused(_) | Outcome::CutOff if body.rows > 1 => {
                let is_refused = matches!(outcome, Outcome::Refused(_));
                let why = if is_refused { Split::Refused } else { Split::CutOff };
                self.metrics.splits.of(why).increment(1);
                let (left, right) = body.halves();
                self.ready.splice(0..0, [left, right]);
            }
            Outcome::TooLarge | Outcome::CutOff => self.set_aside(
                &body,
                Aside::TooLarge,
                "a single record is larger than a body may be",
            ),
            Outcome::Refused(error) => self.set_aside(&body, Aside::Refused, &error),
        }
        self.letters.settle(std::mem::take(&mut self.settled)).await?;
        self.free_markers().await
    }

    /// The rows of a body were taken, or set aside.
    pub(crate) fn done(&mut self, body: &Body) {
        for part in &body.parts {
            if part.message == REPLAYED {
                self.replayed(part.first, true);
                continue;
            }
            if body.stream == COLLECTION_STREAM {
                self.runs.marker_done(part.message);
            } else {
                self.runs.rows_done(part.message, part.rows);
            }
            self.finish(part.message);
        }
    }

    /// Finishes a message of which nothing is on its way.
    pub(crate) fn finish(&mut self, message: u64) {
        if let Some(open) = self.runs.take_finished(message) {
            if let Some(observed) = open.observed {
                self.metrics.changes.increment(1);
                self.metrics.late.increment(u64::from(self.now() - observed > IN_TIME));
            }
            if trace::is_on() {
                let (connection, collection) = (self.connection.as_str(), open.group.as_str());
                trace::done(trace::Done {
                    change: trace::Change { connection, collection, seq: open.seq },
                    step: trace::Step::Deliver,
                    from: open.since,
                    to: self.now(),
                    devices: open.devices as usize,
                });
            }
            self.gather.finish(open.id, open.letters, open.note);
        }
    }
}
