//! Pages that change the configuration: properties, the list of collections, the secret.

use askama::Template as _;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use cmsync_control::{Change, Properties, SettingsError};

use crate::Shared;
use crate::access::{Fields, Frame};
use crate::error::Error;
use crate::pages::choose;
use crate::pages::link::Link;
use crate::pages::properties::{Identity, NotWritten, Said, Tab, Workspace};
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
fn back(to: Link, said: &str) -> Response {
    Redirect::to(&to.with("said", said).to_string()).into_response()
}

/// Says why something was not done: on its page, or with the text that the file would hold.
fn refused(
    frame: Frame,
    error: SettingsError,
    back: &Link,
    page: impl FnOnce(Frame, String) -> Result<String, askama::Error>,
) -> Answer {
    let (status, text) = match error {
        SettingsError::Unwritable { file, detail, text } => {
            let page = NotWritten { frame, file, detail, text, back: back.to_string() };
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
    Query(Said { said }): Query<Said>,
) -> Answer {
    let of = properties(&shared, &name).await?;
    let page = Identity::new(frame, of, (said, String::new()));
    Ok(Html(page.render()?).into_response())
}

async fn verify(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Path(name): Path<String>,
) -> Answer {
    let to = Tab::Identity.address(&name);
    note(&frame, "verify the identity", &name, "");
    match shared.settings.verify_identity(&name).await {
        Ok(said) => Ok(back(to, &format!("Azure signs it in: {said}."))),
        Err(error) => {
            let of = properties(&shared, &name).await?;
            let page = |frame, wrong| Identity::new(frame, of, (String::new(), wrong)).render();
            refused(frame, error, &to, page)
        }
    }
}

async fn renew(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Path(name): Path<String>,
    form: Bytes,
) -> Answer {
    let (fields, to) = (Fields::read(&form), Tab::Identity.address(&name));
    note(&frame, "renew the secret", &name, "");
    let expires = fields.first("expires").to_owned();
    let secret = fields.first("client_secret").to_owned().into();
    let day = Some(&*expires).filter(|day| !day.is_empty());
    match shared.settings.renew_secret(&name, secret, day).await {
        Ok(said) => Ok(back(to, &said)),
        Err(error) => {
            let of = properties(&shared, &name).await?;
            let page = |frame, wrong| {
                Identity::new(frame, of, (String::new(), wrong)).typed(expires).render()
            };
            refused(frame, error, &to, page)
        }
    }
}

async fn workspace(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Path(name): Path<String>,
    Query(Said { said }): Query<Said>,
) -> Answer {
    let of = properties(&shared, &name).await?;
    let page = Workspace::new(frame, of, (said, String::new()));
    Ok(Html(page.render()?).into_response())
}

/// Changes a connection; what cannot be is said on the page of its workspace.
async fn change(
    shared: &Shared,
    frame: Frame,
    name: &str,
    (change, seen): (Change, &str),
) -> Answer {
    let to = Tab::Workspace.address(name);
    note(&frame, &format!("{change:?}"), name, "");
    match shared.settings.change(name, change, seen).await {
        Ok(said) => Ok(back(to, &said)),
        Err(error) => {
            let of = properties(shared, name).await?;
            let page = |frame, wrong| Workspace::new(frame, of, (String::new(), wrong)).render();
            refused(frame, error, &to, page)
        }
    }
}

async fn import(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
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
    change(&shared, frame, &name, (import, fields.first("seen"))).await
}

async fn remove(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Path(name): Path<String>,
    form: Bytes,
) -> Answer {
    let fields = Fields::read(&form);
    let entries = fields.all("entry").map(ToOwned::to_owned).collect();
    change(&shared, frame, &name, (Change::Remove(entries), fields.first("seen"))).await
}

async fn choose(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Path(name): Path<String>,
    Query(asked): Query<choose::Asked>,
) -> Answer {
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
    change(&shared, frame, &name, (Change::Add(entries), fields.first("seen"))).await
}
