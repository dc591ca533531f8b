//! Collects mistakes while a configuration is checked.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cmsync_http::Secret;
use url::Url;

use super::Mistake;

/// Collects mistakes below a path.
#[derive(Default)]
pub(super) struct Checker {
    pub(super) mistakes: Vec<Mistake>,
    /// So many of them, the first, are of values that were taken out: what is in their place is nobody's.
    pub(super) untyped: usize,
    /// Parts of paths whose secrets the stages that run do not need.
    pub(super) unread: &'static [&'static str],
    /// Files that hold secrets.
    pub(super) private: Vec<PathBuf>,
}

impl Checker {
    pub(super) fn wrong(&mut self, path: &str, message: impl Into<String>) {
        let is_told = self.mistakes[..self.untyped].iter().any(|mistake| mistake.path == path);
        if !is_told {
            self.mistakes.push(Mistake { path: path.to_owned(), message: message.into() });
        }
    }

    pub(super) fn require(&mut self, is_fine: bool, path: &str, message: &str) {
        if !is_fine {
            self.wrong(path, message);
        }
    }

    pub(super) fn url(&mut self, path: &str, text: &str, allow_insecure: bool) -> Option<Url> {
        let url = match Url::parse(text) {
            Ok(url) => url,
            Err(error) => {
                // What may hold a password is not shown.
                let shown = if text.contains('@') { "the value" } else { text };
                self.wrong(path, format!("`{shown}` is no URL: {error}"));
                return None;
            }
        };
        if !url.username().is_empty() || url.password().is_some() {
            self.wrong(path, "must not hold a user name or a password");
            return None;
        }
        let is_loopback = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        match url.scheme() {
            "https" => {}
            "http" if is_loopback && allow_insecure => {}
            "http" if is_loopback => {
                self.wrong(
                    path,
                    "must be https (for tests on loopback, set `allow_insecure = true`)",
                );
                return None;
            }
            _ => {
                self.wrong(path, format!("`{text}` must begin with https://"));
                return None;
            }
        }
        Some(url)
    }

    /// An address and port to listen at.
    pub(super) fn address(&mut self, path: &str, text: &str, example: &str) -> Option<SocketAddr> {
        let address = text.parse();
        if address.is_err() {
            self.wrong(path, format!("`{text}` is no address and port, for example {example}"));
        }
        address.ok()
    }

    /// A secret in a file, which must be readable now.
    pub(super) fn secret(&mut self, path: &str, file: &Path) -> Secret {
        let secret = Secret::File(file.to_owned());
        self.private.push(file.to_owned());
        self.readable(path, || secret.read().map(drop));
        secret
    }

    /// Something in a file that must be readable now, unless it belongs to a stage that runs
    /// elsewhere.
    pub(super) fn readable<E: std::fmt::Display>(
        &mut self,
        path: &str,
        read: impl FnOnce() -> Result<(), E>,
    ) {
        if self.unread.iter().any(|part| path.contains(part)) {
            return;
        }
        if let Err(error) = read() {
            self.wrong(path, error.to_string());
        }
    }

    pub(super) fn http(
        &mut self,
        path: &str,
        ca_file: Option<&PathBuf>,
        proxy: Option<&String>,
        (connect, read): (Duration, Duration),
    ) -> cmsync_http::Settings {
        let settings = cmsync_http::Settings {
            ca_file: ca_file.cloned(),
            proxy: proxy.cloned(),
            direct: false,
            connect_timeout: connect,
            read_timeout: read,
        };
        self.require(
            !connect.is_zero(),
            &format!("{path}.connect_timeout"),
            "must be longer than zero",
        );
        self.require(!read.is_zero(), &format!("{path}.read_timeout"), "must be longer than zero");
        if let Err(error) = cmsync_http::Client::new("check", &settings) {
            match error {
                // The one that is in a file.
                cmsync_http::Error::Settings { key: key @ "ca_file", detail } => {
                    self.readable(&format!("{path}.{key}"), || Err(detail));
                }
                cmsync_http::Error::Settings { key, detail } => {
                    self.wrong(&format!("{path}.{key}"), detail);
                }
                other => self.wrong(path, other.to_string()),
            }
        }
        settings
    }
}
