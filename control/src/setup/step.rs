//! The steps of a set-up.

use std::fmt;

use cmsync_azure::{Role, Table};

/// A thing that must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The resource group of a new workspace.
    ResourceGroup,
    /// A new workspace.
    Workspace,
    /// A table.
    Table(Table),
    /// The way in of a workspace that takes nothing from public addresses.
    Endpoint,
    /// The nth rule.
    Rule(u32),
    /// Where the errors of the nth rule go.
    Diagnostics(u32),
    /// A role of the identity at run time.
    Role {
        /// The role.
        role: Role,
        /// The resource that it is on.
        scope: String,
        /// Who gets it.
        principal: String,
    },
}

/// How a step stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    There,
    /// Not there.
    Missing,
    /// Ours, and not as it should be.
    Differs(String),
    /// Not ours to change: why, and what to do.
    Blocked(String),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ResourceGroup => f.write_str("resource group"),
            Self::Workspace => f.write_str("workspace"),
            Self::Table(table) => write!(f, "table {}", table.name),
            Self::Endpoint => f.write_str("data collection endpoint"),
            Self::Rule(1) => f.write_str("data collection rule"),
            Self::Rule(number) => write!(f, "data collection rule {number}"),
            Self::Diagnostics(1) => f.write_str("log of the rule's errors"),
            Self::Diagnostics(number) => write!(f, "log of rule {number}'s errors"),
            Self::Role { role, scope, .. } => {
                let on = scope.rsplit('/').next().unwrap_or(scope);
                write!(f, "role {} on {on}", role.name)
            }
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::There => f.write_str("is there"),
            Self::Missing => f.write_str("would be made"),
            Self::Differs(how) => write!(f, "would be changed: {how}"),
            Self::Blocked(why) => write!(f, "cannot be used: {why}"),
        }
    }
}
