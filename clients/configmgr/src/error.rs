//! Why a site was not read, and who must do what.

use cmsync_http::StatusCode;

/// A failed read. Every text says what to do where somebody must.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No answer; see the cause.
    #[error(transparent)]
    Http(#[from] cmsync_http::Error),
    /// 401: the credentials are not accepted.
    #[error("{host} refused the credentials (401){detail}")]
    Credentials {
        /// The provider.
        host: String,
        /// What the answer hints at.
        detail: String,
    },
    /// There is nothing to sign in with; the provider was not asked.
    #[error("cannot sign in to {host}: {detail}")]
    NoCredential {
        /// The provider.
        host: String,
        /// Why, and what to do.
        detail: String,
        /// Who must act, if anyone.
        nature: Nature,
    },
    /// 403, or 404 with an error of the service itself.
    #[error(
        "{host} denied access to {class} ({status}): the account must be an administrative user \
             of the site (Read-only Analyst is enough) and a member of SMS Admins: {excerpt}"
    )]
    Denied {
        /// The provider.
        host: String,
        /// The class asked for.
        class: String,
        /// The status.
        status: StatusCode,
        /// The answer's beginning.
        excerpt: String,
    },
    /// 404 as a page: a web server, and no provider.
    #[error(
        "{host} has no administration service (404 as a web page): `admin_service` must name a \
             server with the SMS Provider role"
    )]
    NoProvider {
        /// The host.
        host: String,
    },
    /// 400: the query is not accepted by this version.
    #[error("{host} does not accept the query for {class} (400): {excerpt}")]
    Query {
        /// The provider.
        host: String,
        /// The class asked for.
        class: String,
        /// The answer's beginning.
        excerpt: String,
    },
    /// Another status that is no success.
    #[error("{host} failed on {class} ({status}): {excerpt}")]
    Failed {
        /// The provider.
        host: String,
        /// The class asked for.
        class: String,
        /// The status.
        status: StatusCode,
        /// The answer's beginning.
        excerpt: String,
    },
    /// The site database cannot be reached, or refuses.
    #[error("database {database} at {server}: {detail}")]
    Database {
        /// The server.
        server: String,
        /// The database.
        database: String,
        /// What it says, and what to do.
        detail: String,
        /// Who must act, if anyone.
        nature: Nature,
    },
    /// The answer is not what was asked for.
    #[error("{host} gave no usable answer for {class}: {detail}")]
    Answer {
        /// The provider.
        host: String,
        /// The class asked for.
        class: String,
        /// What is wrong.
        detail: String,
    },
}

/// Who must act on an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// Nobody: it may go by itself.
    Transient,
    /// Whoever keeps the account: it is not let in.
    Credentials,
    /// Whoever gives rights: the account may not read this.
    Rights,
    /// Whoever keeps the site or the configuration.
    Lasting,
}

impl Nature {
    /// Of what may go by itself, or lasts.
    #[must_use]
    pub fn passing(is_transient: bool) -> Self {
        if is_transient { Self::Transient } else { Self::Lasting }
    }
}

impl Error {
    /// Who must act, if anyone.
    #[must_use]
    pub fn nature(&self) -> Nature {
        match self {
            Self::Http(error) => Nature::passing(error.is_transient()),
            Self::Failed { .. } | Self::Answer { .. } => Nature::Transient,
            Self::NoCredential { nature, .. } | Self::Database { nature, .. } => *nature,
            Self::Credentials { .. } => Nature::Credentials,
            Self::Denied { .. } => Nature::Rights,
            Self::NoProvider { .. } | Self::Query { .. } => Nature::Lasting,
        }
    }

    /// Whether another provider, or the same one later, may answer without anyone acting.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.nature() == Nature::Transient
    }
}
