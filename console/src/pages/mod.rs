//! What each page shows. A page is made of what control answered, or of the samples.

pub(crate) mod activity;
pub(crate) mod choose;
pub(crate) mod computer;
pub(crate) mod computers;
pub(crate) mod connect;
pub(crate) mod connection;
pub(crate) mod groups;
pub(crate) mod history;
pub(crate) mod letters;
pub(crate) mod link;
pub(crate) mod overview;
pub(crate) mod plots;
pub(crate) mod properties;
pub(crate) mod removals;
pub(crate) mod words;

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Response};

use crate::error::Error;

/// A page as an answer.
pub(crate) fn written(status: StatusCode, page: &impl Template) -> Result<Response, Error> {
    Ok((status, Html(page.render()?)).into_response())
}
