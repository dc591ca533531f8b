//! What was found.

use std::collections::BTreeMap;

use cmsync_azure::SavedSearch;
use cmsync_schemas::searches::OWNER_TAG;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::setup::Heartbeats;
use crate::views::{ExpectedGroup, ExpectedView, SearchView};

/// What kind of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The workspace has no snapshot of a collection.
    Missing,
    /// Members differ.
    Members,
    /// Members are missing because their rows were set aside: see the dead letters.
    SetAside,
    /// A collection has another name there.
    Name,
    /// The workspace shows a collection that is not kept.
    Stale,
    /// A computer group is not there, or says something else.
    Groups,
    /// A table lacks a column, or is not there.
    Table,
    /// The daily cap is reached.
    Cap,
    /// The workspace cannot be looked at.
    Workspace,
    /// The workspace does not answer a question.
    Query,
    /// A rule refused rows.
    Rule,
    /// Another installation writes for the same site.
    Instance,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What kind.
    pub kind: Kind,
    /// The collection, where it is about one.
    pub collection: Option<String>,
    /// In words.
    pub text: String,
    /// Members that are not there.
    pub missing: u64,
    /// Members that are too many.
    pub extra: u64,
    /// Members with other names.
    pub wrong: u64,
}

impl Finding {
    pub(super) fn of(kind: Kind, text: String) -> Self {
        Self { kind, collection: None, text, missing: 0, extra: 0, wrong: 0 }
    }

    pub(super) fn group(kind: Kind, group: &ExpectedGroup, text: &str) -> Self {
        let collection = Some(group.collection.clone());
        Self { collection, ..Self::of(kind, format!("{}: {text}", group.name)) }
    }

    /// Says that rows wait still, which may be the reason.
    pub(super) fn with_waiting(mut self, is_waiting: bool) -> Self {
        if is_waiting {
            self.text.push_str("; rows wait for the workspace still");
        }
        self
    }

    /// Whether sending the collection whole mends it.
    #[must_use]
    pub fn is_resent(&self) -> bool {
        matches!(self.kind, Kind::Missing | Kind::Members | Kind::Name)
    }
}

/// What a look at the workspace gave.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The connection.
    pub connection: String,
    /// The site.
    pub site_code: String,
    /// Collections that were compared.
    pub collections: u64,
    /// Collections that differ and changed a moment ago: not judged yet.
    pub unsettled: u64,
    /// Messages that wait for the workspace.
    pub waiting: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// How many of the computers report to the workspace.
    #[serde(serialize_with = "words")]
    pub heartbeats: Option<Heartbeats>,
    /// Whether every row of the large test body is there.
    pub large_body_seen: bool,
    /// When the newest marker was observed that the workspace shows of this installation;
    /// microseconds since 1970.
    pub newest_marker: Option<i64>,
    /// Until when the workspace stores nothing; microseconds since 1970.
    pub over_quota_until: Option<i64>,
}

fn words<S: serde::Serializer>(found: &Option<Heartbeats>, to: S) -> Result<S::Ok, S::Error> {
    let map = found.map(|h| {
        BTreeMap::from([
            ("computers", h.computers),
            ("by_fqdn", h.by_fqdn),
            ("by_netbios", h.by_netbios),
        ])
    });
    map.serialize(to)
}

impl Report {
    /// Whether no collection could be judged, because all that differ changed a moment ago.
    #[must_use]
    pub fn is_unjudged(&self) -> bool {
        self.collections > 0 && self.unsettled >= self.collections
    }

    pub(super) fn new(connection: &str, expected: &ExpectedView) -> Self {
        Self {
            connection: connection.to_owned(),
            site_code: expected.site_code.clone(),
            collections: expected.groups.len() as u64,
            unsettled: 0,
            waiting: expected.waiting,
            findings: Vec::new(),
            heartbeats: None,
            large_body_seen: false,
            newest_marker: None,
            over_quota_until: None,
        }
    }

    pub(super) fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Whether all that was judged is right.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.findings.is_empty()
    }

    /// Another installation that went on after this one had begun.
    pub(super) fn instances(&mut self, rows: &[Vec<Value>], own: &str) {
        let text = |row: &[Value], at: usize| {
            row.get(at).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let time = |text: String| text.parse::<jiff::Timestamp>().ok();
        let ours = rows.iter().find(|row| text(row, 0) == own);
        let first = ours.and_then(|row| time(text(row, 1)));
        self.newest_marker = ours.and_then(|row| time(text(row, 2))).map(|at| at.as_microsecond());
        for row in rows.iter().filter(|row| text(row, 0) != own) {
            let last = time(text(row, 2));
            if first.is_none() || last > first {
                let (other, at) = (text(row, 0), text(row, 2));
                let site = &self.site_code;
                self.add(Finding::of(Kind::Instance, format!(
                    "another installation ({other}) wrote for site {site} until {at}: stop one of the two"
                )));
            }
        }
    }

    pub(super) fn errors(&mut self, rows: &[Vec<Value>]) {
        for row in rows {
            let message = row.first().and_then(Value::as_str).unwrap_or_default();
            let count = row.get(1).and_then(Value::as_i64).unwrap_or(0);
            self.add(Finding::of(Kind::Rule, format!("{count} errors within a day: {message}")));
        }
    }

    /// Saved searches that are not there or say something else, and ours that nobody wants.
    pub(super) fn groups(
        &mut self,
        found: &[SavedSearch],
        wanted: &[SearchView],
        (site, settled): (&str, i64),
    ) {
        let by_id: BTreeMap<String, &SavedSearch> =
            found.iter().map(|s| (s.id.to_lowercase(), s)).collect();
        for search in wanted.iter().filter(|s| s.changed_at < settled) {
            let text = match by_id.get(&search.id.to_lowercase()) {
                None => "is not there",
                Some(there)
                    if SearchView::print(&there.query, &there.display_name) != search.print =>
                {
                    "says something else"
                }
                Some(_) => continue,
            };
            self.add(Finding::of(Kind::Groups, format!("group {} {text}", search.alias)));
        }
        let is_ours = |s: &&SavedSearch| s.tag(OWNER_TAG) == Some(site);
        let is_wanted = |s: &SavedSearch| wanted.iter().any(|w| w.id.eq_ignore_ascii_case(&s.id));
        for extra in found.iter().filter(is_ours).filter(|s| !is_wanted(s)) {
            let alias = &extra.function_alias;
            self.add(Finding::of(
                Kind::Groups,
                format!("group {alias} is of no collection that is kept"),
            ));
        }
    }
}
