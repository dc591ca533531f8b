//! Diagnostic settings: where a rule's own errors go.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{MONITORING_CONTRIBUTOR, ResourceManager, WorkspaceId, wish};
use crate::AzureError;

const VERSION: &str = "2021-05-01-preview";
/// The errors of a rule, which go to the table `DCRLogErrors`.
const CATEGORY: &str = "LogErrors";

/// A diagnostic setting of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DiagnosticSetting {
    properties: Properties,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Properties {
    workspace_id: Option<String>,
    logs: Vec<Log>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Log {
    category: Option<String>,
    enabled: bool,
}

fn path(of: &str, name: &str) -> String {
    format!("{of}/providers/Microsoft.Insights/diagnosticSettings/{name}")
}

impl DiagnosticSetting {
    /// Whether it sends a rule's errors to a workspace.
    #[must_use]
    pub fn sends_errors_to(&self, workspace: &WorkspaceId) -> bool {
        let target = self.properties.workspace_id.as_deref().unwrap_or_default();
        let is_errors = |l: &Log| l.enabled && l.category.as_deref() == Some(CATEGORY);
        target.eq_ignore_ascii_case(&workspace.to_string())
            && self.properties.logs.iter().any(is_errors)
    }

    /// The setting that sends a rule's errors to a workspace, as Resource Manager takes it.
    #[must_use]
    pub fn body(workspace: &WorkspaceId) -> Value {
        json!({ "properties": {
            "workspaceId": workspace.to_string(),
            "logs": [{ "category": CATEGORY, "enabled": true }],
        }})
    }
}

impl ResourceManager {
    /// A diagnostic setting of a resource; `None` when it is not there.
    ///
    /// # Errors
    /// See [`AzureError`].
    pub async fn diagnostic_setting(
        &self,
        of: &str,
        name: &str,
    ) -> Result<Option<DiagnosticSetting>, AzureError> {
        let wish = wish("read the diagnostic setting", "Monitoring Reader", of);
        self.get(&path(of, name), VERSION, wish).await
    }

    /// Sends a rule's errors to a workspace.
    ///
    /// # Errors
    /// See [`AzureError`].
    pub async fn put_diagnostic_setting(
        &self,
        (of, name): (&str, &str),
        workspace: &WorkspaceId,
    ) -> Result<(), AzureError> {
        let wish = wish("write the diagnostic setting", MONITORING_CONTRIBUTOR, of);
        let body = DiagnosticSetting::body(workspace);
        self.write(&path(of, name), VERSION, &body, wish).await.map(drop)
    }

    /// Takes a diagnostic setting back.
    ///
    /// # Errors
    /// See [`AzureError`].
    pub async fn delete_diagnostic_setting(&self, of: &str, name: &str) -> Result<(), AzureError> {
        let wish = wish("delete the diagnostic setting", MONITORING_CONTRIBUTOR, of);
        self.delete(&path(of, name), VERSION, wish).await
    }
}
