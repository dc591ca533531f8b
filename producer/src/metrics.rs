//! What the producer counts, per connection.

cmsync_schemas::declare_metrics! {
    /// Polls of the site that came whole.
    polls: Counter = "cmsync_producer_polls_total";
    /// Polls that failed.
    poll_failures: Counter = "cmsync_producer_poll_failures_total";
    /// Time of a poll with all that it led to.
    poll_seconds: Histogram = "cmsync_producer_poll_seconds";
    /// Time that the site was busy with what it was asked, waits for its bounds included.
    site_seconds: Counter = "cmsync_producer_site_seconds_total";
    /// Time that reads waited for the bounds on what the site is asked for.
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
    /// Members that are no computers, or have no record, at their collection's last read.
    not_computers: Counter = "cmsync_producer_not_computers_total";
    /// Removals that wait for a person.
    holds: Gauge = "cmsync_producer_held_removals";
    /// Collections kept.
    collections: Gauge = "cmsync_producer_collections";
    /// Memberships kept.
    members: Gauge = "cmsync_producer_members";
    /// Devices known.
    devices: Gauge = "cmsync_producer_devices";
    /// Replication links of the hierarchy that have failed.
    failed_links: Gauge = "cmsync_producer_failed_links";
    /// Seconds since 1970 of the last whole poll.
    last_poll: Gauge = "cmsync_producer_last_poll_timestamp_seconds";
    /// Bytes that wait for the workspace.
    backlog: Gauge = "cmsync_producer_backlog_bytes";
}
