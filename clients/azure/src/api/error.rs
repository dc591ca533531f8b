//! Refusals, as who must do what.

use std::fmt;
use std::time::Duration;

use cmsync_http::{Answer, StatusCode};
use serde::Deserialize;

use super::{Needs, Wish};
use crate::TokenError;

/// Wait of a 429 that names none.
pub(crate) const UNTOLD_WAIT: Duration = Duration::from_secs(10);

/// Why something could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AzureError {
    /// There is no token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// There is no answer.
    #[error(transparent)]
    Http(#[from] cmsync_http::Error),
    /// Too many requests.
    #[error("Azure asks for a pause of {} s", .0.as_secs())]
    Throttled(Duration),
    /// A failure of the service's own.
    #[error("failed to {what}: Azure answered {status}")]
    Unavailable {
        /// What was wanted.
        what: String,
        /// The status.
        status: StatusCode,
    },
    /// The answer is not what its documentation says.
    #[error("failed to {what}: {detail}")]
    Unreadable {
        /// What was wanted.
        what: String,
        /// What is wrong with the answer.
        detail: String,
    },
    /// It was refused.
    #[error("{0}")]
    Refused(Box<Refusal>),
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What was wanted.
    pub what: String,
    /// The resource.
    pub scope: String,
    /// The status.
    pub status: u16,
    /// The service's code, for example `AuthorizationFailed`.
    pub code: String,
    /// The service's text.
    pub message: String,
    /// Who must do what.
    pub remedy: String,
}

impl Refusal {
    /// Whether it concerns all of the workspace rather than what was written.
    #[must_use]
    pub fn is_general(&self) -> bool {
        matches!(self.status, 401 | 403 | 404)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, scope, code, message, remedy, .. } = self;
        write!(f, "failed to {what} on {scope} ({code}): {message}")?;
        if remedy.is_empty() { Ok(()) } else { write!(f, "; {remedy}") }
    }
}

impl AzureError {
    /// Whether the same request may succeed later without anyone acting.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Token(error) => error.is_transient(),
            Self::Http(error) => error.is_transient(),
            Self::Throttled(_) | Self::Unavailable { .. } => true,
            Self::Unreadable { .. } | Self::Refused(_) => false,
        }
    }
}

#[derive(Deserialize, Default)]
struct Body {
    #[serde(default)]
    error: Fault,
}

/// An error as Azure's services write it.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Fault {
    code: String,
    message: String,
    details: Vec<Fault>,
}

impl Fault {
    /// One that nothing more is known of.
    pub(super) fn of(code: &str) -> Self {
        Self { code: code.to_owned(), ..Self::default() }
    }
}

pub(crate) fn refusal(answer: &Answer, wish: Wish<'_>) -> AzureError {
    let (status, what) = (answer.status, wish.what.to_owned());
    if status == StatusCode::TOO_MANY_REQUESTS {
        return AzureError::Throttled(answer.retry_after().unwrap_or(UNTOLD_WAIT));
    }
    if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT {
        return AzureError::Unavailable { what, status };
    }
    let body: Body = serde_json::from_slice(&answer.body).unwrap_or_default();
    failed(answer, body.error, wish)
}

/// An error that an answer told.
pub(super) fn failed(answer: &Answer, fault: Fault, wish: Wish<'_>) -> AzureError {
    let (status, what) = (answer.status, wish.what.to_owned());
    let Fault { mut code, mut message, details } = fault;
    if code.is_empty() {
        (code, message) = (status.to_string(), answer.excerpt());
    }
    // The outer code says little where there are details: `InvalidPayload`.
    for detail in &details {
        message = format!("{message} [{}: {}]", detail.code, detail.message);
    }
    let scope = wish.scope.to_owned();
    let remedy = remedy(status, &code, wish);
    let status = status.as_u16();
    AzureError::Refused(Box::new(Refusal { what, scope, status, code, message, remedy }))
}

fn remedy(status: StatusCode, code: &str, wish: Wish<'_>) -> String {
    let scope = wish.scope;
    match (status.as_u16(), code, wish.needs) {
        (403, _, Needs::Role(role)) => format!(
            "whoever owns it grants the role with: az role assignment create --role \"{role}\" \
             --assignee-object-id <object id> --assignee-principal-type ServicePrincipal --scope {scope}; \
             a new role needs up to 30 minutes to count"
        ),
        (403, _, Needs::Permission(permission)) => format!(
            "an administrator of the directory grants the permission {permission} of Microsoft Graph"
        ),
        (401, ..) => "the token is not accepted here: check `cloud` and `endpoints`".into(),
        (404, "SubscriptionNotFound", _) => {
            "the subscription is unknown or not visible: check `resource_id` and `tenant_id`".into()
        }
        (404, "ResourceGroupNotFound" | "ResourceNotFound", _) => {
            "it does not exist, or was deleted: check `resource_id`".into()
        }
        (409, "ScopeLocked", _) => "a lock on the resource forbids changes: remove it".into(),
        _ => String::new(),
    }
}
