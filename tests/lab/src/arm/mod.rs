//! Resource Manager: subscriptions, resource groups, workspaces, tables, rules, saved searches, role
//! assignments and diagnostic settings, with who may do what.

mod address;
mod deployment;
mod rights;
mod rules;
mod searches;
mod store;
mod tables;

use std::time::{Duration, Instant};

use hyper::header::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use crate::ingestion::{Reply, bearer, failure, form};
use crate::server::Lab;
use address::Address;
use rights::Grant;

pub(crate) use deployment::deploy;
pub use rights::CUSTOM;
pub(crate) use rights::{INGEST, check};
pub(crate) use rules::reaches_a_table;
pub use store::Resources;
pub(crate) use tables::OURS;

/// The subscription.
pub const SUBSCRIPTION: &str = "5ab5c000-0000-4000-8000-000000000001";
/// The workspace's resource group.
pub const GROUP: &str = "/subscriptions/5ab5c000-0000-4000-8000-000000000001/resourceGroups/lab";
/// The workspace.
pub const WORKSPACE: &str = "/subscriptions/5ab5c000-0000-4000-8000-000000000001/resourceGroups/lab/providers/Microsoft.OperationalInsights/workspaces/lab-workspace";

/// Items of a page of a list.
const PAGE: usize = 100;

/// A request below `/subscriptions`.
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap<HeaderValue>,
    pub(crate) body: &'a [u8],
}

/// How a write goes on.
enum Begun {
    /// It is done, with this status.
    Done(u16),
    /// The resource says how far it is.
    Provisioning(u16),
    /// An operation says how far it is.
    Operation,
    /// An operation that will have failed.
    Failing(&'static str, &'static str),
}

/// What a write makes, or its refusal.
type Made = Result<(Value, Begun), Reply>;

fn refused(status: u16, code: &str, text: &str) -> Made {
    Err(failure(status, code, text))
}

/// A refusal of Microsoft.Insights, with what is wrong in its details.
fn invalid(code: &str, text: &str) -> Made {
    let body = json!({"error": {"code": "InvalidPayload", "message": "Data collection rule is invalid",
        "details": [{"code": code, "message": text, "target": "Properties"}]}});
    Err(Some((400, vec![("content-type", "application/json".into())], body.to_string())))
}

fn ok(value: &Value) -> Reply {
    Some((200, vec![("content-type", "application/json".into())], value.to_string()))
}

/// Answers a request.
pub(crate) fn answer(lab: &Lab, ask: &Ask<'_>) -> Reply {
    match judged(lab, ask) {
        Ok(reply) | Err(reply) => reply,
    }
}

fn judged(lab: &Lab, ask: &Ask<'_>) -> Result<Reply, Reply> {
    let principal = bearer(lab, ask.headers, &lab.resource_manager())?;
    let address = Address::parse(ask.path);
    let options = form(ask.query.as_bytes());
    if !options.contains_key("api-version") {
        return Err(failure(
            400,
            "MissingApiVersionParameter",
            "The api-version query parameter (?api-version=) is required for all requests.",
        ));
    }
    if address.kind.starts_with("lab/") {
        return Ok(operation(lab, &address));
    }
    if address.kind == "subscriptions" && address.name.is_none() {
        return Ok(list(lab, &address, &principal, &options));
    }
    exists_above(lab, &address)?;
    let verb = match ask.method {
        "GET" => "read",
        "DELETE" => "delete",
        _ => "write",
    };
    let kind = if address.kind.contains('/') {
        address.kind.clone()
    } else {
        format!("microsoft.resources/{}", address.kind)
    };
    check(lab, &principal, &format!("{kind}/{verb}"), address.id)?;
    if ask.method != "GET" {
        throttle(lab)?;
    }
    match (ask.method, address.name) {
        ("GET", None) => Ok(list(lab, &address, &principal, &options)),
        ("GET", Some(_)) => Ok(get(lab, &address)),
        ("PUT", Some(_)) => put(lab, &address, ask.body),
        ("DELETE", Some(_)) => Ok(delete(lab, &address)),
        _ => Err(failure(405, "MethodNotAllowed", "The lab has no such request.")),
    }
}

/// The subscription and the resource group that a path names must be there.
fn exists_above(lab: &Lab, address: &Address<'_>) -> Result<(), Reply> {
    let resources = lab.resources();
    let subscription = address.subscription();
    if resources.get(&format!("/subscriptions/{subscription}")).is_none() {
        let text = format!("The subscription '{subscription}' could not be found.");
        return Err(failure(404, "SubscriptionNotFound", &text));
    }
    match address.group() {
        Some(group) if address.kind != "resourcegroups" && resources.get(&group).is_none() => {
            let name = group.rsplit('/').next().unwrap_or_default();
            let text = format!("Resource group '{name}' could not be found.");
            Err(failure(404, "ResourceGroupNotFound", &text))
        }
        _ => Ok(()),
    }
}

/// Notes a write; refuses one too many within the span.
fn throttle(lab: &Lab) -> Result<(), Reply> {
    let (limit, span) = lab.faults().arm_writes.unwrap_or((1_200, Duration::from_secs(3_600)));
    let mut resources = lab.resources();
    let now = Instant::now();
    let recent = resources.writes.iter().filter(|at| now.duration_since(**at) < span).count();
    if recent >= limit {
        lab.counts().arm_throttled += 1;
        let Some((_, mut headers, body)) = failure(429, "TooManyRequests", "Too many writes.")
        else {
            return Err(None);
        };
        headers.push(("retry-after", "1".into()));
        return Err(Some((429, headers, body)));
    }
    resources.writes.push(now);
    Ok(())
}

fn list(
    lab: &Lab,
    address: &Address<'_>,
    principal: &str,
    options: &std::collections::HashMap<String, String>,
) -> Reply {
    let resources = lab.resources();
    let key = address.key();
    let all: Vec<Value> = match address.kind.as_str() {
        "subscriptions" => {
            let is_one = |id: &str| id.matches('/').count() == 2;
            let sees = |id: &str| {
                let mut granted = resources.grants.iter().filter(|g| g.principal == principal);
                granted.any(|g| g.scope.starts_with(id) || g.scope == "/")
            };
            let all = resources.all.iter().filter(|(id, _)| is_one(id) && sees(id));
            all.map(|(_, s)| s.clone()).collect()
        }
        "locations" => {
            vec![
                json!({"name": "westeurope", "displayName": "West Europe"}),
                json!({"name": "northeurope", "displayName": "North Europe"}),
            ]
        }
        "microsoft.authorization/roleassignments" => {
            let filter = options.get("$filter").map(String::as_str).unwrap_or_default();
            let of = filter.split('\'').nth(1).unwrap_or_default();
            let scope = &address.parent;
            let near = |g: &&Grant| scope.starts_with(&g.scope) || g.scope.starts_with(scope);
            let theirs = resources.grants.iter().filter(|g| g.principal == of).filter(near);
            theirs.map(rights::shown).collect()
        }
        kind => {
            let last = kind.rsplit('/').next().unwrap_or_default();
            let is_in = |id: &str| {
                let above = id.rsplit_once('/').map(|(above, _)| above).unwrap_or_default();
                id.starts_with(&address.parent) && above.ends_with(&format!("/{last}"))
            };
            resources.all.iter().filter(|(id, _)| is_in(id)).map(|(_, r)| r.clone()).collect()
        }
    };
    let skip: usize = options.get("$skiptoken").and_then(|t| t.parse().ok()).unwrap_or(0);
    // Saved searches come whole, as the real list does.
    let size = if address.kind.ends_with("savedsearches") { usize::MAX } else { PAGE };
    let page: Vec<&Value> = all.iter().skip(skip).take(size).collect();
    let mut body = json!({ "value": page });
    if all.len() > skip.saturating_add(size) {
        let next = skip + size;
        let version = options.get("api-version").map(String::as_str).unwrap_or_default();
        let base = lab.resource_manager();
        body["nextLink"] = json!(format!("{base}{key}?api-version={version}&$skiptoken={next}"));
    }
    ok(&body)
}

fn get(lab: &Lab, address: &Address<'_>) -> Reply {
    let mut resources = lab.resources();
    let Some(found) = resources.get_mut(address.id) else {
        let text = format!("The Resource '{}' was not found.", address.id);
        return failure(404, "ResourceNotFound", &text);
    };
    let shown = found.clone();
    let state = &mut found["properties"]["provisioningState"];
    // What was being made is ready for the second look.
    if *state == "Creating" {
        *state = json!("Succeeded");
    }
    ok(&shown)
}

fn put(lab: &Lab, address: &Address<'_>, body: &[u8]) -> Result<Reply, Reply> {
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        return Err(failure(400, "InvalidRequestContent", "The request body is not valid JSON."));
    };
    let mut resources = lab.resources();
    let before = resources.get(address.id).cloned();
    let number = resources.number();
    let status = if before.is_some() { 200 } else { 201 };
    let (made, begun) = match address.kind.as_str() {
        "resourcegroups" => (body, Begun::Done(status)),
        "microsoft.operationalinsights/workspaces" => workspace(before.as_ref(), body, number)?,
        "microsoft.operationalinsights/workspaces/tables" => {
            tables::put(address, before.as_ref(), &body)?
        }
        "microsoft.operationalinsights/workspaces/savedsearches" => {
            searches::put(&lab.faults(), address, before.as_ref(), body)?
        }
        "microsoft.insights/datacollectionrules" => {
            rules::put(&resources, address, &body, (number, &lab.ingestion()))?
        }
        "microsoft.insights/datacollectionendpoints" => {
            rules::put_endpoint(&body, &lab.ingestion())?
        }
        "microsoft.insights/diagnosticsettings" => (body, Begun::Done(200)),
        "microsoft.authorization/roleassignments" => {
            return assign(lab, &mut resources, address, &body);
        }
        _ => return Err(failure(404, "InvalidResourceType", "The lab has no such resource.")),
    };
    Ok(begin(lab, &mut resources, address, (made, begun)))
}

/// Keeps what was made and answers as the service does.
fn begin(
    lab: &Lab,
    resources: &mut Resources,
    address: &Address<'_>,
    (mut made, begun): (Value, Begun),
) -> Reply {
    let headers = vec![("content-type", "application/json".to_owned())];
    match begun {
        Begun::Done(status) | Begun::Provisioning(status) => {
            if matches!(begun, Begun::Provisioning(_)) {
                made["properties"]["provisioningState"] = json!("Creating");
            }
            let made = resources.put(address.id, made);
            Some((status, headers, made.to_string()))
        }
        Begun::Operation | Begun::Failing(..) => {
            let mut status = json!({"status": "Succeeded", "looks": 1});
            match begun {
                Begun::Failing(code, text) => {
                    status = json!({"status": "Failed", "looks": 1, "error": {"code": code, "message": text}});
                }
                _ => drop(resources.put(address.id, made)),
            }
            let number = resources.number();
            let path = format!(
                "/subscriptions/{}/providers/lab/operations/{number}",
                address.subscription()
            );
            resources.put(&path, status);
            let link = format!("{}{path}?api-version=1", lab.resource_manager());
            Some((
                202,
                vec![("azure-asyncoperation", link), ("retry-after", "0".into())],
                String::new(),
            ))
        }
    }
}

/// How far an operation is: running at the first look, ended at the second.
fn operation(lab: &Lab, address: &Address<'_>) -> Reply {
    let mut resources = lab.resources();
    let Some(found) = resources.get_mut(address.id) else {
        return failure(404, "NotFound", "The operation is unknown.");
    };
    if found["looks"] == 1 {
        found["looks"] = json!(0);
        let (status, mut headers, body) = ok(&json!({"status": "InProgress"}))?;
        headers.push(("retry-after", "0".into()));
        return Some((status, headers, body));
    }
    let found = found.clone();
    ok(&found)
}

fn workspace(before: Option<&Value>, mut body: Value, number: u64) -> Made {
    let tier = body["properties"]["sku"]["name"].as_str().unwrap_or_default().to_owned();
    if !["PerGB2018", "CapacityReservation", "Free", "Standalone"].contains(&tier.as_str()) {
        return refused(
            400,
            "InvalidParameter",
            &format!("The pricing tier '{tier}' is not valid."),
        );
    }
    let customer = before.map(|b| b["properties"]["customerId"].clone());
    let new = json!(format!("c057043e-0000-4000-8000-{number:012x}"));
    body["properties"]["customerId"] = customer.unwrap_or(new);
    body["properties"]["publicNetworkAccessForIngestion"] = json!("Enabled");
    body["properties"]["workspaceCapping"] =
        json!({"dailyQuotaGb": -1.0, "dataIngestionStatus": "RespectQuota"});
    Ok((body, Begun::Provisioning(201)))
}

fn assign(
    lab: &Lab,
    resources: &mut Resources,
    address: &Address<'_>,
    body: &Value,
) -> Result<Reply, Reply> {
    let text = |key: &str| body["properties"][key].as_str().unwrap_or_default().to_owned();
    let (principal, definition) = (text("principalId"), text("roleDefinitionId"));
    let role = definition.rsplit('/').next().unwrap_or_default().to_owned();
    if !lab.directory().has_principal(&principal) {
        let text = format!("Principal {principal} does not exist in the directory.");
        return Err(failure(400, "PrincipalNotFound", &text));
    }
    let scope = address.parent.clone();
    let is_it = |g: &Grant| g.principal == principal && g.role == role && g.scope == scope;
    let name = address.name.unwrap_or_default().to_owned();
    match resources.grants.iter().find(|g| is_it(g)) {
        Some(same) if same.name == name => Ok(ok(&rights::shown(same))),
        Some(_) => Err(failure(409, "RoleAssignmentExists", "The role assignment already exists.")),
        None => {
            let grant = Grant { principal, role, scope, name };
            let shown = rights::shown(&grant);
            resources.add(grant);
            let headers = vec![("content-type", "application/json".to_owned())];
            Ok(Some((201, headers, shown.to_string())))
        }
    }
}

fn delete(lab: &Lab, address: &Address<'_>) -> Reply {
    let mut resources = lab.resources();
    let had = if address.kind == "microsoft.authorization/roleassignments" {
        let before = resources.grants.len();
        let name = address.name.unwrap_or_default();
        resources.grants.retain(|g| g.scope != address.parent || g.name != name);
        resources.grants.len() < before
    } else {
        resources.take(address.id)
    };
    if had { ok(&json!({})) } else { failure(404, "ResourceNotFound", "It was not found.") }
}
