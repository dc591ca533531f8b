//! Every query that the site database is asked, as docs/sql.md shows them to who administers it; one is made of
//! a name ([`probe`]).
//!
//! Views and columns are those of Microsoft's pages "SQL Server views in Configuration Manager"
//! (learn.microsoft.com/intune/configmgr/develop/core/understand/sqlviews/), spelled as they are there:
//! a database may have a collation that tells capitals from small letters. Nothing is written, nothing
//! is created, and no hint reads what is not committed: rows that move while they are read without locks
//! would look like members that were removed.

use tiberius::ToSql;

/// Who is logged in, with which role, and the server's clock.
pub const SESSION: &str = "\
SELECT SUSER_SNAME() AS LoginName, IS_ROLEMEMBER('db_datareader') AS IsReader, \
DATEDIFF(second, '19700101', SYSUTCDATETIME()) AS Now";

/// Whether a read sees one moment: read committed snapshot, or snapshot isolation, is on. [`sys.databases`]
///
/// [`sys.databases`]: https://learn.microsoft.com/sql/relational-databases/system-catalog-views/sys-databases-transact-sql
pub const DATABASE: &str = "\
SELECT d.is_read_committed_snapshot_on, d.snapshot_isolation_state, d.is_read_only \
FROM sys.databases AS d WHERE d.database_id = DB_ID()";

/// One row of a view that the information schema does not show, so that the server says why.
pub(super) fn probe(view: &str, column: &str) -> String {
    format!("SELECT TOP (1) v.{column} FROM dbo.{view} AS v")
}

/// How far a secondary replica is behind, at most: the age of the last transaction that it has.
/// [sys.dm_hadr_database_replica_states]
///
/// [sys.dm_hadr_database_replica_states]: https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-hadr-database-replica-states-transact-sql
pub const LAG: &str = "\
SELECT DATEDIFF(second, r.last_commit_time, SYSDATETIME()) AS Behind \
FROM sys.dm_hadr_database_replica_states AS r WHERE r.database_id = DB_ID() AND r.is_local = 1";

/// Which columns there are that the account may read.
pub const COLUMNS: &str = "\
SELECT c.TABLE_NAME, c.COLUMN_NAME FROM INFORMATION_SCHEMA.COLUMNS AS c \
WHERE c.TABLE_SCHEMA = 'dbo' AND c.TABLE_NAME IN ('v_Collection', 'v_Collections', \
'v_FullCollectionMembership', 'v_R_System', 'v_RA_System_ResourceNames', 'v_Site', \
'v_Identification', 'RCM_ReplicationLinkStatus')";

/// Which site's database this is.
pub const IDENTIFICATION: &str = "SELECT i.ThisSiteCode FROM dbo.v_Identification AS i";

/// All sites of the hierarchy.
pub const SITES: &str = "\
SELECT s.SiteCode, s.SiteName, s.ReportingSiteCode, s.Type, s.Status, s.Version FROM dbo.v_Site AS s";

/// Replication that is degraded (8) or has failed (9), as Microsoft's page "SQL Server replication"
/// asks for it.
pub const LINKS: &str = "\
SELECT l.SiteSending, l.SiteReceiving, l.Status FROM dbo.RCM_ReplicationLinkStatus AS l \
WHERE l.Status IN (8, 9)";

/// Device collections with their counts and change times.
pub const COLLECTIONS: &str = "\
SELECT c.CollectionID, c.Name, c.MemberCount, c.LastMemberChangeTime FROM dbo.v_Collection AS c \
WHERE c.CollectionType = 2 ORDER BY c.CollectionID";

/// Some collections.
pub const SOME_COLLECTIONS: &str = "\
SELECT c.CollectionID, c.Name, c.MemberCount, c.LastMemberChangeTime FROM dbo.v_Collection AS c \
WHERE c.CollectionType = 2 AND c.CollectionID IN (@P1) ORDER BY c.CollectionID";

/// Folders, and when the full and the incremental evaluation last changed members. In this view
/// `CollectionID` is a number, and `SiteID` has the eight characters.
pub const EVALUATIONS: &str = "\
SELECT c.SiteID, c.ObjectPath, c.FullEvaluationMemberChangeTime, \
c.IncrementalEvaluationMemberChangeTime FROM dbo.v_Collections AS c";

/// The same of some collections.
pub const SOME_EVALUATIONS: &str = "\
SELECT c.SiteID, c.ObjectPath, c.FullEvaluationMemberChangeTime, \
c.IncrementalEvaluationMemberChangeTime FROM dbo.v_Collections AS c WHERE c.SiteID IN (@P1)";

/// Members of one collection behind a resource, so many.
pub const MEMBERS_AFTER: &str = "\
SELECT TOP (@P3) m.ResourceID, m.ResourceType, m.Name, m.SiteCode, m.IsObsolete, m.IsDecommissioned \
FROM dbo.v_FullCollectionMembership AS m WHERE m.CollectionID = @P1 AND m.ResourceID > @P2 \
ORDER BY m.ResourceID";

/// Members of several collections, which are few.
pub const MEMBERS: &str = "\
SELECT m.CollectionID, m.ResourceID, m.ResourceType, m.Name, m.SiteCode, m.IsObsolete, \
m.IsDecommissioned FROM dbo.v_FullCollectionMembership AS m WHERE m.CollectionID IN (@P1) \
ORDER BY m.CollectionID, m.ResourceID";

/// Some members of one collection.
pub const SOME_MEMBERS: &str = "\
SELECT m.ResourceID, m.ResourceType, m.Name, m.SiteCode, m.IsObsolete, m.IsDecommissioned \
FROM dbo.v_FullCollectionMembership AS m WHERE m.CollectionID = @P1 AND m.ResourceID IN (@P2) \
ORDER BY m.ResourceID";

/// Where change tracking stands: the version of now, and the oldest that can be asked for.
/// [Change tracking functions]
///
/// [Change tracking functions]: https://learn.microsoft.com/sql/relational-databases/system-functions/change-tracking-functions-transact-sql
pub const TRACK: &str = "\
SELECT CHANGE_TRACKING_CURRENT_VERSION() AS Now, \
CHANGE_TRACKING_MIN_VALID_VERSION(OBJECT_ID('dbo.CollectionMembers')) AS Oldest";

/// Memberships that changed since a version, so many at most.
pub const CHANGES: &str = "\
SELECT TOP (@P2) t.SiteID, t.MachineID, t.SYS_CHANGE_OPERATION \
FROM CHANGETABLE(CHANGES dbo.CollectionMembers, @P1) AS t";

/// One page of devices, in order.
pub const DEVICES_AFTER: &str = "\
SELECT TOP (@P2) s.ResourceID, s.Name0, s.Netbios_Name0, s.Full_Domain_Name0, \
s.Resource_Domain_OR_Workgr0, s.Obsolete0, s.Decommissioned0 FROM dbo.v_R_System AS s \
WHERE s.ResourceID > @P1 ORDER BY s.ResourceID";

/// Some devices.
pub const DEVICES: &str = "\
SELECT s.ResourceID, s.Name0, s.Netbios_Name0, s.Full_Domain_Name0, s.Resource_Domain_OR_Workgr0, \
s.Obsolete0, s.Decommissioned0 FROM dbo.v_R_System AS s WHERE s.ResourceID IN (@P1) \
ORDER BY s.ResourceID";

/// Full names of the devices of a page. A device may have several, always in one order.
pub const NAMES_BETWEEN: &str = "\
SELECT n.ResourceID, n.Resource_Names0 FROM dbo.v_RA_System_ResourceNames AS n \
WHERE n.ResourceID BETWEEN @P1 AND @P2 ORDER BY n.ResourceID, n.Resource_Names0";

/// Full names of some devices.
pub const NAMES: &str = "\
SELECT n.ResourceID, n.Resource_Names0 FROM dbo.v_RA_System_ResourceNames AS n \
WHERE n.ResourceID IN (@P1) ORDER BY n.ResourceID, n.Resource_Names0";

/// All of them, in the order of docs/sql.md.
pub const ALL: [&str; 20] = [
    SESSION,
    DATABASE,
    LAG,
    COLUMNS,
    IDENTIFICATION,
    SITES,
    LINKS,
    COLLECTIONS,
    SOME_COLLECTIONS,
    EVALUATIONS,
    SOME_EVALUATIONS,
    MEMBERS_AFTER,
    MEMBERS,
    SOME_MEMBERS,
    TRACK,
    CHANGES,
    DEVICES_AFTER,
    DEVICES,
    NAMES_BETWEEN,
    NAMES,
];

/// A query with a parameter for each value in the place of its one list, and the parameters.
pub(super) fn with_list<'a, T: ToSql>(
    query: &str,
    values: &'a [T],
) -> (String, Vec<&'a dyn ToSql>) {
    with_list_after(&[], query, values)
}

/// The same of a query with other parameters before the list.
pub(super) fn with_list_after<'a, T: ToSql>(
    before: &[&'a dyn ToSql],
    query: &str,
    values: &'a [T],
) -> (String, Vec<&'a dyn ToSql>) {
    let first = before.len() + 1;
    let list: Vec<String> = (first..first + values.len()).map(|n| format!("@P{n}")).collect();
    let query = query.replace(&format!("IN (@P{first})"), &format!("IN ({})", list.join(", ")));
    let values = values.iter().map(|value| value as &dyn ToSql);
    (query, before.iter().copied().chain(values).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_query_stands_in_the_guide_and_none_reads_what_is_not_committed() {
        let guide = include_str!("../../../../docs/sql.md");
        let (_, guide) = guide.split_once("## The queries").unwrap();
        let shown: Vec<&str> =
            guide.split("```sql\n").skip(1).filter_map(|rest| rest.split("\n```").next()).collect();
        assert_eq!(shown, ALL);
        assert!(ALL.iter().all(|query| query.starts_with("SELECT ") && !query.contains("NOLOCK")));
    }

    #[test]
    fn a_list_has_a_parameter_for_each_value() {
        let (query, parameters) = with_list(DEVICES, &[1_i64, 2, 3]);
        assert!(query.contains("IN (@P1, @P2, @P3) ORDER BY") && parameters.len() == 3);
        let (query, parameters) = with_list_after(&[&"PS100001"], SOME_MEMBERS, &[1_i64, 2]);
        assert!(query.contains("= @P1 AND m.ResourceID IN (@P2, @P3)") && parameters.len() == 3);
    }
}
