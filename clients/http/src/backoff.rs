//! The one backoff policy, and what a server asks for itself.
//!
//! The `backoff` crate is used for its policy alone, and in this file alone.

use std::cell::RefCell;
use std::time::Duration;

use ::backoff::backoff::Backoff as _;
use ::backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// What a delay may be off by, as a share of it.
const JITTER: f64 = 0.5;

thread_local! {
    /// Of each thread, so that a simulation in one of them is alone with it.
    static DRAWS: RefCell<SmallRng> = RefCell::new(SmallRng::from_os_rng());
}

/// Lets this thread draw what delays are off by from a seed, so that what goes on in it can be replayed.
pub fn seed_jitter(seed: u64) {
    DRAWS.set(SmallRng::seed_from_u64(seed));
}

/// Growing delays with jitter.
#[derive(Debug, Clone)]
pub struct Policy {
    delays: ExponentialBackoff,
}

impl Policy {
    /// Delays from `first`, doubling up to `longest`, each drawn from ±50 % of its value. Never ends.
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        let delays = ExponentialBackoffBuilder::new()
            .with_initial_interval(first)
            .with_max_interval(longest)
            .with_multiplier(2.0)
            .with_randomization_factor(0.0)
            .with_max_elapsed_time(None)
            .build();
        Self { delays }
    }

    /// The next delay.
    pub fn next_delay(&mut self) -> Duration {
        // What the crate gives is off by a nanosecond of its own chance.
        let delay = self.delays.current_interval;
        self.delays.next_backoff();
        let drawn = |draws: &mut SmallRng| draws.random_range(1.0 - JITTER..1.0 + JITTER);
        delay.mul_f64(DRAWS.with_borrow_mut(drawn))
    }

    /// Starts again at the first delay.
    pub fn reset(&mut self) {
        self.delays.reset();
    }
}

/// What `Retry-After` asks for: seconds, or an HTTP date (never negative). `None` without one that
/// can be read.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: jiff::Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_longest_and_stay_within_their_jitter() {
        let mut policy = Policy::new(Duration::from_secs(1), Duration::from_secs(8));
        let mut base = 1.0;
        for _ in 0..20 {
            let delay = policy.next_delay().as_secs_f64();
            assert!((base * 0.49..=base * 1.51).contains(&delay), "{delay} around {base}");
            base = (base * 2.0_f64).min(8.0);
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let now: jiff::Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, now)
        };
        assert_eq!(read("17"), Some(Duration::from_secs(17)));
        assert_eq!(read("Sun, 22 Nov 2026 10:01:00 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(read("Sun, 22 Nov 2026 09:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
