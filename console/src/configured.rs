//! What the configuration says of a connection, as far as pages need it.

use std::time::Duration;

use cmsync_control::Portal;

/// Of one connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Configured {
    /// What it is for.
    pub description: String,
    /// Where its workspace is in the portal.
    pub portal: Option<Portal>,
    /// Between two polls of its site.
    pub poll: Duration,
    /// Between two snapshots of a collection.
    pub snapshots: Duration,
    /// Whether it sends.
    pub import: bool,
    /// What ends of its credential, and when, in seconds since 1970.
    pub expires: Option<(&'static str, i64)>,
}
