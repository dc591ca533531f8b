//! What verification and people ask of the uploader, from the control topic.

use std::time::Duration;

use cmsync_queue::Error;
use cmsync_schemas::{CONTROL, Cause, Subject, topics};
use tokio::time::Instant;

use crate::config::Options;
use crate::rules::Pause;
use crate::stage::Stage;

/// What was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Orders {
    /// Send nothing until then: the workspace stores nothing. Microseconds since 1970.
    hold_until: i64,
    /// Bodies up to this size were seen to arrive whole.
    raw_limit: Option<u64>,
}

impl Orders {
    /// The largest body before compression. One that the configuration sets stands.
    pub(crate) fn max_raw(&self, options: &Options) -> usize {
        let written = options.max_raw_body.as_u64();
        let is_set = written != Options::default().max_raw_body.as_u64();
        let limit = self.raw_limit.filter(|_| !is_set).unwrap_or(written);
        usize::try_from(limit).unwrap_or(usize::MAX)
    }

    /// How long nothing is sent yet.
    pub(crate) fn hold(&self, now: i64) -> Option<Duration> {
        let left = u64::try_from(self.hold_until - now).ok().filter(|left| *left > 0)?;
        Some(Duration::from_micros(left))
    }
}

impl Stage {
    /// Reads what is asked for; says so where sending is held up.
    pub(crate) async fn follow_orders(&mut self) -> Result<(), Error> {
        let mut orders = Orders::default();
        for entry in self.queue.scan(topics::CONTROL).await? {
            let Ok(control) = CONTROL.decode(&entry?.1) else {
                continue;
            };
            if control.connection == self.connection {
                match control.subject {
                    Subject::Hold => orders.hold_until = control.action.parse().unwrap_or(0),
                    Subject::RawLimit => orders.raw_limit = control.action.parse().ok(),
                    _ => {}
                }
            }
        }
        self.orders = orders;
        let hold = orders.hold(self.now());
        let was_held = self.held_until.is_some();
        self.held_until = hold.map(|left| Instant::now() + left);
        match hold {
            Some(_) if !was_held => {
                let until = cmsync_schemas::tables::format_time(orders.hold_until);
                let reason = format!(
                    "the workspace is over its daily cap and stores nothing until {until}: raise the \
                     cap, or wait"
                );
                self.cap = Some(Pause { reason, cause: Cause::Other });
                self.say();
            }
            None if was_held => {
                self.cap = None;
                self.say();
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytesize::ByteSize;

    #[test]
    fn larger_bodies_are_sent_once_they_were_seen_and_the_configuration_stands() {
        let (unknown, seen) =
            (Orders::default(), Orders { raw_limit: Some(16 << 20), ..Orders::default() });
        let (own, set) = (
            Options::default(),
            Options { max_raw_body: ByteSize::b(500_000), ..Options::default() },
        );
        assert_eq!((unknown.max_raw(&own), seen.max_raw(&own)), (1_000_000, 16 << 20));
        assert_eq!((unknown.max_raw(&set), seen.max_raw(&set)), (500_000, 500_000));
    }

    #[test]
    fn a_hold_ends_at_its_time() {
        let orders = Orders { hold_until: 5_000_000, raw_limit: None };
        assert_eq!(orders.hold(2_000_000), Some(Duration::from_secs(3)));
        assert_eq!((orders.hold(5_000_000), orders.hold(9_000_000)), (None, None));
    }
}
