//! Signing in at an identity provider, from elsewhere: there with a sealed note in a cookie, and back with
//! the provider's answer. Nothing is kept here meanwhile, so nobody can fill it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Extension, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cmsync_openid::{Error, Identity, OpenId, Pending, Returned};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use url::Url;

use super::attempts::Tried;
use super::guard::{From, Gate, cookie};
use super::person::{By, Role};
use super::{Entrance, sign_in};
use crate::pages::link::Link;

/// Where one begins, and below it where one comes back to.
pub(crate) const PATH: &str = "/sign-in/openid";
const BACK: &str = "/sign-in/openid/done";
/// The note, by the beginning of its state: several pages may be on their way.
const COOKIE: &str = "__Host-cmsync-sign-in-";
/// Characters of that beginning.
const BEGINNING: usize = 8;
/// How long one may take at the provider.
const GOOD_FOR: Duration = Duration::from_secs(600);
/// Characters of an address that one is led back to.
const LONGEST_NEXT: usize = 1_000;
/// Characters of a name.
const LONGEST_NAME: usize = 100;
/// Bytes of a nonce before what it sealed.
const NONCE: usize = 12;

/// A provider, and what seals notes of this process.
pub(crate) struct Elsewhere {
    provider: Arc<OpenId>,
    /// `None` where the machine gives no random bytes: nobody signs in so.
    seal: Option<RandomizedNonceKey>,
    since: Instant,
}

/// What a browser keeps while it is at the provider.
#[derive(Serialize, Deserialize)]
struct Note {
    pending: Pending,
    next: String,
    /// Seconds of this process.
    at: u64,
}

/// The way there, as a page shows it.
pub(crate) struct Way {
    pub(crate) href: String,
    pub(crate) name: String,
    /// The same for whoever wants to be somebody else there.
    pub(crate) as_another: String,
}

pub(crate) fn router() -> Router<Gate> {
    Router::new().route(PATH, get(begin)).route(BACK, get(finish))
}

impl Elsewhere {
    pub(crate) fn new(provider: Arc<OpenId>) -> Self {
        let mut bytes = [0; 32];
        let filled = aws_lc_rs::rand::fill(&mut bytes).ok();
        let seal = filled.and_then(|()| RandomizedNonceKey::new(&AES_256_GCM, &bytes).ok());
        Self { provider, seal, since: Instant::now() }
    }

    fn sealed(&self, pending: Pending, next: &str) -> Option<String> {
        let next = if next.len() > LONGEST_NEXT { "/" } else { next };
        let note = Note { pending, next: next.to_owned(), at: self.since.elapsed().as_secs() };
        let mut bytes = serde_json::to_vec(&note).ok()?;
        let nonce = self.seal.as_ref()?.seal_in_place_append_tag(Aad::empty(), &mut bytes).ok()?;
        Some(URL_SAFE_NO_PAD.encode([nonce.as_ref().as_slice(), &bytes].concat()))
    }

    /// A note that this process sealed a short time ago.
    fn opened(&self, text: &str) -> Option<Note> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let opened = self.seal.as_ref()?.open_in_place(nonce, Aad::empty(), &mut sealed).ok()?;
        let note: Note = serde_json::from_slice(opened).ok()?;
        let age = self.since.elapsed().as_secs().checked_sub(note.at)?;
        (age <= GOOD_FOR.as_secs()).then_some(note)
    }
}

/// The provider, and where it sends browsers back to: people come from elsewhere by one name alone.
fn reached(gate: &Gate) -> Option<(&Elsewhere, Url)> {
    let Entrance::Beyond(beyond) = &gate.entrance else { return None };
    let back = beyond.url.join(BACK).ok()?;
    Some((gate.access.openid.as_deref()?, back))
}

/// The way there, to come back to a page.
pub(crate) fn way(gate: &Gate, next: &str) -> Option<Way> {
    let (elsewhere, _) = reached(gate)?;
    let name = match elsewhere.provider.host() {
        "login.microsoftonline.com"
        | "login.microsoftonline.us"
        | "login.partner.microsoftonline.cn" => "with Microsoft Entra ID".to_owned(),
        host => format!("at {host}"),
    };
    let href = || Link::to(PATH).with("next", sign_in::within(next));
    let as_another = href().with("as_another", "true").to_string();
    Some(Way { href: href().to_string(), name, as_another })
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    next: String,
    as_another: bool,
}

/// The cookie of a sign-in; none for a state that is not of this console's making.
fn cookie_name(state: &str) -> Option<String> {
    let beginning = state.get(..BEGINNING)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    beginning.chars().all(is_plain).then(|| format!("{COOKIE}{beginning}"))
}

fn note_cookie(name: &str, value: &str, seconds: u64) -> String {
    format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age={seconds}")
}

fn not_here() -> Response {
    (StatusCode::NOT_FOUND, "nobody signs in so here\n").into_response()
}

async fn begin(
    State(gate): State<Gate>,
    Extension(From(from)): Extension<From>,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Response {
    let Some((elsewhere, back)) = reached(&gate) else {
        return not_here();
    };
    let next = sign_in::within(&asked.next);
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if site.is_some_and(|site| site == b"cross-site" || site == b"same-site") {
        // Another site's link ends nobody's session: a person begins.
        return Redirect::to(&Link::to(sign_in::PATH).with("next", next).to_string())
            .into_response();
    }
    let begun = match elsewhere.provider.begin(&back, asked.as_another).await {
        Ok(begun) => begun,
        Err(error) => return refused(&gate, from, &error, next),
    };
    let name = cookie_name(&begun.pending.state);
    let (Some(name), Some(note)) = (name, elsewhere.sealed(begun.pending, next)) else {
        let text = "This machine gives no random bytes: nobody signs in so.";
        return sign_in::refused(&gate, StatusCode::INTERNAL_SERVER_ERROR, text, next);
    };
    let set = [(header::SET_COOKIE, note_cookie(&name, &note, GOOD_FOR.as_secs()))];
    (set, Redirect::to(begun.to.as_str())).into_response()
}

/// Says why nobody signed in: all of it in the log, and here what helps whoever sees it.
fn refused(gate: &Gate, from: IpAddr, error: &Error, next: &str) -> Response {
    let (status, text) = match error {
        Error::Provider { issuer, .. } => {
            let text = format!(
                "Nobody signed in: the identity provider {issuer} cannot be used now. The log says why."
            );
            (StatusCode::BAD_GATEWAY, text)
        }
        Error::Settings(_) => {
            let text = "Nobody signed in: a setting of this console is wrong. The log says which.";
            (StatusCode::BAD_GATEWAY, text.to_owned())
        }
        Error::Declined(_) | Error::Refused(_) | Error::Token(_) => {
            (StatusCode::FORBIDDEN, format!("Nobody signed in: {error}."))
        }
        Error::Foreign => (StatusCode::BAD_REQUEST, format!("Nobody signed in: {error}.")),
    };
    // As a text, which the log escapes.
    let error_text = error.to_string();
    if matches!(error, Error::Foreign) {
        // Anybody may ask for this, as often as they like.
        tracing::debug!(target: "audit", %from, error = error_text, "an answer of no sign-in");
    } else {
        tracing::warn!(target: "audit", %from, error = error_text, "a sign-in at the identity provider failed");
    }
    sign_in::refused(gate, status, &text, next)
}

async fn finish(
    State(gate): State<Gate>,
    Extension(From(from)): Extension<From>,
    headers: HeaderMap,
    Query(returned): Query<Returned>,
) -> Response {
    let Some((elsewhere, back)) = reached(&gate) else {
        return not_here();
    };
    let name = cookie_name(&returned.state);
    let note = name.as_ref().and_then(|name| elsewhere.opened(cookie(&headers, name)?));
    let (Some(name), Some(note)) = (name, note) else {
        return refused(&gate, from, &Error::Foreign, "/");
    };
    // Each asks the provider something: a guesser gets no further than with passwords.
    if let Err(wait) = gate.access.attempts.try_again(from, Tried::Code) {
        return sign_in::too_many(&gate, from, wait);
    }
    let known = elsewhere.provider.finish(&back, &note.pending, &returned).await;
    if !matches!(known, Err(Error::Refused(_) | Error::Token(_))) {
        gate.access.attempts.take_back(from, Tried::Code);
    }
    let mut response = match known {
        Ok(identity) => known_as(&gate, from, &headers, (identity, &note.next)),
        Err(error) => refused(&gate, from, &error, &note.next),
    };
    // The note is used, whatever came of it.
    if let Ok(used) = note_cookie(&name, "", 0).parse() {
        response.headers_mut().append(header::SET_COOKIE, used);
    }
    response
}

/// Begins the session of somebody whom the provider knows, if they have a role.
fn known_as(
    gate: &Gate,
    from: IpAddr,
    headers: &HeaderMap,
    (identity, next): (Identity, &str),
) -> Response {
    let (name, role) = (shown(&identity.name), role(&identity));
    let by = By::OpenId(identity.subject);
    let Some(role) = role else {
        let subject = by.subject();
        tracing::warn!(target: "audit", %from, who = name, subject, "signed in without a role");
        let text = format!(
            "{name} has neither of the roles Reader and Operator of this application: ask whoever keeps it \
             for one, or sign in with another account."
        );
        return sign_in::refused(gate, StatusCode::FORBIDDEN, &text, next);
    };
    let token = sign_in::begin(gate, from, headers, ((name, by), role));
    let session = [(header::SET_COOKIE, gate.set_cookie(headers, Some(&token)))];
    (session, Redirect::to(next)).into_response()
}

/// The highest role that somebody was given.
fn role(identity: &Identity) -> Option<Role> {
    let has = |role: &str| identity.roles.iter().any(|own| own == role);
    match (has("Operator"), has("Reader")) {
        (true, _) => Some(Role::Operator),
        (false, true) => Some(Role::Reader),
        (false, false) => None,
    }
}

/// A name as pages and logs have it: it comes from outside.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elsewhere() -> Elsewhere {
        let settings = cmsync_openid::Settings {
            issuer: "https://login.example".parse().unwrap(),
            client_id: "cmsync".into(),
            secret: None,
            http: cmsync_openid::Http::default(),
        };
        Elsewhere::new(Arc::new(OpenId::new(settings).unwrap()))
    }

    fn pending() -> Pending {
        serde_json::from_value(
            serde_json::json!({ "state": "s", "nonce": "n", "verifier": "secret" }),
        )
        .unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_note_is_opened_by_its_own_process_for_ten_minutes() {
        let own = elsewhere();
        tokio::time::advance(Duration::from_secs(5)).await;
        let text = own.sealed(pending(), "/groups?q=a").unwrap();
        assert!(!text.contains("secret") && text.len() < 1_000, "{text}");
        tokio::time::advance(GOOD_FOR).await;
        let note = own.opened(&text).unwrap();
        assert_eq!((&*note.next, &*note.pending.state), ("/groups?q=a", "s"));
        assert!(elsewhere().opened(&text).is_none());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(own.opened(&text).is_none());
    }

    #[tokio::test]
    async fn a_note_that_was_changed_is_none() {
        let own = elsewhere();
        let text = own.sealed(pending(), "/").unwrap();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(changed == text || own.opened(&changed).is_none(), "{at}");
        }
        for other in
            ["", "x", "AAAAAAAAAAAAAAAAAAAA", "ü", text.get(1..).unwrap(), &"A".repeat(10_000)]
        {
            assert!(own.opened(other).is_none(), "{other}");
        }
        let long = format!("/{}", "x".repeat(5_000));
        assert_eq!(own.opened(&own.sealed(pending(), &long).unwrap()).unwrap().next, "/");
    }

    #[test]
    fn the_highest_role_counts_and_others_do_not() {
        let of = |roles: &[&str]| {
            let roles = roles.iter().map(|&role| role.to_owned()).collect();
            role(&Identity { subject: "s".into(), name: "alice".into(), roles })
        };
        assert_eq!(of(&["Reader"]), Some(Role::Reader));
        assert_eq!(of(&["x", "Reader", "Operator"]), Some(Role::Operator));
        for none in [&[][..], &["operator"], &["Administrator"], &["Operator "]] {
            assert_eq!(of(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_cookie_is_named_by_a_state_of_this_consoles_making() {
        assert_eq!(cookie_name("Ab-_1234xyz").as_deref(), Some("__Host-cmsync-sign-in-Ab-_1234"));
        for other in ["", "short", "a;b=c;de", "üüüüüüüü", "12345678=".get(1..).unwrap()] {
            assert_eq!(cookie_name(other), None, "{other}");
        }
    }

    #[test]
    fn a_name_is_one_line_and_short() {
        assert_eq!(shown("alice\r\n@contoso"), "alice@contoso");
        assert_eq!(shown(&"ü".repeat(500)).chars().count(), LONGEST_NAME);
    }
}
