//! Takes back what a set-up made, and only that.

use cmsync_azure::{RoleAssignment, SavedSearch};
use cmsync_schemas::searches::SHARED;

use super::look::DIAGNOSTICS;
use super::wanted::{TABLE_MARK, tables};
use super::{Ground, Setup, SetupError, Step, TAG, is_absent};

/// Something of ours that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leftover {
    /// A saved search.
    Search(SavedSearch),
    /// A role assignment, with what it is.
    Role(RoleAssignment, String),
    /// A diagnostic setting of a rule.
    Diagnostics(String),
    /// A rule.
    Rule(String),
    /// A data collection endpoint.
    Endpoint(String),
    /// A table, with its rows.
    Table(String),
}

/// Who else writes into the workspace, as the configuration knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// Nobody.
    None,
    /// Connections of other sites.
    Sites,
    /// One of the same site code: the computer groups are that one's.
    SameSite,
}

/// What was found and what becomes of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// Ours: taken back in this order.
    pub ours: Vec<Leftover>,
    /// What stays, with the reason.
    pub kept: Vec<String>,
}

impl std::fmt::Display for Leftover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Search(search) => write!(f, "saved search {}", search.display_name),
            Self::Role(_, what) => f.write_str(what),
            Self::Diagnostics(rule) => write!(f, "log of the errors of {rule}"),
            Self::Rule(id) => write!(f, "data collection rule {id}"),
            Self::Endpoint(id) => write!(f, "data collection endpoint {id}"),
            Self::Table(name) => write!(f, "table {name} with its rows"),
        }
    }
}

impl Setup {
    /// What of this connection is there. Tables hold rows of all sites, so they count only where
    /// asked for. Where others use the workspace too, by its own searches or as `others` says, its
    /// tables and the roles on it stay.
    ///
    /// # Errors
    /// See [`SetupError`].
    pub async fn leftovers(&self, with_tables: bool, others: Others) -> Result<Taken, SetupError> {
        let (manager, at) = (&self.manager, &self.target.workspace);
        let mut taken = Taken::default();
        let ground = match self.ground().await {
            Ok(ground) => ground,
            Err(SetupError::NoWorkspace(_)) => return Ok(taken),
            Err(error) => return Err(error),
        };
        let site = self.target.site_code.as_str();
        let all = manager.saved_searches(at).await?;
        let is_other = |of: &str| of != site && of != SHARED;
        let has_others =
            others != Others::None || all.iter().any(|s| s.tag(TAG).is_some_and(is_other));
        let is_ours = |s: &SavedSearch| match s.tag(TAG) {
            Some(SHARED) => !has_others,
            tag => tag == Some(site) && others != Others::SameSite,
        };
        taken.ours.extend(all.into_iter().filter(is_ours).map(Leftover::Search));
        self.rules_left(&mut taken).await?;
        for table in tables() {
            let found = manager.table(at, &table.name).await?;
            match found {
                None => {}
                Some(found) if !found.description.starts_with(TABLE_MARK) => {
                    taken.kept.push(format!("table {}: cmsync did not make it", table.name));
                }
                Some(_) if has_others => {
                    taken.kept.push(format!("table {}: other sites use it", table.name));
                }
                Some(_) if with_tables => taken.ours.push(Leftover::Table(table.name)),
                Some(_) => taken.kept.push(format!(
                    "table {}: its rows are the history; `--delete-tables` deletes them",
                    table.name
                )),
            }
        }
        self.roles_left(&ground, has_others, &mut taken).await?;
        let workspace = manager.workspace(at).await?;
        let tags = workspace.and_then(|w| w.tags).unwrap_or_default();
        if tags.get(TAG).is_some_and(|of| of == site) {
            taken.kept.push(format!(
                "workspace {at}: others may have sent logs to it since; to delete it: az monitor \
                 log-analytics workspace delete --ids {at}"
            ));
        }
        Ok(taken)
    }

    /// Roles go last: the caller may need them for the rest.
    async fn roles_left(
        &self,
        ground: &Ground,
        has_others: bool,
        taken: &mut Taken,
    ) -> Result<(), SetupError> {
        let manager = &self.manager;
        let wanted: Vec<Step> = self.steps_on(ground);
        let mut seen = std::collections::BTreeSet::new();
        for step in &wanted {
            let Step::Role { scope, principal, .. } = step else {
                continue;
            };
            if !seen.insert(scope) {
                continue;
            }
            let found = match manager.role_assignments(scope, principal).await {
                Err(error) if is_absent(&error) => Vec::new(),
                other => other?,
            };
            for assignment in found {
                let gives = |step: &&Step| match step {
                    Step::Role { role, scope: on, .. } => {
                        on == scope && assignment.gives(role, principal, scope)
                    }
                    _ => false,
                };
                let is_ours = assignment.is_ours(principal, scope);
                let words = match wanted.iter().find(gives) {
                    Some(step) => step.to_string(),
                    // Ours with another role: the one that set-up was given for the groups.
                    None if is_ours => format!("role {} on {scope}", assignment.definition()),
                    None => continue,
                };
                if has_others && *scope == self.target.workspace.to_string() {
                    taken.kept.push(format!("{words}: other connections use it"));
                } else if is_ours {
                    taken.ours.push(Leftover::Role(assignment, words));
                } else {
                    taken.kept.push(format!("{words}: somebody else gave it"));
                }
            }
        }
        Ok(())
    }

    async fn rules_left(&self, taken: &mut Taken) -> Result<(), SetupError> {
        for number in 1..=self.target.rules {
            let id = self.rule_id(number);
            let Some(rule) = self.manager.rule(&id).await? else {
                continue;
            };
            if self.foreign(rule.tags.as_ref()).is_some() {
                taken.kept.push(format!("data collection rule {id}: cmsync did not make it"));
                continue;
            }
            if self.manager.diagnostic_setting(&id, DIAGNOSTICS).await?.is_some() {
                taken.ours.push(Leftover::Diagnostics(id.clone()));
            }
            taken.ours.push(Leftover::Rule(id));
        }
        let id = self.endpoint_id();
        if let Some(endpoint) = self.manager.collection_endpoint(&id).await? {
            if self.foreign(endpoint.tags.as_ref()).is_none() {
                taken.ours.push(Leftover::Endpoint(id));
            } else {
                taken.kept.push(format!("data collection endpoint {id}: cmsync did not make it"));
            }
        }
        Ok(())
    }

    /// Takes one thing back.
    ///
    /// # Errors
    /// See [`SetupError`].
    pub async fn take_back(&self, leftover: &Leftover) -> Result<(), SetupError> {
        let (manager, at) = (&self.manager, &self.target.workspace);
        match leftover {
            Leftover::Search(search) => manager.delete_saved_search(at, &search.id).await?,
            Leftover::Role(assignment, _) => {
                manager.delete_role_assignment(&assignment.id).await?;
            }
            Leftover::Diagnostics(rule) => {
                manager.delete_diagnostic_setting(rule, DIAGNOSTICS).await?;
            }
            Leftover::Rule(id) => manager.delete_rule(id).await?,
            Leftover::Endpoint(id) => manager.delete_collection_endpoint(id).await?,
            Leftover::Table(name) => manager.delete_table(at, name).await?,
        }
        Ok(())
    }
}
