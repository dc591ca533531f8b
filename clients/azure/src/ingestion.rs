//! The Logs Ingestion API: one body to one stream of one data collection rule.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use cmsync_http::{Client, Method, header};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;

/// Version of the API.
const API_VERSION: &str = "2023-01-01";

/// A data collection rule that takes rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its own endpoint, or that of a data collection endpoint.
    pub endpoint: Url,
    /// Its immutable id, `dcr-…`.
    pub id: String,
}

/// What an answer means for a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Taken.
    Accepted,
    /// 413: send less at once.
    TooLarge,
    /// The service says that the upload was aborted, which a large body may be the reason of.
    Aborted(String),
    /// 400: something in it is not accepted.
    BadBody(String),
    /// 401: the token is not accepted.
    BadToken(String),
    /// 403 or 404 of the service: the rule, or the right to it, is missing.
    RuleRefused(String),
    /// 429: not now; the time that the service asks for.
    Throttled(Option<Duration>),
    /// 5xx but 501, a time-out or a cut connection: try again.
    Unavailable(String),
    /// Anything else, for example a proxy's page: nothing that repeating alone would change.
    Unexpected(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => write!(f, "taken"),
            Self::TooLarge => write!(f, "the body is too large (413)"),
            Self::Aborted(text) => write!(f, "the upload was aborted: {text}"),
            Self::BadBody(text) => write!(f, "the rows are refused: {text}"),
            Self::BadToken(text) => write!(
                f,
                "the token is refused: {text}; see whether identity and rule are of one tenant and cloud"
            ),
            Self::RuleRefused(text) => write!(
                f,
                "refused: {text}; the identity needs the role Monitoring Metrics Publisher on the \
                 rule (up to 30 minutes to take effect)"
            ),
            Self::Throttled(None) => write!(f, "too many requests: not now"),
            Self::Throttled(Some(wait)) => {
                write!(f, "too many requests: not within {} s", wait.as_secs())
            }
            Self::Unavailable(text) => {
                write!(f, "the service does not answer as it should: {text}")
            }
            Self::Unexpected(text) => write!(f, "unexpected answer, perhaps a proxy's: {text}"),
        }
    }
}

/// Posts bodies.
#[derive(Clone)]
pub struct Ingestion {
    client: Client,
}

#[derive(Deserialize, Default)]
struct Failure {
    #[serde(default)]
    error: FailureDetail,
}

#[derive(Deserialize, Default)]
struct FailureDetail {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl Ingestion {
    /// Posts through `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Posts one gzipped JSON array to a stream. `request_id` comes back in the workspace's `DCRLogErrors`.
    pub async fn post(
        &self,
        rule: &Rule,
        token: &SecretString,
        request_id: &str,
        (stream, body): (&str, Bytes),
    ) -> Verdict {
        let mut url = rule.endpoint.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/dataCollectionRules/{}/streams/{stream}", rule.id));
        url.set_query(Some(&format!("api-version={API_VERSION}")));
        let request = self
            .client
            .request(Method::POST, url)
            .bearer_auth(token.expose_secret())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONTENT_ENCODING, "gzip")
            .header("x-ms-client-request-id", request_id)
            .body(body);
        let answer = match self.client.send(request).await {
            Ok(answer) => answer,
            Err(error) if error.is_transient() => return Verdict::Unavailable(error.to_string()),
            Err(error) => return Verdict::Unexpected(error.to_string()),
        };
        judge(&answer)
    }
}

/// What an answer means. The matrix is that of docs/azure.md.
fn judge(answer: &cmsync_http::Answer) -> Verdict {
    let status = answer.status;
    let failure: Option<Failure> = serde_json::from_slice(&answer.body).ok();
    let code = failure.as_ref().map_or("", |f| f.error.code.as_str());
    let text = match &failure {
        Some(f) if !f.error.code.is_empty() => {
            format!("{} {}: {}", status.as_u16(), f.error.code, f.error.message)
        }
        _ => format!("{}: {}", status.as_u16(), answer.excerpt()),
    };
    let is_aborted = matches!(code, "TimeoutExpired" | "ReadyBody_ClientConnectionAbort");
    match status.as_u16() {
        200..=299 => Verdict::Accepted,
        413 => Verdict::TooLarge,
        _ if is_aborted => Verdict::Aborted(text),
        // A 400 that is no answer of the service comes from something between.
        400 if failure.is_some() || answer.body.is_empty() => Verdict::BadBody(text),
        401 => Verdict::BadToken(text),
        403 | 404 if failure.is_some() => Verdict::RuleRefused(text),
        429 => Verdict::Throttled(answer.retry_after()),
        501 => Verdict::Unexpected(text),
        408 | 500..=599 => Verdict::Unavailable(text),
        _ => Verdict::Unexpected(text),
    }
}
