//! The workspace's tables: streams, columns, rows, and the KQL that cmsync asks.

use serde::{Deserialize, Serialize};

/// Stream and table of member rows.
pub const MEMBER_STREAM: &str = "Custom-ConfigMgrCollectionMember";
/// Stream and table of markers.
pub const COLLECTION_STREAM: &str = "Custom-ConfigMgrCollection";

/// Columns of `ConfigMgrCollectionMember_CL` with their types in a rule.
pub const MEMBER_COLUMNS: &[(&str, &str)] = &[
    ("TimeGenerated", "datetime"),
    ("SiteCode", "string"),
    ("GroupId", "string"),
    ("ResourceId", "long"),
    ("Computer", "string"),
    ("NetbiosName", "string"),
    ("AssignedSite", "string"),
    ("Action", "string"),
    ("Seq", "long"),
];

/// Columns of `ConfigMgrCollection_CL` with their types in a rule.
pub const COLLECTION_COLUMNS: &[(&str, &str)] = &[
    ("TimeGenerated", "datetime"),
    ("SiteCode", "string"),
    ("GroupId", "string"),
    ("Group", "string"),
    ("GroupFullName", "string"),
    ("MemberCount", "long"),
    ("RunId", "string"),
    ("StartSeq", "long"),
    ("Seq", "long"),
    ("Instance", "string"),
    ("Status", "string"),
];

/// Bytes that one field may have; the service cuts longer ones silently.
pub const MAX_FIELD_BYTES: usize = 64 * 1024;

/// What happened to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// It is a member, says a snapshot.
    Present,
    /// It became one.
    Add,
    /// It is one no longer.
    Remove,
}

/// A row of `ConfigMgrCollectionMember_CL`, borrowed from the batch that it is written from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MemberRow<'a> {
    /// When; ISO 8601 with microseconds.
    pub time_generated: &'a str,
    /// The top-tier site's code.
    pub site_code: &'a str,
    /// The collection.
    pub group_id: &'a str,
    /// `ResourceID`.
    pub resource_id: i64,
    /// FQDN or NetBIOS name.
    pub computer: &'a str,
    /// NetBIOS name.
    pub netbios_name: &'a str,
    /// Code of the device's site.
    pub assigned_site: Option<&'a str>,
    /// What happened.
    pub action: Action,
    /// Orders rows.
    pub seq: i64,
}

/// A row of `ConfigMgrCollection_CL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CollectionRow<'a> {
    /// When; ISO 8601 with microseconds.
    pub time_generated: &'a str,
    /// The top-tier site's code.
    pub site_code: &'a str,
    /// The collection.
    pub group_id: &'a str,
    /// Its name.
    pub group: &'a str,
    /// Folder path, name and id.
    pub group_full_name: &'a str,
    /// Present rows of the run.
    pub member_count: i64,
    /// The run.
    pub run_id: &'a str,
    /// Its seq.
    pub start_seq: i64,
    /// The row's own.
    pub seq: i64,
    /// The installation's instance.
    pub instance: &'a str,
    /// `Complete`, `Removed` or `Test`.
    pub status: &'a str,
}

/// The query for the highest `Seq` that the workspace holds of a site.
///
/// `site_code` is quoted as a KQL string literal.
#[must_use]
pub fn highest_seq_query(site_code: &str) -> String {
    let site = kql_string(site_code);
    format!(
        "union isfuzzy=true (ConfigMgrCollectionMember_CL | where SiteCode == {site} | summarize Seq = max(Seq)), \
         (ConfigMgrCollection_CL | where SiteCode == {site} | summarize Seq = max(Seq)) \
         | summarize Seq = max(Seq)"
    )
}

/// A KQL string literal of any text.
#[must_use]
pub fn kql_string(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('\'');
    for c in text.chars() {
        match c {
            '\'' | '\\' => literal.extend(['\\', c]),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            // The last two end a line, and with it a comment.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                literal.push_str(&format!("\\u{:04x}", u32::from(c)))
            }
            c => literal.push(c),
        }
    }
    literal.push('\'');
    literal
}

/// A time as the tables hold it: ISO 8601, UTC, six decimals.
#[must_use]
pub fn format_time(micros: i64) -> String {
    let time = jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}
