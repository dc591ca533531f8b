//! How a stage is, for one connection.

use serde::{Deserialize, Serialize};

/// A stage's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    /// Nothing was read or sent yet.
    Starting,
    /// All is well.
    Working,
    /// Waits for something outside, or for a person.
    Paused,
    /// Will not go on by itself.
    Stopped,
}

/// A stage's health for one connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The connection.
    pub connection: String,
    /// The stage.
    pub stage: String,
    /// How it is.
    pub state: Health,
    /// Why, and who must do what.
    #[serde(default)]
    pub reason: String,
    /// Since when; microseconds since 1970.
    pub since: i64,
    /// Last poll or last accepted body; microseconds since 1970, 0 for never.
    #[serde(default)]
    pub last_success: i64,
    /// The top-tier site's code, once known.
    #[serde(default)]
    pub site_code: String,
    /// Collections kept.
    #[serde(default)]
    pub collections: i64,
    /// Memberships kept.
    #[serde(default)]
    pub members: i64,
    /// Removals that wait for a person.
    #[serde(default)]
    pub holds: i64,
    /// What is not as it should be.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// A success is told when the last one told is older than this, in microseconds: a status that moved
/// with each would be written with each.
const NEWS: i64 = 15_000_000;

impl Status {
    /// A stage that has done nothing yet.
    #[must_use]
    pub fn starting(connection: &str, stage: &str, since: i64) -> Self {
        Self {
            connection: connection.to_owned(),
            stage: stage.to_owned(),
            state: Health::Starting,
            reason: String::new(),
            since,
            last_success: 0,
            site_code: String::new(),
            collections: 0,
            members: 0,
            holds: 0,
            warnings: Vec::new(),
        }
    }

    /// Notes a success; whether it is worth telling, which is when it is kept.
    pub fn note_success(&mut self, now: i64) -> bool {
        let is_first = self.state == Health::Starting;
        let is_news = is_first || now - self.last_success > NEWS;
        if is_first {
            (self.state, self.since) = (Health::Working, now);
        }
        if is_news {
            self.last_success = now;
        }
        is_news
    }
}
