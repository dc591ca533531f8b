//! Faults that tests and simulations ask the broker for. Nothing asks in production.

use std::sync::{Mutex, PoisonError};

/// Where in a commit the broker stops as if the process had been killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashPoint {
    /// Nothing of the batch is durable.
    BeforeApply,
    /// All of the batch is durable, and nobody was told.
    AfterApply,
}

/// What is to go wrong.
#[derive(Debug, Default)]
pub struct Faults {
    plan: Mutex<Plan>,
}

#[derive(Debug, Default)]
struct Plan {
    aborts: u32,
    crash: Option<(CrashPoint, u32)>,
}

impl Faults {
    /// Aborts the next `count` commits of members.
    pub fn abort_next(&self, count: u32) {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).aborts = count;
    }

    /// Crashes at the `nth` batch from now (0 is the next).
    pub fn crash_at(&self, point: CrashPoint, nth: u32) {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).crash = Some((point, nth));
    }

    pub(crate) fn aborts(&self) -> bool {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let abort = plan.aborts > 0;
        plan.aborts = plan.aborts.saturating_sub(1);
        abort
    }

    pub(crate) fn crashes(&self, at: CrashPoint) -> bool {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut plan.crash {
            Some((point, 0)) if *point == at => true,
            Some((point, left)) if *point == at => {
                *left -= 1;
                false
            }
            _ => false,
        }
    }
}
