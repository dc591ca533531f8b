//! What the pipeline talks to and what happens to it: one mutex, one source of chance, one time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cmsync_azure::SavedSearch;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::bugs::Bug;
use crate::ledger::Ledger;
use crate::plan::Plan;
use crate::site::{Time, Truth};

/// When the world begins; microseconds since 1970.
pub(crate) const BEGINNING: Time = 1_800_000_000_000_000;
/// Reads of the store in one moment that are no work any longer.
const MOST_READS: u32 = 20_000;
/// Lines of what happened last that a finding is shown with.
const LINES: usize = 400;

/// What strikes in the middle of work, some steps after a call that was drawn.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Blow {
    /// Everything is killed.
    KillAll,
    /// One copy is killed, and another one started.
    KillCopy,
    /// Partitions are taken away and given back.
    Revoke,
}

/// Rights that the account lacks for a while.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lost {
    pub collections: BTreeSet<String>,
    pub devices: BTreeSet<i64>,
    /// Whether the account's own row shows it; otherwise All Systems is not visible.
    pub is_told_by_account: bool,
}

/// A post that takes effect later.
pub(crate) struct Late {
    pub at: Time,
    pub stream: String,
    pub body: Bytes,
}

/// Everything behind the one mutex.
pub(crate) struct Inner {
    pub rng: SmallRng,
    pub truth: Truth,
    pub ledger: Ledger,
    /// Whether faults come and the site changes.
    pub is_quiet: bool,
    pub lost: Option<Lost>,
    /// Whether the account was read while it had all its rights: what was never seen is not missed.
    pub saw_rights: bool,
    /// Collections that a list lacked, and when: two in a row are a loss of rights.
    pub lacked: BTreeMap<String, Time>,
    /// Until when each is away.
    pub site_back: Time,
    pub tokens_back: Time,
    pub workspace_back: Time,
    /// What the machine's clock is off by.
    pub clock_off: i64,
    pub late: Vec<Late>,
    pub searches: BTreeMap<String, SavedSearch>,
    tokens: u64,
    /// Calls of the outside and of the store until what is planned.
    planned: Option<(u32, Blow)>,
    /// What was planned and is due.
    due: Option<Blow>,
    /// When this life began, by its own clock and by the world's.
    life: Option<Instant>,
    began: Time,
    /// Reads of the store at one moment.
    reads: (Time, u32),
    lines: VecDeque<String>,
    trace: DefaultHasher,
}

/// The world.
pub(crate) struct World {
    pub plan: Plan,
    pub bug: Option<Bug>,
    /// Whether what happens is printed as it does.
    is_told: bool,
    inner: Mutex<Inner>,
    struck: Notify,
}

impl World {
    /// The world that a seed makes.
    pub(crate) fn new(seed: u64, bug: Option<Bug>, is_told: bool) -> Arc<Self> {
        let mut rng = SmallRng::seed_from_u64(seed);
        let plan = Plan::of(&mut rng);
        let truth = Truth::new(&mut rng, plan.devices, plan.collections, plan.has_poison);
        let inner = Inner {
            rng,
            truth,
            ledger: Ledger::default(),
            is_quiet: false,
            lost: None,
            saw_rights: false,
            lacked: BTreeMap::new(),
            site_back: 0,
            tokens_back: 0,
            workspace_back: 0,
            clock_off: 0,
            late: Vec::new(),
            searches: BTreeMap::new(),
            tokens: 0,
            planned: None,
            due: None,
            life: None,
            began: BEGINNING,
            reads: (0, 0),
            lines: VecDeque::new(),
            trace: DefaultHasher::new(),
        };
        Arc::new(Self { plan, bug, is_told, inner: Mutex::new(inner), struck: Notify::new() })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A life of the processes begins: its clock starts anew, the world's goes on.
    pub(crate) fn begin_life(&self) {
        let mut inner = self.lock();
        (inner.life, inner.planned, inner.due) = (Some(Instant::now()), None, None);
    }

    /// A life ends: time stands where it was.
    pub(crate) fn end_life(&self) {
        let mut inner = self.lock();
        inner.began = inner.now();
        inner.life = None;
    }

    /// The world's own time.
    pub(crate) fn now(&self) -> Time {
        self.lock().now()
    }

    /// What the machine's clock shows.
    pub(crate) fn clock(&self) -> Time {
        let inner = self.lock();
        inner.now() + inner.clock_off
    }

    /// Plans something at so many calls from now.
    pub(crate) fn plan_at(&self, calls: u32, blow: Blow) {
        self.lock().planned = Some((calls, blow));
    }

    /// Waits for what was planned; nothing where a finding ends the run.
    pub(crate) async fn struck(&self) -> Option<Blow> {
        self.struck.notified().await;
        self.lock().due.take()
    }

    /// Something happened: it counts towards a planned end, and is part of what a replay must repeat.
    pub(crate) fn note(&self, what: &str) {
        let mut inner = self.lock();
        inner.note(what);
        if self.is_told {
            let line = inner.lines.back().cloned().unwrap_or_default();
            crate::print(&line);
        }
        if let Some((left, blow)) = inner.planned {
            inner.planned = (left > 1).then(|| (left - 1, blow));
            if left <= 1 {
                inner.due = Some(blow);
                self.struck.notify_one();
            }
        }
    }

    /// The store was read. Whoever reads it for ever while time stands still runs in circles.
    pub(crate) fn note_read(&self) {
        let mut inner = self.lock();
        let now = inner.now();
        inner.reads = if inner.reads.0 == now { (now, inner.reads.1 + 1) } else { (now, 0) };
        if inner.reads.1 == MOST_READS {
            inner.ledger.find("a stage runs in circles: time stands still and it works on".into());
            self.struck.notify_one();
        }
    }

    /// Whether a fault comes that is so likely.
    pub(crate) fn strikes(&self, rate: f64) -> bool {
        let mut inner = self.lock();
        rate > 0.0 && !inner.is_quiet && inner.rng.random_bool(rate)
    }

    /// A time that is drawn.
    pub(crate) fn draw(&self, from: Duration, to: Duration) -> Duration {
        self.lock().rng.random_range(from..to)
    }
}

impl Inner {
    pub(crate) fn now(&self) -> Time {
        let elapsed = self.life.map_or(Duration::ZERO, |since| since.elapsed());
        self.began + i64::try_from(elapsed.as_micros()).unwrap_or(0)
    }

    /// A number below this.
    pub(crate) fn rng_draw(&mut self, below: usize) -> usize {
        self.rng.random_range(0..below)
    }

    /// A post takes effect within half an hour.
    pub(crate) fn postpone(&mut self, stream: &str, body: Bytes) {
        let at = self.now() + i64::from(self.rng.random_range(0..1_800)) * 1_000_000;
        self.late.push(Late { at, stream: stream.to_owned(), body });
    }

    /// The next token.
    pub(crate) fn grant(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }

    fn note(&mut self, what: &str) {
        let now = self.now() - BEGINNING;
        (now, what).hash(&mut self.trace);
        let line = format!("{:>10.3} s  {what}", now as f64 / 1e6);
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// One number for all that happened, in its order.
    pub(crate) fn trace(&self) -> u64 {
        self.trace.finish()
    }

    /// What happened last.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}
