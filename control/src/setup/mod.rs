//! Sets a connection up in Azure, and takes it back: tables, rules, diagnostic settings and role
//! assignments, each made only where it is missing.
//!
//! Nothing is remembered of what was done: every step looks first. So a set-up that was interrupted
//! goes on when it is run again, and one that is complete changes nothing. What cmsync made it knows
//! again by its tag, its name or its description.

mod error;
mod heartbeats;
mod look;
mod make;
mod step;
mod template;
mod undo;
mod wanted;

use cmsync_azure::{AzureError, ResourceManager, Role, WorkspaceId};

pub use error::SetupError;
pub use heartbeats::{Heartbeats, reporting};
pub use look::lacking;
pub use make::Outcome;
pub use step::{State, Step};
pub use undo::{Leftover, Others, Taken};
pub use wanted::{monthly_gigabytes, monthly_price};

/// What resources of cmsync carry: the code of the site that they serve.
pub const TAG: &str = cmsync_schemas::searches::OWNER_TAG;

/// What is to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The connection's name, which the rules carry.
    pub connection: String,
    /// The top-tier site's code.
    pub site_code: String,
    /// The workspace.
    pub workspace: WorkspaceId,
    /// Region and pricing tier of a workspace, and of a resource group, that may be made.
    pub new: Option<(String, String)>,
    /// Object id of the identity at run time, which roles are assigned to.
    pub principal: String,
    /// Rules that share the load.
    pub rules: u32,
    /// The role that writes computer groups, where they are kept.
    pub groups_role: Option<Role>,
}

/// Where things stand before any step.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ground {
    location: String,
    is_private: bool,
    /// The workspace's id for queries; `None` while there is no workspace.
    customer_id: Option<String>,
}

/// Sets up what a target needs.
pub struct Setup {
    manager: ResourceManager,
    target: Target,
}

/// What the configuration needs of a set-up that is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The workspace's id for queries.
    pub workspace_id: String,
    /// Address and immutable id of each rule.
    pub rules: Vec<(String, String)>,
    /// What a person has to know or do besides.
    pub notes: Vec<String>,
}

impl Setup {
    /// Sets up with the rights of whoever `manager` speaks for.
    #[must_use]
    pub fn new(manager: ResourceManager, target: Target) -> Self {
        Self { manager, target }
    }

    async fn ground(&self) -> Result<Ground, SetupError> {
        let Target { workspace: id, new, .. } = &self.target;
        match (self.manager.workspace(id).await?, new) {
            (Some(found), _) => Ok(Ground {
                is_private: found.is_private(),
                customer_id: Some(found.properties.customer_id),
                location: found.location,
            }),
            (None, Some((location, _))) => {
                Ok(Ground { location: location.clone(), is_private: false, customer_id: None })
            }
            (None, None) => Err(SetupError::NoWorkspace(id.to_string())),
        }
    }

    fn steps_on(&self, ground: &Ground) -> Vec<Step> {
        let Target { rules, new, groups_role, workspace, principal, .. } = &self.target;
        let mut steps = Vec::new();
        if new.is_some() {
            steps.extend([Step::ResourceGroup, Step::Workspace]);
        }
        steps.extend(wanted::tables().into_iter().map(Step::Table));
        if ground.is_private {
            steps.push(Step::Endpoint);
        }
        for number in 1..=*rules {
            steps.extend([Step::Rule(number), Step::Diagnostics(number)]);
        }
        let role =
            |role: Role, scope: String| Step::Role { role, scope, principal: principal.clone() };
        for number in 1..=*rules {
            steps.push(role(Role::metrics_publisher(), self.rule_id(number)));
        }
        steps.extend(groups_role.clone().map(|r| role(r, workspace.to_string())));
        steps.push(role(Role::log_analytics_reader(), workspace.to_string()));
        steps
    }

    /// Every step with how it stands, in order, changing nothing.
    ///
    /// # Errors
    /// See [`SetupError`].
    pub async fn plan(&self) -> Result<Vec<(Step, State)>, SetupError> {
        let ground = self.ground().await?;
        let mut plan = Vec::new();
        for step in self.steps_on(&ground) {
            let state = self.look(&step, &ground).await?;
            plan.push((step, state));
        }
        Ok(plan)
    }

    /// Makes what is missing, step by step; `tell` hears of each.
    ///
    /// # Errors
    /// See [`SetupError`]. What was made until then stays, and is found when this is run again.
    pub async fn apply(
        &self,
        tell: &mut (dyn FnMut(&Step, &Outcome) + Send),
    ) -> Result<Made, SetupError> {
        let mut ground = self.ground().await?;
        let mut notes = Vec::new();
        for step in self.steps_on(&ground) {
            let outcome = match self.look(&step, &ground).await? {
                State::There => Outcome::WasThere,
                State::Blocked(reason) => return Err(SetupError::Blocked { step, reason }),
                State::Missing => self.make(&step, &ground, false).await?,
                State::Differs(_) => self.make(&step, &ground, true).await?,
            };
            tell(&step, &outcome);
            if let Outcome::LeftToOthers(command) = outcome {
                notes.push(format!("{step}: whoever owns it runs: {command}"));
            }
            if step == Step::Workspace {
                ground = self.ground().await?;
            }
        }
        self.made(&ground, notes).await
    }

    /// What is there, for the configuration.
    async fn made(&self, ground: &Ground, mut notes: Vec<String>) -> Result<Made, SetupError> {
        let mut address_of_all = None;
        if ground.is_private {
            let id = self.endpoint_id();
            let found = self.manager.collection_endpoint(&id).await?;
            let found = found.ok_or_else(|| SetupError::Vanished(id.clone()))?;
            if !found.is_linked() {
                notes.push(format!(
                    "the workspace takes rows through Private Link alone: add {id} and the \
                     workspace to an Azure Monitor Private Link Scope that this machine reaches"
                ));
            }
            address_of_all = found.address().map(ToOwned::to_owned);
        }
        let mut rules = Vec::new();
        for number in 1..=self.target.rules {
            let id = self.rule_id(number);
            let rule = self.manager.rule(&id).await?;
            let rule = rule.ok_or_else(|| SetupError::Vanished(id.clone()))?;
            let own = rule.properties.endpoints.and_then(|e| e.logs_ingestion);
            let address = address_of_all.clone().or(own);
            let address = address.ok_or_else(|| SetupError::NoAddress(id.clone()))?;
            rules.push((address, rule.properties.immutable_id));
        }
        let workspace_id = ground.customer_id.clone().unwrap_or_default();
        Ok(Made { workspace_id, rules, notes })
    }

    fn rule_id(&self, number: u32) -> String {
        let Target { connection, workspace, .. } = &self.target;
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let group = workspace.group();
        format!(
            "{group}/providers/Microsoft.Insights/dataCollectionRules/cmsync-{connection}{suffix}"
        )
    }

    fn endpoint_id(&self) -> String {
        let Target { connection, workspace, .. } = &self.target;
        let group = workspace.group();
        format!("{group}/providers/Microsoft.Insights/dataCollectionEndpoints/cmsync-{connection}")
    }
}

/// Whether an error says that the identity may not do it.
fn is_forbidden(error: &AzureError) -> bool {
    matches!(error, AzureError::Refused(refusal) if refusal.status == 403)
}

/// Whether an error says that what it is about is not there.
fn is_absent(error: &AzureError) -> bool {
    matches!(error, AzureError::Refused(refusal) if refusal.status == 404)
}
