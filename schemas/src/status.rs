//! How a stage is, for one connection.

use serde::{Deserialize, Serialize};

/// A stage's health; the later, the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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

impl Health {
    /// As it is shown and stored.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Starting => "Starting",
            Self::Working => "Working",
            Self::Paused => "Paused",
            Self::Stopped => "Stopped",
        }
    }
}

/// Who must act before a stage goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Nobody: it works.
    Nothing,
    /// Whoever asked for the pause.
    Asked,
    /// Whoever gives rights.
    Rights,
    /// Whoever keeps the account, its secret or its certificate.
    Credential,
    /// It depends: the reason says it.
    Other,
}

impl Cause {
    /// As a status has it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::Asked => "asked",
            Self::Rights => "rights",
            Self::Credential => "credential",
            Self::Other => "other",
        }
    }
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
    /// Who must act, as [`Cause::text`] has it; empty while it works.
    #[serde(default)]
    pub cause: String,
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
            cause: String::new(),
            since,
            last_success: 0,
            site_code: String::new(),
            collections: 0,
            members: 0,
            holds: 0,
            warnings: Vec::new(),
        }
    }

    /// Goes on to `state`; whether that is news. `since` is when the state changed, whatever its
    /// reasons were meanwhile.
    pub fn turn(&mut self, state: Health, (cause, reason): (Cause, &str), now: i64) -> bool {
        let is_news = self.state != state || self.reason != reason || self.cause != cause.text();
        if self.state != state {
            (self.state, self.since) = (state, now);
        }
        if is_news {
            reason.clone_into(&mut self.reason);
            cause.text().clone_into(&mut self.cause);
        }
        is_news
    }

    /// Another copy does it now, or it begins anew: nothing is known here. Whether that is news.
    pub fn stand_by(&mut self, now: i64) -> bool {
        self.turn(Health::Starting, (Cause::Nothing, ""), now)
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
