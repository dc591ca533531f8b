//! Pages that change the configuration: properties, the list of collections, the secret.

use std::sync::Arc;

use askama::Template as _;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use cmsync_control::{Change, Properties, SettingsError};

use crate::Shared;
use crate::access::{Admission, Fields, Frame};
use crate::error::Error;
use crate::pages::choose;
use crate::pages::link::Link;
use crate::pages::properties::{Identity, NotWritten, Tab, Workspace};
use crate::routes::note;

pub(crate) fn router() -> Router<Shared> {
    Router::new()
        .route("/{connection}/identity", get(identity))
        .route("/{connection}/identity/verify", post(verify))
        .route("/{connection}/identity/renew", post(renew))
        .route("/{connection}/workspace", get(workspace))
        .route("/{connection}/workspace/import", post(import))
        .route("/{connection}/collections", get(choose).post(add))
        .route("/{connection}/collections/remove", post(remove))
}

type Answer = Result<Response, Error>;

impl From<SettingsError> for Error {
    fn from(error: SettingsError) -> Self {
        Self::Refused(error.to_string())
    }
}

async fn properties(shared: &Shared, name: &str) -> Result<Properties, Error> {
    Ok(shared.settings.properties(name).await?)
}

/// Back to a page, which says what was done.
fn back(admission: &Admission, to: &Link, said: String) -> Response {
    admission.say(said);
    Redirect::to(&to.to_string()).into_response()
}

/// Does something to its end, whether or not somebody waits for it still.
pub(crate) async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Error> {
    tokio::spawn(work).await.map_err(|_| Error::Unexpected)
}

/// Says why something was not done: on its page, or with the text that the file would hold.
fn refused(
    frame: Frame,
    (error, command): (SettingsError, String),
    back: &Link,
    page: impl FnOnce(Frame, String) -> Result<String, askama::Error>,
) -> Answer {
    let (status, text) = match error {
        SettingsError::Unwritable { file, detail, text } => {
            let page = NotWritten { frame, file, detail, text, command, back: back.to_string() };
            (StatusCode::CONFLICT, page.render()?)
        }
        SettingsError::Stale => (StatusCode::CONFLICT, page(frame, error.to_string())?),
        SettingsError::Refused(why) => (StatusCode::UNPROCESSABLE_ENTITY, page(frame, why)?),
    };
    Ok((status, Html(text)).into_response())
}

async fn identity(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Path(name): Path<String>,
) -> Answer {
    let of = properties(&shared, &name).await?;
    let page = Identity::new(frame, of, String::new());
    Ok(Html(page.render()?).into_response())
}

async fn verify(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Extension(admission): Extension<Admission>,
    Path(name): Path<String>,
) -> Answer {
    let to = Tab::Identity.address(&name);
    note(&frame, "verify the identity", &name, "");
    match shared.settings.verify_identity(&name).await {
        Ok(said) => Ok(back(&admission, &to, format!("Azure signs it in: {said}."))),
        Err(error) => {
            let of = properties(&shared, &name).await?;
            let page = |frame, wrong| Identity::new(frame, of, wrong).render();
            refused(frame, (error, String::new()), &to, page)
        }
    }
}

async fn renew(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Extension(admission): Extension<Admission>,
    Path(name): Path<String>,
    form: Bytes,
) -> Answer {
    let (fields, to) = (Fields::read(&form), Tab::Identity.address(&name));
    note(&frame, "renew the secret", &name, "");
    let expires = fields.first("expires").to_owned();
    let secret = fields.first("client_secret").to_owned().into();
    let (settings, own, day) = (Arc::clone(&shared.settings), name.clone(), expires.clone());
    let renewed = to_its_end(async move {
        let day = Some(&*day).filter(|day| !day.is_empty());
        settings.renew_secret(&own, secret, day).await
    });
    match renewed.await? {
        Ok(said) => Ok(back(&admission, &to, said)),
        Err(error) => {
            let of = properties(&shared, &name).await?;
            let page = |frame, wrong| Identity::new(frame, of, wrong).typed(expires).render();
            refused(frame, (error, String::new()), &to, page)
        }
    }
}

async fn workspace(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Path(name): Path<String>,
) -> Answer {
    let of = properties(&shared, &name).await?;
    let page = Workspace::new(frame, of, String::new());
    Ok(Html(page.render()?).into_response())
}

/// Changes a connection; what cannot be is said on the page of its workspace.
async fn change(
    shared: &Shared,
    (frame, admission): (Frame, Admission),
    name: &str,
    (change, seen): (Change, &str),
) -> Answer {
    let to = Tab::Workspace.address(name);
    let command = command(name, &change);
    note(&frame, &command, name, "");
    let (settings, own, seen) = (Arc::clone(&shared.settings), name.to_owned(), seen.to_owned());
    let changed = to_its_end(async move { settings.change(&own, change, &seen).await });
    match changed.await? {
        Ok(said) => Ok(back(&admission, &to, said)),
        Err(error) => {
            let of = properties(shared, name).await?;
            let page = |frame, wrong| Workspace::new(frame, of, wrong).render();
            refused(frame, (error, command), &to, page)
        }
    }
}

/// The command that does the same.
fn command(name: &str, change: &Change) -> String {
    let quoted = |entries: &[String]| {
        let texts = entries.iter().map(|text| format!("'{}'", text.replace('\'', "'\\''")));
        texts.collect::<Vec<_>>().join(" ")
    };
    match change {
        Change::Add(entries) => format!("cmsync collections add {name} {}", quoted(entries)),
        Change::Remove(entries) => format!("cmsync collections remove {name} {}", quoted(entries)),
        Change::Import { on: true, .. } => format!("cmsync import enable {name}"),
        Change::Import { remove_groups: false, .. } => format!("cmsync import disable {name}"),
        Change::Import { .. } => format!("cmsync import disable {name} --remove-groups"),
    }
}

async fn import(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Extension(admission): Extension<Admission>,
    Path(name): Path<String>,
    form: Bytes,
) -> Answer {
    let fields = Fields::read(&form);
    let (on, remove_groups) = match fields.first("import") {
        "on" => (true, false),
        "off" => (false, false),
        "off-without-groups" => (false, true),
        _ => return Err(Error::Refused("import is turned on or off".into())),
    };
    let import = Change::Import { on, remove_groups };
    change(&shared, (frame, admission), &name, (import, fields.first("seen"))).await
}

async fn remove(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Extension(admission): Extension<Admission>,
    Path(name): Path<String>,
    form: Bytes,
) -> Answer {
    let fields = Fields::read(&form);
    let entries: Vec<String> = fields.all("entry").map(ToOwned::to_owned).collect();
    if entries.is_empty() {
        let of = properties(&shared, &name).await?;
        let page = Workspace::new(frame, of, "Nothing is marked.".into());
        let text = Html(page.render()?);
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, text).into_response());
    }
    change(&shared, (frame, admission), &name, (Change::Remove(entries), fields.first("seen")))
        .await
}

async fn choose(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Path(name): Path<String>,
    Query(asked): Query<choose::Asked>,
) -> Answer {
    // The site is asked each time: that is for those who may change the list.
    if !frame.may_act() {
        return Err(Error::Operators);
    }
    let page = chosen(&shared, frame, &name, (&asked, String::new())).await?;
    Ok(Html(page.render()?).into_response())
}

async fn chosen(
    shared: &Shared,
    frame: Frame,
    name: &str,
    (asked, wrong): (&choose::Asked, String),
) -> Result<choose::Page, Error> {
    let seen = properties(shared, name).await?.seen;
    let visible = shared.settings.visible(name).await?;
    Ok(choose::Page::new(frame, (name.to_owned(), seen), (visible, asked), wrong))
}

async fn add(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Extension(admission): Extension<Admission>,
    Path(name): Path<String>,
    form: Bytes,
) -> Answer {
    let fields = Fields::read(&form);
    let names = ["entry", "folder", "pattern"].into_iter().flat_map(|field| fields.all(field));
    let entries: Vec<String> =
        names.map(str::trim).filter(|text| !text.is_empty()).map(ToOwned::to_owned).collect();
    if entries.is_empty() {
        let wrong = "Nothing is marked.".to_owned();
        let page = chosen(&shared, frame, &name, (&choose::Asked::default(), wrong)).await?;
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, Html(page.render()?)).into_response());
    }
    change(&shared, (frame, admission), &name, (Change::Add(entries), fields.first("seen"))).await
}
