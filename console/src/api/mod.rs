//! `/api/v1`: the same answers and orders for scripts, as `assets/openapi.json` says it.
//!
//! Whoever may see pages may read; orders take a token (`cmsync console token`), so that no browser gives
//! one without knowing.

mod asked;
mod orders;

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use cmsync_control::activity::Looked;
use cmsync_control::{
    Activity, Answer, Asked, ComputerSort, ConnectionView, DeadLetterView, GroupSort, GroupView,
    MemberView, MembershipView, Question, RemovalView, Truth,
};
use serde::{Deserialize, Serialize};

use crate::Shared;
use crate::error::Error;
use crate::pages::plots;
use crate::routes;
use asked::{Looks, Of, Place};

/// What an address takes.
type Methods = fn() -> MethodRouter<Shared>;

/// What every address of the API does, as the document names it.
const ROUTES: &[(&str, Methods)] = &[
    ("/openapi.json", || get(document)),
    ("/connections", || get(connections)),
    ("/connections/{connection}", || get(connection)),
    ("/connections/{connection}/pause", || post(orders::pause)),
    ("/connections/{connection}/resume", || post(orders::resume)),
    ("/connections/{connection}/resend", || post(orders::resend)),
    ("/connections/{connection}/computers", || get(computers)),
    ("/connections/{connection}/computers/{computer}", || get(groups_of)),
    ("/connections/{connection}/collections/{collection}", || get(group)),
    ("/connections/{connection}/collections/{collection}/members", || get(members)),
    ("/connections/{connection}/collections/{collection}/resend", || post(orders::resend_one)),
    ("/connections/{connection}/removals/{collection}", || post(orders::decide_removal)),
    ("/groups", || get(groups)),
    ("/removals", || get(removals)),
    ("/dead-letters", || get(dead_letters)),
    ("/dead-letters/{id}", || post(orders::decide_letter)),
    ("/activity", || get(activity)),
    ("/samples", || get(samples)),
];

const DOCUMENT: &str = include_str!("../../assets/openapi.json");

pub(crate) fn router() -> Router<Shared> {
    let mut router = Router::new();
    for (path, methods) in ROUTES {
        router = router.route(path, methods());
    }
    router
        .method_not_allowed_fallback(async || {
            refused(StatusCode::METHOD_NOT_ALLOWED, "this address takes another method")
        })
        .fallback(async || refused(StatusCode::NOT_FOUND, "there is no such address"))
}

/// An answer that says why there is no other.
pub(crate) fn refused(status: StatusCode, why: &str) -> Response {
    (status, Json(BTreeMap::from([("error", why)]))).into_response()
}

/// Why there is no answer, and its status.
#[derive(Debug)]
pub(crate) struct Failure(StatusCode, String);

impl Failure {
    fn missing(what: impl Into<String>) -> Self {
        Self(StatusCode::NOT_FOUND, what.into())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        Self(error.status(), text)
    }
}

impl From<cmsync_control::Error> for Failure {
    fn from(error: cmsync_control::Error) -> Self {
        Error::from(error).into()
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        refused(self.0, &self.1)
    }
}

type Found<T> = Result<Json<T>, Failure>;

/// A part of a list.
#[derive(Serialize)]
struct Part<T> {
    /// How many there are in all.
    total: usize,
    items: Vec<T>,
}

/// A connection with its judgement.
#[derive(Serialize)]
pub(crate) struct Judged {
    #[serde(flatten)]
    view: ConnectionView,
    truth: Truth,
}

async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}

async fn connections(State(shared): State<Shared>) -> Found<Vec<Judged>> {
    let judged = |view: ConnectionView| Judged { truth: shared.judge(&view), view };
    Ok(Json(shared.status().await?.into_iter().map(judged).collect()))
}

async fn connection(State(shared): State<Shared>, Place(name): Place<String>) -> Found<Judged> {
    let view = shared.view(&name).await?;
    Ok(Json(Judged { truth: shared.judge(&view), view }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed<S> {
    #[serde(default)]
    q: String,
    #[serde(default)]
    sort: S,
    #[serde(default)]
    down: bool,
    #[serde(default)]
    offset: u32,
    #[serde(default)]
    limit: Limit,
}

/// Items of an answer: from 1 to 1,000.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "u32")]
struct Limit(usize);

impl Default for Limit {
    fn default() -> Self {
        Self(100)
    }
}

impl TryFrom<u32> for Limit {
    type Error = &'static str;

    fn try_from(count: u32) -> Result<Self, Self::Error> {
        let count = usize::try_from(count).ok().filter(|count| (1..=1_000).contains(count));
        count.map(Self).ok_or("limit is a number from 1 to 1000")
    }
}

impl<S: Copy> Listed<S> {
    fn asked(&self) -> Asked<S> {
        Asked { q: self.q.clone(), sort: self.sort, down: self.down }
    }

    fn first(&self) -> usize {
        usize::try_from(self.offset).unwrap_or(usize::MAX)
    }

    fn cut<T>(&self, all: Vec<T>) -> Part<T> {
        let total = all.len();
        Part { total, items: all.into_iter().skip(self.first()).take(self.limit.0).collect() }
    }
}

async fn groups(
    State(shared): State<Shared>,
    Looks(listed): Looks<Listed<GroupSort>>,
) -> Found<Part<GroupView>> {
    Ok(Json(listed.cut(shared.desk.list_groups(&listed.asked()).await?.found)))
}

async fn group(
    State(shared): State<Shared>,
    Place((connection, collection)): Place<(String, String)>,
) -> Found<GroupView> {
    let found = shared.desk.group(&connection, &collection).await?;
    let missing = || Failure::missing(format!("`{connection}` keeps no collection `{collection}`"));
    found.map(Json).ok_or_else(missing)
}

async fn listed_computers(
    shared: &Shared,
    (connection, collection): (&str, Option<&str>),
    listed: &Listed<ComputerSort>,
) -> Found<Part<MemberView>> {
    let found = routes::found(shared, (connection, collection), &listed.asked()).await?;
    let items = found.from(listed.first()).take(listed.limit.0).collect();
    Ok(Json(Part { total: found.len(), items }))
}

async fn computers(
    State(shared): State<Shared>,
    Place(connection): Place<String>,
    Looks(listed): Looks<Listed<ComputerSort>>,
) -> Found<Part<MemberView>> {
    listed_computers(&shared, (&connection, None), &listed).await
}

async fn members(
    State(shared): State<Shared>,
    Place((connection, collection)): Place<(String, String)>,
    Looks(listed): Looks<Listed<ComputerSort>>,
) -> Found<Part<MemberView>> {
    listed_computers(&shared, (&connection, Some(&collection)), &listed).await
}

async fn groups_of(
    State(shared): State<Shared>,
    Place((connection, computer)): Place<(String, String)>,
) -> Found<Vec<MembershipView>> {
    match shared.ask(Question::GroupsOf { connection, computer }).await? {
        Answer::GroupsOf(views) => Ok(Json(views)),
        _ => Err(Error::Unexpected.into()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cut {
    #[serde(default)]
    offset: u32,
    #[serde(default)]
    limit: Limit,
}

impl Cut {
    fn first(&self) -> usize {
        usize::try_from(self.offset).unwrap_or(usize::MAX)
    }

    /// What pages show beyond the end is the last of them; here it is nothing.
    fn part<T>(&self, total: usize, items: Vec<T>) -> Part<T> {
        Part { total, items: if self.first() < total { items } else { Vec::new() } }
    }
}

async fn removals(
    State(shared): State<Shared>,
    Looks(cut): Looks<Cut>,
) -> Found<Part<RemovalView>> {
    let (total, items) = shared.desk.list_removals(cut.first(), cut.limit.0).await?;
    Ok(Json(cut.part(total, items)))
}

async fn dead_letters(
    State(shared): State<Shared>,
    Looks(cut): Looks<Cut>,
) -> Found<Part<DeadLetterView>> {
    let (total, items) = shared.desk.list_letters(cut.first(), cut.limit.0).await?;
    Ok(Json(cut.part(total, items)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Happened {
    #[serde(default)]
    connection: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    item: String,
    #[serde(default)]
    offset: u32,
    #[serde(default)]
    limit: Limit,
}

async fn activity(
    State(shared): State<Shared>,
    Looks(asked): Looks<Happened>,
) -> Found<Part<Activity>> {
    let Happened { connection, kind, item, offset, limit } = asked;
    let cut = Cut { offset, limit };
    let looked = Looked { connection, kind, item };
    let (total, items) = shared.desk.list_activity(&looked, cut.first(), limit.0).await?;
    Ok(Json(cut.part(total, items)))
}

async fn samples(
    State(shared): State<Shared>,
    Looks(asked): Looks<plots::Asked>,
) -> Json<plots::Data> {
    Json(plots::Data::new(shared.samples.drawn(asked.of(), asked.span())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_names_every_address_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(DOCUMENT).unwrap();
        let documented: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
        let mut served: Vec<&str> = ROUTES.iter().map(|(path, _)| *path).collect();
        served.sort_unstable();
        let mut documented: Vec<&str> = documented.iter().map(|path| path.as_str()).collect();
        documented.sort_unstable();
        assert_eq!(documented, served);
    }
}
