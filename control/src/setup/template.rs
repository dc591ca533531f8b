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
        let name_of = |id: &str| id.rsplit('/').next().unwrap_or_default().to_owned();
        let depends = |on: Vec<String>| json!(on);
        Some(match step {
            // A group is where the template goes; it is made before.
            Step::ResourceGroup => return None,
            Step::Workspace => {
                let tier = self.target.new.as_ref().map_or("PerGB2018", |(_, tier)| tier.as_str());
                json!({
                    "type": "Microsoft.OperationalInsights/workspaces", "apiVersion": "2022-10-01",
                    "name": workspace.name, "location": ground.location, "tags": self.tags(),
                    "properties": { "sku": { "name": tier }, "retentionInDays": 30 },
                })
            }
            Step::Table(table) => {
                let is_new = ground.customer_id.is_none();
                json!({
                    "type": "Microsoft.OperationalInsights/workspaces/tables",
                    "apiVersion": "2022-10-01",
                    "name": format!("{}/{}", workspace.name, table.name),
                    "dependsOn": depends(is_new.then(|| workspace.to_string()).into_iter().collect()),
                    "properties": { "plan": table.plan, "schema": {
                        "name": table.name, "description": table.description,
                        "columns": table.columns,
                    }},
                })
            }
            Step::Endpoint => {
                let mut resource = self.endpoint(ground).body();
                resource["type"] = json!("Microsoft.Insights/dataCollectionEndpoints");
                resource["apiVersion"] = json!("2023-03-11");
                resource["name"] = json!(name_of(&self.endpoint_id()));
                resource
            }
            Step::Rule(number) => {
                let wanted = self.rule(*number, ground);
                let tables = super::wanted::tables();
                let mut on: Vec<String> =
                    tables.iter().map(|t| format!("{workspace}/tables/{}", t.name)).collect();
                on.extend(wanted.endpoint.clone());
                let mut resource = wanted.body();
                resource["type"] = json!("Microsoft.Insights/dataCollectionRules");
                resource["apiVersion"] = json!("2024-03-11");
                resource["name"] = json!(wanted.name);
                resource["dependsOn"] = depends(on);
                resource
            }
            Step::Diagnostics(number) => {
                let rule = self.rule_id(*number);
                let mut resource = DiagnosticSetting::body(workspace);
                resource["type"] = json!("Microsoft.Insights/diagnosticSettings");
                resource["apiVersion"] = json!("2021-05-01-preview");
                resource["name"] = json!(DIAGNOSTICS);
                resource["scope"] = json!(rule);
                resource["dependsOn"] = depends(vec![rule]);
                resource
            }
            Step::Role { role, scope, principal } => {
                let mut resource = RoleAssignment::body(role, principal, scope);
                resource["type"] = json!("Microsoft.Authorization/roleAssignments");
                resource["apiVersion"] = json!("2022-04-01");
                resource["name"] = json!(RoleAssignment::name_for(role, principal, scope));
                resource["scope"] = json!(scope);
                let is_made = *scope != workspace.to_string() || ground.customer_id.is_none();
                resource["dependsOn"] =
                    depends(is_made.then(|| scope.clone()).into_iter().collect());
                resource
            }
        })
    }
}
