//! Why a request has no good answer, and whether it may be repeated.

use std::path::PathBuf;

/// How rustls begins what it says of a handshake that fails (`rustls::Error`, seen in `tests/tls.rs`).
const OF_TLS: [&str; 4] =
    ["received fatal alert", "received corrupt message", "peer is incompatible", "peer misbehaved"];

/// A failed request. Texts name the host and never the query, headers or body that were sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The client's settings cannot be used.
    #[error("invalid `{key}`: {detail}")]
    Settings {
        /// The setting, for example `ca_file`.
        key: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// A file with a secret cannot be used.
    #[error("secret file `{}`: {detail}", .path.display())]
    SecretFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The host's certificate is not accepted.
    #[error(
        "certificate of {host} is not trusted ({detail}); give the authority that signed it as \
             `ca_file`, and the host by the name in its certificate"
    )]
    Certificate {
        /// The host.
        host: String,
        /// What TLS said.
        detail: String,
    },
    /// Its TLS is too old, broken, or none.
    #[error(
        "no TLS with {host} ({detail}): cmsync takes TLS 1.2 and 1.3, with ECDHE and AES-GCM or ChaCha20; see what \
             that port speaks, and whether something between intercepts it"
    )]
    Tls {
        /// The host.
        host: String,
        /// What TLS said.
        detail: String,
    },
    /// No connection.
    #[error("failed to connect to {host}: {detail}")]
    Connect {
        /// The host.
        host: String,
        /// What the system said.
        detail: String,
    },
    /// No answer in time.
    #[error("no answer from {host} within the time-out")]
    Timeout {
        /// The host.
        host: String,
    },
    /// The connection ended in the middle of a request or an answer.
    #[error("connection to {host} was cut: {detail}")]
    Cut {
        /// The host.
        host: String,
        /// What the system said.
        detail: String,
    },
}

impl Error {
    /// Whether the same request may succeed later without anyone acting.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Settings { .. } | Self::SecretFile { .. } | Self::Certificate { .. } => false,
            Self::Tls { .. } | Self::Connect { .. } | Self::Timeout { .. } | Self::Cut { .. } => {
                true
            }
        }
    }

    pub(crate) fn from_reqwest(host: &str, error: &reqwest::Error) -> Self {
        let host = host.to_owned();
        let detail = innermost(error);
        if error.is_timeout() {
            Self::Timeout { host }
        } else if detail.contains("certificate") || detail.contains("UnknownIssuer") {
            Self::Certificate { host, detail }
        } else if OF_TLS.iter().any(|words| detail.contains(words)) {
            Self::Tls { host, detail }
        } else if error.is_connect() {
            Self::Connect { host, detail }
        } else {
            Self::Cut { host, detail }
        }
    }
}

/// The cause at the bottom, which is the one that says something; URLs are in the outer ones.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
