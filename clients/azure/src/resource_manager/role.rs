//! Roles: who may do what.

use aws_lc_rs::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ResourceManager, wish};
use crate::AzureError;
use crate::api::Place;

const VERSION: &str = "2022-04-01";
/// Who may grant roles; a Contributor may not.
const GRANTER: &str = "User Access Administrator";

/// A role that cmsync needs at run time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// The id of its definition, a GUID.
    pub definition: String,
}

impl Role {
    fn built_in(name: &str, definition: &str) -> Self {
        Self { name: name.to_owned(), definition: definition.to_owned() }
    }

    /// Sends rows through a rule.
    #[must_use]
    pub fn metrics_publisher() -> Self {
        Self::built_in("Monitoring Metrics Publisher", "3913510d-42f4-4e42-8a64-420c390055eb")
    }

    /// Writes saved searches, and much more.
    #[must_use]
    pub fn log_analytics_contributor() -> Self {
        Self::built_in("Log Analytics Contributor", "92aaf0da-9dab-42b6-94a3-d43ce8d16293")
    }

    /// Asks a workspace.
    #[must_use]
    pub fn log_analytics_reader() -> Self {
        Self::built_in("Log Analytics Reader", "73c42c96-874c-492b-b04d-ab87d138a893")
    }

    /// The resource id of its definition.
    #[must_use]
    pub fn id(&self, subscription: &str) -> String {
        let provider = "Microsoft.Authorization/roleDefinitions";
        format!("/subscriptions/{subscription}/providers/{provider}/{}", self.definition)
    }
}

/// A role that somebody has on something.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RoleAssignment {
    /// Its resource id.
    pub id: String,
    /// Its name, a GUID.
    pub name: String,
    properties: Properties,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    role_definition_id: String,
    principal_id: String,
    scope: String,
}

impl RoleAssignment {
    /// Whether it gives `role` to `principal` on `scope`, there or above.
    #[must_use]
    pub fn gives(&self, role: &Role, principal: &str, scope: &str) -> bool {
        let Properties { principal_id, scope: on, .. } = &self.properties;
        let (on, scope) = (on.trim_end_matches('/').to_lowercase(), scope.to_lowercase());
        let is_at_or_above =
            scope.strip_prefix(&on).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.definition().eq_ignore_ascii_case(&role.definition)
            && principal_id.eq_ignore_ascii_case(principal)
            && is_at_or_above
    }

    /// The id (a GUID) of its role's definition.
    #[must_use]
    pub fn definition(&self) -> &str {
        self.properties.role_definition_id.rsplit('/').next().unwrap_or_default()
    }

    /// Whether cmsync gave it to `principal` on `scope`, whatever its role.
    #[must_use]
    pub fn is_ours(&self, principal: &str, scope: &str) -> bool {
        self.name == Self::name(self.definition(), principal, scope)
    }

    /// The name of our own assignment: the same for the same role, principal and scope, so that it
    /// is known again from anywhere.
    #[must_use]
    pub fn name_for(role: &Role, principal: &str, scope: &str) -> String {
        Self::name(&role.definition, principal, scope)
    }

    fn name(definition: &str, principal: &str, scope: &str) -> String {
        let text = format!("cmsync|{definition}|{principal}|{scope}").to_lowercase();
        let hash = digest(&SHA256, text.as_bytes());
        let hex: String = hash.as_ref().iter().take(16).map(|b| format!("{b:02x}")).collect();
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        // A GUID of version 8: one's own way to make it.
        format!(
            "{}-{}-8{}-a{}-{}",
            part(0, 8),
            part(8, 12),
            part(13, 16),
            part(17, 20),
            part(20, 32)
        )
    }

    /// An assignment as Resource Manager takes it, also inside of a template.
    #[must_use]
    pub fn body(role: &Role, principal: &str, scope: &str) -> Value {
        let subscription = scope.split('/').nth(2).unwrap_or_default();
        json!({ "properties": {
            "roleDefinitionId": role.id(subscription),
            "principalId": principal,
            "principalType": "ServicePrincipal",
            "description": "cmsync",
        }})
    }
}

impl ResourceManager {
    /// The roles that a principal has on a resource, given there, above or below.
    ///
    /// # Errors
    /// See [`AzureError`].
    pub async fn role_assignments(
        &self,
        scope: &str,
        principal: &str,
    ) -> Result<Vec<RoleAssignment>, AzureError> {
        let path = format!("{scope}/providers/Microsoft.Authorization/roleAssignments");
        let filter = format!("principalId eq '{principal}'");
        let query = [("api-version", VERSION), ("$filter", filter.as_str())];
        let place = Place { path: &path, query: &query };
        self.api.list(place, wish("list the role assignments", "Reader", scope)).await
    }

    /// Gives a role to a service principal.
    ///
    /// # Errors
    /// See [`AzureError`].
    pub async fn put_role_assignment(
        &self,
        role: &Role,
        principal: &str,
        scope: &str,
    ) -> Result<(), AzureError> {
        let what = format!("assign the role {}", role.name);
        let name = RoleAssignment::name_for(role, principal, scope);
        let path = format!("{scope}/providers/Microsoft.Authorization/roleAssignments/{name}");
        let body = RoleAssignment::body(role, principal, scope);
        match self.write(&path, VERSION, &body, wish(&what, GRANTER, scope)).await {
            Err(AzureError::Refused(r)) if r.code == "RoleAssignmentExists" => Ok(()),
            other => other.map(drop),
        }
    }

    /// Takes a role back, by its assignment's resource id.
    ///
    /// # Errors
    /// See [`AzureError`].
    pub async fn delete_role_assignment(&self, id: &str) -> Result<(), AzureError> {
        self.delete(id, VERSION, wish("take a role back", GRANTER, id)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assignment(role: &Role, scope: &str) -> RoleAssignment {
        let role_definition_id = role.id("s");
        let properties =
            Properties { role_definition_id, principal_id: "P".into(), scope: scope.into() };
        RoleAssignment { id: String::new(), name: String::new(), properties }
    }

    #[test]
    fn a_role_counts_where_it_was_given_and_below_and_for_its_principal_alone() {
        let role = Role::metrics_publisher();
        let rule = "/subscriptions/s/resourceGroups/G/providers/x/rules/r";
        for (scope, counts) in [
            ("/subscriptions/s/resourcegroups/g/providers/X/rules/R", true),
            ("/subscriptions/s", true),
            ("/", true),
            ("/subscriptions/s/resourceGroups/G2", false),
            ("/subscriptions/s/resourceGroups/G/providers/x/rules/r/below", false),
        ] {
            assert_eq!(assignment(&role, scope).gives(&role, "p", rule), counts, "{scope}");
        }
        let other = Role::log_analytics_reader();
        assert!(!assignment(&other, "/subscriptions/s").gives(&role, "p", rule));
        assert!(!assignment(&role, "/subscriptions/s").gives(&role, "q", rule));
    }

    #[test]
    fn the_same_assignment_has_the_same_name_and_another_has_another() {
        let (role, other) = (Role::metrics_publisher(), Role::log_analytics_reader());
        let name = RoleAssignment::name_for(&role, "P", "/S");
        assert_eq!(name, RoleAssignment::name_for(&role, "p", "/s"));
        assert_ne!(name, RoleAssignment::name_for(&other, "p", "/s"));
        assert_ne!(name, RoleAssignment::name_for(&role, "p", "/t"));
        let lengths: Vec<usize> = name.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
    }
}
