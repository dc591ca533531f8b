//! Resource Manager: a workspace and its saved searches, with who may do what.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hyper::header::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use crate::ingestion::{Reply, bearer, failure};
use crate::server::Lab;

/// The workspace's resource group.
pub const WORKSPACE: &str = "/subscriptions/5ab5c000-0000-4000-8000-000000000001/resourceGroups/lab/providers/Microsoft.OperationalInsights/workspaces/lab-workspace";

/// Resources by the lower-case id; ids are compared without case.
#[derive(Default)]
pub struct Resources {
    searches: BTreeMap<String, Value>,
    /// When writes were taken.
    pub writes: Vec<Instant>,
}

impl Resources {
    /// A saved search's properties by its alias.
    pub fn by_alias(&self, alias: &str) -> Option<&Value> {
        self.searches.values().map(|s| &s["properties"]).find(|p| p["functionAlias"] == alias)
    }

    /// Aliases of every saved search.
    pub fn aliases(&self) -> Vec<String> {
        let alias = |s: &Value| s["properties"]["functionAlias"].as_str().map(ToOwned::to_owned);
        self.searches.values().filter_map(alias).collect()
    }

    /// Makes a saved search, as a person would in the portal.
    pub fn insert(&mut self, id: &str, properties: &Value) {
        let name = format!("{WORKSPACE}/savedSearches/{id}");
        let resource = json!({"id": name, "etag": "x", "type": "Microsoft.OperationalInsights/savedSearches", "properties": properties});
        self.searches.insert(id.to_ascii_lowercase(), resource);
    }

    /// Deletes a saved search, as a person would in the portal.
    pub fn remove(&mut self, id: &str) -> bool {
        self.searches.remove(&id.to_ascii_lowercase()).is_some()
    }
}

/// A request below `/subscriptions`.
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a HeaderMap<HeaderValue>,
    pub(crate) body: &'a [u8],
}

/// Answers a request.
pub(crate) fn answer(lab: &Lab, ask: &Ask<'_>) -> Reply {
    let audience = lab.resource_manager();
    if let Err(refusal) = bearer(lab, ask.headers, &audience) {
        return refusal;
    }
    let is_write = ask.method != "GET";
    let role = if is_write { "Log Analytics Contributor" } else { "Log Analytics Reader" };
    if lab.faults().missing_roles.contains(role) {
        let text = format!(
            "The client '{}' does not have authorization to perform action over scope '{}'.",
            lab.options.object_id, ask.path
        );
        return failure(403, "AuthorizationFailed", &text);
    }
    if is_write && let Some(seconds) = throttled(lab) {
        let (_, mut headers, body) = failure(429, "TooManyRequests", "Too many writes.")?;
        headers.push(("retry-after", seconds.to_string()));
        return Some((429, headers, body));
    }
    let inside = ask.path.get(..WORKSPACE.len());
    if inside.is_none_or(|start| !start.eq_ignore_ascii_case(WORKSPACE)) {
        let text = format!("The Resource '{}' was not found.", ask.path);
        return failure(404, "ResourceNotFound", &text);
    }
    let rest = ask.path.get(WORKSPACE.len()..).unwrap_or_default().trim_matches('/');
    let parts: Vec<&str> = rest.split('/').collect();
    match (ask.method, &parts[..]) {
        ("GET", [""]) => ok(&json!({
            "id": WORKSPACE, "name": "lab-workspace", "location": "westeurope",
            "properties": {"customerId": "lab-workspace", "provisioningState": "Succeeded", "publicNetworkAccessForIngestion": "Enabled"},
        })),
        ("GET", ["savedSearches"]) => {
            let all: Vec<Value> = lab.resources().searches.values().cloned().collect();
            ok(&json!({"value": all}))
        }
        ("GET", ["savedSearches", id]) => match lab.resources().searches.get(&id.to_lowercase()) {
            Some(search) => ok(search),
            None => failure(404, "NotFound", "The saved search was not found."),
        },
        ("PUT", ["savedSearches", id]) => put(lab, id, ask.body),
        ("DELETE", ["savedSearches", id]) => {
            let had = lab.resources().remove(id);
            if had {
                ok(&json!({}))
            } else {
                failure(404, "NotFound", "The saved search was not found.")
            }
        }
        _ => failure(404, "NotFound", "The lab has no such resource."),
    }
}

fn ok(value: &Value) -> Reply {
    Some((200, vec![("content-type", "application/json".into())], value.to_string()))
}

/// Notes a write; the seconds to wait when there were too many within the span.
fn throttled(lab: &Lab) -> Option<u64> {
    let (limit, span) = lab.faults().arm_writes.unwrap_or((1_200, Duration::from_secs(3_600)));
    let mut resources = lab.resources();
    let now = Instant::now();
    let recent = resources.writes.iter().filter(|at| now.duration_since(**at) < span).count();
    if recent >= limit {
        lab.counts().arm_throttled += 1;
        return Some(1);
    }
    resources.writes.push(now);
    None
}

fn put(lab: &Lab, id: &str, body: &[u8]) -> Reply {
    let bad = |text: &str| failure(400, "InvalidArgument", text);
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        return bad("The request body is not valid JSON.");
    };
    let properties = &body["properties"];
    for key in ["category", "displayName", "query"] {
        if properties[key].as_str().is_none_or(str::is_empty) {
            return bad(&format!("'{key}' is required."));
        }
    }
    let alias = properties["functionAlias"].as_str().unwrap_or_default();
    let is_alias = alias.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !is_alias || alias.starts_with(['_', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) {
        return bad("'functionAlias' is not a valid function name.");
    }
    if lab.faults().refused_searches.contains(id) {
        return bad("The query is not valid.");
    }
    let mut resources = lab.resources();
    let exists = resources.searches.contains_key(&id.to_ascii_lowercase());
    if exists && body["etag"] != "*" {
        return failure(409, "Conflict", "The saved search was changed: the etag does not match.");
    }
    resources.insert(id, properties);
    ok(&resources.searches[&id.to_ascii_lowercase()])
}
