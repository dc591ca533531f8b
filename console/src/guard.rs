//! Who may see pages: until somebody signs in, this machine alone. A browser on this machine that
//! follows another site's name here (DNS rebinding) is not this machine's user; neither is whoever
//! comes through a proxy.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// What a proxy adds.
const OF_PROXIES: [&str; 4] = ["forwarded", "via", "x-forwarded-for", "x-forwarded-host"];

/// Everything comes from here, nothing is run that stands in a page, nobody may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// How long a request may take to come, and to be answered; a stream of events is answered at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// The host of an authority, without its port.
fn host_of(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    }
}

/// Whether an authority names this machine to itself.
fn is_loopback(authority: &str) -> bool {
    let host = host_of(authority);
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Why a request sees no page, where it does not.
fn refusal(headers: &HeaderMap, peer: Option<IpAddr>) -> Option<&'static str> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if OF_PROXIES.iter().any(|name| headers.contains_key(*name)) {
        return Some("the console does not answer through a proxy: nobody can sign in yet");
    }
    if !peer.is_some_and(|peer| peer.is_loopback()) {
        return Some("the console answers on its own machine alone: nobody can sign in yet");
    }
    (!is_loopback(host)).then_some("the console is asked for as localhost, by no other name")
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

/// Lets through whoever may see pages, and says to browsers what a page may do.
pub(crate) async fn admit(
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let is_order = !request.method().is_safe();
    let refused = refusal(request.headers(), Some(peer.ip().to_canonical()))
        .or_else(|| forgery(request.headers()).filter(|_| is_order))
        .or_else(|| is_embedded(request.headers()).then_some("another site's page asks for this"));
    let mut response = match refused {
        Some(reason) => (StatusCode::FORBIDDEN, format!("{reason}\n")).into_response(),
        None => match tokio::time::timeout(PATIENCE, next.run(request)).await {
            Ok(response) => response,
            Err(_) => (StatusCode::REQUEST_TIMEOUT, "it took too long\n").into_response(),
        },
    };
    let headers = response.headers_mut();
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(host: &'static str, peer: &str, more: Option<&'static str>) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static(host));
        if let Some(name) = more {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("x"));
        }
        refusal(&headers, peer.parse().ok())
    }

    #[test]
    fn this_machine_sees_pages_by_each_of_its_own_names() {
        for host in ["localhost:9464", "LOCALHOST", "127.0.0.1:9464", "[::1]:9464", "127.8.8.8"] {
            assert_eq!(asked(host, "127.0.0.1", None), None, "{host}");
        }
        assert_eq!(asked("localhost", "::1", None), None);
    }

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

    #[test]
    fn other_machines_other_names_and_proxies_see_none() {
        for host in ["evil.example", "evil.example:9464", "localhost.evil.example", "", "10.0.0.1"]
        {
            assert!(asked(host, "127.0.0.1", None).is_some(), "{host}");
        }
        assert!(asked("localhost", "10.0.0.7", None).is_some());
        for name in OF_PROXIES {
            assert!(asked("localhost", "127.0.0.1", Some(name)).is_some(), "{name}");
        }
    }
}
