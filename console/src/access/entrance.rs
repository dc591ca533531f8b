//! The ways in: from where somebody asks, and by which name. A browser on this machine that follows another
//! site's name here (DNS rebinding) is not this machine's user; neither is whoever comes through a proxy that
//! is not named.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, header};
use url::Url;

/// What a proxy adds. One that adds none of it and speaks HTTP/1.1 cannot be told from a browser.
const OF_PROXIES: [&str; 8] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-real-ip",
];

/// What the machine's own users see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Loopback {
    /// No page at all.
    Off,
    /// Everything, to read.
    #[default]
    Read,
    /// What those who signed in see.
    SignIn,
}

/// A way from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beyond {
    /// What browsers call the console: scheme, host and port.
    pub url: Url,
    /// Proxies that end TLS before it; none where it ends here.
    pub proxies: Vec<IpAddr>,
}

/// A way in.
#[derive(Debug, Clone)]
pub(crate) enum Entrance {
    /// The machine's own.
    Loopback(Loopback),
    /// From elsewhere.
    Beyond(Beyond),
}

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

impl Entrance {
    /// From where a request comes, or why it sees no page.
    pub(crate) fn visitor(
        &self,
        headers: &HeaderMap,
        peer: IpAddr,
    ) -> Result<IpAddr, &'static str> {
        let host =
            headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        match self {
            Self::Loopback(Loopback::Off) => Err("there are no pages here (`console.loopback`)"),
            Self::Loopback(_) => here(headers, peer, host),
            Self::Beyond(beyond) => beyond_here(beyond, headers, peer, host),
        }
    }

    /// Whether browsers speak TLS, here or to a proxy.
    pub(crate) fn is_secure(&self) -> bool {
        matches!(self, Self::Beyond(_))
    }

    /// Whether pages are shown to whoever has not signed in.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Loopback(Loopback::Read))
    }
}

/// On the machine itself.
fn here(headers: &HeaderMap, peer: IpAddr, host: &str) -> Result<IpAddr, &'static str> {
    if OF_PROXIES.iter().any(|name| headers.contains_key(*name)) {
        return Err("this address does not answer through a proxy; see `console.listen`");
    }
    if !peer.is_loopback() {
        return Err("this address shows pages on its own machine alone; see `console.listen`");
    }
    if !is_loopback(host) {
        return Err("the console is asked for as localhost here, by no other name");
    }
    Ok(peer)
}

/// An address as proxies write it, some with its port.
fn address(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse::<SocketAddr>().ok().map(|both| both.ip());
    text.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

/// From elsewhere: by the console's own name, and over TLS as far as the machine or its proxy.
fn beyond_here(
    beyond: &Beyond,
    headers: &HeaderMap,
    peer: IpAddr,
    host: &str,
) -> Result<IpAddr, &'static str> {
    if !host.eq_ignore_ascii_case(beyond.url.authority()) {
        return Err("the console is not asked for by this name (`console.url`)");
    }
    if beyond.proxies.is_empty() {
        return Ok(peer);
    }
    if !beyond.proxies.contains(&peer) {
        return Err("the console answers its proxies alone (`console.proxies`)");
    }
    let texts = |name: &str| -> Vec<String> {
        let lines = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?"));
        lines.flat_map(|line| line.split(',')).map(|one| one.trim().to_owned()).collect()
    };
    if texts("x-forwarded-proto") != ["https"] {
        return Err("the proxy does not say that the browser speaks https to it");
    }
    // The last that is no proxy of ours: what stands before it, anybody may have written.
    let chain = texts("x-forwarded-for").into_iter().map(|one| address(&one));
    let client = chain.rev().find(|one| one.is_none_or(|one| !beyond.proxies.contains(&one)));
    client.flatten().ok_or("the proxy does not say from where the browser asks")
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn asked(host: &'static str, peer: &str, more: Option<&'static str>) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static(host));
        if let Some(name) = more {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("x"));
        }
        let entrance = Entrance::Loopback(Loopback::Read);
        entrance.visitor(&headers, peer.parse().unwrap()).err()
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

    fn beyond(proxies: &[&str], headers: &[(&'static str, &str)], peer: &str) -> Option<IpAddr> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        let url = "https://cmsync.contoso.com".parse().unwrap();
        let proxies = proxies.iter().map(|proxy| proxy.parse().unwrap()).collect();
        let entrance = Entrance::Beyond(Beyond { url, proxies });
        entrance.visitor(&map, peer.parse().unwrap()).ok()
    }

    #[test]
    fn from_elsewhere_the_console_has_one_name() {
        let from = |host| beyond(&[], &[("host", host)], "10.0.0.7");
        assert_eq!(from("CMSYNC.contoso.com"), "10.0.0.7".parse().ok());
        for host in
            ["cmsync.contoso.com:8443", "localhost", "10.0.0.1", "cmsync.contoso.com.evil.example"]
        {
            assert_eq!(from(host), None, "{host}");
        }
    }

    #[test]
    fn a_named_proxy_says_who_asks_and_nobody_else_does() {
        let host = ("host", "cmsync.contoso.com");
        let https = ("x-forwarded-proto", "https");
        let chain = ("x-forwarded-for", "9.9.9.9, 10.1.1.1, 10.0.0.6");
        let proxies = ["10.0.0.5", "10.0.0.6"];
        let asks = |headers: &[_], peer| beyond(&proxies, headers, peer);
        assert_eq!(asks(&[host, https, chain], "10.0.0.5"), "10.1.1.1".parse().ok());
        assert_eq!(asks(&[host, https, chain], "10.0.0.7"), None);
        assert_eq!(asks(&[host, chain], "10.0.0.5"), None);
        assert_eq!(asks(&[host, ("x-forwarded-proto", "http"), chain], "10.0.0.5"), None);
        // In several lines, as some proxies add it; with a port; and as another writing of one address.
        let lines =
            [host, https, ("x-forwarded-for", "9.9.9.9"), ("x-forwarded-for", "10.1.1.1:51234")];
        assert_eq!(asks(&lines, "10.0.0.5"), "10.1.1.1".parse().ok());
        let mapped = [host, https, ("x-forwarded-for", "::ffff:10.1.1.1, [::ffff:10.0.0.6]:9")];
        assert_eq!(asks(&mapped, "10.0.0.5"), "10.1.1.1".parse().ok());
        let forged = [host, https, ("x-forwarded-proto", "http"), chain];
        assert_eq!(asks(&forged, "10.0.0.5"), None);
        for text in ["", "unknown", "10.1.1.1, nonsense", "10.0.0.6"] {
            assert_eq!(asks(&[host, https, ("x-forwarded-for", text)], "10.0.0.5"), None, "{text}");
        }
    }
}
