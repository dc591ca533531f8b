//! Reads a site and publishes its membership changes.
//!
//! [`stage`] owns connections; a [`connection`] polls, reads what is dirty ([`reading`]), judges what
//! would go ([`guard`]), publishes deltas and snapshots ([`publish`]) and remembers ([`state`]). It also sweeps
//! devices ([`sweep`]), holds removals for a person ([`holds`]) and claims its site code ([`claim`]).
//!
//! It does not speak to Azure: what has reached the workspace it knows from positions alone. How a site is asked
//! is `clients/configmgr`'s.

mod backlog;
mod claim;
mod config;
mod connection;
mod cycle;
mod devices;
mod diary;
mod error;
mod guard;
mod holds;
mod measured;
mod metrics;
mod orders;
mod pass;
mod publish;
mod reading;
mod rights;
mod schedule;
mod snapshot;
mod stage;
mod state;
mod sweep;
mod tracking;
mod waiting;
mod work;

pub use claim::Neighbours;
pub use config::{ConnectionConfig, Cuts, Options, StaticGroups};
pub use metrics::METRICS;

pub use error::{Error, apart};
pub use stage::{Context, HighestSeq, Job, Outcome, run};
