//! Why a connection does not go on.

use cmsync_configmgr::Nature;
use cmsync_schemas::Cause;

/// A failure of the producer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The queue failed or was closed.
    #[error(transparent)]
    Queue(#[from] cmsync_queue::Error),
    /// The site was not read; it is tried again at the next poll.
    #[error(transparent)]
    Site(#[from] cmsync_configmgr::Error),
    /// The state belongs to another owner now.
    #[error("another producer owns this connection's state")]
    Lost,
    /// The state cannot be read.
    #[error("failed to read the state of `{connection}`: {detail}")]
    State {
        /// The connection.
        connection: String,
        /// What is wrong.
        detail: String,
    },
    /// The site is not the hierarchy's top tier.
    #[error(
        "{}; nothing was removed from the workspace",
        cmsync_configmgr::wrong_tier(site, above)
    )]
    NotTopTier {
        /// The site that answered.
        site: String,
        /// The site above.
        above: String,
    },
    /// Rows would carry a wild time.
    #[error(
        "this machine's clock is {} the site's: set it right; nothing is read until then",
        apart(*ahead)
    )]
    Clock {
        /// Seconds; behind, where they are negative.
        ahead: i64,
    },
    /// Another site answers than the one that the state was made from.
    #[error(
        "site `{found}` answers, but this connection keeps site `{kept}`: point its administration \
             service, or its database, back to that one, or disconnect it first"
    )]
    OtherSite {
        /// The site that answered.
        found: String,
        /// The site of the state.
        kept: String,
    },
    /// Rows of two hierarchies could not be told apart.
    #[error(
        "connection `{by}` has site code `{site}` in the same workspace, and rows are told apart by that \
             code alone: give this connection a workspace of its own, or disconnect the other one"
    )]
    SiteTaken {
        /// The site code.
        site: String,
        /// The connection that has it.
        by: String,
    },
    /// Too much waits for the workspace.
    #[error(
        "{waiting} bytes wait for the workspace, {why}: nothing is published until it takes them"
    )]
    Backlog {
        /// Bytes that wait.
        waiting: u64,
        /// Why it is too much.
        why: &'static str,
    },
}

impl Error {
    /// Who must act before the connection goes on.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self {
            Self::Site(error) => match error.nature() {
                Nature::Credentials => Cause::Credential,
                Nature::Rights => Cause::Rights,
                Nature::Transient | Nature::Lasting => Cause::Other,
            },
            _ => Cause::Other,
        }
    }

    /// Whether the connection names a site, or a workspace, that it must not.
    pub(crate) fn is_of_place(&self) -> bool {
        matches!(self, Self::NotTopTier { .. } | Self::OtherSite { .. } | Self::SiteTaken { .. })
    }

    /// Whether the connection's task must end.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Lost | Self::State { .. } | Self::Queue(cmsync_queue::Error::Closed))
    }
}

/// How far a clock is from another one: `60 s ahead of`, `60 s behind`.
#[must_use]
pub fn apart(ahead: i64) -> String {
    let seconds = ahead.unsigned_abs();
    if ahead < 0 { format!("{seconds} s behind") } else { format!("{seconds} s ahead of") }
}
