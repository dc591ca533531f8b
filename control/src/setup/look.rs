//! Looks whether a step is done, changing nothing.

use cmsync_azure::{ResourceManager, Role, Table, Tags, WorkspaceId};

use super::{Ground, Setup, SetupError, State, Step, TAG, is_absent, is_forbidden};

/// The name of cmsync's own diagnostic settings.
pub(super) const DIAGNOSTICS: &str = "cmsync";

impl Setup {
    /// How a step stands.
    pub(super) async fn look(&self, step: &Step, ground: &Ground) -> Result<State, SetupError> {
        Ok(match step {
            Step::ResourceGroup => {
                let id = &self.target.workspace;
                let found =
                    self.manager.resource_group(&id.subscription, &id.resource_group).await?;
                if found.is_some() { State::There } else { State::Missing }
            }
            Step::Workspace if ground.customer_id.is_some() => State::There,
            Step::Workspace => State::Missing,
            Step::Table(wanted) => {
                let found = match ground.customer_id {
                    Some(_) => self.manager.table(&self.target.workspace, &wanted.name).await?,
                    None => None,
                };
                found.map_or(State::Missing, |found| compare(wanted, &found))
            }
            Step::Endpoint => {
                let found = self.manager.collection_endpoint(&self.endpoint_id()).await?;
                match found {
                    None => State::Missing,
                    Some(found) => match self.foreign(found.tags.as_ref()) {
                        Some(reason) => State::Blocked(reason),
                        None if found.location != ground.location => {
                            State::Blocked(elsewhere(&found.location, ground))
                        }
                        None => State::There,
                    },
                }
            }
            Step::Rule(number) => self.look_at_rule(*number, ground).await?,
            Step::Diagnostics(number) => {
                let of = self.rule_id(*number);
                let found = self.manager.diagnostic_setting(&of, DIAGNOSTICS).await?;
                match found {
                    Some(found) if found.sends_errors_to(&self.target.workspace) => State::There,
                    Some(_) => State::Differs("it sends other logs, or elsewhere".into()),
                    None => State::Missing,
                }
            }
            Step::Role { role, scope, principal } => {
                self.look_at_role(role, scope, principal).await?
            }
        })
    }

    async fn look_at_rule(&self, number: u32, ground: &Ground) -> Result<State, SetupError> {
        let Some(found) = self.manager.rule(&self.rule_id(number)).await? else {
            return Ok(State::Missing);
        };
        if let Some(reason) = self.foreign(found.tags.as_ref()) {
            return Ok(State::Blocked(reason));
        }
        if found.location != ground.location {
            return Ok(State::Blocked(elsewhere(&found.location, ground)));
        }
        if !ground.is_private && found.kind.as_deref() != Some("Direct") {
            // An address cannot be added later.
            let reason = "it is not of the kind Direct and has no address: delete it".into();
            return Ok(State::Blocked(reason));
        }
        let wanted = self.rule(number, ground);
        Ok(wanted.difference(&found).map_or(State::There, State::Differs))
    }

    async fn look_at_role(
        &self,
        role: &Role,
        scope: &str,
        principal: &str,
    ) -> Result<State, SetupError> {
        match self.manager.role_assignments(scope, principal).await {
            Ok(all) if all.iter().any(|a| a.gives(role, principal, scope)) => Ok(State::There),
            Ok(_) => Ok(State::Missing),
            // Who may not look may not give either, or may: giving tells.
            Err(error) if is_forbidden(&error) || is_absent(&error) => Ok(State::Missing),
            Err(error) => Err(error.into()),
        }
    }

    /// Why something with these tags is not ours.
    pub(super) fn foreign(&self, tags: Option<&Tags>) -> Option<String> {
        let site = &self.target.site_code;
        match tags.and_then(|t| t.get(TAG)) {
            Some(found) if found == site => None,
            Some(other) => Some(format!(
                "the name is taken for site {other}: give this connection another name"
            )),
            None => Some(format!(
                "the name is taken by something that cmsync did not make (it lacks the tag \
                 `{TAG}`): give this connection another name"
            )),
        }
    }
}

/// Tables of a workspace that are not as rows need them, with what is wrong.
pub async fn lacking(manager: &ResourceManager, at: &WorkspaceId) -> Vec<(String, String)> {
    let mut wrong = Vec::new();
    for wanted in super::wanted::tables() {
        let state = match manager.table(at, &wanted.name).await {
            Ok(Some(found)) => compare(&wanted, &found),
            Ok(None) => State::Missing,
            Err(error) => State::Blocked(error.to_string()),
        };
        let text = match state {
            State::There => continue,
            State::Missing => "is not there: run `cmsync connect` again".into(),
            State::Differs(how) => format!("is not whole ({how}): run `cmsync connect` again"),
            State::Blocked(why) => format!("cannot be used: {why}"),
        };
        wrong.push((wanted.name, text));
    }
    wrong
}

fn elsewhere(found: &str, ground: &Ground) -> String {
    let wanted = &ground.location;
    format!(
        "it is in {found}, the workspace in {wanted}, and cannot be moved: delete it, or give this \
         connection another name"
    )
}

/// How a table stands against what is wanted.
fn compare(wanted: &Table, found: &Table) -> State {
    if found.state == "Deleting" {
        return State::Blocked("it is being deleted: wait until it is gone, or restore it".into());
    }
    if !found.plan.is_empty() && found.plan != wanted.plan {
        return State::Blocked(format!(
            "its plan is {}, which functions cannot read: change it to {}",
            found.plan, wanted.plan
        ));
    }
    let of = |name: &str| found.columns.iter().find(|c| c.name == name);
    for column in &wanted.columns {
        let other = of(&column.name).filter(|c| !c.kind.eq_ignore_ascii_case(&column.kind));
        if let Some(other) = other {
            return State::Blocked(format!(
                "its column {} is of the type {} instead of {}, which cannot be changed: delete the \
                 table, or use another workspace",
                column.name, other.kind, column.kind
            ));
        }
    }
    let lacks: Vec<&str> =
        wanted.columns.iter().filter(|c| of(&c.name).is_none()).map(|c| c.name.as_str()).collect();
    if lacks.is_empty() {
        State::There
    } else {
        State::Differs(format!("it lacks {}", lacks.join(", ")))
    }
}
