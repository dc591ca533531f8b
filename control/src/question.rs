//! Questions and orders, as they go over the local API.

use cmsync_schemas::topics;
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
    Ticket,
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
    /// A connection is set up anew: what was ordered of it before counts no longer.
    ForgetOrders {
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

/// What somebody asks for, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The connection; empty where the item says it.
    pub connection: String,
    /// A collection or a dead letter, where it is about one.
    pub item: String,
    /// What is asked for.
    pub text: String,
}

impl Question {
    /// The order that it is; `None` for what changes nothing, and for what cmsync asks of itself.
    #[must_use]
    pub fn order(&self) -> Option<Order> {
        let (connection, item, text) = match self {
            Self::Pause { connection } => (connection, "", "pause".to_owned()),
            Self::Resume { connection } => (connection, "", "resume".to_owned()),
            Self::Resend { connection, collection } => {
                let item = collection.as_deref().unwrap_or_default();
                let what = if item.is_empty() { "everything" } else { item };
                (connection, item, format!("send {what} whole again"))
            }
            Self::DecideRemoval { connection, collection, approve, .. } => {
                let word = if *approve { "approve" } else { "dismiss" };
                let what = if collection == topics::ALL { "all held removals" } else { collection };
                (connection, collection.as_str(), format!("{word} {what}"))
            }
            Self::RemoveCollections { connection, collections } => {
                let what = if collections.iter().any(|id| id == topics::ALL) {
                    "take the connection back".to_owned()
                } else {
                    format!("remove collections {}", collections.join(", "))
                };
                (connection, "", what)
            }
            Self::KeepGroups { connection, keep } => {
                let word = if *keep { "bring back" } else { "take away" };
                (connection, "", format!("{word} the computer groups"))
            }
            Self::DecideDeadLetter { id, replay } => {
                let word = if *replay { "replay" } else { "drop" };
                let text = format!("{word} dead letter {id}");
                return Some(Order { connection: letter_of(id), item: id.clone(), text });
            }
            Self::Status
            | Self::Log
            | Self::Ticket
            | Self::Removals
            | Self::ForgetOrders { .. }
            | Self::LookAtGroups { .. }
            | Self::Expected { .. }
            | Self::Searches { .. }
            | Self::Reporting { .. }
            | Self::RawLimit { .. }
            | Self::Hold { .. }
            | Self::DeadLetters
            | Self::Groups
            | Self::GroupsOf { .. }
            | Self::Members { .. } => return None,
        };
        Some(Order { connection: connection.clone(), item: item.to_owned(), text })
    }
}

/// The connection of a dead letter's id: topic, partition, position and index.
fn letter_of(id: &str) -> String {
    let topic = id.split('/').next().unwrap_or_default();
    topic.splitn(3, '.').nth(2).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_names_what_it_is_about() {
        let order = |question: Question| {
            let Order { connection, item, text } = question.order().unwrap();
            (connection, item, text)
        };
        let id = "cmsync.records.contoso.x/3/41/0";
        let letter = Question::DecideDeadLetter { id: id.into(), replay: false };
        let text = format!("drop dead letter {id}");
        assert_eq!(order(letter), ("contoso.x".into(), id.into(), text));
        let connection = "contoso".to_owned();
        let collection = Some("PS100014".to_owned());
        let resend = Question::Resend { connection, collection };
        let text = "send PS100014 whole again";
        assert_eq!(order(resend), ("contoso".into(), "PS100014".into(), text.into()));
        assert_eq!(Question::Status.order(), None);
    }
}
