//! The whole pipeline in one thread, with virtual time and a seed.
//!
//! Producer, transformer, uploader and groups writer are those that are shipped, and so are the worker
//! loops, the HTTP client above its transport, and the queue above its store. The site ([`site`],
//! [`service`]) and Azure ([`workspace`]) are models that fail as the seed wants ([`plan`]); processes
//! are killed, stopped, fenced and started again ([`life`]). Whatever becomes durable or is taken is held
//! against the promises at once ([`ledger`]), and when faults have ended, workspace and site must become
//! equal ([`settled`]). The same seed goes the same way, step for step.

mod bugs;
mod copy;
mod ledger;
mod life;
mod plan;
mod service;
mod settled;
mod site;
mod store;
mod workspace;
mod world;

use std::io::Write as _;

pub use bugs::Bug;

use world::World;

/// The one connection.
pub(crate) const CONNECTION: &str = "sim";

/// How a seed went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What broke a promise, in words; empty where nothing did.
    pub findings: Vec<String>,
    /// One number for all that happened, in its order and with its time.
    pub trace: u64,
    /// What happened last.
    pub lines: Vec<String>,
    /// Virtual time that it took, in seconds.
    pub seconds: i64,
}

/// Runs one seed, perhaps with a planted bug; `is_told` prints what happens.
#[must_use]
pub fn simulate(seed: u64, bug: Option<Bug>, is_told: bool) -> Outcome {
    let world = World::new(seed, bug, is_told);
    if is_told {
        print(&format!("{:#?}", world.plan));
    }
    life::live(&world);
    let inner = world.lock();
    Outcome {
        seed,
        findings: inner.ledger.findings.clone(),
        trace: inner.trace(),
        lines: inner.lines(),
        seconds: (inner.now() - world::BEGINNING) / 1_000_000,
    }
}

pub(crate) fn print(line: &str) {
    // Whoever reads no more ends the run.
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}
