//! What the uploader and the writer of computer groups count.

use cmsync_telemetry::SECONDS;

/// Bounds of a body's size: what is far from the largest is mostly the price of a request.
const BODY_BYTES: &[f64] = &[1e3, 1e4, 1e5, 2.5e5, 5e5, 7.5e5, 1e6, 1_048_576.0];
/// Bounds of how often a body was posted.
const ATTEMPTS: &[f64] = &[1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0];

cmsync_telemetry::label! {
    /// How a post was answered.
    pub(crate) enum Posted: "status" {
        /// Taken.
        Accepted = "2xx",
        /// Something in the body is not accepted.
        BadBody = "400",
        /// The token is not accepted.
        BadToken = "401",
        /// The rule, or the right to it, is missing (403 or 404).
        RuleRefused = "403",
        /// Too large.
        TooLarge = "413",
        /// Over the rule's quota.
        Throttled = "429",
        /// A failure of the service, a time-out or a cut connection.
        Unavailable = "unavailable",
        /// Anything else, for example a proxy's page.
        Unexpected = "unexpected",
        /// No token was to be had, so nothing was posted.
        NoToken = "no_token",
    }
}

cmsync_telemetry::label! {
    /// Why a body was halved.
    pub(crate) enum Split: "reason" {
        /// 413.
        TooLarge = "too_large",
        /// Cut off so often that its size may be the reason.
        CutOff = "cut_off",
        /// 400: to find the record that is at fault.
        Refused = "refused",
    }
}

cmsync_telemetry::label! {
    /// Why something was set aside.
    pub(crate) enum Aside: "reason" {
        /// In no known framing, or not of its schema.
        Undecodable = "undecodable",
        /// A single record is larger than a body may be.
        TooLarge = "too_large",
        /// The service refuses the record.
        Refused = "refused",
    }
}

impl Aside {
    /// As a dead letter has it.
    pub(crate) fn text(self) -> &'static str {
        <Self as cmsync_telemetry::Label>::VALUES[self as usize]
    }
}

cmsync_telemetry::declare! {
    each "connection" {
        /// Changes of collections, messages of up to 1,000 devices, that the workspace took; snapshots are not counted.
        changes: Counter = "cmsync_uploader_changes_accepted_total";
        /// Of these, those that were taken more than five minutes after the poll that saw them.
        late: Counter = "cmsync_uploader_changes_late_total";
        /// Bytes that Azure bills, estimated: the columns' values as text of all rows that were taken.
        billed_bytes: Counter = "cmsync_uploader_billed_bytes_total";
        /// Saved searches of computer groups that are not yet as they should be.
        groups_behind: Gauge = "cmsync_uploader_groups_behind";
    }
    all {
        /// Member rows that the workspace took.
        delivered: Counter = "cmsync_uploader_records_delivered_total";
        /// Markers that the workspace took.
        markers: Counter = "cmsync_uploader_markers_delivered_total";
        /// Bodies that the workspace took, by their size on the wire.
        body_bytes: Histogram(BODY_BYTES) = "cmsync_uploader_body_bytes";
        /// Attempts that a body took until the workspace had it.
        attempts: Histogram(ATTEMPTS) = "cmsync_uploader_body_attempts";
        /// From a record's observation to its acceptance.
        age_seconds: Histogram(SECONDS) = "cmsync_uploader_record_age_seconds";
        /// Posts by how they were answered.
        posts: Counter[Posted] = "cmsync_uploader_posts_total";
        /// Time that rules asked to wait for (`Retry-After` of a 429), within bounds.
        throttle_seconds: Counter = "cmsync_uploader_throttle_wait_seconds_total";
        /// Bodies that were halved, by why.
        splits: Counter[Split] = "cmsync_uploader_bodies_split_total";
        /// Records and messages set aside, by why.
        dead_letters: Counter[Aside] = "cmsync_uploader_dead_letters_total";
        /// Bodies on their way.
        in_flight: Gauge = "cmsync_uploader_bodies_in_flight";
        /// Messages of the records that the queue deleted before they were taken; everything is sent whole.
        lost: Counter = "cmsync_uploader_messages_lost_total";
        /// Saved searches written or deleted.
        group_writes: Counter = "cmsync_uploader_group_writes_total";
        /// Attempts to list or write saved searches that failed.
        group_failures: Counter = "cmsync_uploader_group_failures_total";
    }
}
