//! Delivers records to the workspace: batches them, repeats what must be repeated, sets aside what
//! can never be taken, and commits positions below the lowest record that is still on its way.

mod aside;
mod body;
mod config;
mod dead_letters;
mod delivery;
mod filling;
mod metrics;
mod rules;
mod runs;
mod stage;

pub use config::Options;
pub use delivery::Target;
pub use stage::{Uploader, run};

/// Stream and gzipped body of a row that shows whether a rule takes rows, for `cmsync check`.
#[must_use]
pub fn test_body(now: i64) -> (&'static str, bytes::Bytes) {
    let body = body::test_row(now);
    (body.stream, body.bytes)
}
