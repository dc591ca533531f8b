//! The resources that there are.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Value, json};

use super::rights::Grant;
use super::{GROUP, SUBSCRIPTION, WORKSPACE, rules, tables};

/// Resources by the lower-case id; ids are compared without case.
#[derive(Default)]
pub struct Resources {
    pub(super) all: BTreeMap<String, Value>,
    /// Who has which role on what.
    pub(super) grants: Vec<Grant>,
    /// When writes were taken.
    pub writes: Vec<Instant>,
    pub(super) next: u64,
}

const SEARCHES: &str = "/savedsearches/";

impl Resources {
    /// A subscription with a region or two and nothing in it.
    pub(crate) fn bare() -> Self {
        let mut resources = Self::default();
        resources.put(&format!("/subscriptions/{SUBSCRIPTION}"), json!({"subscriptionId": SUBSCRIPTION, "displayName": "Lab subscription", "state": "Enabled"}));
        resources
    }

    /// A workspace with tables, and these rules to fill them.
    pub(crate) fn furnished(rule_ids: &[String], endpoint: &str) -> Self {
        let mut resources = Self::bare();
        resources.put_workspace("Enabled");
        for (name, columns) in tables::OURS {
            let columns: Vec<Value> =
                columns.iter().map(|(n, t)| json!({"name": n, "type": t})).collect();
            let table = json!({"properties": {"plan": "Analytics", "provisioningState": "Succeeded",
                "schema": {"name": name, "columns": columns, "tableType": "CustomLog"}}});
            resources.put(&format!("{WORKSPACE}/tables/{name}"), table);
        }
        for (number, id) in rule_ids.iter().enumerate() {
            let path =
                format!("{GROUP}/providers/Microsoft.Insights/dataCollectionRules/lab-{number}");
            resources.put(&path, rules::furnished(id, endpoint));
        }
        resources
    }

    /// Makes the lab's workspace, with public ingestion `Enabled` or `Disabled`.
    pub fn put_workspace(&mut self, public_ingestion: &str) {
        self.put(GROUP, json!({"location": "westeurope"}));
        let workspace = json!({"location": "westeurope", "properties": {
            "customerId": "lab-workspace", "provisioningState": "Succeeded", "sku": {"name": "PerGB2018"},
            "publicNetworkAccessForIngestion": public_ingestion,
            "workspaceCapping": {"dailyQuotaGb": -1.0, "dataIngestionStatus": "RespectQuota"},
        }});
        self.put(WORKSPACE, workspace);
    }

    /// Makes a resource, as somebody else would.
    pub fn put(&mut self, id: &str, mut resource: Value) -> Value {
        resource["id"] = json!(id);
        resource["name"] = json!(id.rsplit('/').next());
        self.all.insert(id.to_ascii_lowercase(), resource.clone());
        resource
    }

    /// A resource.
    pub fn get(&self, id: &str) -> Option<&Value> {
        self.all.get(&id.to_ascii_lowercase())
    }

    /// A resource, to change it as somebody else would.
    pub fn get_mut(&mut self, id: &str) -> Option<&mut Value> {
        self.all.get_mut(&id.to_ascii_lowercase())
    }

    /// Takes a resource away with all that lies in it; whether there was one.
    pub fn take(&mut self, id: &str) -> bool {
        let key = id.to_ascii_lowercase();
        let inside = format!("{key}/");
        self.all.retain(|id, _| !id.starts_with(&inside));
        self.grants.retain(|g| g.scope != key && !g.scope.starts_with(&inside));
        self.all.remove(&key).is_some()
    }

    /// Ids of all that is there, in small letters.
    pub fn ids(&self) -> Vec<String> {
        self.all.keys().cloned().collect()
    }

    /// The rule that ingestion knows by this id.
    pub(crate) fn rule(&self, immutable_id: &str) -> Option<&Value> {
        let is_it = |r: &&Value| r["properties"]["immutableId"] == immutable_id;
        self.all.values().find(is_it)
    }

    /// The workspace that queries know by this id.
    pub(crate) fn workspace(&self, customer_id: &str) -> Option<&Value> {
        self.all.values().find(|r| r["properties"]["customerId"] == customer_id)
    }

    fn searches(&self) -> impl Iterator<Item = &Value> {
        self.all.iter().filter(|(id, _)| id.contains(SEARCHES)).map(|(_, s)| &s["properties"])
    }

    /// A saved search's properties by its alias.
    pub fn by_alias(&self, alias: &str) -> Option<&Value> {
        self.searches().find(|p| p["functionAlias"] == alias)
    }

    /// Aliases of every saved search.
    pub fn aliases(&self) -> Vec<String> {
        self.searches().filter_map(|p| p["functionAlias"].as_str().map(Into::into)).collect()
    }

    /// Makes a saved search, as a person would in the portal.
    pub fn insert(&mut self, id: &str, properties: &Value) {
        self.put(&format!("{WORKSPACE}/savedSearches/{id}"), json!({"properties": properties}));
    }

    /// Deletes a saved search, as a person would in the portal.
    pub fn remove(&mut self, id: &str) -> bool {
        self.take(&format!("{WORKSPACE}/savedSearches/{id}"))
    }

    /// A number that is given once.
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}
