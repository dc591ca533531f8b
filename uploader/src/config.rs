//! The uploader's options.

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

/// Options that all connections share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// A body that is not full leaves after this time, or when nothing more came for a tenth of it;
    /// while `max_in_flight` are on their way it is filled further.
    #[serde(with = "humantime_serde")]
    pub linger: Duration,
    /// Bodies of one connection that are on their way at once, at most.
    pub max_in_flight: usize,
    /// Largest body before compression. The service's documents speak of 1 MB for both; it takes
    /// more, up to 50 MiB, and says nothing when it drops a body. At its default it becomes 16 MiB once
    /// verification has seen such a body whole; any other value stands.
    pub max_raw_body: ByteSize,
    /// Largest body on the wire.
    pub max_wire_body: ByteSize,
    /// First rest of a rule that refuses, or of a body that failed; doubled up to `probe_max`.
    #[serde(with = "humantime_serde")]
    pub probe_first: Duration,
    /// Longest rest of either.
    #[serde(with = "humantime_serde")]
    pub probe_max: Duration,
    /// Longest time that a `Retry-After` is obeyed; then the rule is probed.
    #[serde(with = "humantime_serde")]
    pub retry_after_max: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            linger: Duration::from_secs(1),
            max_in_flight: 8,
            max_raw_body: ByteSize::b(1_000_000),
            // 1 MiB less 4 KiB for what a proxy may add.
            max_wire_body: ByteSize::b(1_048_576 - 4_096),
            probe_first: Duration::from_secs(1),
            probe_max: Duration::from_secs(60),
            retry_after_max: Duration::from_secs(15 * 60),
        }
    }
}
