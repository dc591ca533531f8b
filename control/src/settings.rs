//! What a person may change of the configuration, and what it says of a connection: the same for the
//! command line and the page. Whoever owns the file implements [`Settings`].

use std::str::FromStr;

use async_trait::async_trait;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// A connection as the configuration has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Properties {
    /// Its name.
    pub connection: String,
    /// What it is for.
    pub description: String,
    /// Whether it sends.
    pub import: bool,
    /// Where the site is.
    pub site: Vec<String>,
    /// Whom it is in Azure.
    pub identity: IdentityView,
    /// Where its workspace is.
    pub workspace: WorkspaceView,
    /// The entries of the list of collections, as the file has them.
    pub collections: Vec<String>,
    /// How groups are kept.
    pub groups: String,
    /// The file in short: it differs when anything of it changed.
    #[serde(skip)]
    pub seen: String,
}

/// Whom a connection is in Azure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityView {
    /// The cloud.
    pub cloud: String,
    /// What it signs in with, in words.
    pub kind: String,
    /// The directory.
    pub tenant: String,
    /// The application.
    pub client: String,
    /// The first three characters of the client secret.
    pub secret_hint: Option<String>,
    /// The day on which the secret or certificate ends.
    pub expires: Option<String>,
}

/// Where a connection's workspace is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkspaceView {
    /// The subscription's id.
    pub subscription: Option<String>,
    /// The resource group.
    pub resource_group: Option<String>,
    /// The workspace's name.
    pub workspace: Option<String>,
    /// The workspace's id for queries.
    pub workspace_id: Option<String>,
    /// The rules, each with its endpoint.
    pub rules: Vec<String>,
}

/// A collection as the site shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VisibleView {
    /// The connection.
    pub connection: String,
    /// Its id.
    pub collection: String,
    /// Its name.
    pub name: String,
    /// Its folder.
    pub folder: String,
    /// How many members the site counts.
    pub members: i64,
    /// Whether the list of the connection keeps it.
    pub is_kept: bool,
}

/// What is changed of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// More of the site's collections are kept: ids, names, patterns or folders.
    Add(Vec<String>),
    /// Entries of the list go, with what they kept.
    Remove(Vec<String>),
    /// Sending is turned on or off.
    Import {
        /// Whether it sends.
        on: bool,
        /// Whether its groups go meanwhile.
        remove_groups: bool,
    },
}

/// Why nothing is changed.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Somebody else changed the file since it was shown.
    #[error("the configuration changed since it was shown: look at it again")]
    Stale,
    /// The file cannot be written.
    #[error("`{file}` cannot be written: {detail}")]
    Unwritable {
        /// The file.
        file: String,
        /// What the system says.
        detail: String,
        /// What the file would hold.
        text: String,
    },
    /// The configuration holds no such connection.
    #[error("there is no connection `{0}` in the configuration")]
    Missing(String),
    /// It cannot be done: why, and what to do.
    #[error("{0}")]
    Refused(String),
}

/// What came of one page of a set-up.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StepView {
    /// What was looked at and found, line by line.
    pub said: Vec<String>,
    /// What is wrong, or missing; `None` where the page is answered as it should be.
    pub wrong: Option<String>,
    /// The key of an answer that is missing.
    pub missing: String,
    /// What may be answered there: what a person reads, and the answers that it gives by their keys.
    pub choices: Vec<(String, Vec<(String, String)>)>,
    /// All answers so far by their keys; one of several values comes several times.
    pub answers: Vec<(String, String)>,
    /// The collections of the site, where they were asked for.
    pub visible: Vec<VisibleView>,
}

/// A page of a set-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// What was answered so far.
    Answers,
    /// The site.
    Site,
    /// The device collections that the site shows.
    Visible,
    /// Who it is in Azure.
    Identity,
    /// The workspace.
    Workspace,
    /// Which collections are kept, and what they cost.
    Collections,
}

/// What a set-up would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// What was looked at and found, line by line.
    pub said: Vec<String>,
    /// Each step with how it stands.
    pub steps: Vec<String>,
}

impl Step {
    /// As it is named on a command line.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Answers => "answers",
            Self::Site => "site",
            Self::Visible => "visible",
            Self::Identity => "identity",
            Self::Workspace => "workspace",
            Self::Collections => "collections",
        }
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [
            Self::Answers,
            Self::Site,
            Self::Visible,
            Self::Identity,
            Self::Workspace,
            Self::Collections,
        ];
        let found = all.into_iter().find(|step| step.text() == text);
        found.ok_or_else(|| format!("there is no page `{text}`"))
    }
}

/// How far a set-up is that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// What was done, line by line.
    pub lines: Vec<String>,
    /// Whether it ended, and well.
    pub ended: Option<bool>,
}

/// Sets connections up, as `cmsync connect` does.
#[async_trait]
pub trait Connect: Send + Sync {
    /// The names of set-ups that are not complete.
    async fn drafts(&self) -> Vec<String>;

    /// Forgets a set-up that is not complete, with what was typed for it.
    ///
    /// # Errors
    /// When it cannot be, or is being done.
    async fn discard(&self, name: &str) -> Result<(), SettingsError>;

    /// Takes answers in, an empty one for none any longer, and looks at a page.
    ///
    /// # Errors
    /// When it cannot be looked at; what is wrong with the answers is in the view.
    async fn step(
        &self,
        name: &str,
        step: Step,
        answers: &[(String, String)],
    ) -> Result<StepView, SettingsError>;

    /// Keeps a client secret that was typed, for the identity of this set-up.
    ///
    /// # Errors
    /// When it cannot be kept.
    async fn keep_secret(&self, name: &str, secret: SecretString) -> Result<(), SettingsError>;

    /// What would be done: each step with how it stands.
    ///
    /// # Errors
    /// When answers are missing, or Azure does not answer.
    async fn plan(&self, name: &str) -> Result<Plan, SettingsError>;

    /// Begins to do it; a set-up that runs goes on.
    ///
    /// # Errors
    /// When it cannot be begun.
    async fn begin(&self, name: &str) -> Result<(), SettingsError>;

    /// How far it is; `None` where it was not begun.
    async fn progress(&self, name: &str) -> Option<Progress>;
}

/// Reads and changes the configuration.
#[async_trait]
pub trait Settings: Send + Sync {
    /// The file in short, as [`Properties::seen`] has it, without looking at anything else.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn seen(&self) -> Result<String, SettingsError>;

    /// A connection's properties, as the file has them now.
    ///
    /// # Errors
    /// When the file cannot be used, or there is no such connection.
    async fn properties(&self, connection: &str) -> Result<Properties, SettingsError>;

    /// The device collections that a connection's site shows.
    ///
    /// # Errors
    /// When the site does not answer.
    async fn visible(&self, connection: &str) -> Result<Vec<VisibleView>, SettingsError>;

    /// Changes a connection; what happens now, in words. `seen` is [`Properties::seen`] of what was shown.
    ///
    /// # Errors
    /// See [`SettingsError`]: nothing is changed then.
    async fn change(
        &self,
        connection: &str,
        change: Change,
        seen: &str,
    ) -> Result<String, SettingsError>;

    /// Tries a connection's credential; what came of it, in words.
    ///
    /// # Errors
    /// When it is not accepted.
    async fn verify_identity(&self, connection: &str) -> Result<String, SettingsError>;

    /// Takes a new client secret in, once it was accepted; `expires` is the day on which it ends.
    ///
    /// # Errors
    /// When it is not accepted, or cannot be kept: the old one stays.
    async fn renew_secret(
        &self,
        connection: &str,
        secret: SecretString,
        expires: Option<&str>,
    ) -> Result<String, SettingsError>;
}
