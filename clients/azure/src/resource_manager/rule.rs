//! Data collection rules: where rows go in.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Column, MONITORING_CONTRIBUTOR, ResourceManager, Tags, WorkspaceId, wish};
use crate::AzureError;

/// The first version that shows the address of a rule of the kind `Direct`.
const VERSION: &str = "2024-03-11";
/// The rule's name for the workspace.
const DESTINATION: &str = "workspace";

/// A rule as it is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct CollectionRule {
    /// Its resource id.
    pub id: String,
    /// Its region, which must be the workspace's.
    pub location: String,
    /// `Direct` has an address of its own.
    #[serde(default)]
    pub kind: Option<String>,
    /// Its tags.
    #[serde(default)]
    pub tags: Option<Tags>,
    /// The rest.
    pub properties: Properties,
}

/// What a rule says of itself.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Properties {
    /// What ingestion calls it: `dcr-` and 32 digits.
    pub immutable_id: String,
    /// Its own addresses, with the kind `Direct`.
    pub endpoints: Option<Addresses>,
    /// The data collection endpoint that it goes through.
    pub data_collection_endpoint_id: Option<String>,
    stream_declarations: BTreeMap<String, Declaration>,
    destinations: Destinations,
    data_flows: Vec<Flow>,
}

/// Addresses of a rule.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Addresses {
    /// Where rows go.
    pub logs_ingestion: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
struct Declaration {
    columns: Vec<Column>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Destinations {
    log_analytics: Vec<Destination>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Destination {
    workspace_resource_id: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Flow {
    streams: Vec<String>,
    output_stream: Option<String>,
    transform_kql: Option<String>,
}

/// A stream of a rule and the table that it fills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Begins with `Custom-`.
    pub name: String,
    /// The table's name.
    pub table: String,
    /// The columns of both.
    pub columns: Vec<Column>,
}

/// A rule as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleWanted {
    /// Its name within the workspace's resource group.
    pub name: String,
    /// The workspace's region.
    pub location: String,
    /// What it fills.
    pub workspace: WorkspaceId,
    /// The data collection endpoint, where the workspace takes nothing from public addresses.
    pub endpoint: Option<String>,
    /// Its streams.
    pub streams: Vec<Stream>,
    /// Who made it.
    pub tags: Tags,
}

impl RuleWanted {
    /// Its resource id.
    #[must_use]
    pub fn id(&self) -> String {
        let group = self.workspace.group();
        format!("{group}/providers/Microsoft.Insights/dataCollectionRules/{}", self.name)
    }

    /// As Resource Manager takes it, also inside of a template.
    #[must_use]
    pub fn body(&self) -> Value {
        let declarations: Map<String, Value> = self
            .streams
            .iter()
            .map(|s| (s.name.clone(), json!({ "columns": s.columns })))
            .collect();
        let flows = self.streams.iter().map(|s| {
            json!({ "streams": [s.name], "destinations": [DESTINATION], "transformKql": "source",
                    "outputStream": format!("Custom-{}", s.table) })
        });
        let mut body = json!({
            "location": self.location,
            "tags": self.tags,
            "properties": {
                "streamDeclarations": declarations,
                "destinations": { "logAnalytics": [
                    { "workspaceResourceId": self.workspace.to_string(), "name": DESTINATION },
                ]},
                "dataFlows": flows.collect::<Vec<_>>(),
            },
        });
        match &self.endpoint {
            Some(id) => body["properties"]["dataCollectionEndpointId"] = json!(id),
            None => body["kind"] = json!("Direct"),
        }
        body
    }

    /// What keeps `rule` from being this one; `None` when it is as wanted.
    #[must_use]
    pub fn difference(&self, rule: &CollectionRule) -> Option<String> {
        let found = &rule.properties;
        let is = |one: &str, other: &str| one.eq_ignore_ascii_case(other);
        let targets = &found.destinations.log_analytics;
        let wanted = self.workspace.to_string();
        if !targets.iter().any(|d| is(&d.workspace_resource_id, &wanted)) {
            return Some("it fills another workspace".into());
        }
        if found.data_collection_endpoint_id.as_deref().map(str::to_lowercase)
            != self.endpoint.as_deref().map(str::to_lowercase)
        {
            return Some("its data collection endpoint is another".into());
        }
        for stream in &self.streams {
            let declared = found.stream_declarations.get(&stream.name);
            let has = |c: &Column| declared.is_some_and(|d| d.columns.contains(c));
            if let Some(column) = stream.columns.iter().find(|c| !has(c)) {
                return Some(format!("stream {} lacks the column {}", stream.name, column.name));
            }
            let output = format!("Custom-{}", stream.table);
            let is_plain =
                |kql: &Option<String>| kql.as_deref().is_none_or(|t| t.trim() == "source");
            let flows = |f: &Flow| {
                f.streams.contains(&stream.name)
                    && f.output_stream.as_ref() == Some(&output)
                    && is_plain(&f.transform_kql)
            };
            if !found.data_flows.iter().any(flows) {
                return Some(format!("stream {} does not go to {}", stream.name, stream.table));
            }
        }
        None
    }
}

impl ResourceManager {
    /// A rule by its resource id; `None` when it is not there.
    ///
    /// # Errors
    /// See [`AzureError`].
    pub async fn rule(&self, id: &str) -> Result<Option<CollectionRule>, AzureError> {
        self.get(id, VERSION, wish("read the data collection rule", "Reader", id)).await
    }

    /// Makes a rule, or makes one what it should be.
    ///
    /// # Errors
    /// See [`AzureError`].
    pub async fn put_rule(&self, wanted: &RuleWanted) -> Result<CollectionRule, AzureError> {
        let scope = wanted.workspace.group();
        let what = format!("make the data collection rule `{}`", wanted.name);
        let wish = wish(&what, MONITORING_CONTRIBUTOR, &scope);
        self.put(&wanted.id(), VERSION, &wanted.body(), wish).await
    }

    /// Deletes a rule.
    ///
    /// # Errors
    /// See [`AzureError`].
    pub async fn delete_rule(&self, id: &str) -> Result<(), AzureError> {
        let wish = wish("delete the data collection rule", MONITORING_CONTRIBUTOR, id);
        self.delete(id, VERSION, wish).await
    }
}
