//! The process's own samples of the last day: what plots draw, without a Prometheus beside it.
//!
//! Every ten seconds the page of `/metrics` is read as a Prometheus would read it. All is kept in memory,
//! so a restart begins anew; about 5 KiB a line.

mod kept;
mod plots;
mod reading;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cmsync_control::Verdict;
use tokio_util::sync::CancellationToken;

use crate::Shared;
use crate::probes::MetricsPage;
use kept::Kept;
use reading::Reading;

pub(crate) use kept::Span;
pub(crate) use plots::{Drawn, Line, Unit};

/// Between two samples.
pub(crate) const RHYTHM: Duration = Duration::from_secs(10);

/// Whose plots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of<'a> {
    /// Of the whole process.
    Process,
    /// Of one connection.
    Connection(&'a str),
}

/// Samples of this process.
#[derive(Clone, Default)]
pub(crate) struct Samples {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    kept: Kept,
    /// What was read last, and when: rates are differences.
    last: Option<(Reading, f64)>,
    verdicts: BTreeMap<String, Judged>,
}

/// Since when a connection is as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Since {
    /// Microseconds since 1970.
    pub(crate) at: i64,
    /// It was so when this process began to look: since then, or longer.
    pub(crate) is_from_start: bool,
}

/// How a connection is, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Judged {
    verdict: Verdict,
    since: Since,
    /// Since when it was true before it fell behind, and when it did.
    was_true: Option<(Since, i64)>,
}

/// Whoever is behind for a shorter time, in microseconds, as with each poll that finds something, was true.
const A_MOMENT: i64 = 120_000_000;

impl Judged {
    fn new(verdict: Verdict, since: Since) -> Self {
        Self { verdict, since, was_true: None }
    }

    fn then(self, verdict: Verdict, now: i64) -> Self {
        if verdict == self.verdict {
            return self;
        }
        let fresh = Self::new(verdict, Since { at: now, is_from_start: false });
        match (self.verdict, verdict) {
            // What is not known yet says nothing of before.
            (Verdict::Unknown, _) => {
                Self::new(verdict, Since { at: now, is_from_start: self.since.is_from_start })
            }
            (Verdict::True, Verdict::Behind) => Self { was_true: Some((self.since, now)), ..fresh },
            (Verdict::Behind, Verdict::True) => match self.was_true {
                Some((since, at)) if now - at < A_MOMENT => Self::new(verdict, since),
                _ => fresh,
            },
            _ => fresh,
        }
    }
}

/// What of a connection happened lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Lately {
    /// Changes that the workspace took in the last day, or since the start.
    pub(crate) changes: Option<u64>,
    /// The same in the last minute.
    pub(crate) a_minute: Option<u64>,
    /// This process counted for a day.
    pub(crate) is_full_day: bool,
    /// Rows read and records taken in the last minute, where they are of this connection alone.
    pub(crate) alone: Option<(u64, u64)>,
}

impl Samples {
    fn with<T>(&self, look: impl FnOnce(&mut Inner) -> T) -> T {
        look(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a sample in.
    fn take(&self, page: &str, now: f64) {
        let reading = Reading::of(page);
        self.with(|inner| {
            let last = inner.last.as_ref().map(|(last, at)| (last, now - at));
            inner.kept.push(now, &plots::values(&reading, last));
            inner.last = Some((reading, now));
        });
    }

    /// Takes in how connections are.
    fn judged(&self, verdicts: impl Iterator<Item = (String, Verdict)>, now: i64) {
        self.with(|inner| {
            let mut before = std::mem::take(&mut inner.verdicts);
            for (name, verdict) in verdicts {
                let state = before.remove(&name).map_or_else(
                    || Judged::new(verdict, Since { at: now, is_from_start: true }),
                    |judged| judged.then(verdict, now),
                );
                inner.verdicts.insert(name, state);
            }
        });
    }

    /// Since when a connection is as it is now; `None` where it changed a moment ago.
    pub(crate) fn since(&self, connection: &str, verdict: Verdict) -> Option<Since> {
        self.with(|inner| {
            let known = inner.verdicts.get(connection);
            known.filter(|judged| judged.verdict == verdict).map(|judged| judged.since)
        })
    }

    /// What happened lately; of the whole process too, for a connection that is the only one.
    pub(crate) fn lately(&self, connection: &str, is_alone: bool) -> Lately {
        let of_process = |metric| plots::key(Of::Process, metric);
        let rate = plots::key(Of::Connection(connection), plots::CHANGES);
        self.with(|inner| Lately {
            changes: inner.kept.sum(&rate, Span::Day),
            a_minute: inner.kept.sum(&rate, Span::Minute),
            is_full_day: inner.kept.is_full_day(),
            alone: is_alone
                .then(|| {
                    let sum = |metric| inner.kept.sum(&of_process(metric), Span::Minute);
                    sum(plots::ROWS_READ).zip(sum(plots::RECORDS_TAKEN))
                })
                .flatten(),
        })
    }

    /// What is drawn.
    pub(crate) fn drawn(&self, of: Of<'_>, span: Span) -> Drawn {
        self.with(|inner| plots::drawn(&inner.kept, of, span))
    }
}

/// Takes samples until `shutdown`.
pub(crate) async fn keep(shared: Shared, page: MetricsPage, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(RHYTHM);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let page = Arc::clone(&page);
        // Many connections make a long page.
        let Ok(text) = tokio::task::spawn_blocking(move || page()).await else { continue };
        let now = (shared.clock)();
        #[expect(clippy::cast_precision_loss, reason = "microseconds of this century fit")]
        shared.samples.take(&text, now as f64 / 1e6);
        let look = tokio::select! {
            () = shutdown.cancelled() => return,
            look = tokio::time::timeout(RHYTHM, shared.status()) => look,
        };
        if let Ok(Ok(views)) = look {
            let judged = views.iter().map(|v| (v.connection.clone(), shared.judge(v).verdict));
            shared.samples.judged(judged, now);
        }
    }
}

#[cfg(test)]
mod tests;
