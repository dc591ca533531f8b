//! Questions and orders, as they go over the local API.

use serde::{Deserialize, Serialize};

use crate::views::ShowView;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "question", rename_all = "kebab-case")]
pub enum Question {
    /// How everything is.
    Status,
    /// Stop reading a site.
    Pause {
        /// The connection.
        connection: String,
    },
    /// Read it again.
    Resume {
        /// The connection.
        connection: String,
    },
    /// Send a collection whole, or all of a connection.
    Resend {
        /// The connection.
        connection: String,
        /// The collection; `None` for all.
        collection: Option<String>,
    },
    /// The last lines of the running process's log.
    Log,
    /// A ticket that signs in to the console once, for whoever may use the queue's directory.
    Ticket {
        /// Who asks, for the log.
        who: String,
    },
    /// Removals that wait for a person.
    Removals,
    /// Let a held removal go, or keep the members.
    DecideRemoval {
        /// The connection.
        connection: String,
        /// The collection; `*` for all that are held.
        collection: String,
        /// Whether they go.
        approve: bool,
        /// The [`crate::RemovalView::print`] of what the person saw, where it was shown.
        #[serde(default)]
        seen: Option<String>,
    },
    /// Take collections off the list for good: their rows are closed and their groups go.
    RemoveCollections {
        /// The connection.
        connection: String,
        /// The collections; `*` for all of a connection that is taken back.
        collections: Vec<String>,
    },
    /// A connection was taken back.
    Disconnected {
        /// The connection.
        connection: String,
    },
    /// Take the computer groups of a connection away for the time being, or bring them back.
    KeepGroups {
        /// The connection.
        connection: String,
        /// Whether they are kept.
        keep: bool,
    },
    /// Look at the computer groups in the workspace now.
    LookAtGroups {
        /// The connection.
        connection: String,
    },
    /// What the workspace should show of a connection.
    Expected {
        /// The connection.
        connection: String,
    },
    /// The saved searches that the workspace should have.
    Searches {
        /// The connection.
        connection: String,
        /// How groups are shown.
        show: ShowView,
    },
    /// How many computers are among these names.
    Reporting {
        /// The connection.
        connection: String,
        /// Names in small letters.
        names: Vec<String>,
    },
    /// Bodies up to this size arrive whole; `None` when they do not any longer.
    RawLimit {
        /// The connection.
        connection: String,
        /// Bytes before compression.
        bytes: Option<u64>,
    },
    /// Send nothing until a time.
    Hold {
        /// The connection.
        connection: String,
        /// Microseconds since 1970.
        until: i64,
    },
    /// Records and messages set aside.
    DeadLetters,
    /// Send one again, or drop it.
    DecideDeadLetter {
        /// Its id.
        id: String,
        /// Whether it is sent again.
        replay: bool,
    },
    /// Computer groups.
    Groups,
    /// The groups of one computer.
    GroupsOf {
        /// The connection.
        connection: String,
        /// Its FQDN or NetBIOS name, in any case.
        computer: String,
    },
    /// Members of one.
    Members {
        /// The connection.
        connection: String,
        /// The collection.
        collection: String,
    },
}
