//! Why a set-up cannot go on.

use cmsync_azure::{AzureError, QueryError};

use super::Step;

/// Why a set-up cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// Azure refused or did not answer.
    #[error(transparent)]
    Azure(#[from] AzureError),
    /// The workspace did not answer a question.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The workspace is not there.
    #[error(
        "the workspace {0} does not exist, or was deleted: choose another, or give a region \
         (`setup.location`) to make it"
    )]
    NoWorkspace(String),
    /// What is there is not ours to change.
    #[error("{step}: {reason}")]
    Blocked {
        /// The step.
        step: Step,
        /// Why, and what to do.
        reason: String,
    },
    /// Somebody deleted it while the set-up ran.
    #[error("{0} is gone: somebody deleted it meanwhile; run this again")]
    Vanished(String),
    /// A rule that nothing can be sent to.
    #[error(
        "{0} has no address of its own; it is not of the kind Direct: delete it, and run this again"
    )]
    NoAddress(String),
}
