//! The site database's views, with the columns and types that Configuration Manager documents (its "SQL
//! Server views" pages), and those of SQL Server's own that clients ask for.

use super::value::Kind::{self, BigInt, Bit, DateTime, Int, NVarChar};

/// A view.
pub(super) struct View {
    pub(super) schema: &'static str,
    pub(super) name: &'static str,
    pub(super) columns: &'static [(&'static str, Kind)],
    /// Columns by which rows come in order anyway.
    pub(super) order: &'static [&'static str],
    /// What [`crate::faults::Counts`] counts its reads as.
    pub(super) class: &'static str,
}

const TEXT: Kind = NVarChar(255);
const CODE: Kind = NVarChar(3);
const ID: Kind = NVarChar(8);

pub(super) const COLLECTION: View = View {
    schema: "dbo",
    name: "v_Collection",
    columns: &[
        ("CollectionID", ID),
        ("Name", TEXT),
        ("Comment", NVarChar(512)),
        ("CollectionType", Int),
        ("MemberCount", Int),
        ("CurrentStatus", Int),
        ("LastMemberChangeTime", DateTime),
        ("LastRefreshTime", DateTime),
        ("MemberClassName", TEXT),
    ],
    order: &["CollectionID"],
    class: "SMS_Collection",
};
/// The same collections with another `CollectionID`: a number. The eight characters are in `SiteID`.
pub(super) const COLLECTIONS: View = View {
    schema: "dbo",
    name: "v_Collections",
    columns: &[
        ("CollectionID", Int),
        ("SiteID", ID),
        ("CollectionName", TEXT),
        ("CollectionType", Int),
        ("MemberCount", Int),
        ("ObjectPath", NVarChar(850)),
        ("FullEvaluationMemberChangeTime", DateTime),
        ("IncrementalEvaluationMemberChangeTime", DateTime),
    ],
    order: &["SiteID"],
    class: "v_Collections",
};
pub(super) const MEMBERSHIP: View = View {
    schema: "dbo",
    name: "v_FullCollectionMembership",
    columns: &[
        ("CollectionID", ID),
        ("ResourceID", Int),
        ("ResourceType", Int),
        ("Name", TEXT),
        ("SMSID", TEXT),
        ("Domain", TEXT),
        ("SiteCode", CODE),
        ("IsDirect", Int),
        ("IsClient", Int),
        ("IsObsolete", Int),
        ("IsDecommissioned", Int),
    ],
    order: &["CollectionID", "ResourceID"],
    class: "SMS_FullCollectionMembership",
};
pub(super) const SYSTEM: View = View {
    schema: "dbo",
    name: "v_R_System",
    columns: &[
        ("ResourceID", Int),
        ("ResourceType", Int),
        ("Name0", TEXT),
        ("Netbios_Name0", TEXT),
        ("Full_Domain_Name0", TEXT),
        ("Resource_Domain_OR_Workgr0", TEXT),
        ("Client0", Int),
        ("Obsolete0", Int),
        ("Decommissioned0", Int),
    ],
    order: &["ResourceID"],
    class: "SMS_R_System",
};
pub(super) const RESOURCE_NAMES: View = View {
    schema: "dbo",
    name: "v_RA_System_ResourceNames",
    columns: &[("ResourceID", Int), ("Resource_Names0", TEXT)],
    order: &["ResourceID", "Resource_Names0"],
    class: "v_RA_System_ResourceNames",
};
pub(super) const SITE: View = View {
    schema: "dbo",
    name: "v_Site",
    columns: &[
        ("SiteCode", CODE),
        ("SiteName", TEXT),
        ("ReportingSiteCode", CODE),
        ("ServerName", TEXT),
        ("Type", Int),
        ("Status", Int),
        ("Version", NVarChar(32)),
    ],
    order: &[],
    class: "SMS_Site",
};
pub(super) const IDENTIFICATION: View = View {
    schema: "dbo",
    name: "v_Identification",
    columns: &[("ThisSiteCode", CODE), ("ThisSiteName", TEXT)],
    order: &[],
    class: "SMS_Identification",
};
pub(super) const LINK_STATUS: View = View {
    schema: "dbo",
    name: "RCM_ReplicationLinkStatus",
    columns: &[
        ("SiteSending", CODE),
        ("SiteReceiving", CODE),
        ("Status", Int),
        ("UpdateTime", DateTime),
    ],
    order: &[],
    class: "SMS_ReplicationLinkSummary",
};
pub(super) const COLUMNS: View = View {
    schema: "INFORMATION_SCHEMA",
    name: "COLUMNS",
    columns: &[
        ("TABLE_SCHEMA", NVarChar(128)),
        ("TABLE_NAME", NVarChar(128)),
        ("COLUMN_NAME", NVarChar(128)),
        ("DATA_TYPE", NVarChar(128)),
    ],
    order: &[],
    class: "INFORMATION_SCHEMA.COLUMNS",
};
pub(super) const DATABASES: View = View {
    schema: "sys",
    name: "databases",
    columns: &[
        ("name", NVarChar(128)),
        ("database_id", Int),
        ("state_desc", NVarChar(60)),
        ("is_read_only", Bit),
        ("snapshot_isolation_state", Int),
        ("is_read_committed_snapshot_on", Bit),
        ("collation_name", NVarChar(128)),
        ("create_version", BigInt),
    ],
    order: &[],
    class: "sys.databases",
};

/// The site's own.
pub(super) const OWN: [&View; 8] = [
    &COLLECTION,
    &COLLECTIONS,
    &MEMBERSHIP,
    &SYSTEM,
    &RESOURCE_NAMES,
    &SITE,
    &IDENTIFICATION,
    &LINK_STATUS,
];

/// The replicas of availability groups, of which a secondary shows its own.
pub(super) const REPLICAS: View = View {
    schema: "sys",
    name: "dm_hadr_database_replica_states",
    columns: &[("database_id", Int), ("is_local", Bit), ("last_commit_time", DateTime)],
    order: &[],
    class: "dm_hadr_database_replica_states",
};

/// Changed memberships, where change tracking is on. No name leads to it.
pub(super) const CHANGES: View = View {
    schema: "dbo",
    name: "CHANGETABLE",
    columns: &[
        ("SYS_CHANGE_VERSION", BigInt),
        ("SYS_CHANGE_OPERATION", NVarChar(1)),
        ("SiteID", ID),
        ("MachineID", Int),
    ],
    order: &[],
    class: "CHANGETABLE",
};

impl View {
    /// The view of a name, in any casing.
    pub(super) fn find(schema: &str, name: &str) -> Option<&'static Self> {
        let all = OWN.into_iter().chain([&COLUMNS, &DATABASES, &CHANGES, &REPLICAS]);
        let is = |view: &&View| {
            view.schema.eq_ignore_ascii_case(schema) && view.name.eq_ignore_ascii_case(name)
        };
        all.into_iter().find(is)
    }

    pub(super) fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|(own, _)| own.eq_ignore_ascii_case(name))
    }
}
