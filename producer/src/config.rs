//! The producer's options.

use std::collections::BTreeSet;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use cmsync_configmgr::Selection;
use cmsync_schemas::topics::DEVICES_PER_MESSAGE;

/// Options that all connections share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Time between two polls of a site.
    #[serde(with = "humantime_serde")]
    pub poll_interval: Duration,
    /// Each collection is sent whole once in this time.
    #[serde(with = "humantime_serde")]
    pub snapshot_interval: Duration,
    /// Each collection is read whole once in this time, whatever its change times say.
    #[serde(with = "humantime_serde")]
    pub reread_interval: Duration,
    /// Each device's names are read once in this time.
    #[serde(with = "humantime_serde")]
    pub device_sweep_interval: Duration,
    /// Share of a collection's members that may go after one complete read.
    pub max_removed_share: f64,
    /// Held removals go by themselves after this time, where the account's rights can be seen.
    #[serde(with = "humantime_serde")]
    pub removal_hold: Duration,
    /// Bytes that may wait for the workspace; above it nothing is published.
    pub max_backlog: ByteSize,
    /// Rows a day above which a connection warns.
    pub max_rows_per_day: u64,
    /// Rows of one page of an answer.
    pub page_size: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            poll_interval: Duration::from_secs(60),
            // Half a day: the default time picker of 24 hours always holds a whole snapshot.
            snapshot_interval: Duration::from_secs(12 * 3600),
            reread_interval: Duration::from_secs(24 * 3600),
            device_sweep_interval: Duration::from_secs(3 * 3600),
            max_removed_share: 0.2,
            removal_hold: Duration::from_secs(24 * 3600),
            max_backlog: ByteSize::mib(256),
            max_rows_per_day: 50_000_000,
            page_size: 5_000,
        }
    }
}

/// How what is published is cut into messages and steps. No option: a simulation makes them small, so
/// that a few devices already take several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cuts {
    /// Devices that one message carries, at most.
    pub devices: usize,
    /// Messages of one step, which become durable together: enough to share the sync of a commit, few
    /// enough not to weigh in memory.
    pub messages: usize,
}

impl Default for Cuts {
    fn default() -> Self {
        Self { devices: DEVICES_PER_MESSAGE, messages: 32 }
    }
}

/// Which computer groups carry their members' names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticGroups {
    /// Whether somebody keeps groups at all.
    pub are_kept: bool,
    /// Those with up to so many members.
    pub up_to: u64,
    /// Collections whose groups do, whatever their size.
    pub always: BTreeSet<String>,
    /// Collections whose groups never do.
    pub never: BTreeSet<String>,
}

impl Default for StaticGroups {
    fn default() -> Self {
        Self { are_kept: true, up_to: 1_000, always: BTreeSet::new(), never: BTreeSet::new() }
    }
}

impl StaticGroups {
    /// Whether the group of a collection with so many members is static.
    pub(crate) fn are(&self, collection: &str, members: u64) -> bool {
        let is_wanted = members <= self.up_to || self.always.contains(collection);
        is_wanted && !self.never.contains(collection)
    }
}

/// What is particular to one connection.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionConfig {
    /// Its name.
    pub name: String,
    /// Which collections to keep.
    pub selection: Selection,
    /// Which of its groups carry names.
    pub statics: StaticGroups,
    /// Whether to read the site at all.
    pub import: bool,
    /// Hours (local, from–to) in which the site is left alone.
    pub quiet_hours: Option<(jiff::civil::Time, jiff::civil::Time)>,
}
