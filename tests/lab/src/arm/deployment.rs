//! Deployments of a template.

use serde_json::Value;

use super::address::Address;
use super::put;
use crate::server::Lab;

/// Deploys a template into a resource group as an owner does; gives what was refused.
pub(crate) fn deploy(lab: &Lab, group: &str, template: &Value) -> Vec<String> {
    let mut refusals = Vec::new();
    for resource in template["resources"].as_array().into_iter().flatten() {
        let text = |key: &str| resource[key].as_str().unwrap_or_default();
        let (namespace, types) = text("type").split_once('/').unwrap_or_default();
        let names = types.split('/').zip(text("name").split('/'));
        let path: String = names.map(|(kind, name)| format!("/{kind}/{name}")).collect();
        let scope = if text("scope").is_empty() { group } else { text("scope") };
        let id = format!("{scope}/providers/{namespace}{path}");
        for on in resource["dependsOn"].as_array().into_iter().flatten() {
            if lab.resources().get(on.as_str().unwrap_or_default()).is_none() {
                refusals.push(format!("{id} depends on {on}, which is not there"));
            }
        }
        let reply = match put(lab, &Address::parse(&id), resource.to_string().as_bytes()) {
            Ok(reply) | Err(reply) => reply,
        };
        refusals
            .extend(reply.filter(|(status, ..)| *status >= 300).map(|r| format!("{id}: {}", r.2)));
    }
    refusals
}
