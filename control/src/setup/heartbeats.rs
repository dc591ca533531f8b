//! Whether the computers of a group report to the workspace, and under which name.

use std::collections::HashSet;

use cmsync_azure::Query;
use cmsync_schemas::questions;

use super::SetupError;

/// How many of some computers send heartbeats, by the form of the name that they give.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Heartbeats {
    /// Computers that were looked for.
    pub computers: u64,
    /// Those that report under their FQDN.
    pub by_fqdn: u64,
    /// Those that report under their NetBIOS name.
    pub by_netbios: u64,
}

impl Heartbeats {
    /// Counts among the names that report, in small letters. A computer has an FQDN, if it has one,
    /// and a NetBIOS name.
    pub fn count<'a>(
        reporting: &HashSet<String>,
        computers: impl Iterator<Item = (Option<&'a str>, &'a str)>,
    ) -> Self {
        let mut counts = Self::default();
        for (fqdn, netbios) in computers {
            counts.computers += 1;
            if fqdn.is_some_and(|name| reporting.contains(&name.to_lowercase())) {
                counts.by_fqdn += 1;
            } else if reporting.contains(&netbios.to_lowercase()) {
                counts.by_netbios += 1;
            }
        }
        counts
    }

    /// In words.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self { computers, by_fqdn, by_netbios } = self;
        let share = if *computers == 0 { 0 } else { (by_fqdn + by_netbios) * 100 / computers };
        let warning = if share == 0 && *computers > 0 {
            "; a group whose computers report elsewhere helps nobody"
        } else {
            ""
        };
        format!(
            "{share} % of {computers} computers send heartbeats to this workspace ({by_fqdn} by \
             FQDN, {by_netbios} by NetBIOS name){warning}"
        )
    }
}

/// The names, in small letters, under which computers sent heartbeats to a workspace within a day.
///
/// # Errors
/// See [`SetupError`].
pub async fn reporting(query: &Query, workspace: &str) -> Result<HashSet<String>, SetupError> {
    let rows = query.rows(workspace, &questions::heartbeats()).await?;
    let name = |row: Vec<serde_json::Value>| {
        row.into_iter().next().and_then(|v| v.as_str().map(str::to_lowercase))
    };
    Ok(rows.into_iter().filter_map(name).collect())
}
