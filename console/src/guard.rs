//! Who may see pages: until somebody signs in, this machine alone. A browser on this machine that
//! follows another site's name here (DNS rebinding) is not this machine's user; neither is whoever
//! comes through a proxy.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// What a proxy adds.
const OF_PROXIES: [&str; 4] = ["forwarded", "via", "x-forwarded-for", "x-forwarded-host"];

/// Everything comes from here, nothing is run that stands in a page, nobody may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

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

/// Lets through whoever may see pages, and says to browsers what a page may do.
pub(crate) async fn admit(
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match refusal(request.headers(), Some(peer.ip())) {
        Some(reason) => (StatusCode::FORBIDDEN, format!("{reason}\n")).into_response(),
        None => next.run(request).await,
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
