//! What a page or the API says when it cannot answer.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use cmsync_control::SettingsError;

/// A failure to answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The queue failed.
    #[error("the queue cannot be read: {0}")]
    Queue(#[from] cmsync_control::Error),
    /// It is not there.
    #[error("{0}")]
    Missing(String),
    /// It cannot be done as it is now.
    #[error("{0}")]
    Declined(String),
    /// The configuration cannot be read, asked by, or changed.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Pages that look at what somebody typed.
    #[error("this is for operators: sign in as one")]
    Operators,
    /// Another answer than the question has: a fault of this program.
    #[error("the answer is not one to what was asked")]
    Unexpected,
    /// The template failed, which a test of each page shows.
    #[error("the page cannot be written: {0}")]
    Page(#[from] askama::Error),
    /// Too many pages are watched.
    #[error("too many pages are open: close some, or load this one again now and then")]
    TooMany,
}

impl Error {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Queue(_) | Self::TooMany => StatusCode::SERVICE_UNAVAILABLE,
            Self::Missing(_) => StatusCode::NOT_FOUND,
            Self::Declined(_) => StatusCode::CONFLICT,
            Self::Settings(error) => of_settings(error),
            Self::Operators => StatusCode::FORBIDDEN,
            Self::Page(_) | Self::Unexpected => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// The status of a change that was not made.
pub(crate) fn of_settings(error: &SettingsError) -> StatusCode {
    match error {
        SettingsError::Missing(_) => StatusCode::NOT_FOUND,
        SettingsError::Stale | SettingsError::Unwritable { .. } => StatusCode::CONFLICT,
        SettingsError::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        (self.status(), format!("{self}\n")).into_response()
    }
}
