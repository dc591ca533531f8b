//! `/api/v1`: the same answers for scripts.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use cmsync_control::{ConnectionView, Truth};
use serde::Serialize;

use crate::Shared;
use crate::error::Error;

/// A connection with its judgement.
#[derive(Serialize)]
pub(crate) struct Judged {
    #[serde(flatten)]
    view: ConnectionView,
    truth: Truth,
}

pub(crate) fn router() -> Router<Shared> {
    Router::new().route("/connections", get(connections))
}

async fn connections(State(shared): State<Shared>) -> Result<Json<Vec<Judged>>, Error> {
    let judged = |view: ConnectionView| Judged { truth: shared.judge(&view), view };
    Ok(Json(shared.status().await?.into_iter().map(judged).collect()))
}
