//! Signing in, by a ticket of this machine or a password, and out.

use std::net::IpAddr;
use std::time::Duration;

use askama::Template;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Form, Router};
use cmsync_control::counted;
use serde::Deserialize;

use super::attempts::Tried;
use super::form::Fields;
use super::guard::{From, Gate};
use super::openid::{self, Way};
use super::person::{By, Frame, Person, Role};
use crate::pages;

/// Where one signs in.
pub(crate) const PATH: &str = "/sign-in";
/// Where one signs out.
pub(crate) const OUT: &str = "/sign-out";

pub(crate) fn router(gate: Gate) -> Router {
    Router::new()
        .route(PATH, get(page).post(sign_in))
        .route(OUT, post(sign_out))
        .merge(openid::router())
        .with_state(gate)
}

/// What is known when somebody comes to sign in.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    ticket: String,
    next: String,
}

/// What somebody signs in with.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Sent {
    ticket: String,
    name: String,
    password: String,
    next: String,
    /// The fields of the form that was sent before, see [`Fields::text`].
    fields: String,
}

/// The page.
#[derive(Template)]
#[template(path = "sign_in.html")]
struct Page<'a> {
    frame: Frame,
    ticket: &'a str,
    name: &'a str,
    next: &'a str,
    fields: &'a str,
    /// The same, to be sent again once somebody signed in beside this page.
    kept: Vec<(String, String)>,
    /// Whether there are users with passwords.
    has_users: bool,
    /// Where else people sign in.
    elsewhere: Option<Way>,
    /// What went wrong.
    wrong: &'a str,
}

/// A form that was sent from a page of another session.
#[derive(Template)]
#[template(path = "again.html")]
struct Again<'a> {
    frame: Frame,
    path: &'a str,
    fields: Vec<(String, String)>,
}

const NOBODY: Frame = Frame { person: None, client: None, said: None };

/// An address of this console, from its root on; anything else leads to the first page.
pub(crate) fn within(next: &str) -> &str {
    let is_path = next.starts_with('/') && !next.starts_with("//") && !next.starts_with("/\\");
    let is_plain = !next.contains(|c: char| c.is_control() || c == '\\');
    if is_path && is_plain { next } else { "/" }
}

fn written(status: StatusCode, page: &impl Template) -> Response {
    pages::written(status, page).unwrap_or_else(IntoResponse::into_response)
}

/// The page in the place of a form that was sent without a session: nothing that was typed is lost.
pub(crate) fn page_with(gate: &Gate, path: &str, sent: &Fields) -> Response {
    let kept = sent.kept();
    let page = Page {
        frame: NOBODY,
        ticket: "",
        name: "",
        next: if kept.is_empty() { "/" } else { within(path) },
        fields: &sent.text(),
        kept,
        has_users: gate.access.passwords.are_used(),
        // Beside this page, which is sent again from here.
        elsewhere: openid::way(gate, PATH),
        wrong: "You are not signed in, or not any longer. What you sent is kept.",
    };
    written(StatusCode::UNAUTHORIZED, &page)
}

/// Asks again for what was sent from a page of another session.
pub(crate) fn again(path: &str, fields: &Fields, person: &Person) -> Response {
    let frame = Frame { person: Some(person.clone()), ..NOBODY };
    written(StatusCode::CONFLICT, &Again { frame, path, fields: fields.kept() })
}

async fn page(
    State(gate): State<Gate>,
    Extension(frame): Extension<Frame>,
    Query(asked): Query<Asked>,
) -> Response {
    let has_users = gate.access.passwords.are_used();
    let (ticket, next) = (&*asked.ticket, within(&asked.next));
    let kept = Vec::new();
    let elsewhere = openid::way(&gate, next);
    let page =
        Page { frame, ticket, name: "", next, fields: "", kept, has_users, elsewhere, wrong: "" };
    written(StatusCode::OK, &page)
}

async fn sign_in(
    State(gate): State<Gate>,
    Extension(From(from)): Extension<From>,
    headers: HeaderMap,
    Form(tried): Form<Sent>,
) -> Response {
    let who = match who(&gate, from, &tried).await {
        Ok(who) => who,
        Err((status, wrong)) => {
            tracing::warn!(target: "audit", %from, name = tried.name, wrong, "a sign-in failed");
            let kept = Fields::of_text(&tried.fields).kept();
            let page = Page {
                frame: NOBODY,
                ticket: "",
                name: &tried.name,
                next: within(&tried.next),
                fields: &tried.fields,
                kept,
                has_users: gate.access.passwords.are_used(),
                elsewhere: openid::way(
                    &gate,
                    if tried.fields.is_empty() { &tried.next } else { PATH },
                ),
                wrong: &wrong,
            };
            return written(status, &page);
        }
    };
    let token = begin(&gate, from, &headers, who);
    let cookie = [(header::SET_COOKIE, gate.set_cookie(&headers, Some(&token)))];
    let next = within(&tried.next);
    let fields = Fields::of_text(&tried.fields);
    match gate.access.sessions.find(&token, true) {
        Some(person) if !tried.fields.is_empty() => {
            (cookie, again(next, &fields, &person)).into_response()
        }
        _ => (cookie, Redirect::to(next)).into_response(),
    }
}

/// Begins a session; gives what the browser is to hold.
pub(crate) fn begin(
    gate: &Gate,
    from: IpAddr,
    headers: &HeaderMap,
    ((name, by), role): ((String, By), Role),
) -> String {
    let (way, subject, role_text) = (by.text(), by.subject(), role.text());
    tracing::info!(target: "audit", %from, who = name, subject, way, role = role_text, "signed in");
    // What the browser held before is worth nothing any longer.
    if let Some(before) = gate.token(headers) {
        gate.access.sessions.end(before);
    }
    gate.access.sessions.begin((name, by), role)
}

/// Says that nobody signed in elsewhere, and why; another try leads to the page that was wanted.
pub(crate) fn refused(gate: &Gate, status: StatusCode, wrong: &str, next: &str) -> Response {
    let page = Page {
        frame: NOBODY,
        ticket: "",
        name: "",
        next: within(next),
        fields: "",
        kept: Vec::new(),
        has_users: gate.access.passwords.are_used(),
        elsewhere: openid::way(gate, next),
        wrong,
    };
    written(status, &page)
}

fn later(wait: Duration) -> String {
    let minutes = counted(wait.as_secs().div_ceil(60), "minute", "minutes");
    format!("Too many attempts failed: try again in {minutes}.")
}

/// The same to somebody who comes back from elsewhere.
pub(crate) fn too_many(gate: &Gate, from: IpAddr, wait: Duration) -> Response {
    tracing::warn!(target: "audit", %from, "too many sign-ins at the identity provider failed");
    refused(gate, StatusCode::TOO_MANY_REQUESTS, &later(wait), "/")
}

/// Who signs in, or why nobody does.
async fn who(
    gate: &Gate,
    from: IpAddr,
    tried: &Sent,
) -> Result<((String, By), Role), (StatusCode, String)> {
    let access = &gate.access;
    if !tried.ticket.is_empty() {
        // Nobody guesses a ticket: guesses are no reason to keep anybody out.
        let wrong = "The ticket was used, or is too old: `cmsync console` gives another.";
        let who = access.tickets.redeem(&tried.ticket);
        let who = who.ok_or_else(|| (StatusCode::UNAUTHORIZED, wrong.to_owned()))?;
        return Ok(((who, By::Ticket), Role::Operator));
    }
    let name = tried.name.trim();
    if let Err(wait) = access.attempts.try_again(from, Tried::Password(name)) {
        return Err((StatusCode::TOO_MANY_REQUESTS, later(wait)));
    }
    match access.passwords.check(name, tried.password.clone()).await {
        Ok(Some(user)) => {
            access.attempts.succeeded(from, name);
            let print = user.print();
            Ok(((user.name, By::Password(print)), user.role))
        }
        Ok(None) => Err((StatusCode::UNAUTHORIZED, "Name or password is wrong.".to_owned())),
        Err(()) => {
            access.attempts.take_back(from, Tried::Password(name));
            let text = "Many sign in at once: try again in a moment.".to_owned();
            Err((StatusCode::TOO_MANY_REQUESTS, text))
        }
    }
}

async fn sign_out(
    State(gate): State<Gate>,
    Extension(frame): Extension<Frame>,
    request: Request,
) -> Response {
    if let Some(token) = gate.token(request.headers()) {
        gate.access.sessions.end(token);
    }
    let (who, subject) = frame.who();
    tracing::info!(target: "audit", who, subject, "signed out");
    ([(header::SET_COOKIE, gate.set_cookie(request.headers(), None))], Redirect::to(PATH))
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_sign_in_nobody_is_led_elsewhere() {
        for next in ["/", "/groups?q=a&page=2", "/groups/contoso/PS100014"] {
            assert_eq!(within(next), next);
        }
        for next in [
            "",
            "groups",
            "//evil.example/x",
            "/\\evil.example",
            "https://evil.example",
            "/x\r\nset-cookie: a=b",
            "javascript:alert(1)",
            "/\t/evil.example",
        ] {
            assert_eq!(within(next), "/", "{next}");
        }
    }
}
