//! Answers, as they go over the local API and out as `--json`.

use cmsync_schemas::Health;
use cmsync_schemas::kql::Names;
use cmsync_schemas::searches::Show;
use serde::{Deserialize, Serialize};

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", content = "value", rename_all = "kebab-case")]
pub enum Answer {
    /// To [`crate::Question::Status`].
    Status(Vec<ConnectionView>),
    /// To [`crate::Question::Log`].
    Log(Vec<String>),
    /// To [`crate::Question::Ticket`].
    Ticket(String),
    /// To [`crate::Question::Removals`].
    Removals(Vec<RemovalView>),
    /// To [`crate::Question::DeadLetters`].
    DeadLetters(Vec<DeadLetterView>),
    /// To [`crate::Question::Groups`].
    Groups(GroupsView),
    /// To [`crate::Question::GroupsOf`].
    GroupsOf(Vec<MembershipView>),
    /// To [`crate::Question::Expected`].
    Expected(ExpectedView),
    /// To [`crate::Question::Searches`].
    Searches(Vec<SearchView>),
    /// To [`crate::Question::Reporting`].
    Reporting {
        /// Computers with memberships.
        computers: u64,
        /// Those whose FQDN is among the names.
        by_fqdn: u64,
        /// Those whose NetBIOS name is.
        by_netbios: u64,
    },
    /// To [`crate::Question::Members`].
    Members(Vec<MemberView>),
    /// An order was taken: what happens now, in words.
    Taken(String),
    /// It cannot be done: why.
    Refused(String),
}

/// A connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionView {
    /// Its name.
    pub connection: String,
    /// The top-tier site's code, once known.
    pub site_code: String,
    /// Collections kept.
    pub collections: i64,
    /// Memberships kept.
    pub members: i64,
    /// Removals that wait for a person.
    pub held_removals: i64,
    /// Dead letters.
    pub dead_letters: i64,
    /// Bytes that wait for the workspace.
    pub waiting_bytes: u64,
    /// Messages that wait for the workspace.
    pub waiting_messages: u64,
    /// Those of them that wait to be transformed still.
    pub waiting_changes: u64,
    /// When the oldest of them was observed; microseconds since 1970, 0 for none.
    #[serde(default)]
    pub oldest_waiting: i64,
    /// Whether a person paused it.
    pub is_paused: bool,
    /// What is not as it should be.
    pub warnings: Vec<String>,
    /// Its stages.
    pub stages: Vec<StageView>,
}

/// A stage of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageView {
    /// `producer`, `transformer` or `uploader`.
    pub stage: String,
    /// How it is.
    pub state: Health,
    /// Why, and who must do what.
    pub reason: String,
    /// Who must act: `asked`, `rights`, `credential` or `other`; empty while it works.
    #[serde(default)]
    pub cause: String,
    /// Since when; microseconds since 1970.
    pub since: i64,
    /// Last success; microseconds since 1970, 0 for never.
    pub last_success: i64,
    /// What of it is not as it should be.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// A held removal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovalView {
    /// The connection.
    pub connection: String,
    /// The collection.
    pub collection: String,
    /// Its name.
    pub name: String,
    /// Whether the collection itself would go.
    pub is_collection: bool,
    /// Members that would go.
    pub members: u64,
    /// Some of them, by name.
    #[serde(default)]
    pub computers: Vec<String>,
    /// Why it is held.
    pub reason: String,
    /// Since when; microseconds since 1970.
    pub since: i64,
    /// Whether a person dismissed it.
    pub is_dismissed: bool,
    /// What is held, in short: it differs where others would go.
    #[serde(default)]
    pub print: String,
    /// What was decided a moment ago: `approve` or `dismiss`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterView {
    /// Its id.
    pub id: String,
    /// The connection.
    pub connection: String,
    /// The stage that set it aside.
    pub stage: String,
    /// Why, from a closed set.
    pub reason: String,
    /// Why, in words.
    pub error: String,
    /// The collection, where known.
    pub collection: String,
    /// Since when; microseconds since 1970.
    pub first_seen: i64,
    /// The row, or the message's bytes, as text.
    pub payload: String,
    /// What was decided a moment ago: `replay` or `drop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
}

/// All computer groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupsView {
    /// Collections that are kept.
    pub collections: u64,
    /// Computers that are in one or more of them.
    pub computers: u64,
    /// The groups.
    pub groups: Vec<GroupView>,
}

/// A group that a computer is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipView {
    /// The collection.
    pub collection: String,
    /// Its name.
    pub name: String,
    /// What queries call the group.
    pub alias: String,
    /// The computer.
    pub computer: String,
    /// `ResourceID`.
    pub resource_id: i64,
}

/// A computer group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupView {
    /// The connection.
    pub connection: String,
    /// The collection.
    pub collection: String,
    /// Its name.
    pub name: String,
    /// Its folder.
    pub folder: String,
    /// What queries call the group; empty before its first message.
    pub alias: String,
    /// Whether its text holds the names: it then works in an alert rule with any window. Otherwise the
    /// window must hold a whole snapshot.
    pub is_static: bool,
    /// Computers in it.
    pub members: i64,
    /// When it was last read; microseconds since 1970.
    pub last_read: i64,
    /// When it was last sent whole; microseconds since 1970, 0 for never.
    pub last_snapshot: i64,
    /// `sent`, `on its way` or `never sent`.
    pub snapshot: String,
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberView {
    /// `ResourceID`.
    pub resource_id: i64,
    /// FQDN or NetBIOS name.
    pub computer: String,
    /// NetBIOS name.
    pub netbios_name: String,
    /// Code of the device's site.
    pub assigned_site: Option<String>,
}

/// What the workspace should show of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedView {
    /// The connection.
    pub connection: String,
    /// The top-tier site's code.
    pub site_code: String,
    /// The installation's instance.
    pub instance: String,
    /// Messages that wait for the workspace.
    pub waiting: u64,
    /// Bodies up to this size were seen to arrive whole; 0 where that is not known.
    pub raw_limit: u64,
    /// The collections.
    pub groups: Vec<ExpectedGroup>,
}

/// What the workspace should show of a collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedGroup {
    /// The collection.
    pub collection: String,
    /// Its name.
    pub name: String,
    /// Its members.
    pub count: i64,
    /// The sum of their rows' hashes.
    pub sum: i64,
    /// Its last change; microseconds since 1970.
    pub changed_at: i64,
    /// Whether a snapshot of it is on its way.
    pub is_sending: bool,
    /// Rows of it that were set aside.
    pub set_aside: u64,
}

/// How groups are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShowView {
    /// Which names a group gives.
    pub names: Names,
    /// How far back a function looks, in days.
    pub days: u32,
    /// Whether no other hierarchy has groups in the workspace.
    pub is_alone: bool,
}

impl From<Show> for ShowView {
    fn from(Show { names, days, is_alone }: Show) -> Self {
        Self { names, days, is_alone }
    }
}

impl From<ShowView> for Show {
    fn from(ShowView { names, days, is_alone }: ShowView) -> Self {
        Self { names, days, is_alone }
    }
}

/// A saved search that should be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchView {
    /// Its id.
    pub id: String,
    /// What queries call it.
    pub alias: String,
    /// What it says, in short.
    pub print: String,
    /// The last change of its group; microseconds since 1970.
    pub changed_at: i64,
}

impl SearchView {
    /// What a search says, in short.
    #[must_use]
    pub fn print(query: &str, display_name: &str) -> String {
        let hash = cmsync_schemas::questions::row_hash(0, query, display_name);
        format!("{hash:010x}")
    }
}
