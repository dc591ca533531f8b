//! Log Analytics workspaces.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde_json::json;

use super::{LOG_ANALYTICS_CONTRIBUTOR, ResourceManager, Tags, wish};
use crate::AzureError;

const VERSION: &str = "2022-10-01";
const PROVIDER: &str = "Microsoft.OperationalInsights";

/// The resource id of a workspace, in its usual spelling.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WorkspaceId {
    /// Subscription id.
    pub subscription: String,
    /// Resource group.
    pub resource_group: String,
    /// The workspace's name.
    pub name: String,
}

impl fmt::Display for WorkspaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subscription, resource_group, name } = self;
        write!(
            f,
            "/subscriptions/{subscription}/resourceGroups/{resource_group}/providers/{PROVIDER}/workspaces/{name}"
        )
    }
}

impl FromStr for WorkspaceId {
    type Err = String;

    /// Resource ids are compared without case; the words between the names are fixed.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.trim_matches('/').split('/').collect();
        let is_word = |found: &str, word: &str| found.eq_ignore_ascii_case(word);
        if let [s, subscription, g, group, p, provider, w, name] = parts[..]
            && is_word(s, "subscriptions")
            && is_word(g, "resourceGroups")
            && is_word(p, "providers")
            && is_word(provider, PROVIDER)
            && is_word(w, "workspaces")
            && [subscription, group, name].iter().all(|n| is_name(n))
        {
            return Ok(Self {
                subscription: subscription.to_owned(),
                resource_group: group.to_owned(),
                name: name.to_owned(),
            });
        }
        Err(format!(
            "`{text}` is no resource id of a workspace: \
             /subscriptions/<id>/resourceGroups/<group>/providers/{PROVIDER}/workspaces/<name>"
        ))
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '(' | ')'))
}

impl WorkspaceId {
    /// The resource group that it is in, as a resource id.
    #[must_use]
    pub fn group(&self) -> String {
        format!("/subscriptions/{}/resourceGroups/{}", self.subscription, self.resource_group)
    }
}

/// A workspace.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Workspace {
    /// Its region, for example `westeurope`.
    pub location: String,
    /// Its tags.
    #[serde(default)]
    pub tags: Option<Tags>,
    /// The rest.
    pub properties: Properties,
}

/// What a workspace says of itself.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Properties {
    /// Workspace id (a GUID), which queries name.
    pub customer_id: String,
    /// `Enabled`, or `Disabled` where logs come through Private Link alone.
    #[serde(default)]
    pub public_network_access_for_ingestion: Option<String>,
    /// Its daily cap.
    #[serde(default, rename = "workspaceCapping")]
    pub capping: Option<Capping>,
}

/// A workspace's daily cap.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
pub struct Capping {
    /// When the day ends, as the service writes it.
    pub quota_next_reset_time: Option<String>,
    /// `OverQuota` while the cap is reached: nothing is stored.
    pub data_ingestion_status: Option<String>,
}

impl Workspace {
    /// Whether logs come through Private Link alone.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.properties.public_network_access_for_ingestion.as_deref() == Some("Disabled")
    }
}

/// A workspace in a list.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct WorkspaceItem {
    /// Its resource id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is.
    #[serde(flatten)]
    pub workspace: Workspace,
}

impl ResourceManager {
    /// The workspaces of a subscription.
    ///
    /// # Errors
    /// See [`AzureError`].
    pub async fn workspaces(&self, subscription: &str) -> Result<Vec<WorkspaceItem>, AzureError> {
        let scope = format!("/subscriptions/{subscription}");
        let wish = wish("list the workspaces", "Log Analytics Reader", &scope);
        self.list(&format!("{scope}/providers/{PROVIDER}/workspaces"), VERSION, wish).await
    }

    /// A workspace; `None` when it is not there.
    ///
    /// # Errors
    /// See [`AzureError`].
    pub async fn workspace(&self, id: &WorkspaceId) -> Result<Option<Workspace>, AzureError> {
        let path = id.to_string();
        self.get(&path, VERSION, wish("read the workspace", "Log Analytics Reader", &path)).await
    }

    /// Makes a workspace with a pricing tier, for example `PerGB2018`, in a region.
    ///
    /// # Errors
    /// See [`AzureError`].
    pub async fn put_workspace(
        &self,
        id: &WorkspaceId,
        (location, tier): (&str, &str),
        tags: &Tags,
    ) -> Result<Workspace, AzureError> {
        let scope = id.group();
        let what = format!("make the workspace `{}`", id.name);
        let body = json!({
            "location": location,
            "tags": tags,
            "properties": { "sku": { "name": tier }, "retentionInDays": 30 },
        });
        let wish = wish(&what, LOG_ANALYTICS_CONTRIBUTOR, &scope);
        self.put(&id.to_string(), VERSION, &body, wish).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_id_is_read_in_any_case_and_anything_else_is_refused() {
        let right = "/subscriptions/s-1/resourceGroups/g/providers/Microsoft.OperationalInsights/workspaces/w";
        assert_eq!(right.parse::<WorkspaceId>().unwrap().to_string(), right);
        let lower = right.to_ascii_lowercase().parse::<WorkspaceId>().unwrap();
        assert_eq!(lower.to_string(), right);
        for wrong in [
            "",
            "/subscriptions/s/resourceGroups/g",
            &format!("{right}/tables/t"),
            &right.replace("/g/", "//"),
            &right.replace("/w", "/w?x=1"),
        ] {
            assert!(
                wrong.parse::<WorkspaceId>().unwrap_err().contains("no resource id"),
                "{wrong}"
            );
        }
    }
}
