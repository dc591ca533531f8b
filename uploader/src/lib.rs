//! Delivers records to the workspace: batches them, repeats what must be repeated, sets aside what
//! can never be taken, and commits positions below the lowest record that is still on its way.

mod aside;
mod body;
mod config;
mod dead_letters;
mod delivery;
mod filling;
pub mod groups;
mod metrics;
mod rules;
mod runs;
mod stage;

pub use config::Options;
pub use delivery::Target;
pub use stage::{Uploader, run};

/// Streams and gzipped bodies of rows that show whether a rule takes rows, for `cmsync check`.
pub fn test_bodies(now: i64) -> impl Iterator<Item = (&'static str, bytes::Bytes)> {
    use cmsync_schemas::tables::{COLLECTION_STREAM, MEMBER_STREAM};
    [COLLECTION_STREAM, MEMBER_STREAM].into_iter().map(move |stream| {
        let body = body::test_row(stream, now);
        (stream, body.bytes)
    })
}
