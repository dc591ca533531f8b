//! How much a site is asked for: a bound on its requests and its rows, over all reads of a connection.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// Most of each that a site is asked for in a second; 0 for no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Requests to the administration service, queries to the database.
    pub requests_per_second: u32,
    /// Rows of any kind.
    pub rows_per_second: u32,
}

/// Rows of one read: what a fault costs, and what is held of them.
const MOST_ROWS: usize = 2_000_000;
/// Seconds that one read is to take at most at the bound on rows: a query that stays open costs the site
/// something even while nothing is taken.
const LONGEST: usize = 30;

/// What may come at once after a pause.
const BURST: Duration = Duration::from_millis(250);

/// One bound.
struct Pace {
    each: Duration,
    /// When what was taken so far is paid for.
    paid: Mutex<Option<Instant>>,
}

impl Pace {
    fn new(per_second: u32) -> Option<Self> {
        let each = Duration::from_secs(1).checked_div(per_second)?;
        Some(Self { each, paid: Mutex::new(None) })
    }

    /// Takes so many; when the next may follow.
    fn take(&self, count: u32) -> Instant {
        let now = Instant::now();
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let until = paid.unwrap_or(earliest).max(earliest) + self.each.saturating_mul(count);
        *paid = Some(until);
        until
    }
}

/// The bounds of one connection.
pub(crate) struct Load {
    limits: Limits,
    requests: Option<Pace>,
    rows: Option<Pace>,
    waited: AtomicU64,
}

impl Load {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            requests: Pace::new(limits.requests_per_second),
            rows: Pace::new(limits.rows_per_second),
            waited: AtomicU64::new(0),
        }
    }

    /// Rows that one read should have at most.
    pub(crate) fn rows_at_once(&self) -> usize {
        match usize::try_from(self.limits.rows_per_second).unwrap_or(usize::MAX) {
            0 => MOST_ROWS,
            bound => bound.saturating_mul(LONGEST).min(MOST_ROWS),
        }
    }

    /// Waits until one more request may be made.
    pub(crate) async fn request(&self) {
        self.take(self.requests.as_ref(), 1).await;
    }

    /// So many rows came: waits until more may.
    pub(crate) async fn rows(&self, count: usize) {
        self.take(self.rows.as_ref(), u32::try_from(count).unwrap_or(u32::MAX)).await;
    }

    async fn take(&self, pace: Option<&Pace>, count: u32) {
        let Some(until) = pace.map(|pace| pace.take(count)) else {
            return;
        };
        let wait = until.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep_until(until).await;
            let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
            self.waited.fetch_add(micros, Ordering::Relaxed);
        }
    }

    /// Time that was spent waiting for these bounds.
    pub(crate) fn waited(&self) -> Duration {
        Duration::from_micros(self.waited.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test(start_paused = true)]
    async fn reads_side_by_side_keep_their_bound_together() {
        let limits = Limits { requests_per_second: 5, rows_per_second: 1_000 };
        let load = Arc::new(Load::new(limits));
        let started = Instant::now();
        let reads = (0..4).map(|_| {
            let load = Arc::clone(&load);
            tokio::spawn(async move {
                for _ in 0..5 {
                    load.request().await;
                    load.rows(500).await;
                }
            })
        });
        for read in reads.collect::<Vec<_>>() {
            read.await.unwrap();
        }
        // 10,000 rows at 1,000 a second, less what may come at once.
        let took = started.elapsed();
        assert!((Duration::from_secs(9)..Duration::from_secs(11)).contains(&took), "{took:?}");
        assert!(load.waited() >= took, "four waited side by side");
    }

    #[tokio::test(start_paused = true)]
    async fn without_bounds_nothing_waits_and_a_pause_saves_up_little() {
        let free = Load::new(Limits::default());
        free.request().await;
        free.rows(1_000_000).await;
        assert_eq!(free.waited(), Duration::ZERO);
        assert_eq!(free.rows_at_once(), MOST_ROWS);
        let bound = Load::new(Limits { requests_per_second: 0, rows_per_second: 100 });
        assert_eq!(bound.rows_at_once(), 3_000);
        bound.rows(1).await;
        tokio::time::advance(Duration::from_secs(3_600)).await;
        let started = Instant::now();
        bound.rows(200).await;
        assert!(started.elapsed() >= Duration::from_millis(1_700));
    }
}
