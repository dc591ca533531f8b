//! What a page or the API says when it cannot answer.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// A failure to answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The queue failed.
    #[error("the queue cannot be read: {0}")]
    Queue(#[from] cmsync_control::Error),
    /// It is not there, or cannot be done.
    #[error("{0}")]
    Refused(String),
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
            Self::Refused(_) => StatusCode::NOT_FOUND,
            Self::Operators => StatusCode::FORBIDDEN,
            Self::Page(_) | Self::Unexpected => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        (self.status(), format!("{self}\n")).into_response()
    }
}
