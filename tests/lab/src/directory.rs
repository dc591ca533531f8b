//! The directory (tenant): its applications with their secrets, and Microsoft Graph over them.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::ingestion::{Reply, bearer, failure};
use crate::options::Options;
use crate::routes::Request;
use crate::server::{ADMINISTRATOR, Lab};

/// A secret of an application.
#[derive(Debug, Clone)]
pub struct Secret {
    pub key_id: String,
    pub value: String,
    pub end: jiff::Timestamp,
}

/// An application with its service principal.
#[derive(Debug, Clone)]
pub struct Application {
    pub object_id: String,
    pub client_id: String,
    pub principal_id: String,
    pub name: String,
    pub secrets: Vec<Secret>,
}

/// What the directory holds.
#[derive(Debug, Default)]
pub struct Directory {
    pub applications: Vec<Application>,
    /// Permissions of Graph that applications were granted.
    pub permissions: HashSet<String>,
    /// Whether the administrator may use Graph.
    pub administrator_may: bool,
    next: u64,
}

impl Directory {
    pub(crate) fn new(options: &Options) -> Self {
        let secret = Secret {
            key_id: "5ec5e700-0000-4000-8000-000000000001".into(),
            value: options.client_secret.clone(),
            end: jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 400),
        };
        let application = Application {
            object_id: "a9900000-0000-4000-8000-000000000001".into(),
            client_id: options.client_id.clone(),
            principal_id: options.object_id.clone(),
            name: "cmsync of the lab".into(),
            secrets: vec![secret],
        };
        let applications = vec![application];
        Self { applications, permissions: HashSet::new(), administrator_may: true, next: 1 }
    }

    /// An application by its client id.
    pub fn application(&mut self, client_id: &str) -> Option<&mut Application> {
        self.applications.iter_mut().find(|a| a.client_id == client_id)
    }

    pub(crate) fn has_principal(&self, id: &str) -> bool {
        id == ADMINISTRATOR || self.applications.iter().any(|a| a.principal_id == id)
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Secret {
    fn shown(&self) -> Value {
        let hint: String = self.value.chars().take(3).collect();
        json!({"keyId": self.key_id, "displayName": "secret", "hint": hint, "endDateTime": self.end.to_string(), "secretText": null})
    }
}

impl Application {
    fn shown(&self) -> Value {
        let secrets: Vec<Value> = self.secrets.iter().map(Secret::shown).collect();
        json!({"id": self.object_id, "appId": self.client_id, "displayName": self.name, "passwordCredentials": secrets})
    }
}

fn ok(status: u16, value: &Value) -> Reply {
    Some((status, vec![("content-type", "application/json".into())], value.to_string()))
}

/// Answers a request to Graph: the administrator may all, an application what it was granted.
pub(crate) fn graph(lab: &Lab, request: &Request<'_>) -> Reply {
    let principal = match bearer(lab, request.headers, &lab.graph()) {
        Ok(principal) => principal,
        Err(refusal) => return refusal,
    };
    let mut directory = lab.directory();
    let permission = match (request.method, request.path) {
        ("GET", path) if path.starts_with("/v1.0/organization") => "Organization.Read.All",
        ("GET", _) => "Application.Read.All",
        _ => "Application.ReadWrite.OwnedBy",
    };
    let is_administrator = principal == ADMINISTRATOR;
    let may = if is_administrator {
        directory.administrator_may
    } else {
        directory.permissions.contains(permission)
    };
    if !may {
        lab.counts().forbidden.insert(permission.to_owned());
        let text = "Insufficient privileges to complete the operation.";
        return failure(403, "Authorization_RequestDenied", text);
    }
    let body: Value = serde_json::from_slice(request.body).unwrap_or_default();
    let parts: Vec<&str> = request.path.trim_matches('/').split('/').skip(1).collect();
    let missing = || failure(404, "Request_ResourceNotFound", "The resource does not exist.");
    match (request.method, &parts[..]) {
        ("GET", ["organization"]) => {
            ok(200, &json!({"value": [{"id": lab.options.tenant, "displayName": "Contoso Lab"}]}))
        }
        ("GET", [what]) => {
            let client = what.split('\'').nth(1).unwrap_or_default();
            let Some(found) = directory.application(client) else {
                return missing();
            };
            if what.starts_with("applications(") {
                ok(200, &found.shown())
            } else {
                ok(
                    200,
                    &json!({"id": found.principal_id, "appId": found.client_id, "displayName": found.name}),
                )
            }
        }
        ("POST", parts) => make(&mut directory, parts, &body).unwrap_or_else(missing),
        _ => missing(),
    }
}

/// Makes what was asked for; `None` when it belongs to something that is not there.
fn make(directory: &mut Directory, parts: &[&str], body: &Value) -> Option<Reply> {
    Some(match parts {
        ["applications"] => {
            let number = directory.number();
            let application = Application {
                object_id: format!("a9900000-0000-4000-8000-{number:012x}"),
                client_id: format!("c11e0000-0000-4000-8000-{number:012x}"),
                principal_id: String::new(),
                name: body["displayName"].as_str().unwrap_or_default().to_owned(),
                secrets: Vec::new(),
            };
            let shown = application.shown();
            directory.applications.push(application);
            ok(201, &shown)
        }
        ["servicePrincipals"] => {
            let number = directory.number();
            let client = body["appId"].as_str().unwrap_or_default();
            let found = directory.application(client)?;
            found.principal_id = format!("0b1ec700-0000-4000-8000-{number:012x}");
            ok(
                201,
                &json!({"id": found.principal_id, "appId": found.client_id, "displayName": found.name}),
            )
        }
        ["applications", object, "addPassword"] => {
            let number = directory.number();
            let found = directory.applications.iter_mut().find(|a| a.object_id == *object)?;
            let end =
                body["passwordCredential"]["endDateTime"].as_str().and_then(|t| t.parse().ok());
            let secret = Secret {
                key_id: format!("5ec5e700-0000-4000-8000-{number:012x}"),
                value: format!("new~secret-{number}"),
                end: end.unwrap_or_else(jiff::Timestamp::now),
            };
            let mut shown = secret.shown();
            shown["secretText"] = json!(secret.value);
            found.secrets.push(secret);
            ok(200, &shown)
        }
        _ => return None,
    })
}
