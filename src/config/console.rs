//! Who sees the pages of the console, from where, and how they sign in.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use cmsync_console::{Beyond, Loopback};
use serde::{Deserialize, Serialize};
use url::Url;

use super::checker::Checker;

/// `[console]`, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Written {
    /// What the machine's own users see at `http.listen`.
    pub(crate) loopback: OnLoopback,
    /// Address of pages for people who are elsewhere; empty for none.
    pub(crate) listen: String,
    /// What their browsers call it.
    pub(crate) url: String,
    /// Its certificate, PEM.
    pub(crate) certificate_file: Option<PathBuf>,
    /// The certificate's key, PEM.
    pub(crate) key_file: Option<PathBuf>,
    /// Proxies that end TLS before it, in the place of a certificate.
    pub(crate) proxies: Vec<IpAddr>,
    /// Users with their roles and passwords, as `cmsync console password` keeps it.
    pub(crate) passwords_file: Option<PathBuf>,
    /// Where people who are elsewhere sign in, in the place of a password or beside it.
    pub(crate) openid: Option<WrittenOpenId>,
}

/// An identity provider, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct WrittenOpenId {
    /// As it calls itself.
    pub(crate) issuer: String,
    /// This application's id there.
    pub(crate) client_id: String,
    pub(crate) client_secret_file: Option<PathBuf>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) proxy: Option<String>,
}

/// What the machine's own users see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OnLoopback {
    /// No page.
    Off,
    /// Every page; orders are for those who sign in.
    #[default]
    Read,
    /// What those who signed in see.
    SignIn,
}

/// The same, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Console {
    pub(crate) loopback: Loopback,
    /// Where people who are elsewhere come in, if anywhere.
    pub(crate) elsewhere: Option<Elsewhere>,
    pub(crate) passwords: Option<PathBuf>,
    /// Where people who are elsewhere sign in.
    pub(crate) openid: Option<OpenId>,
}

/// An identity provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OpenId {
    pub(crate) issuer: Url,
    pub(crate) client_id: String,
    pub(crate) secret_file: Option<PathBuf>,
    pub(crate) http: cmsync_http::Settings,
}

/// Where people who are elsewhere come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Elsewhere {
    pub(crate) listen: SocketAddr,
    pub(crate) beyond: Beyond,
    /// Certificate and key, where TLS ends here.
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
}

/// Its table, checked; mistakes go to the checker.
pub(super) fn check(checker: &mut Checker, written: &Written) -> Console {
    Console {
        loopback: match written.loopback {
            OnLoopback::Off => Loopback::Off,
            OnLoopback::Read => Loopback::Read,
            OnLoopback::SignIn => Loopback::SignIn,
        },
        elsewhere: elsewhere(checker, written),
        passwords: written.passwords_file.clone(),
        openid: written.openid.as_ref().and_then(|provider| {
            let text = "needs `console.listen`: on the machine itself nobody signs in so";
            checker.require(!written.listen.is_empty(), "console.openid", text);
            openid(checker, provider)
        }),
    }
}

/// Seconds that a provider has to take a connection, and to say something: somebody waits.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(10));

fn openid(checker: &mut Checker, written: &WrittenOpenId) -> Option<OpenId> {
    let path = "console.openid";
    let issuer = match written.issuer.as_str() {
        "" => {
            let text = "is missing: the identity provider as it calls itself, for example \
                        https://login.microsoftonline.com/<tenant id>/v2.0";
            checker.wrong("console.openid.issuer", text);
            None
        }
        text => checker.url("console.openid.issuer", text, false),
    };
    let is_microsoft = |issuer: &Url| {
        issuer.host_str().is_some_and(|h| h.starts_with("login."))
            && issuer.host_str().is_some_and(|h| h.contains("microsoftonline."))
    };
    if let Some(issuer) = &issuer
        && (issuer.host_str() == Some("sts.windows.net")
            || is_microsoft(issuer) && !issuer.path().trim_end_matches('/').ends_with("/v2.0"))
    {
        let text =
            "must be the issuer of version 2: https://login.microsoftonline.com/<tenant id>/v2.0";
        checker.wrong("console.openid.issuer", text);
    }
    // Everybody's accounts: whoever made a directory of their own could give themselves roles there.
    let shared = ["/common/", "/organizations/", "/consumers/"];
    if let Some(issuer) = &issuer
        && shared.iter().any(|tenants| issuer.path().starts_with(tenants))
    {
        let text = "must name one directory by its tenant id";
        checker.wrong("console.openid.issuer", text);
    }
    let text = "is missing: the application (client) id";
    checker.require(!written.client_id.is_empty(), "console.openid.client_id", text);
    let secret_file = written.client_secret_file.clone();
    if let Some(file) = &secret_file {
        checker.secret("console.openid.client_secret_file", file);
    }
    let http = checker.http(path, written.ca_file.as_ref(), written.proxy.as_ref(), PATIENCE);
    let client_id = written.client_id.clone();
    Some(OpenId { issuer: issuer?, client_id, secret_file, http })
}

fn elsewhere(checker: &mut Checker, written: &Written) -> Option<Elsewhere> {
    if written.listen.is_empty() {
        return None;
    }
    let listen = checker.address("console.listen", &written.listen, "0.0.0.0:9465");
    checker.require(
        written.passwords_file.is_some() || written.openid.is_some(),
        "console.passwords_file",
        "or `console.openid` is needed where `console.listen` is set: nobody could sign in",
    );
    let url = match written.url.as_str() {
        "" => {
            let text = "is needed where `console.listen` is set: what browsers call the console, for \
                        example https://cmsync.contoso.com";
            checker.wrong("console.url", text);
            None
        }
        text => checker.url("console.url", text, false),
    };
    let is_bare = |url: &Url| url.path() == "/" && url.query().is_none();
    if url.as_ref().is_some_and(|url| !is_bare(url)) {
        checker
            .wrong("console.url", "must end with the host or the port: the console has no folder");
    }
    let certificate = match (&written.certificate_file, &written.key_file) {
        (Some(certificate), Some(key)) => {
            checker.readable("console.certificate_file", || {
                cmsync_console::tls(certificate, key).map(drop)
            });
            checker.private.push(key.clone());
            Some((certificate.clone(), key.clone()))
        }
        (None, None) => None,
        (Some(_), None) => {
            checker.wrong("console.key_file", "is needed beside `console.certificate_file`");
            None
        }
        (None, Some(_)) => {
            checker.wrong("console.certificate_file", "is needed beside `console.key_file`");
            None
        }
    };
    let has_tls = written.certificate_file.is_some() || written.key_file.is_some();
    checker.require(
        has_tls == written.proxies.is_empty(),
        "console.listen",
        "needs either `certificate_file` and `key_file`, or `proxies` that end TLS before it",
    );
    let beyond = Beyond { url: url?, proxies: written.proxies.clone() };
    Some(Elsewhere { listen: listen?, beyond, certificate })
}
