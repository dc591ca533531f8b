//! The Logs Query API, for what cmsync asks a workspace.

use cmsync_http::{Client, Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

/// Asks a workspace.
#[derive(Clone)]
pub struct Query {
    client: Client,
    endpoint: Url,
}

#[derive(Deserialize)]
struct Tables {
    tables: Vec<Table>,
}

#[derive(Deserialize)]
struct Table {
    rows: Vec<Vec<serde_json::Value>>,
}

impl Query {
    /// Asks at `endpoint`, for example `https://api.loganalytics.azure.com`.
    #[must_use]
    pub fn new(client: Client, endpoint: Url) -> Self {
        Self { client, endpoint }
    }

    /// The audience of a token for this endpoint.
    #[must_use]
    pub fn audience(&self) -> String {
        crate::cloud::audience(&self.endpoint)
    }

    /// The rows of a query's first table.
    ///
    /// # Errors
    /// One sentence; the caller says what it wanted to know.
    pub async fn rows(
        &self,
        workspace: &str,
        token: &SecretString,
        kql: &str,
    ) -> Result<Vec<Vec<serde_json::Value>>, String> {
        let url = crate::cloud::join(&self.endpoint, &format!("v1/workspaces/{workspace}/query"));
        let body = serde_json::json!({ "query": kql, "timespan": "P30D" });
        let sent = self.client.send_repeating(|| {
            let request = self.client.request(Method::POST, url.clone());
            Ok(request.bearer_auth(token.expose_secret()).json(&body))
        });
        let answer = sent.await.map_err(|e| e.to_string())?;
        if answer.status != StatusCode::OK {
            return Err(format!("workspace answered {}: {}", answer.status, answer.excerpt()));
        }
        let tables: Tables = serde_json::from_slice(&answer.body)
            .map_err(|e| format!("not a query's answer: {e}"))?;
        Ok(tables.tables.into_iter().next().map(|t| t.rows).unwrap_or_default())
    }
}
