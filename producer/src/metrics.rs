//! What the producer counts. The gauges of a connection that another copy owns are zero here.

use cmsync_telemetry::SECONDS;

cmsync_telemetry::label! {
    /// Why a row of a collection is not sent.
    pub(crate) enum Skip: "reason" {
        /// A user, an unknown computer, a provisioning device.
        NotASystem = "not_a_system",
        /// Obsolete or decommissioned.
        Retired = "retired",
        /// No record of the system, or a name that no computer can have.
        NoRecord = "no_record",
    }
}

cmsync_telemetry::declare! {
    each "connection" {
        /// Seconds since 1970 of the last poll that came whole; 0 where another copy polls, or before the first.
        last_poll: Gauge = "cmsync_producer_last_poll_timestamp_seconds";
        /// Seconds since 1970 when the site last gave the list of its collections, or the members of one, whole; or when this process began to read it. 0 where another copy polls.
        last_answer: Gauge = "cmsync_producer_last_answer_timestamp_seconds";
        /// 1 while this process reads the connection's site. The sum of all copies is 1.
        owner: Gauge = "cmsync_producer_owner";
        /// Memberships kept.
        members: Gauge = "cmsync_producer_members";
        /// Collections with removals that wait for a person.
        holds: Gauge = "cmsync_producer_held_removals";
        /// Seconds since 1970 when the last snapshot of the collection began that was sent whole longest ago; 0 before the first.
        oldest_snapshot: Gauge = "cmsync_producer_oldest_snapshot_timestamp_seconds";
        /// Replication links of the hierarchy that have failed: what lies behind is as old as they are.
        failed_links: Gauge = "cmsync_producer_failed_links";
    }
    all {
        /// Polls of a site that came whole.
        polls: Counter = "cmsync_producer_polls_total";
        /// Polls that failed.
        poll_failures: Counter = "cmsync_producer_poll_failures_total";
        /// Time of a poll with all that it led to.
        poll_seconds: Histogram(SECONDS) = "cmsync_producer_poll_seconds";
        /// Time that sites were busy with what they were asked, waits for their bounds included.
        site_seconds: Counter = "cmsync_producer_site_seconds_total";
        /// Time that reads waited for the bounds on what a site is asked for.
        wait_seconds: Counter = "cmsync_producer_site_wait_seconds_total";
        /// Membership rows read.
        rows_read: Counter = "cmsync_producer_rows_read_total";
        /// Reads that did not agree with the site's own count, or whose change times moved.
        unsettled_reads: Counter = "cmsync_producer_unsettled_reads_total";
        /// Members published as added or present.
        published: Counter = "cmsync_producer_devices_published_total";
        /// Members published as removed.
        removed: Counter = "cmsync_producer_devices_removed_total";
        /// Snapshots that went out whole.
        snapshots: Counter = "cmsync_producer_snapshots_total";
        /// Rows of whole reads that are no computers, by why.
        skipped: Counter[Skip] = "cmsync_producer_rows_skipped_total";
        /// Collections whose state lacked members; they are read and sent whole again.
        state_repairs: Counter = "cmsync_producer_state_repairs_total";
    }
}
