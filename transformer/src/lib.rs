//! Changes to records: what a change of a collection means as rows of the workspace.
//!
//! [`mapping`] is pure: no clock, no I/O. [`stage`] runs it over the queue, exactly once. It asks
//! nobody and keeps nothing: what a marker counts after rows were set aside is the uploader's.

pub mod mapping;
mod metrics;
mod stage;

pub use metrics::METRICS;
pub use stage::{Transformer, run};
