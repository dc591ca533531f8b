//! Why a request has no good answer, and whether it may be repeated.

use std::path::PathBuf;

use reqwest::StatusCode;

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
    /// An answer that is no success, from [`crate::Client::send_repeating`].
    #[error("{host} answered {status}: {excerpt}")]
    Status {
        /// The host.
        host: String,
        /// Its status.
        status: StatusCode,
        /// The first bytes of its body.
        excerpt: String,
    },
}

impl Error {
    /// Whether the same request may succeed later without anyone acting.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Settings { .. } | Self::SecretFile { .. } | Self::Certificate { .. } => false,
            Self::Connect { .. } | Self::Timeout { .. } | Self::Cut { .. } => true,
            Self::Status { status, .. } => is_transient_status(*status),
        }
    }

    pub(crate) fn from_reqwest(host: &str, error: &reqwest::Error) -> Self {
        let host = host.to_owned();
        let detail = innermost(error);
        if error.is_timeout() {
            Self::Timeout { host }
        } else if detail.contains("certificate") || detail.contains("UnknownIssuer") {
            Self::Certificate { host, detail }
        } else if error.is_connect() {
            Self::Connect { host, detail }
        } else {
            Self::Cut { host, detail }
        }
    }
}

/// Whether a status says that the same request may succeed later.
pub(crate) fn is_transient_status(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
        || status.is_server_error()
}

/// The cause at the bottom, which is the one that says something; URLs are in the outer ones.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
