//! How many writes may go now.

use std::time::Duration;

use tokio::time::Instant;

/// Resource Manager takes about 1,200 writes an hour of one principal; the rest is for people.
pub const WRITES_PER_HOUR: u32 = 1_000;
/// One part in so many of an hour's writes may go at once: a first synchronisation should be quick.
const BURST: u32 = 2;

/// A bucket of writes: never more than an hour's within any hour.
pub(super) struct Budget {
    spacing: Duration,
    burst: u32,
    /// The moment at which the bucket would be full.
    full_at: Instant,
}

impl Budget {
    /// A full bucket. What may go at once is taken off what comes afterwards within the hour.
    pub(super) fn new(writes_per_hour: u32) -> Self {
        let per_hour = writes_per_hour.max(1);
        let burst = (per_hour / BURST).max(1);
        let steady = (per_hour - burst).max(1);
        let spacing = Duration::from_secs(3_600) / steady;
        Self { spacing, burst, full_at: Instant::now() }
    }

    /// When the next write may go.
    pub(super) fn next(&self) -> Instant {
        let reserve = self.spacing * (self.burst - 1);
        let now = Instant::now();
        // The bucket has at least one write when it is full within what the others take to come.
        self.full_at.checked_sub(reserve).map_or(now, |at| at.max(now))
    }

    /// A write has gone.
    pub(super) fn spend(&mut self) {
        self.full_at = self.full_at.max(Instant::now()) + self.spacing;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn never_more_than_an_hours_writes_within_any_hour() {
        for per_hour in [1, 2, 7, 240, 1_000] {
            let mut budget = Budget::new(per_hour);
            let mut went = Vec::new();
            for _ in 0..per_hour * 3 {
                tokio::time::sleep_until(budget.next()).await;
                budget.spend();
                went.push(Instant::now());
            }
            let most = (0..went.len()).map(|first| {
                let hour = went[first] + Duration::from_secs(3_600);
                went[first..].iter().take_while(|at| **at < hour).count()
            });
            assert!(most.max() <= Some(per_hour.max(2) as usize), "{per_hour}");
        }
    }
}
