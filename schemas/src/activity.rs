//! What happened, for people.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A number with what it counts: `1 record`, `2 records`.
#[must_use]
pub fn counted(number: u64, one: &str, more: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {more}") }
}

/// What an [`Activity`] is about. Messages hold the word, so that a version that knows more may write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Members that a poll found to come or go.
    Changes,
    /// Collections that were sent whole.
    Snapshots,
    /// Removals that were held, approved, dismissed, or went after their time.
    Removal,
    /// What was set aside.
    DeadLetters,
    /// What a verification found.
    Verification,
    /// A stage that paused, stopped or works again.
    Stage,
    /// The configuration, as the process took it.
    Configuration,
    /// What somebody asked for.
    Order,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Changes,
        Self::Snapshots,
        Self::Removal,
        Self::DeadLetters,
        Self::Verification,
        Self::Stage,
        Self::Configuration,
        Self::Order,
    ];

    /// As messages and addresses have it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Changes => "changes",
            Self::Snapshots => "snapshots",
            Self::Removal => "removal",
            Self::DeadLetters => "dead-letters",
            Self::Verification => "verification",
            Self::Stage => "stage",
            Self::Configuration => "configuration",
            Self::Order => "order",
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// The connection; empty for the whole process.
    pub connection: String,
    /// Microseconds since 1970.
    pub at: i64,
    /// [`Kind::text`].
    pub kind: String,
    /// A collection id, a stage or a dead letter's id, where it is about one.
    #[serde(default)]
    pub item: String,
    /// What happened, in words.
    pub text: String,
    /// Who asked for it, where somebody did.
    #[serde(default)]
    pub who: String,
}

impl Activity {
    /// Something that nobody asked for.
    #[must_use]
    pub fn new(connection: &str, at: i64, kind: Kind, item: &str, text: String) -> Self {
        let (connection, item) = (connection.to_owned(), item.to_owned());
        Self { connection, at, kind: kind.text().to_owned(), item, text, who: String::new() }
    }
}

/// Takes in what happened, at once: nobody waits for it, and nothing fails by it.
pub type Note = Arc<dyn Fn(Activity) + Send + Sync>;
