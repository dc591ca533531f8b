//! Which address shows what. Everything here is for people and their scripts.

use askama::Template;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{Html, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Form, Router};
use cmsync_control::{ALL, Answer, Asked as List, ComputerSort, Computers, Question};

use crate::access::{self, Admission, Frame, Gate, MAX_BODY};
use crate::error::Error;
use crate::pages::link::{Link, Pages};
use crate::pages::words::sentence;
use crate::pages::{
    activity, computer, computers, connection, groups, history, letters, overview, plots, removals,
};
use crate::{Shared, api, assets, connect, csv, live, settings};

type Page = Result<Html<String>, Error>;

pub(crate) fn all(shared: Shared, gate: Gate) -> Router {
    Router::new()
        .route("/", get(overview))
        .route("/events", get(live::events))
        .route("/connections/{connection}", get(connection).post(ask_of_connection))
        .route("/groups", get(groups))
        .route("/groups/groups.csv", get(groups_csv))
        .route("/groups/{connection}/{collection}", get(members))
        .route("/groups/{connection}/{collection}/computers.csv", get(members_csv))
        .route("/groups/{connection}/{collection}/history", get(group_history))
        .route("/groups/{connection}/{collection}/resend", post(resend))
        .route("/computers/{connection}", get(all_computers))
        .route("/computers/{connection}/computers.csv", get(computers_csv))
        .route("/computer/{connection}/{computer}", get(one_computer))
        .route("/computer/{connection}/{computer}/history", get(computer_history))
        .route("/removals", get(removals))
        .route("/removals/{connection}/{collection}", post(decide_removal))
        .route("/activity", get(activity))
        .route("/plots", get(plots))
        .route("/dead-letters", get(dead_letters))
        .route("/dead-letters/{id}", post(decide_dead_letter))
        .nest("/connections", settings::router())
        .nest("/connect", connect::router())
        .nest("/api/v1", api::router())
        .with_state(shared)
        .merge(access::router(gate.clone()))
        .merge(assets::router())
        .fallback(async || (StatusCode::NOT_FOUND, "there is no such page\n"))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(axum::middleware::from_fn_with_state(gate, access::admit))
}

fn html(page: &impl Template) -> Page {
    Ok(Html(page.render()?))
}

/// Says in the log who ordered what.
pub(crate) fn note(frame: &Frame, order: &str, connection: &str, item: &str) {
    let ((who, subject), way) = (frame.who(), frame.way());
    let from = frame.client.map(|client| client.to_string()).unwrap_or_default();
    tracing::info!(target: "audit", from, who, subject, way, order, connection, item, "ordered");
}

/// Where one stands in a list.
#[derive(serde::Deserialize)]
struct Paged {
    #[serde(default)]
    page: usize,
}

/// What a person decided.
#[derive(serde::Deserialize)]
struct Decided<D> {
    decision: D,
    /// What was shown, in short.
    seen: Option<String>,
}

async fn overview(State(shared): State<Shared>, Extension(frame): Extension<Frame>) -> Page {
    html(&overview::Page { frame, cards: shared.cards().await? })
}

async fn connection(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Path(name): Path<String>,
) -> Page {
    let view = shared.view(&name).await?;
    let truth = shared.judge(&view);
    let configured = shared.configured(&name);
    html(&connection::Page::new(frame, (view, truth), configured, shared.now()))
}

#[derive(serde::Deserialize)]
struct Ordered {
    order: connection::Order,
}

async fn ask_of_connection(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Extension(admission): Extension<Admission>,
    Path(name): Path<String>,
    Form(Ordered { order }): Form<Ordered>,
) -> Result<Redirect, Error> {
    let connection = name.clone();
    let question = match order {
        connection::Order::Pause => Question::Pause { connection },
        connection::Order::Resume => Question::Resume { connection },
        connection::Order::Resend => Question::Resend { connection, collection: None },
    };
    let taken = shared.order(&frame, question).await?;
    told(&admission, taken, &connection::address(&name))
}

/// To a page that says what was done.
fn told(admission: &Admission, taken: Answer, link: &Link) -> Result<Redirect, Error> {
    let Answer::Taken(text) = taken else { return Err(Error::Unexpected) };
    admission.say(sentence(&text));
    Ok(Redirect::to(&link.to_string()))
}

async fn groups(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Query(asked): Query<groups::Asked>,
) -> Page {
    let found = shared.desk.list_groups(&asked.list()).await?;
    let names: Vec<String> = shared.configured.borrow().keys().cloned().collect();
    html(&groups::Page::new(frame, names.into_iter(), (found, &asked), shared.now()))
}

async fn groups_csv(
    State(shared): State<Shared>,
    Query(asked): Query<groups::Asked>,
) -> Result<Response, Error> {
    let found = shared.desk.list_groups(&asked.list()).await?.found;
    Ok(csv::file("computer-groups", &groups::TITLES, found.into_iter().map(groups::cells)))
}

/// Computers of a connection, or of one of its collections.
pub(crate) async fn found(
    shared: &Shared,
    (connection, collection): (&str, Option<&str>),
    list: &List<ComputerSort>,
) -> Result<Computers, Error> {
    let found = shared.desk.list_computers(connection, collection, list).await?;
    found.ok_or_else(|| {
        let what = collection.map_or(String::new(), |id| format!(" with a collection `{id}`"));
        Error::Missing(format!("there is no connection `{connection}`{what}"))
    })
}

fn computers_file(connection: &str, collection: Option<&str>, found: Computers) -> Response {
    let name = format!("{connection}-{}", collection.unwrap_or("computers"));
    let titles = ["computer", "netbios_name", "assigned_site", "resource_id"];
    let rows = (0..found.len()).map(move |at| match found.from(at).next() {
        Some(view) => vec![
            view.computer,
            view.netbios_name,
            view.assigned_site.unwrap_or_default(),
            view.resource_id.to_string(),
        ],
        None => Vec::new(),
    });
    csv::file(&name, &titles, rows)
}

async fn members(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Path((connection, collection)): Path<(String, String)>,
    Query(asked): Query<computers::Asked>,
) -> Page {
    let found = found(&shared, (&connection, Some(&collection)), &asked.list()).await?;
    let group = shared.desk.group(&connection, &collection).await?;
    let group = group.ok_or_else(|| Error::Missing("the collection went a moment ago".into()))?;
    let of = (&*connection, &shared.configured(&connection));
    let now = shared.now();
    html(&computers::Page::new(frame, of, Some(group), (&found, &asked), now))
}

async fn members_csv(
    State(shared): State<Shared>,
    Path((connection, collection)): Path<(String, String)>,
    Query(asked): Query<computers::Asked>,
) -> Result<Response, Error> {
    let found = found(&shared, (&connection, Some(&collection)), &asked.list()).await?;
    Ok(computers_file(&connection, Some(&collection), found))
}

async fn resend(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Extension(admission): Extension<Admission>,
    Path((connection, collection)): Path<(String, String)>,
) -> Result<Redirect, Error> {
    let link = Link::to("/groups").part(&connection).part(&collection);
    let resend = Question::Resend { connection, collection: Some(collection) };
    told(&admission, shared.order(&frame, resend).await?, &link)
}

async fn all_computers(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Path(connection): Path<String>,
    Query(asked): Query<computers::Asked>,
) -> Page {
    let found = found(&shared, (&connection, None), &asked.list()).await?;
    let of = (&*connection, &shared.configured(&connection));
    html(&computers::Page::new(frame, of, None, (&found, &asked), shared.now()))
}

async fn computers_csv(
    State(shared): State<Shared>,
    Path(connection): Path<String>,
    Query(asked): Query<computers::Asked>,
) -> Result<Response, Error> {
    let found = found(&shared, (&connection, None), &asked.list()).await?;
    Ok(computers_file(&connection, None, found))
}

async fn one_computer(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Path((connection, computer)): Path<(String, String)>,
) -> Page {
    let question =
        Question::GroupsOf { connection: connection.clone(), computer: computer.clone() };
    match shared.ask(question).await? {
        Answer::GroupsOf(views) => html(&computer::Page::new(frame, (connection, computer), views)),
        _ => Err(Error::Unexpected),
    }
}

async fn group_history(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Path((connection, collection)): Path<(String, String)>,
) -> Page {
    // One that is gone has a history too.
    let group = shared.desk.group(&connection, &collection).await?;
    let name = group.map_or_else(|| collection.clone(), |group| group.name);
    let site = shared.view(&connection).await?.site_code;
    let known = shared.history.of_collection(&connection, &site, &collection).await;
    let back = Link::to("/groups").part(&connection).part(&collection);
    let known = known.map(history::Known::Collection);
    html(&history::Page::new(frame, (name, back), known, shared.now()))
}

async fn computer_history(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Path((connection, computer)): Path<(String, String)>,
) -> Page {
    let site = shared.view(&connection).await?.site_code;
    let known = shared.history.of_computer(&connection, &site, &computer).await;
    let known = known.map(|(days, changes)| history::Known::Computer {
        connection: &connection,
        days,
        changes,
    });
    let back = Link::to("/computer").part(&connection).part(&computer);
    html(&history::Page::new(frame, (computer.clone(), back), known, shared.now()))
}

async fn removals(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Query(asked): Query<Paged>,
) -> Page {
    let first = Pages::before_page(removals::PAGE, asked.page);
    let (all, views) = shared.desk.list_removals(first, removals::PAGE).await?;
    let page = (views, removals::pages(all, asked.page));
    html(&removals::Page::new(frame, page, shared.now()))
}

async fn decide_removal(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Extension(admission): Extension<Admission>,
    Path((connection, collection)): Path<(String, String)>,
    Form(Decided { decision, seen }): Form<Decided<removals::Decision>>,
) -> Result<Redirect, Error> {
    if collection == ALL || seen.is_none() {
        return Err(Error::Missing("a decision is about one removal that was shown".into()));
    }
    let approve = decision == removals::Decision::Approve;
    let decided = Question::DecideRemoval { connection, collection, approve, seen };
    told(&admission, shared.order(&frame, decided).await?, &Link::to("/removals"))
}

async fn activity(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Query(asked): Query<activity::Asked>,
) -> Page {
    let first = Pages::before_page(activity::PAGE, asked.page);
    let found = shared.desk.list_activity(&asked.looked(), first, activity::PAGE).await?;
    let names: Vec<String> = shared.configured.borrow().keys().cloned().collect();
    html(&activity::Page::new(frame, names.into_iter(), asked, found, shared.now()))
}

async fn plots(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Query(asked): Query<plots::Asked>,
) -> Page {
    let drawn = shared.samples.drawn(asked.of(), asked.span());
    let names: Vec<String> = shared.configured.borrow().keys().cloned().collect();
    html(&plots::Page::new(frame, names.into_iter(), &asked, drawn))
}

async fn dead_letters(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Query(asked): Query<Paged>,
) -> Page {
    let first = Pages::before_page(letters::PAGE, asked.page);
    let (all, views) = shared.desk.list_letters(first, letters::PAGE).await?;
    let page = (views, letters::pages(all, asked.page));
    html(&letters::Page::new(frame, page, shared.now()))
}

async fn decide_dead_letter(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Extension(admission): Extension<Admission>,
    Path(id): Path<String>,
    Form(Decided { decision, .. }): Form<Decided<letters::Decision>>,
) -> Result<Redirect, Error> {
    let replay = decision == letters::Decision::Replay;
    let taken = shared.order(&frame, Question::DecideDeadLetter { id, replay }).await?;
    told(&admission, taken, &Link::to("/dead-letters"))
}
