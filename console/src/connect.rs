//! Pages that set a connection up.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use cmsync_control::{Kind, Step, StepView};
use url::form_urlencoded;

use crate::Shared;
use crate::access::{Admission, Fields, Frame};
use crate::error::Error;
use crate::pages::connect::{At, Doing, Form, Identity, Site, Start, Summary, Workspace};
use crate::pages::{choose, written};
use crate::routes::note;
use crate::settings::to_its_end;

pub(crate) fn router() -> Router<Shared> {
    Router::new()
        .route("/", get(start).post(begin))
        .route("/{name}/discard", post(discard))
        .route("/{name}/{page}", get(page).post(answer))
}

type Answer = Result<Response, Error>;
type Answers = Vec<(String, String)>;

async fn start(State(shared): State<Shared>, Extension(frame): Extension<Frame>) -> Answer {
    // Set-up looks at sites and directories with what was typed: it is for operators, also to look at.
    frame.must_act()?;
    started(&shared, frame, (String::new(), String::new()), StatusCode::OK).await
}

async fn started(
    shared: &Shared,
    frame: Frame,
    (name, wrong): (String, String),
    status: StatusCode,
) -> Answer {
    let drafts = shared.connect.drafts().await.into_iter();
    let drafts = drafts.map(|name| (At::Site.address(&name).to_string(), name));
    let drafts = drafts.map(|(link, name)| (name, link)).collect();
    written(status, &Start { frame, drafts, name, wrong })
}

/// A set-up that is not wanted is forgotten.
async fn discard(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Extension(admission): Extension<Admission>,
    Path(name): Path<String>,
) -> Answer {
    note(&frame, "discard the set-up", &name, "");
    match shared.connect.discard(&name).await {
        Ok(()) => {
            admission.say(format!("The set-up of {name} is discarded."));
            Ok(Redirect::to("/connect").into_response())
        }
        Err(error) => {
            let shown = (String::new(), error.to_string());
            started(&shared, frame, shown, StatusCode::CONFLICT).await
        }
    }
}

/// A set-up begins with its name.
async fn begin(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    form: Bytes,
) -> Answer {
    let fields = Fields::read(&form);
    let name = fields.first("name").to_owned();
    note(&frame, "connect", &name, "");
    // An answer of nothing: kept, so that it is known whether answers can be.
    let nothing = ("description".to_owned(), String::new());
    let begun = shared.connect.step(&name, Step::Answers, &[nothing]).await;
    // Mostly a folder that the service may not write.
    let hint = |wrong: String| {
        let text =
            format!("{wrong}. See docs/console.md, or use `cmsync connect {name}` on the machine");
        cmsync_control::SettingsError::Refused(text)
    };
    match begun.and_then(|view| view.wrong.map_or(Ok(()), |wrong| Err(hint(wrong)))) {
        Ok(()) => Ok(Redirect::to(&At::Site.address(&name).to_string()).into_response()),
        Err(error) => {
            let shown = (name, error.to_string());
            started(&shared, frame, shown, StatusCode::UNPROCESSABLE_ENTITY).await
        }
    }
}

async fn page(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Path((name, at)): Path<(String, At)>,
    Query(asked): Query<choose::Asked>,
) -> Answer {
    frame.must_act()?;
    match at {
        At::Site | At::Identity => {
            let view = shared.connect.step(&name, Step::Answers, &[]).await?;
            shown(frame, (&name, at), view, StatusCode::OK)
        }
        At::Workspace => {
            let mut view = shared.connect.step(&name, Step::Workspace, &[]).await?;
            // What is merely missing is what the page asks for.
            if !view.missing.is_empty() {
                view.wrong = None;
            }
            shown(frame, (&name, at), view, StatusCode::OK)
        }
        At::Collections => {
            let mut view = shared.connect.step(&name, Step::Visible, &[]).await?;
            let wrong = view.wrong.take().unwrap_or_default();
            collections(frame, &name, view, (&asked, wrong), StatusCode::OK)
        }
        At::Summary => {
            let mut view = shared.connect.step(&name, Step::Answers, &[]).await?;
            let plan = shared.connect.plan(&name).await.map_err(|error| error.to_string());
            let plan = plan.map(|plan| {
                view.said = plan.said;
                plan.steps
            });
            written(StatusCode::OK, &Summary { frame, of: Form::new(&name, at, view), plan })
        }
        At::Progress => {
            let progress = shared.connect.progress(&name).await;
            let of = Form::new(&name, at, StepView::default());
            written(StatusCode::OK, &Doing { frame, of, progress })
        }
    }
}

fn shown(frame: Frame, (name, at): (&str, At), view: StepView, status: StatusCode) -> Answer {
    let of = Form::new(name, at, view);
    match at {
        At::Site => written(status, &Site { frame, of }),
        At::Identity => written(status, &Identity { frame, of }),
        _ => written(status, &Workspace { frame, of }),
    }
}

fn collections(
    frame: Frame,
    name: &str,
    view: StepView,
    (asked, wrong): (&choose::Asked, String),
    status: StatusCode,
) -> Answer {
    let visible = view.visible.clone();
    let of = Form::new(name, At::Collections, view);
    written(status, &choose::Chosen::new(frame, of, (visible, asked), wrong))
}

/// The answers of a form: each of the page's keys, an empty one for none.
fn answers(at: At, fields: &Fields) -> Answers {
    let mut answers = Answers::new();
    for key in at.keys() {
        let values: Vec<&str> =
            fields.all(key).flat_map(str::lines).map(str::trim).filter(|v| !v.is_empty()).collect();
        match values.as_slice() {
            [] => answers.push(((*key).to_owned(), String::new())),
            values => answers.extend(values.iter().map(|v| ((*key).to_owned(), (*v).to_owned()))),
        }
    }
    match at {
        At::Site => answers.push(("site.authentication".into(), authentication(fields))),
        At::Identity => answers.extend(proof(fields)),
        At::Workspace => {
            // What was found before is looked for anew.
            answers.push(("workspace.resource_id".into(), String::new()));
            let chosen = form_urlencoded::parse(fields.first("choice").as_bytes());
            let is_asked = |key: &str| at.keys().contains(&key);
            for (key, value) in chosen.filter(|(key, _)| is_asked(key)) {
                answers.retain(|(known, _)| *known != key);
                answers.push((key.into_owned(), value.into_owned()));
            }
        }
        _ => {}
    }
    answers
}

/// How the site is signed in to, as the file has it.
fn authentication(fields: &Fields) -> String {
    let text = |field: &str| quoted(fields.first(field));
    match fields.first("way") {
        "keytab" => {
            let (principal, keytab) = (text("principal"), text("keytab"));
            format!("{{ kerberos = {{ principal = {principal}, keytab = {keytab} }} }}")
        }
        "cache" => {
            let (principal, cache) = (text("cache_principal"), text("ticket_cache"));
            format!("{{ kerberos = {{ principal = {principal}, ticket_cache = {cache} }} }}")
        }
        "integrated" => "{ integrated = true }".into(),
        "entra" => format!("{{ entra = {{ audience = {} }} }}", text("audience")),
        "bearer" => format!("{{ bearer_token_file = {} }}", text("bearer_token_file")),
        _ => String::new(),
    }
}

/// A text as TOML has it: a basic string, in JSON's way of escaping.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What cmsync shows to Azure: one of the ways, and no other.
fn proof(fields: &Fields) -> Answers {
    let way = fields.first("way");
    let of = |own: &str, value: &str| if way == own { value.to_owned() } else { String::new() };
    let mut proof = vec![
        ("workspace.certificate_file", of("certificate", fields.first("certificate_file"))),
        ("workspace.managed_identity", of("managed", "true")),
        ("workspace.workload_identity", of("workload", "true")),
    ];
    // A secret that was typed is kept apart, and its file is the answer.
    if way != "secret" || !fields.first("client_secret_file").is_empty() {
        proof.push((
            "workspace.client_secret_file",
            of("secret", fields.first("client_secret_file")),
        ));
    }
    proof.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

async fn answer(
    State(shared): State<Shared>,
    Extension(frame): Extension<Frame>,
    Path((name, at)): Path<(String, At)>,
    form: Bytes,
) -> Answer {
    let fields = Fields::read(&form);
    note(&frame, "answer the set-up", &name, "");
    let step = match at {
        At::Site => Step::Site,
        At::Identity => Step::Identity,
        At::Workspace => Step::Workspace,
        At::Collections => return keep(&shared, frame, &name, &fields).await,
        At::Summary | At::Progress => {
            let import = ["true", "false"].into_iter().find(|one| *one == fields.first("import"));
            let import = ("import".to_owned(), import.unwrap_or("true").to_owned());
            shared.connect.step(&name, Step::Answers, &[import]).await?;
            shared.connect.begin(&name).await?;
            let text = "set the connection up".to_owned();
            shared.desk.note(&name, Kind::Configuration, ("", text), &frame.told());
            return Ok(Redirect::to(&At::Progress.address(&name).to_string()).into_response());
        }
    };
    let answers = answers(at, &fields);
    let goes_on = fields.first("then") != "verify";
    // Tokens of the identity: who that is, the next page asks.
    let is_later = at == At::Site && fields.first("way") == "entra" && goes_on;
    let step = if is_later { Step::Answers } else { step };
    let typed = fields.first("client_secret").to_owned();
    let secret = Some(typed).filter(|s| at == At::Identity && !s.is_empty());
    let secret = secret.filter(|_| fields.first("way") == "secret");
    let (connect, own) = (Arc::clone(&shared.connect), name.clone());
    let taken = to_its_end(async move {
        if let Some(secret) = secret {
            // The rest first: the file of the secret is an answer of its own.
            connect.step(&own, Step::Answers, &answers).await?;
            connect.keep_secret(&own, secret.into()).await?;
        }
        connect.step(&own, step, &answers).await
    });
    let view = taken.await??;
    let is_fine = view.wrong.is_none();
    if is_fine && goes_on {
        return Ok(Redirect::to(&at.next().address(&name).to_string()).into_response());
    }
    let status = if is_fine { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    shown(frame, (&name, at), view, status)
}

/// Adds to the list of collections, takes off it, or goes on with it.
async fn keep(shared: &Shared, frame: Frame, name: &str, fields: &Fields) -> Answer {
    let before = shared.connect.step(name, Step::Answers, &[]).await?.answers;
    let own = before.into_iter().filter(|(key, _)| key == "collections").map(|(_, value)| value);
    let gone: Vec<&str> = fields.all("remove").collect();
    let mut all: Vec<String> = own.filter(|entry| !gone.contains(&entry.as_str())).collect();
    for entry in choose::entries(fields) {
        if !all.contains(&entry) {
            all.push(entry);
        }
    }
    let mut answers: Answers = all.into_iter().map(|v| ("collections".to_owned(), v)).collect();
    if answers.is_empty() {
        answers.push(("collections".into(), String::new()));
    }
    let mut view = shared.connect.step(name, Step::Visible, &answers).await?;
    let wrong = view.wrong.take().unwrap_or_default();
    if wrong.is_empty() && fields.first("then") == "next" {
        return Ok(Redirect::to(&At::Summary.address(name).to_string()).into_response());
    }
    let is_fine = wrong.is_empty();
    let status = if is_fine { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    collections(frame, name, view, (&choose::Asked::default(), wrong), status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(at: At, form: &'static str) -> Answers {
        answers(at, &Fields::read(&Bytes::from(form)))
    }

    fn has(answers: &Answers, key: &str, value: &str) -> bool {
        answers.iter().any(|(known, own)| known == key && own == value)
    }

    #[test]
    fn a_form_answers_its_own_questions_and_no_others() {
        let site = of(
            At::Site,
            "site.admin_service=https%3A%2F%2Fa%0D%0Ahttps%3A%2F%2Fb&workspace.tenant_id=x&way=keytab&principal=a%22b%40C&keytab=%2Fk",
        );
        assert!(
            has(&site, "site.admin_service", "https://a")
                && has(&site, "site.admin_service", "https://b")
        );
        assert!(
            has(&site, "site.ca_file", "")
                && !site.iter().any(|(key, _)| key.starts_with("workspace"))
        );
        let kerberos = r#"{ kerberos = { principal = "a\"b@C", keytab = "/k" } }"#;
        assert!(has(&site, "site.authentication", kerberos), "{site:?}");
    }

    #[test]
    fn one_way_to_sign_in_takes_the_place_of_the_others() {
        let managed = of(At::Identity, "way=managed&certificate_file=%2Fc&client_secret_file=%2Fs");
        for (key, value) in [
            ("workspace.managed_identity", "true"),
            ("workspace.workload_identity", ""),
            ("workspace.certificate_file", ""),
            ("workspace.client_secret_file", ""),
        ] {
            assert!(has(&managed, key, value), "{key}: {managed:?}");
        }
        // A secret that was kept before stays where none is typed.
        let secret = of(At::Identity, "way=secret&client_secret=s3cret");
        assert!(
            !secret.iter().any(|(key, value)| key.contains("secret_file") || value == "s3cret")
        );
    }

    #[test]
    fn a_choice_gives_the_answers_of_its_page_alone() {
        let form = "setup.location=x&choice=setup.workspace%3Dlogs%26setup.resource_group%3Drg%26import%3Dfalse";
        let workspace = of(At::Workspace, form);
        assert!(
            has(&workspace, "setup.workspace", "logs")
                && has(&workspace, "setup.resource_group", "rg")
        );
        assert!(!workspace.iter().any(|(key, _)| key == "import"), "{workspace:?}");
        assert_eq!(workspace.iter().filter(|(key, _)| key == "setup.workspace").count(), 1);
    }
}
