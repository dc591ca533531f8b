//! Orders of scripts.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use cmsync_control::{ALL, Answer, Question};
use serde::{Deserialize, Serialize};

use super::{Failure, Found, Of, Place};
use crate::Shared;
use crate::access::Frame;
use crate::error::Error;
use crate::pages::{letters, removals};

/// What happens now.
#[derive(Serialize)]
pub(super) struct Taken {
    taken: String,
}

/// Orders something of a thing that is there: what is refused then, is refused for its state.
async fn order(shared: &Shared, frame: &Frame, question: Question) -> Found<Taken> {
    match shared.order(frame, question).await {
        Ok(Answer::Taken(taken)) => Ok(Json(Taken { taken })),
        Ok(_) => Err(Error::Unexpected.into()),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn pause(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Place(connection): Place<String>,
) -> Found<Taken> {
    shared.view(&connection).await?;
    order(&shared, &frame, Question::Pause { connection }).await
}

pub(super) async fn resume(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Place(connection): Place<String>,
) -> Found<Taken> {
    shared.view(&connection).await?;
    order(&shared, &frame, Question::Resume { connection }).await
}

pub(super) async fn resend(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Place(connection): Place<String>,
) -> Found<Taken> {
    shared.view(&connection).await?;
    order(&shared, &frame, Question::Resend { connection, collection: None }).await
}

pub(super) async fn resend_one(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Place((connection, collection)): Place<(String, String)>,
) -> Found<Taken> {
    if shared.desk.group(&connection, &collection).await?.is_none() {
        let text = format!("`{connection}` keeps no collection `{collection}`");
        return Err(Failure::missing(text));
    }
    let collection = Some(collection);
    order(&shared, &frame, Question::Resend { connection, collection }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfRemoval {
    decision: removals::Decision,
    /// `print` of the removal that was looked at.
    seen: String,
}

pub(super) async fn decide_removal(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Place((connection, collection)): Place<(String, String)>,
    Of(decided): Of<OfRemoval>,
) -> Found<Taken> {
    shared.view(&connection).await?;
    if collection == ALL {
        return Err(Failure::missing("a decision is about one removal"));
    }
    let approve = decided.decision == removals::Decision::Approve;
    let seen = Some(decided.seen);
    let decided = Question::DecideRemoval { connection, collection, approve, seen };
    order(&shared, &frame, decided).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfLetter {
    decision: letters::Decision,
}

pub(super) async fn decide_letter(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Place(id): Place<String>,
    Of(decided): Of<OfLetter>,
) -> Found<Taken> {
    let replay = decided.decision == letters::Decision::Replay;
    let taken = order(&shared, &frame, Question::DecideDeadLetter { id, replay }).await;
    // It is refused where there is none.
    taken.map_err(|Failure(status, why)| match status {
        StatusCode::CONFLICT => Failure::missing(why),
        _ => Failure(status, why),
    })
}
