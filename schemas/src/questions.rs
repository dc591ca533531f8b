//! What cmsync asks a workspace. Each text begins with a comment that says what it is for, so that it
//! is known in the workspace's own log of queries.

use aws_lc_rs::digest::{SHA256, digest};

use crate::kql::{kql_string, members};

/// Digits of a row's hash: 40 bits, so that the sum of a million rows stays a `long`.
const DIGITS: usize = 10;

/// What a member row adds to the sum of its group: of its id and its names, whatever their order.
/// The same as [`group_sums`] works out in the workspace.
#[must_use]
pub fn row_hash(resource_id: i64, computer: &str, netbios_name: &str) -> i64 {
    let hash = digest(&SHA256, format!("{resource_id}|{computer}|{netbios_name}").as_bytes());
    let bytes = hash.as_ref().iter().take(DIGITS / 2);
    bytes.fold(0, |sum, byte| (sum << 8) | i64::from(*byte))
}

/// Of each group of a site that a reader sees: `GroupId`, `Group`, `Count` and `Sum` of its members.
#[must_use]
pub fn group_sums(site_code: &str, days: u32) -> String {
    let site = kql_string(site_code);
    let rule = members(&format!(" and SiteCode == {site}"), days);
    format!(
        "// cmsync: group sums of {site} over {days}d\n{rule}\
         let sums = members | extend Text = strcat(tostring(ResourceId), '|', Computer, '|', NetbiosName) | extend Digest = hash_sha256(Text)\n \
         | extend Hash = tolong(strcat('0x', substring(Digest, 0, {DIGITS})))\n \
         | summarize Count = count(), Sum = sum(Hash) by GroupId;\n\
         let names = collections | where Status == 'Complete' | summarize arg_max(Seq, Group) by GroupId | project GroupId, Group;\n\
         base | project GroupId | lookup kind=leftouter names on GroupId | lookup kind=leftouter sums on GroupId\n\
         | project GroupId, Group, Count = coalesce(Count, long(0)), Sum = coalesce(Sum, long(0))"
    )
}

/// The members of one group whose ids lie within a range, both ends included: `ResourceId`,
/// `Computer`, `NetbiosName`.
#[must_use]
pub fn group_members(site_code: &str, group_id: &str, days: u32, (from, to): (i64, i64)) -> String {
    let (site, group) = (kql_string(site_code), kql_string(group_id));
    let rule = members(&format!(" and SiteCode == {site} and GroupId == {group}"), days);
    format!(
        "// cmsync: members of {group} of {site} over {days}d from {from} to {to}\n{rule}\
         members | where ResourceId between ({from} .. {to}) | project ResourceId, Computer, NetbiosName"
    )
}

/// The installations that wrote for a site within two days: `Instance`, `First` and `Last`.
#[must_use]
pub fn instances(site_code: &str) -> String {
    let site = kql_string(site_code);
    format!(
        "// cmsync: instances of {site}\nConfigMgrCollection_CL\n\
         | where TimeGenerated > ago(2d) and SiteCode == {site} and Status != 'Test'\n\
         | summarize First = min(TimeGenerated), Last = max(TimeGenerated) by Instance"
    )
}

/// What the rules of a workspace refused within a day: `Message` and `Count`. The table is there once
/// a rule has had an error.
#[must_use]
pub fn collection_errors() -> String {
    "// cmsync: collection errors\n\
     union isfuzzy=true (datatable(TimeGenerated:datetime, Message:string)[]), DCRLogErrors\n\
     | where TimeGenerated > ago(1d) | summarize Count = count() by Message | top 5 by Count"
        .to_owned()
}

/// Rows of an answer about what was; there may be older ones where there are as many.
pub const MOST: usize = 200;

/// What the workspace has of one group's snapshots, new names and removal, newest first: `StartSeq`, `Seq`,
/// `MemberCount`, `Status`, `Group` and `Came`, when the marker was there. A seq is microseconds since 1970.
#[must_use]
pub fn group_snapshots(site_code: &str, group_id: &str, days: u32) -> String {
    let (site, group) = (kql_string(site_code), kql_string(group_id));
    format!(
        "// cmsync: snapshots of {group} of {site} over {days}d\nConfigMgrCollection_CL\n\
         | where TimeGenerated > ago({days}d) and SiteCode == {site} and GroupId == {group} and Status != 'Test'\n\
         | summarize MemberCount = max(MemberCount), Came = min(ingestion_time()) by StartSeq, Seq, Status, Group\n\
         | top {MOST} by Seq desc | project StartSeq, Seq, MemberCount, Status, Group, Came"
    )
}

/// Members that came to one group or went, newest first: `Seq`, `ResourceId`, `Computer` and `Action`. Whoever
/// has a new name comes with it.
#[must_use]
pub fn group_changes(site_code: &str, group_id: &str, days: u32) -> String {
    let (site, group) = (kql_string(site_code), kql_string(group_id));
    format!(
        "// cmsync: changes of {group} of {site} over {days}d\nConfigMgrCollectionMember_CL\n\
         | where TimeGenerated > ago({days}d) and SiteCode == {site} and GroupId == {group} and Action != 'Present'\n\
         | summarize Computer = max(Computer) by Seq, ResourceId, Action\n\
         | top {MOST} by Seq desc | project Seq, ResourceId, Computer, Action"
    )
}

/// Groups that a computer came to or went from, newest first: `Seq`, `GroupId`, `Group`, `Action`. It is known
/// by its FQDN or NetBIOS name.
#[must_use]
pub fn computer_changes(site_code: &str, computer: &str, days: u32) -> String {
    let (site, computer) = (kql_string(site_code), kql_string(computer));
    format!(
        "// cmsync: computer {computer} of {site} over {days}d\n\
         let names = ConfigMgrCollection_CL | where TimeGenerated > ago({days}d) and SiteCode == {site} and Status == 'Complete'\n \
         | summarize arg_max(Seq, Group) by GroupId | project GroupId, Group;\n\
         ConfigMgrCollectionMember_CL\n\
         | where TimeGenerated > ago({days}d) and SiteCode == {site} and Action != 'Present' and (Computer =~ {computer} or NetbiosName =~ {computer})\n\
         | distinct Seq, GroupId, Action | lookup kind=leftouter names on GroupId\n\
         | top {MOST} by Seq desc | project Seq, GroupId, Group = coalesce(Group, ''), Action"
    )
}

/// How many rows of the large test body are there: `Count`.
#[must_use]
pub fn large_body_rows(run_id: &str) -> String {
    let run = kql_string(run_id);
    format!(
        "// cmsync: rows of {run}\nConfigMgrCollection_CL\n\
         | where TimeGenerated > ago(7d) and Status == 'Test' and RunId == {run} | distinct Seq | count"
    )
}

/// The names under which computers sent heartbeats within a day: `Computer`.
#[must_use]
pub fn heartbeats() -> String {
    "// cmsync: heartbeats\n\
     union isfuzzy=true (datatable(TimeGenerated:datetime, Computer:string)[]), Heartbeat\n\
     | where TimeGenerated > ago(1d) and isnotempty(Computer) | distinct Computer"
        .to_owned()
}

/// The query for the highest `Seq` that the workspace holds of a site.
///
/// `site_code` is quoted as a KQL string literal.
#[must_use]
pub fn highest_seq(site_code: &str) -> String {
    let site = kql_string(site_code);
    format!(
        "// cmsync: highest seq of {site}\n\
         union isfuzzy=true (ConfigMgrCollectionMember_CL | where SiteCode == {site} | summarize Seq = max(Seq)), \
         (ConfigMgrCollection_CL | where SiteCode == {site} | summarize Seq = max(Seq)) \
         | summarize Seq = max(Seq)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rows_hash_is_the_beginning_of_its_sha_256() {
        // printf '16777220|pc1.contoso.com|PC1' | sha256sum
        assert_eq!(format!("{:010x}", row_hash(16_777_220, "pc1.contoso.com", "PC1")), EXPECTED);
        assert_ne!(row_hash(1, "a", "b"), row_hash(1, "b", "a"));
    }

    const EXPECTED: &str = "63a4caa098";
}
