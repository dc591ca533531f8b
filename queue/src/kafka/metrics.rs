//! What is counted on brokers, by the group of members.

use cmsync_telemetry::SECONDS;

cmsync_telemetry::declare! {
    each "group" {
        /// Partitions that this copy has, of all topics of the group.
        owned: Gauge = "cmsync_queue_owned_partitions";
        /// How long partitions that moved to another copy were held up by what was on its way.
        revocation_seconds: Histogram(SECONDS) = "cmsync_queue_revocation_seconds";
        /// Polls of the brokers that failed.
        poll_failures: Counter = "cmsync_queue_poll_failures_total";
        /// Messages of state that were read while partitions were taken over.
        restored: Counter = "cmsync_queue_restored_messages_total";
    }
}
