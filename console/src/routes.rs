//! Which address shows what. Everything here is for people and their scripts.

use askama::Template;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{Html, Redirect};
use axum::routing::{get, post};
use axum::{Form, Router};
use cmsync_control::{Answer, GroupsView, Question};

use crate::error::Error;
use crate::pages::{groups, letters, members, overview, removals};
use crate::{Shared, api, assets, guard, live};

/// Bytes of a form, at most.
const MAX_BODY: usize = 64 * 1024;

type Page = Result<Html<String>, Error>;

pub(crate) fn all(shared: Shared) -> Router {
    Router::new()
        .route("/", get(overview))
        .route("/events", get(live::events))
        .route("/groups", get(groups))
        .route("/groups/{connection}/{collection}", get(members))
        .route("/removals", get(removals))
        .route("/removals/{connection}/{collection}", post(decide_removal))
        .route("/dead-letters", get(dead_letters))
        .route("/dead-letters/{id}", post(decide_dead_letter))
        .nest("/api/v1", api::router())
        .with_state(shared)
        .merge(assets::router())
        .fallback(async || (StatusCode::NOT_FOUND, "there is no such page\n"))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(axum::middleware::from_fn(guard::admit))
}

fn html(page: &impl Template) -> Page {
    Ok(Html(page.render()?))
}

async fn overview(State(shared): State<Shared>) -> Page {
    html(&overview::Page { cards: shared.cards().await? })
}

async fn all_groups(shared: &Shared) -> Result<GroupsView, Error> {
    match shared.ask(Question::Groups).await? {
        Answer::Groups(view) => Ok(view),
        _ => Err(Error::Unexpected),
    }
}

async fn groups(State(shared): State<Shared>, Query(asked): Query<groups::Asked>) -> Page {
    let view = all_groups(&shared).await?;
    html(&groups::Page::new(view, &asked, (shared.clock)()))
}

async fn members(
    State(shared): State<Shared>,
    Path((connection, collection)): Path<(String, String)>,
    Query(asked): Query<members::Asked>,
) -> Page {
    let question =
        Question::Members { connection: connection.clone(), collection: collection.clone() };
    let Answer::Members(found) = shared.ask(question).await? else {
        return Err(Error::Unexpected);
    };
    let is_it = |group: &cmsync_control::GroupView| {
        group.connection == connection && group.collection == collection
    };
    let group = all_groups(&shared).await?.groups.into_iter().find(is_it);
    let group = group.ok_or_else(|| Error::Refused("the collection went a moment ago".into()))?;
    html(&members::Page::new(group, found, &asked))
}

/// What a person decided.
#[derive(serde::Deserialize)]
struct Decided<D> {
    decision: D,
}

/// What was done a moment ago, and where one stands in the list.
#[derive(serde::Deserialize)]
struct Done<D> {
    done: Option<D>,
    #[serde(default)]
    page: usize,
}

async fn removals(
    State(shared): State<Shared>,
    Query(asked): Query<Done<removals::Decision>>,
) -> Page {
    match shared.ask(Question::Removals).await? {
        Answer::Removals(views) => html(&removals::Page::new(views, asked.done, (shared.clock)())),
        _ => Err(Error::Unexpected),
    }
}

async fn decide_removal(
    State(shared): State<Shared>,
    Path((connection, collection)): Path<(String, String)>,
    Form(Decided { decision }): Form<Decided<removals::Decision>>,
) -> Result<Redirect, Error> {
    let approve = decision == removals::Decision::Approve;
    tracing::info!(connection, collection, approve, "a held removal is decided on the page");
    shared.ask(Question::DecideRemoval { connection, collection, approve }).await?;
    Ok(Redirect::to(if approve { "/removals?done=approve" } else { "/removals?done=dismiss" }))
}

async fn dead_letters(
    State(shared): State<Shared>,
    Query(asked): Query<Done<letters::Decision>>,
) -> Page {
    match shared.ask(Question::DeadLetters).await? {
        Answer::DeadLetters(views) => {
            html(&letters::Page::new(views, (asked.done, asked.page), (shared.clock)()))
        }
        _ => Err(Error::Unexpected),
    }
}

async fn decide_dead_letter(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    Form(Decided { decision }): Form<Decided<letters::Decision>>,
) -> Result<Redirect, Error> {
    let replay = decision == letters::Decision::Replay;
    tracing::info!(id, replay, "a dead letter is decided on the page");
    shared.ask(Question::DecideDeadLetter { id, replay }).await?;
    Ok(Redirect::to(if replay { "/dead-letters?done=replay" } else { "/dead-letters?done=drop" }))
}
