//! Delivers records to the workspace: batches them, repeats what must be repeated, sets aside what
//! can never be taken, and commits positions below the lowest record that is still on its way. [`groups`] keeps
//! the computer groups.
//!
//! It does not read sites, make tables or rules, or look whether rows arrived: those are the producer's and
//! `control`'s.

mod aside;
mod body;
mod config;
mod dead_letters;
mod delivery;
mod filling;
pub mod groups;
mod health;
mod metrics;
mod orders;
mod pace;
mod rules;
mod runs;
mod stage;

pub use config::Options;
pub use delivery::Target;
pub use metrics::METRICS;
pub use stage::{Uploader, run};

/// Streams and gzipped bodies of rows that show whether a rule takes rows, for `cmsync check`.
pub fn test_bodies(now: i64) -> impl Iterator<Item = (&'static str, bytes::Bytes)> {
    use cmsync_schemas::tables::{COLLECTION_STREAM, MEMBER_STREAM};
    [COLLECTION_STREAM, MEMBER_STREAM].into_iter().map(move |stream| {
        let body = body::test_row(stream, now);
        (stream, body.bytes)
    })
}

/// The limit of a body before compression, once the rows of a body that large were seen.
pub const LARGE_RAW: u64 = 16 * 1024 * 1024;
/// Rows of the large test body.
pub const LARGE_ROWS: u64 = 85_000;

/// A gzipped body of more than [`LARGE_RAW`] bytes, with [`LARGE_ROWS`] test rows of a run, which
/// shows whether bodies of that size arrive whole.
pub fn large_test_body(now: i64, run_id: &str) -> (&'static str, bytes::Bytes) {
    let body = body::large_test(now, run_id, LARGE_ROWS);
    (cmsync_schemas::tables::COLLECTION_STREAM, body.bytes)
}
