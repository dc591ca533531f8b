//! What every request of a person passes: from where, by which name, from whose page, and signed in as
//! whom.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};

use super::attempts::Tried;
use super::form::Fields;
use super::person::{By, Frame, Person, Role};
use super::{Access, Entrance, openid, sign_in};
use crate::api;
use crate::pages::link::Link;

/// Bytes of a form, at most.
pub(crate) const MAX_BODY: usize = 64 * 1024;

/// Everything comes from here, nothing is run that stands in a page, nobody may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// How long a request may take to come, and to be answered; a stream of events is answered at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// A way in, with who is known.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) entrance: Entrance,
    pub(crate) access: Access,
}

/// Whether whoever opened a page may see it still.
#[derive(Clone)]
pub(crate) struct Admission {
    gate: Gate,
    token: Option<String>,
}

impl Admission {
    /// Has the next page of this session say something.
    pub(crate) fn say(&self, text: String) {
        if let Some(token) = &self.token {
            self.gate.access.sessions.say(token, text);
        }
    }

    pub(crate) fn lasts(&self) -> bool {
        let session = || self.token.as_ref().and_then(|token| self.gate.person(token, false));
        self.gate.entrance.is_open() || session().is_some()
    }
}

/// From where somebody asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct From(pub(crate) IpAddr);

/// The value of a cookie.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|text| text.split(';')).filter_map(|one| one.split_once('='));
    pairs.find(|(name, _)| name.trim() == wanted).map(|(_, value)| value.trim())
}

impl Gate {
    /// The name of the cookie that holds a session: browsers keep one with this prefix from being set by
    /// anybody else, and it needs TLS. On the machine itself several may run, and cookies know no port.
    fn cookie(&self, headers: &HeaderMap) -> String {
        if self.entrance.is_secure() {
            return "__Host-cmsync".to_owned();
        }
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let port = host.and_then(|host| host.rsplit(':').next()?.parse::<u16>().ok());
        format!("cmsync-{}", port.unwrap_or(80))
    }

    /// What makes a browser keep a session, or with none forget it.
    pub(crate) fn set_cookie(&self, headers: &HeaderMap, token: Option<&str>) -> String {
        let secure = if self.entrance.is_secure() { "; Secure" } else { "" };
        let (value, age) = token.map_or(("", "; Max-Age=0"), |token| (token, ""));
        format!("{}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{age}", self.cookie(headers))
    }

    /// What the browser holds of a session.
    pub(crate) fn token<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        cookie(headers, &self.cookie(headers))
    }

    /// The script whose token comes with a request.
    fn script(&self, headers: &HeaderMap) -> Option<Person> {
        let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = text.split_once(' ')?;
        let token = Some(token.trim()).filter(|_| scheme.eq_ignore_ascii_case("bearer"))?;
        let user = self.access.passwords.of_token(token)?;
        let by = By::Token(user.print());
        Some(Person { name: user.name, by, role: user.role, csrf: String::new() })
    }

    /// Says in the log that a token was none: as often as others fail, since anybody may ask.
    fn note_token(&self, client: IpAddr) {
        if self.access.attempts.try_again(client, Tried::Token).is_ok() {
            tracing::warn!(target: "audit", from = %client, "a token is none, or none any longer");
        }
    }

    /// Whose session it is: of a user with a password, as long as the file has that user
    /// with that password and role.
    fn person(&self, token: &str, uses: bool) -> Option<Person> {
        let person = self.access.sessions.find(token, uses)?;
        let is_known = match &person.by {
            By::Ticket | By::OpenId(_) => true,
            By::Password(print) | By::Token(print) => {
                let now = self.access.passwords.find(&person.name);
                now.is_some_and(|user| user.print() == *print && user.role == person.role)
            }
        };
        is_known.then_some(person)
    }
}

/// Whether a page of another site asks for a part of it, an image or a script: each costs something.
fn is_embedded(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(HeaderName::from_static(name)).and_then(|v| v.to_str().ok());
    let is_foreign = text("sec-fetch-site").is_some_and(|s| s == "cross-site" || s == "same-site");
    let is_visit =
        text("sec-fetch-mode") == Some("navigate") && text("sec-fetch-dest") == Some("document");
    is_foreign && !is_visit
}

/// Why an order is not taken: browsers say which page it comes from, and it must be one of ours.
fn forgery(headers: &HeaderMap) -> Option<&'static str> {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let from = text(HeaderName::from_static("sec-fetch-site"));
    let host = text(header::HOST).unwrap_or_default();
    let is_own = |origin: &str| origin.split_once("://").is_some_and(|(_, own)| own == host);
    let is_foreign = from.is_some_and(|from| from != "same-origin")
        || text(header::ORIGIN).is_some_and(|origin| !is_own(origin));
    is_foreign.then_some("the order comes from a page of another site")
}

/// What needs no sign-in.
fn is_for_all(path: &str) -> bool {
    path == sign_in::PATH || path.starts_with(openid::PATH) || path.starts_with("/assets/")
}

/// Where scripts ask.
const API: &str = "/api/";

fn without_token(why: &str) -> Response {
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    (challenge, api::refused(StatusCode::UNAUTHORIZED, why)).into_response()
}

/// Why an order by the API is not taken: a token must say who gives it, never a browser's session.
fn refused_to_script(script: Option<&Person>) -> Option<Response> {
    match script {
        None => Some(without_token("orders take a token of an operator (`cmsync console token`)")),
        Some(script) if script.role < Role::Operator => {
            Some(api::refused(StatusCode::FORBIDDEN, "the token's role is to read"))
        }
        Some(_) => None,
    }
}

/// Answers whoever must sign in first.
fn sign_in_first(request: &Request) -> Response {
    let path = request.uri().path();
    if path.starts_with(API) {
        return without_token("give a token: `Authorization: Bearer …` (`cmsync console token`)");
    }
    if path == "/events" {
        return (StatusCode::UNAUTHORIZED, "sign in first\n").into_response();
    }
    let wanted = request.uri().path_and_query().map_or(path, |both| both.as_str());
    let to = Link::to(sign_in::PATH).with("next", wanted).to_string();
    if request.headers().contains_key("hx-request") {
        return (StatusCode::UNAUTHORIZED, [("hx-redirect", to)], "").into_response();
    }
    Redirect::to(&to).into_response()
}

/// Takes a form in, to look at it before it is done.
async fn form_of(request: Request) -> Result<(Request, Fields), Response> {
    let (parts, body) = request.into_parts();
    let whole: Bytes = axum::body::to_bytes(body, MAX_BODY)
        .await
        .map_err(|_| (StatusCode::PAYLOAD_TOO_LARGE, "the form is too large\n").into_response())?;
    let fields = Fields::read(&whole);
    Ok((Request::from_parts(parts, Body::from(whole)), fields))
}

/// Who gives an order, or what is answered instead of taking it.
async fn order(
    gate: &Gate,
    request: Request,
    person: Option<&Person>,
) -> Result<Request, Response> {
    let path = request.uri().path().to_owned();
    let (request, fields) = form_of(request).await?;
    let Some(person) = person else {
        return Err(sign_in::page_with(gate, &path, &fields));
    };
    if person.role < Role::Operator && path != sign_in::OUT {
        let text = "your role is to read: ask for the role of an operator\n";
        return Err((StatusCode::FORBIDDEN, text).into_response());
    }
    if !fields.carries(&person.csrf) {
        // From a page that was opened before the last sign-in: its fields are shown again.
        return Err(sign_in::again(&path, &fields, person));
    }
    Ok(request)
}

/// From where somebody asks; or why nothing is answered, whoever it is.
fn visitor(gate: &Gate, request: &Request, peer: IpAddr) -> Result<IpAddr, &'static str> {
    let client = gate.entrance.visitor(request.headers(), peer.to_canonical())?;
    if let Some(reason) = forgery(request.headers()).filter(|_| !request.method().is_safe()) {
        return Err(reason);
    }
    if is_embedded(request.headers()) {
        return Err("another site's page asks for this");
    }
    if request.version() == Version::HTTP_10 {
        // As proxies ask that say nothing of themselves.
        return Err("the console is asked by HTTP/1.1");
    }
    Ok(client)
}

async fn answer(gate: &Gate, peer: SocketAddr, mut request: Request, next: Next) -> Response {
    let is_order = !request.method().is_safe();
    let client = match visitor(gate, &request, peer.ip()) {
        Ok(client) => client,
        Err(reason) if request.uri().path().starts_with(API) => {
            return api::refused(StatusCode::FORBIDDEN, reason);
        }
        Err(reason) => return (StatusCode::FORBIDDEN, format!("{reason}\n")).into_response(),
    };
    if request.method() == Method::TRACE {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let path = request.uri().path().to_owned();
    // An open page is no use of a session: one that is left alone ends.
    let uses = path != "/events"
        && !path.starts_with(API)
        && !(path.starts_with("/connect/") && path.ends_with("/progress"));
    let token = gate.token(request.headers()).map(ToOwned::to_owned);
    let mut person = token.as_ref().and_then(|token| gate.person(token, uses));
    let is_script = path.starts_with(API) && request.headers().contains_key(header::AUTHORIZATION);
    if is_script {
        person = gate.script(request.headers());
        if person.is_none() {
            gate.note_token(client);
            return without_token("the token is none, or none any longer");
        }
    }
    if !is_for_all(&path) {
        if is_order {
            let taken = match path.starts_with(API) {
                true => match refused_to_script(person.as_ref().filter(|_| is_script)) {
                    Some(refusal) => Err(refusal),
                    None => Ok(request),
                },
                false => order(gate, request, person.as_ref()).await,
            };
            request = match taken {
                Ok(request) => request,
                Err(response) => {
                    let who = person.map(|person| person.name).unwrap_or_default();
                    let status = response.status().as_u16();
                    tracing::warn!(target: "audit", from = %client, who, path, status, "an order is not taken");
                    return response;
                }
            };
        } else if person.is_none() && !gate.entrance.is_open() {
            return sign_in_first(&request);
        }
    }
    let extensions = request.extensions_mut();
    extensions.insert(From(client));
    // What is to be said is said once, by the next page.
    let is_page = !is_order && uses && !is_for_all(&path);
    let said = token.as_ref().filter(|_| is_page).and_then(|t| gate.access.sessions.said(t));
    extensions.insert(Admission { gate: gate.clone(), token });
    extensions.insert(Frame { person, client: Some(client), said });
    next.run(request).await
}

/// Lets through whoever may see pages, and says to browsers what a page may do.
pub(crate) async fn admit(
    State(gate): State<Gate>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let is_api = request.uri().path().starts_with(API);
    let mut response =
        match tokio::time::timeout(PATIENCE, answer(&gate, peer, request, next)).await {
            Ok(response) => response,
            Err(_) if is_api => api::refused(StatusCode::REQUEST_TIMEOUT, "it took too long"),
            Err(_) => (StatusCode::REQUEST_TIMEOUT, "it took too long\n").into_response(),
        };
    let headers = response.headers_mut();
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        // Without one, browsers say of a form that it comes from nowhere.
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if gate.entrance.is_secure() {
        let year = HeaderValue::from_static("max-age=31536000");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, year);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_sites_page_may_lead_here_and_embed_nothing() {
        let of = |mode: &'static str, dest: &'static str| {
            let mut headers = HeaderMap::new();
            for (name, value) in [
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", mode),
                ("sec-fetch-dest", dest),
            ] {
                headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            is_embedded(&headers)
        };
        assert!(!of("navigate", "document"));
        assert!(of("no-cors", "image") && of("navigate", "iframe") && of("cors", "empty"));
        assert!(!is_embedded(&HeaderMap::new()));
    }

    #[test]
    fn an_order_of_another_sites_page_is_not_taken() {
        let from = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("localhost:9464"));
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            forgery(&headers)
        };
        for value in ["http://evil.example", "null", "http://localhost", "http://localhost:80"] {
            assert!(from("origin", value).is_some(), "{value}");
        }
        for value in ["cross-site", "same-site", "none", ""] {
            assert!(from("sec-fetch-site", value).is_some(), "{value}");
        }
        assert_eq!(from("origin", "http://localhost:9464"), None);
        assert_eq!(from("sec-fetch-site", "same-origin"), None);
        // Scripts say neither.
        assert_eq!(forgery(&HeaderMap::new()), None);
    }
}
