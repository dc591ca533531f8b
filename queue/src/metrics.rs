//! What every backend counts.

use cmsync_telemetry::SECONDS;

cmsync_telemetry::declare! {
    all {
        /// Time of a commit: one `fdatasync` of the file that several share, or a transaction of the brokers.
        commit_seconds: Histogram(SECONDS) = "cmsync_queue_commit_seconds";
    }
}
