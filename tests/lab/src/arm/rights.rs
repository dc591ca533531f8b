//! Who may do what: the built-in roles as far as cmsync meets them, and one's own.
//!
//! Source: "Azure built-in roles", with the actions that the lab serves.

use serde_json::{Value, json};

use super::store::Resources;
use crate::ingestion::{Reply, failure};
use crate::server::Lab;

/// Somebody's role on something and all below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    /// Object id.
    pub(super) principal: String,
    /// The role definition's GUID.
    pub(super) role: String,
    /// In small letters.
    pub(super) scope: String,
    /// The assignment's name.
    pub(super) name: String,
}

/// Name, GUID, actions with `*`, what is taken out.
type BuiltIn = (&'static str, &'static str, &'static [&'static str], &'static [&'static str]);

const BUILT_IN: [BuiltIn; 9] = [
    ("Owner", "8e3af657-a8ff-443c-a75c-2fe8c4bcb635", &["*"], &[]),
    (
        "Contributor",
        "b24988ac-6180-42a0-ab88-20f7382dd24c",
        &["*"],
        &["microsoft.authorization/*/write", "microsoft.authorization/*/delete", INGEST],
    ),
    ("Reader", "acdd72a7-3385-48ef-bd42-f606fba81ae7", &["*/read"], &[]),
    (
        "User Access Administrator",
        "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9",
        &["*/read", "microsoft.authorization/*"],
        &[],
    ),
    (
        "Log Analytics Contributor",
        "92aaf0da-9dab-42b6-94a3-d43ce8d16293",
        &["*/read", "microsoft.operationalinsights/*", "microsoft.insights/diagnosticsettings/*"],
        &[],
    ),
    ("Log Analytics Reader", "73c42c96-874c-492b-b04d-ab87d138a893", &["*/read"], &[]),
    (
        "Monitoring Contributor",
        "749f88d5-cbae-40b8-bcfc-e573ddc772fa",
        &["*/read", "microsoft.insights/*"],
        &[INGEST],
    ),
    ("Monitoring Metrics Publisher", "3913510d-42f4-4e42-8a64-420c390055eb", &[INGEST], &[]),
    // One's own, as cmsync prints it.
    (
        "cmsync groups",
        CUSTOM,
        &[
            "microsoft.operationalinsights/workspaces/read",
            "microsoft.operationalinsights/workspaces/savedsearches/*",
        ],
        &[],
    ),
];

/// The data action of sending rows through a rule.
pub(crate) const INGEST: &str = "microsoft.insights/datacollectionrules/data/write";
/// A role of one's own that writes saved searches and nothing else.
pub const CUSTOM: &str = "c0571000-0000-4000-8000-000000000001";

fn matches(pattern: &str, action: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == action,
        Some((head, tail)) => {
            action.len() >= head.len() + tail.len()
                && action.starts_with(head)
                && action.ends_with(tail)
        }
    }
}

impl Resources {
    /// Gives a role by its name, as an owner would.
    pub fn grant(&mut self, principal: &str, role: &str, scope: &str) {
        let (_, guid, ..) = BUILT_IN.iter().find(|(name, ..)| *name == role).expect("a role");
        let name = format!("lab-{}", self.number());
        self.add(Grant {
            principal: principal.into(),
            role: (*guid).into(),
            scope: scope.to_lowercase(),
            name,
        });
    }

    pub(super) fn add(&mut self, grant: Grant) {
        self.grants.push(grant);
    }

    /// Takes every role of a principal.
    pub fn revoke_all(&mut self, principal: &str) {
        self.grants.retain(|g| g.principal != principal);
    }

    /// Names of a principal's roles with their scopes, in order.
    pub fn roles_of(&self, principal: &str) -> Vec<(String, String)> {
        let name = |guid: &str| {
            BUILT_IN
                .iter()
                .find(|(_, id, ..)| *id == guid)
                .map_or(guid, |(name, ..)| name)
                .to_owned()
        };
        let mut roles: Vec<_> = self
            .grants
            .iter()
            .filter(|g| g.principal == principal)
            .map(|g| (name(&g.role), g.scope.clone()))
            .collect();
        roles.sort();
        roles
    }

    /// Whether a principal may do something; roles named in `lost` do not count.
    fn allows(
        &self,
        principal: &str,
        action: &str,
        scope: &str,
        lost: &std::collections::HashSet<String>,
    ) -> bool {
        let scope = scope.to_lowercase();
        self.grants.iter().any(|g| {
            let covers = scope.strip_prefix(g.scope.trim_end_matches('/'));
            let covers = covers.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            let role = BUILT_IN.iter().find(|(_, guid, ..)| guid.eq_ignore_ascii_case(&g.role));
            g.principal == principal
                && covers
                && role.is_some_and(|(name, _, gives, takes)| {
                    !lost.contains(*name)
                        && gives.iter().any(|p| matches(p, action))
                        && !takes.iter().any(|p| matches(p, action))
                })
        })
    }
}

/// Refuses what a principal may not do on a scope.
pub(crate) fn check(lab: &Lab, principal: &str, action: &str, scope: &str) -> Result<(), Reply> {
    let lost = lab.faults().missing_roles.clone();
    if lab.resources().allows(principal, action, scope, &lost) {
        return Ok(());
    }
    lab.counts().forbidden.insert(action.to_owned());
    let text = format!(
        "The client '{principal}' with object id '{principal}' does not have authorization to perform action '{action}' over scope '{scope}' or the scope is invalid. If access was recently granted, please refresh your credentials."
    );
    Err(failure(403, "AuthorizationFailed", &text))
}

/// A grant as Resource Manager shows it.
pub(super) fn shown(grant: &Grant) -> Value {
    let Grant { principal, role, scope, name } = grant;
    json!({
        "id": format!("{scope}/providers/Microsoft.Authorization/roleAssignments/{name}"),
        "name": name, "type": "Microsoft.Authorization/roleAssignments",
        "properties": {"principalId": principal, "scope": scope, "principalType": "ServicePrincipal",
            "roleDefinitionId": format!("/providers/Microsoft.Authorization/roleDefinitions/{role}")},
    })
}
