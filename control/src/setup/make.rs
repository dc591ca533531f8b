//! Does a step.

use std::time::Duration;

use cmsync_azure::{AzureError, ResourceGroup, Role, RoleAssignment};
use tokio::time::{Instant, sleep};

use super::look::DIAGNOSTICS;
use super::{Ground, Setup, SetupError, Step, is_forbidden};

/// How long a step is tried again that may succeed by itself.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two tries, where the service names no wait.
const REST: Duration = Duration::from_secs(3);

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was as it should be.
    WasThere,
    /// It was made.
    Made,
    /// It was changed.
    Changed,
    /// The caller may not do it: the command for whoever may.
    LeftToOthers(String),
}

impl Setup {
    /// Does a step.
    pub(super) async fn make(
        &self,
        step: &Step,
        ground: &Ground,
        is_there: bool,
    ) -> Result<Outcome, SetupError> {
        let started = Instant::now();
        loop {
            let wait = match (self.try_make(step, ground).await, step) {
                (Ok(()), _) => {
                    return Ok(if is_there { Outcome::Changed } else { Outcome::Made });
                }
                (Err(error), Step::Role { role, scope, principal }) if is_forbidden(&error) => {
                    return Ok(Outcome::LeftToOthers(command(role, scope, principal)));
                }
                (Err(AzureError::Throttled(asked)), _) if started.elapsed() < PATIENCE => asked,
                (Err(error), _) if is_passing(&error) && started.elapsed() < PATIENCE => REST,
                (Err(error), _) => return Err(error.into()),
            };
            sleep(wait.min(PATIENCE)).await;
        }
    }

    async fn try_make(&self, step: &Step, ground: &Ground) -> Result<(), AzureError> {
        let (manager, at) = (&self.manager, &self.target.workspace);
        match step {
            Step::ResourceGroup => {
                let group = ResourceGroup {
                    name: at.resource_group.clone(),
                    location: ground.location.clone(),
                    tags: Some(self.tags()),
                };
                manager.put_resource_group(&at.subscription, &group).await.map(drop)
            }
            Step::Workspace => {
                let tier = self.target.new.as_ref().map_or("PerGB2018", |(_, tier)| tier.as_str());
                manager.put_workspace(at, (&ground.location, tier), &self.tags()).await.map(drop)
            }
            Step::Table(table) => manager.put_table(at, table).await.map(drop),
            Step::Endpoint => {
                manager.put_collection_endpoint(&self.endpoint(ground)).await.map(drop)
            }
            Step::Rule(number) => manager.put_rule(&self.rule(*number, ground)).await.map(drop),
            Step::Diagnostics(number) => {
                let of = self.rule_id(*number);
                manager.put_diagnostic_setting((&of, DIAGNOSTICS), at).await
            }
            Step::Role { role, scope, principal } => {
                manager.put_role_assignment(role, principal, scope).await
            }
        }
    }
}

/// Whether an error may pass by itself. A table that was just made is not known to rules at once,
/// nor a new principal to roles.
fn is_passing(error: &AzureError) -> bool {
    let is_slow = |code: &str| matches!(code, "InvalidOutputTable" | "PrincipalNotFound");
    match error {
        AzureError::Refused(refusal) => {
            is_slow(&refusal.code) || refusal.message.contains("InvalidOutputTable")
        }
        other => other.is_transient(),
    }
}

/// The command for whoever may give a role.
fn command(role: &Role, scope: &str, principal: &str) -> String {
    let name = RoleAssignment::name_for(role, principal, scope);
    format!(
        "az role assignment create --name {name} --role {} --assignee-object-id {principal} \
         --assignee-principal-type ServicePrincipal --scope {scope}",
        role.definition
    )
}
