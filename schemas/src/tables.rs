//! The workspace's tables: streams, columns and rows.

use serde::{Deserialize, Serialize};

use crate::{MemberRecord, RecordBatch};

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

impl<'a> MemberRow<'a> {
    /// The row of a record of a batch; `time` is the batch's, as the tables hold it.
    #[must_use]
    pub fn of(
        batch: &'a RecordBatch,
        record: &'a MemberRecord,
        action: Action,
        time: &'a str,
    ) -> Self {
        Self {
            time_generated: time,
            site_code: &batch.site_code,
            group_id: &batch.group_id,
            resource_id: record.resource_id,
            computer: &record.computer,
            netbios_name: &record.netbios_name,
            assigned_site: record.assigned_site.as_deref(),
            action,
            seq: batch.seq,
        }
    }
}

/// Bytes of a row's JSON, with what stands between two of them, beside its columns' values.
#[must_use]
pub const fn frame(columns: &[(&str, &str)]) -> usize {
    // The braces, a comma and a line's end; of each column its quotes, a colon and a comma.
    let (mut bytes, mut at) = (3, 0);
    while at < columns.len() {
        let (name, kind) = columns[at];
        let is_number = matches!(kind.as_bytes(), b"long");
        bytes += name.len() + if is_number { 4 } else { 6 };
        at += 1;
    }
    bytes
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

/// A time as the tables hold it: ISO 8601, UTC, six decimals.
#[must_use]
pub fn format_time(micros: i64) -> String {
    let time = jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_what_a_row_has_beside_its_values() {
        let row = r#"{"TimeGenerated":"","SiteCode":"","GroupId":"","ResourceId":,"Computer":"","NetbiosName":"","AssignedSite":"","Action":"","Seq":},
"#;
        assert_eq!(frame(MEMBER_COLUMNS), row.len());
    }

    /// What a rule does not declare, the service drops without a word.
    #[test]
    fn every_field_of_a_row_is_a_declared_column() {
        let member = MemberRow {
            time_generated: "",
            site_code: "",
            group_id: "",
            resource_id: 0,
            computer: "",
            netbios_name: "",
            assigned_site: None,
            action: Action::Add,
            seq: 0,
        };
        let collection = CollectionRow {
            time_generated: "",
            site_code: "",
            group_id: "",
            group: "",
            group_full_name: "",
            member_count: 0,
            run_id: "",
            start_seq: 0,
            seq: 0,
            instance: "",
            status: "",
        };
        let rows = [serde_json::to_string(&member), serde_json::to_string(&collection)];
        for (row, columns) in rows.into_iter().zip([MEMBER_COLUMNS, COLLECTION_COLUMNS]) {
            let row = row.unwrap();
            let keys: Vec<&str> =
                row.split('"').filter(|part| row.contains(&format!("\"{part}\":"))).collect();
            let declared: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
            assert_eq!(keys, declared);
        }
    }
}
