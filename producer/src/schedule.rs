//! When each collection's turn comes: its own moment within each interval, so that the work is
//! spread evenly and stays where it was after a restart.

use std::time::Duration;

use cmsync_queue::partition_for;

/// A collection whose reads never agree is read again after this at the latest.
const LONGEST_REST: Duration = Duration::from_secs(3600);

/// Whether an event that happened at `last` is due again at `now` (microseconds), once in each
/// `interval`, at the moment that `key` gives it.
pub(crate) fn is_due(key: &str, last: i64, now: i64, interval: Duration) -> bool {
    let interval = i64::try_from(interval.as_micros()).unwrap_or(i64::MAX).max(1);
    let share = i64::from(partition_for(key.as_bytes(), 1 << 20));
    let phase = i64::try_from((i128::from(interval) * i128::from(share)) >> 20).unwrap_or(0);
    (now - phase).div_euclid(interval) > (last - phase).div_euclid(interval)
}

/// How long a collection whose reads never agree is left alone: longer each time.
pub(crate) fn rest_after(reads: u32, poll_interval: Duration) -> Duration {
    let rest = poll_interval.saturating_mul(2_u32.saturating_pow(reads.min(12)));
    rest.min(LONGEST_REST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_collection_comes_once_in_each_interval(id in "[A-Z0-9]{8}", start in 0..i64::MAX / 4, minutes in 1..2000_u64) {
            let interval = Duration::from_secs(60 * minutes);
            let micros = interval.as_micros() as i64;
            let mut last = start;
            let mut times = Vec::new();
            for step in 0..400 {
                let now = start + step * micros / 100;
                if is_due(&id, last, now, interval) {
                    times.push(now);
                    last = now;
                }
            }
            prop_assert!((3..=4).contains(&times.len()), "{} times in four intervals", times.len());
            for pair in times.windows(2) {
                prop_assert!((pair[1] - pair[0] - micros).abs() <= micros / 50);
            }
        }

        #[test]
        fn the_work_is_spread_over_the_interval(seed in 0..1_000_u32) {
            let interval = Duration::from_secs(3600);
            let due = |now: i64| (0..1000).filter(|n| is_due(&format!("PS{seed:03}{n:03}"), 0, now, interval)).count();
            let half = due(1_800_000_000);
            prop_assert!((400..600).contains(&half), "{half} of 1000 in half an interval");
        }
    }
}
