//! What the writer of computer groups counts, per connection.

cmsync_schemas::declare_metrics! {
    /// Computer groups that the connection keeps.
    groups: Gauge = "cmsync_uploader_groups";
    /// Saved searches that are not yet as they should be.
    behind: Gauge = "cmsync_uploader_groups_behind";
    /// Saved searches written or deleted.
    writes: Counter = "cmsync_uploader_group_writes_total";
    /// Attempts to list or write saved searches that failed.
    failures: Counter = "cmsync_uploader_group_failures_total";
}
