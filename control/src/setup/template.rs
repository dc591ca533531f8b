//! The same as an ARM template, for a person with the rights to deploy.

use cmsync_azure::{DiagnosticSetting, RoleAssignment};
use serde_json::{Value, json};

use super::look::DIAGNOSTICS;
use super::{Ground, Setup, SetupError, Step};

const SCHEMA: &str =
    "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#";

impl Setup {
    /// A template for a deployment into the workspace's resource group. It holds everything that a
    /// set-up makes there, also what is there already: a deployment changes nothing of that.
    ///
    /// # Errors
    /// See [`SetupError`].
    pub async fn template(&self) -> Result<Value, SetupError> {
        let ground = self.ground().await?;
        let mut resources = Vec::new();
        for step in self.steps_on(&ground) {
            resources.extend(self.resource(&step, &ground));
        }
        Ok(json!({ "$schema": SCHEMA, "contentVersion": "1.0.0.0", "resources": resources }))
    }

    fn resource(&self, step: &Step, ground: &Ground) -> Option<Value> {
        let workspace = &self.target.workspace;
        let with = |mut resource: Value, kind: &str, version: &str, name: &str, on: Vec<String>| {
            resource["type"] = json!(kind);
            resource["apiVersion"] = json!(version);
            resource["name"] = json!(name);
            resource["dependsOn"] = json!(on);
            Some(resource)
        };
        let is_new = ground.customer_id.is_none();
        match step {
            // A group is where the template goes; it is made before.
            Step::ResourceGroup => None,
            Step::Workspace => {
                let tier = self.target.new.as_ref().map_or("PerGB2018", |(_, tier)| tier.as_str());
                let properties = json!({ "sku": { "name": tier }, "retentionInDays": 30 });
                let resource = json!({ "location": ground.location, "tags": self.tags(), "properties": properties });
                let kind = "Microsoft.OperationalInsights/workspaces";
                with(resource, kind, "2022-10-01", &workspace.name, vec![])
            }
            Step::Table(table) => {
                let schema = json!({ "name": table.name, "description": table.description, "columns": table.columns });
                let resource = json!({ "properties": { "plan": table.plan, "schema": schema } });
                let on = is_new.then(|| workspace.to_string()).into_iter().collect();
                let kind = "Microsoft.OperationalInsights/workspaces/tables";
                let name = format!("{}/{}", workspace.name, table.name);
                with(resource, kind, "2022-10-01", &name, on)
            }
            Step::Endpoint => {
                let id = self.endpoint_id();
                let name = id.rsplit('/').next().unwrap_or_default();
                let kind = "Microsoft.Insights/dataCollectionEndpoints";
                with(self.endpoint(ground).body(), kind, "2023-03-11", name, vec![])
            }
            Step::Rule(number) => {
                let wanted = self.rule(*number, ground);
                let tables = super::wanted::tables();
                let mut on: Vec<String> =
                    tables.iter().map(|t| format!("{workspace}/tables/{}", t.name)).collect();
                on.extend(wanted.endpoint.clone());
                let kind = "Microsoft.Insights/dataCollectionRules";
                with(wanted.body(), kind, "2024-03-11", &wanted.name, on)
            }
            Step::Diagnostics(number) => {
                let rule = self.rule_id(*number);
                let mut resource = DiagnosticSetting::body(workspace);
                resource["scope"] = json!(rule);
                let kind = "Microsoft.Insights/diagnosticSettings";
                with(resource, kind, "2021-05-01-preview", DIAGNOSTICS, vec![rule])
            }
            Step::Role { role, scope, principal } => {
                let mut resource = RoleAssignment::body(role, principal, scope);
                resource["scope"] = json!(scope);
                let is_made = *scope != workspace.to_string() || is_new;
                let on = is_made.then(|| scope.clone()).into_iter().collect();
                let name = RoleAssignment::name_for(role, principal, scope);
                with(resource, "Microsoft.Authorization/roleAssignments", "2022-04-01", &name, on)
            }
        }
    }
}
