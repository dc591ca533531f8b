//! Pages that change the configuration: properties, the list of collections, the secret.

use std::sync::Arc;

use askama::Template;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use cmsync_control::{Change, Kind, Properties, SettingsError};

use crate::Shared;
use crate::access::{Admission, Fields, Frame};
use crate::error::{Error, of_settings};
use crate::pages::properties::{Identity, NotWritten, Tab, Workspace};
use crate::pages::{choose, written};
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

/// What is said where nothing was chosen.
const NOTHING: &str = "Nothing is marked.";

async fn properties(shared: &Shared, name: &str) -> Result<Properties, Error> {
    Ok(shared.settings.properties(name).await?)
}

/// Does something to its end, whether or not somebody waits for it still.
pub(crate) async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Error> {
    tokio::spawn(work).await.map_err(|_| Error::Unexpected)
}

/// Who asked for something, of which connection.
struct Asked {
    frame: Frame,
    admission: Admission,
    name: String,
}

impl Asked {
    /// Back to a page that says what was done; what was not is said there with the reason, or with the text
    /// that the file would hold and the command that does it.
    async fn told<P: Template>(
        self,
        shared: &Shared,
        (done, command): (Result<String, SettingsError>, String),
        (tab, page): (Tab, impl FnOnce(Frame, Properties, String) -> P),
    ) -> Answer {
        let Self { frame, admission, name } = self;
        let to = tab.address(&name).to_string();
        let error = match done {
            Ok(said) => {
                let text = if command.is_empty() { said.clone() } else { command };
                shared.desk.note(&name, Kind::Configuration, ("", text), &frame.told());
                admission.say(said);
                return Ok(Redirect::to(&to).into_response());
            }
            Err(error) => error,
        };
        let (status, why) = (of_settings(&error), error.to_string());
        if let SettingsError::Unwritable { file, detail, text } = error {
            let page = NotWritten { frame, file, detail, text, command, back: to };
            return written(status, &page);
        }
        written(status, &page(frame, properties(shared, &name).await?, why))
    }
}

async fn identity(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Path(name): Path<String>,
) -> Answer {
    let of = properties(&shared, &name).await?;
    written(StatusCode::OK, &Identity::new(frame, of, String::new()))
}

async fn verify(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Extension(admission): Extension<Admission>,
    Path(name): Path<String>,
) -> Answer {
    note(&frame, "verify the identity", &name, "");
    let done = shared.settings.verify_identity(&name).await;
    let done = done.map(|said| format!("Azure signs it in: {said}."));
    let asked = Asked { frame, admission, name };
    asked.told(&shared, (done, String::new()), (Tab::Identity, Identity::new)).await
}

async fn renew(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Extension(admission): Extension<Admission>,
    Path(name): Path<String>,
    form: Bytes,
) -> Answer {
    let fields = Fields::read(&form);
    note(&frame, "renew the secret", &name, "");
    let expires = fields.first("expires").to_owned();
    let secret = fields.first("client_secret").to_owned().into();
    let (settings, own, day) = (Arc::clone(&shared.settings), name.clone(), expires.clone());
    let renewed = to_its_end(async move {
        let day = Some(&*day).filter(|day| !day.is_empty());
        settings.renew_secret(&own, secret, day).await
    });
    let done = (renewed.await?, String::new());
    let page = |frame, of, wrong| Identity::new(frame, of, wrong).typed(expires);
    Asked { frame, admission, name }.told(&shared, done, (Tab::Identity, page)).await
}

async fn workspace(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Path(name): Path<String>,
) -> Answer {
    let of = properties(&shared, &name).await?;
    written(StatusCode::OK, &Workspace::new(frame, of, String::new()))
}

/// Changes a connection; what cannot be is said on the page of its workspace.
async fn change(shared: &Shared, asked: Asked, (change, seen): (Change, &str)) -> Answer {
    let command = command(&asked.name, &change);
    note(&asked.frame, &command, &asked.name, "");
    let (settings, own) = (Arc::clone(&shared.settings), asked.name.clone());
    let seen = seen.to_owned();
    let changed = to_its_end(async move { settings.change(&own, change, &seen).await });
    asked.told(shared, (changed.await?, command), (Tab::Workspace, Workspace::new)).await
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
        _ => return Err(SettingsError::Refused("import is turned on or off".into()).into()),
    };
    let import = Change::Import { on, remove_groups };
    change(&shared, Asked { frame, admission, name }, (import, fields.first("seen"))).await
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
        let page = Workspace::new(frame, of, NOTHING.into());
        return written(StatusCode::UNPROCESSABLE_ENTITY, &page);
    }
    let (asked, removed) = (Asked { frame, admission, name }, Change::Remove(entries));
    change(&shared, asked, (removed, fields.first("seen"))).await
}

async fn choose(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Path(name): Path<String>,
    Query(asked): Query<choose::Asked>,
) -> Answer {
    // The site is asked each time: that is for those who may change the list.
    frame.must_act()?;
    let page = chosen(&shared, frame, &name, (&asked, String::new())).await?;
    written(StatusCode::OK, &page)
}

async fn chosen(
    shared: &Shared,
    frame: Frame,
    name: &str,
    (asked, wrong): (&choose::Asked, String),
) -> Result<choose::Page, Error> {
    // Before the site is asked: what changes meanwhile makes the page stale.
    let seen = shared.settings.seen()?;
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
    let entries = choose::entries(&fields);
    if entries.is_empty() {
        let shown = (&choose::Asked::default(), NOTHING.to_owned());
        let page = chosen(&shared, frame, &name, shown).await?;
        return written(StatusCode::UNPROCESSABLE_ENTITY, &page);
    }
    let (asked, added) = (Asked { frame, admission, name }, Change::Add(entries));
    change(&shared, asked, (added, fields.first("seen"))).await
}
