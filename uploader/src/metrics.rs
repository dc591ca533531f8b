//! What the uploader counts, per connection.

cmsync_schemas::declare_metrics! {
    /// Records that the workspace took.
    delivered: Counter = "cmsync_uploader_records_delivered_total";
    /// Bodies that the workspace took.
    bodies: Counter = "cmsync_uploader_bodies_total";
    /// Bytes of these bodies on the wire.
    bytes: Counter = "cmsync_uploader_body_bytes_total";
    /// Posts that did not end in a 2xx.
    failed_posts: Counter = "cmsync_uploader_failed_posts_total";
    /// Posts that were answered by 429.
    throttled: Counter = "cmsync_uploader_throttled_total";
    /// Records set aside.
    dead_letters: Counter = "cmsync_uploader_dead_letters_total";
    /// Markers that the workspace took.
    markers: Counter = "cmsync_uploader_markers_delivered_total";
    /// Bodies on their way.
    in_flight: Gauge = "cmsync_uploader_bodies_in_flight";
    /// 1 while no rule of the connection takes anything.
    paused: Gauge = "cmsync_uploader_paused";
    /// Messages that were taken from the queue and are not delivered.
    open: Gauge = "cmsync_uploader_messages_open";
    /// Seconds from a record's observation to its acceptance.
    age_seconds: Histogram = "cmsync_uploader_record_age_seconds";
    /// Attempts that a body took.
    attempts: Histogram = "cmsync_uploader_body_attempts";
    /// Messages of the records that the queue deleted before they were taken; everything is sent whole.
    lost: Counter = "cmsync_uploader_messages_lost_total";
}
