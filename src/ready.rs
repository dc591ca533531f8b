//! `cmsync ready`: whether the running process is well, for whoever cannot ask `/ready` itself, as the
//! health check of a container without a shell.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use cmsync_http::{Client, Method, Settings};
use url::Url;

use crate::config;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the running process answers to `GET`: whether with success, and the text.
///
/// # Errors
/// When nothing listens, or no answer comes in time.
pub(crate) async fn get(listens: Option<SocketAddr>, page: &str) -> anyhow::Result<(bool, String)> {
    let listens = listens.context("`http.listen` is empty: there are no pages")?;
    let url = Url::parse(&format!("http://{}{page}", reached(listens)))?;
    let settings = Settings {
        direct: true,
        read_timeout: PATIENCE,
        connect_timeout: PATIENCE,
        ..Settings::default()
    };
    let client = Client::new("self", &settings)?;
    let answer = client.send(client.request(Method::GET, url)).await;
    let answer = answer.context("no cmsync answers at `http.listen`: does it run?")?;
    Ok((answer.status.is_success(), String::from_utf8_lossy(&answer.body).into_owned()))
}

/// Where one that listens on an address is reached from the same machine.
fn reached(listens: SocketAddr) -> SocketAddr {
    let ip = match listens.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listens.port())
}

/// Prints what `/ready` says; false where it is not ready. A value that was made wrong in the file since
/// the process started makes it no less ready.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(crate) async fn run(path: &Path) -> anyhow::Result<bool> {
    let listens = config::as_far_as_read(path).http.listen.parse().ok();
    let (is_ready, text) = get(listens, "/ready").await?;
    print!("{text}");
    Ok(is_ready)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_listens_everywhere_is_asked_here() {
        let of = |text: &str| reached(text.parse().unwrap()).to_string();
        assert_eq!(of("0.0.0.0:9464"), "127.0.0.1:9464");
        assert_eq!(of("[::]:1"), "[::1]:1");
        assert_eq!(of("10.1.2.3:1"), "10.1.2.3:1");
    }
}
