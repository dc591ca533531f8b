//! How fast a rule is given bodies once it has said that it takes no more: the share of its quota
//! that this copy asks for.
//!
//! `Retry-After` alone shares nothing: whoever wakes first after a quota was renewed takes all of
//! it, and the others wake to find it spent. As TCP does on a link that it knows nothing of, every
//! copy cuts its rate by a share of it when it meets the limit, and raises it by the same amount
//! as all others while it does not, so rates that differ come together (Chiu and Jain, 1989).

use std::time::Duration;

use tokio::time::Instant;

/// What is left of a rate when a quota is met.
const LEFT: f64 = 0.7;
/// What a rate grows by, in bodies a second each second.
const GROWTH: f64 = 2.0;
/// A rule is given this many bodies a second at least; below it, `Retry-After` alone is the limit.
const SLOWEST: f64 = 1.0;
/// A body that is late by less than this does not delay those after it.
const LATE: Duration = Duration::from_millis(50);
/// After so long without a body, what was taken before says nothing of what is taken now.
const IDLE: Duration = Duration::from_secs(5);

/// The pace of one rule.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: Option<Rate>,
    /// Bodies that were taken, since when, and when the last was.
    taken: u32,
    since: Instant,
    last: Instant,
}

#[derive(Debug)]
struct Rate {
    /// Bodies a second, and when.
    from: f64,
    at: Instant,
    /// When the next body may leave.
    next: Instant,
}

impl Rate {
    fn now(&self, now: Instant) -> f64 {
        self.from + GROWTH * now.saturating_duration_since(self.at).as_secs_f64()
    }
}

impl Pace {
    /// Without a limit.
    pub(crate) fn new(now: Instant) -> Self {
        Self { rate: None, taken: 0, since: now, last: now }
    }

    /// When the next body may leave, if there is a limit.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.rate.as_ref().map(|rate| rate.next)
    }

    /// A body leaves.
    pub(crate) fn leaves(&mut self, now: Instant) {
        if let Some(rate) = &mut self.rate {
            let due = rate.next.max(now.checked_sub(LATE).unwrap_or(now));
            rate.next = due + Duration::from_secs_f64(1.0 / rate.now(now));
        }
    }

    /// A body was taken.
    pub(crate) fn took(&mut self, now: Instant) {
        if self.taken == 0 || now.saturating_duration_since(self.last) > IDLE {
            (self.taken, self.since) = (0, now);
        }
        self.taken = self.taken.saturating_add(1);
        self.last = now;
    }

    /// The quota is met, and asks for a rest until then. Where nothing was taken since the last
    /// time it was, it is others who spent it, and less from here would change nothing; what was on
    /// its way at that time is told the same.
    pub(crate) fn met(&mut self, now: Instant, until: Instant) {
        let is_known = self.rate.as_ref().is_some_and(|rate| now < rate.at);
        if self.taken == 0 || is_known {
            return;
        }
        let seconds = |end: Instant| end.saturating_duration_since(self.since).as_secs_f64();
        let taken = f64::from(self.taken);
        let rate = match &self.rate {
            // What came of a burst is spent until the rest ends.
            None => taken / seconds(until).max(0.001),
            Some(rate) => rate.now(now).min(taken / seconds(now).max(0.001)),
        };
        let from = (rate * LEFT).max(SLOWEST);
        self.rate = Some(Rate { from, at: until, next: until });
        self.taken = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A copy that always has another body.
    struct Copy {
        pace: Pace,
        rests_until: Instant,
        /// The service's answer takes so long.
        next: Instant,
        taken: u32,
    }

    /// Bodies that each of so many copies got through a quota in the last three quarters of the time.
    fn shares(copies: usize, quota: u32, window: Duration, late: &[u64]) -> Vec<u32> {
        let start = Instant::now();
        let mut copies: Vec<Copy> = (0..copies)
            .map(|i| {
                let next = start + Duration::from_millis(late[i % late.len()]);
                Copy { pace: Pace::new(start), rests_until: next, next, taken: 0 }
            })
            .collect();
        let length = (window * 20).max(Duration::from_secs(120));
        let (mut opened, mut spent) = (start, 0);
        loop {
            let due = |c: &Copy| c.next.max(c.rests_until).max(c.pace.next().unwrap_or(start));
            let copy = copies.iter_mut().min_by_key(|c| due(c)).unwrap();
            let now = due(copy);
            if now > start + length {
                return copies.iter().map(|c| c.taken).collect();
            }
            while now >= opened + window {
                (opened, spent) = (opened + window, 0);
            }
            copy.pace.leaves(now);
            copy.next = now + Duration::from_millis(7);
            if spent < quota {
                spent += 1;
                copy.pace.took(now);
                copy.taken += u32::from(now > start + length / 4);
            } else {
                let rest = (opened + window).duration_since(now).as_secs() + 1;
                copy.rests_until = now + Duration::from_secs(rest);
                copy.pace.met(now, copy.rests_until);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn copies_find_a_fair_share_and_leave_little_of_the_quota(
            copies in 1_usize..6,
            per_second in 8_u32..100,
            seconds in prop::sample::select(vec![1_u32, 10, 60]),
            late in prop::collection::vec(0_u64..3_000, 6),
        ) {
            let (quota, window) = (per_second * seconds, Duration::from_secs(u64::from(seconds)));
            let shares = shares(copies, quota, window, &late);
            let all: u32 = shares.iter().sum();
            let length = (window * 20).max(Duration::from_secs(120)).as_secs() as f64 * 0.75;
            let used = f64::from(all) / (length * f64::from(per_second));
            let fair = all / u32::try_from(copies).unwrap();
            prop_assert!(shares.iter().all(|s| *s >= fair * 3 / 5), "{shares:?}");
            // A window of a second is over before the shortest rest that can be asked for is.
            prop_assert!(used > if seconds == 1 { 0.6 } else { 0.8 }, "{used}");
        }
    }
}
