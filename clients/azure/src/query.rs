//! The Logs Query API, for what cmsync asks a workspace.
//!
//! Source: "Azure Monitor Log Analytics API: query" and its limits page: 500,000 rows or 100 MB an
//! answer; three minutes a query, where no more is asked for. What does not fit is cut, and the answer says so in `error`.

use std::sync::Arc;
use std::time::Duration;

use cmsync_http::{Client, Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::Credential;
use crate::api::{Api, AzureError, Needs, Place, UNTOLD_WAIT, Wish, parse, refusal};

/// Asks a workspace.
#[derive(Clone)]
pub struct Query {
    api: Api,
    /// The workspace's resource id, where rights are granted.
    scope: String,
}

/// Why a workspace did not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// It was refused, or there was no answer.
    #[error(transparent)]
    Azure(#[from] AzureError),
    /// Too many queries.
    #[error("the workspace asks for a pause of {} s", .0.as_secs())]
    Throttled(Duration),
    /// The query cannot be answered by this workspace: a table or a column is not there, or it ran
    /// too long.
    #[error("the workspace cannot answer ({code}): {message}")]
    Invalid {
        /// For example `BadArgumentError`.
        code: String,
        /// The innermost text.
        message: String,
    },
    /// The answer would be larger than the service gives.
    #[error("the answer is larger than the workspace gives: {0}")]
    TooLarge(String),
}

#[derive(Deserialize)]
struct Answered {
    #[serde(default)]
    tables: Vec<Table>,
    #[serde(default)]
    error: Option<Fault>,
}

#[derive(Deserialize)]
struct Table {
    rows: Vec<Vec<Value>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Fault {
    code: String,
    message: String,
    innererror: Option<Box<Fault>>,
}

#[derive(Deserialize, Default)]
struct Failed {
    #[serde(default)]
    error: Fault,
}

impl Fault {
    /// The innermost error: the outer ones only say that something is wrong.
    fn innermost(self) -> (String, String) {
        match self.innererror {
            Some(inner) if !inner.message.is_empty() => inner.innermost(),
            _ => (self.code, self.message),
        }
    }
}

impl Query {
    /// Asks at `endpoint`, for example `https://api.loganalytics.azure.com`.
    #[must_use]
    pub fn new(http: Client, endpoint: Url, credential: Arc<Credential>) -> Self {
        let scope = "the workspace".to_owned();
        Self { api: Api::new(http, endpoint, credential), scope }
    }

    /// Names this resource id where a right is missing.
    #[must_use]
    pub fn on(self, resource_id: &str) -> Self {
        Self { scope: resource_id.to_owned(), ..self }
    }

    /// The rows of a query's first table, over the last 30 days.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn rows(&self, workspace: &str, kql: &str) -> Result<Vec<Vec<Value>>, QueryError> {
        let path = format!("v1/workspaces/{workspace}/query");
        let place = Place { path: &path, query: &[] };
        let body = serde_json::json!({ "query": kql, "timespan": "P30D" });
        let needs = Needs::Role("Log Analytics Reader");
        let wish = Wish { what: "ask the workspace", needs, scope: &self.scope };
        let answer =
            self.api.send(|| self.api.request(Method::POST, place).json(&body), true).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::TOO_MANY_REQUESTS => {
                return Err(QueryError::Throttled(answer.retry_after().unwrap_or(UNTOLD_WAIT)));
            }
            StatusCode::BAD_REQUEST | StatusCode::GATEWAY_TIMEOUT => {
                let failed: Failed = serde_json::from_slice(&answer.body).unwrap_or_default();
                let (code, message) = failed.error.innermost();
                if code.is_empty() && answer.is_transient() {
                    // A gateway's own.
                    return Err(refusal(&answer, wish).into());
                }
                return Err(QueryError::Invalid { code, message });
            }
            _ => return Err(refusal(&answer, wish).into()),
        }
        let answered: Answered = parse(&answer, wish)?;
        if let Some(fault) = answered.error {
            return Err(QueryError::TooLarge(fault.innermost().1));
        }
        Ok(answered.tables.into_iter().next().map(|t| t.rows).unwrap_or_default())
    }
}
