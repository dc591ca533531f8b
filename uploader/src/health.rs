//! How the uploader says how it is.

use cmsync_schemas::{Cause, Health};

use crate::metrics::Metrics;
use crate::stage::Stage;

impl Stage {
    /// Says how the uploader is: worked out anew each time, so that no order of events leaves behind
    /// what is over.
    pub(crate) fn say(&self) {
        let now = self.now();
        let paused = self.delivery.rules.paused().borrow().clone();
        self.status.send_if_modified(|status| {
            // The cap is the workspace's, and holds up taking partitions too.
            let cap = self.cap.as_ref().map(|cap| (cap.cause, cap.reason.as_str()));
            let pause = paused.as_ref().map(|pause| (pause.cause, pause.reason.as_str()));
            // It waits for a person whatever the workspace says.
            let held = self.held.values().next().map(|held| (Cause::Other, held.as_str()));
            match (held, cap, pause) {
                (Some(held), ..) => status.turn(Health::Stopped, held, now),
                (None, Some(cap), _) => status.turn(Health::Paused, cap, now),
                _ if self.owned.is_empty() => status.stand_by(now),
                (None, None, Some(pause)) => status.turn(Health::Paused, pause, now),
                (None, None, None) => status.turn(Health::Working, (Cause::Nothing, ""), now),
            }
        });
    }

    /// A partition came: what still holds it up is said again.
    pub(crate) fn say_if_not_well(&self) {
        let is_paused = self.delivery.rules.paused().borrow().is_some();
        if !self.held.is_empty() || self.cap.is_some() || is_paused {
            self.say();
        }
    }
}

/// A body on its way, counted until its way has ended, or is given up.
pub(crate) struct InFlight(metrics::Gauge);

impl InFlight {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        metrics.in_flight.increment(1.0);
        Self(metrics.in_flight.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
