//! The reading rule, and the KQL that is written into a workspace. What is asked of one is in `questions`.
//!
//! The reading rule: of each group the newest snapshot that is there whole (or the newest at all), and
//! the latest row of each member from there on. It holds for late, lost, repeated and reordered rows;
//! `tests/kql` evaluates it over random ones.

/// Which of a computer's names a group gives: agents differ in what they report as `Computer`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Names {
    /// FQDN and NetBIOS name.
    #[default]
    Both,
    /// FQDN, or the NetBIOS name where there is none.
    Fqdn,
    /// NetBIOS name.
    Netbios,
}

/// Below any seq of a snapshot that is there whole.
const NOT_WHOLE: &str = "100000000000000000";

/// The reading rule over rows that `condition` lets through, as statements that end in a `let`
/// named `members`. `days` is how far back it looks.
pub(crate) fn members(condition: &str, days: u32) -> String {
    format!(
        "let since = ago({days}d);\n\
         let collections = ConfigMgrCollection_CL | where TimeGenerated > since{condition};\n\
         let rows = ConfigMgrCollectionMember_CL | where TimeGenerated > since{condition};\n\
         let removed = collections | where Status == 'Removed' | summarize RemovedSeq = max(Seq) by SiteCode, GroupId;\n\
         let marks = collections | where Status == 'Complete' | summarize MemberCount = max(MemberCount) by SiteCode, GroupId, StartSeq\n \
         | lookup kind=leftouter removed on SiteCode, GroupId | where isnull(RemovedSeq) or StartSeq > RemovedSeq;\n\
         let have = rows | where Action == 'Present' | distinct SiteCode, GroupId, Seq, ResourceId\n \
         | summarize Have = count() by SiteCode, GroupId, StartSeq = Seq;\n\
         let base = marks | lookup kind=leftouter have on SiteCode, GroupId, StartSeq\n \
         | extend Rank = iff(MemberCount == 0 or Have >= MemberCount, StartSeq, StartSeq - {NOT_WHOLE})\n \
         | summarize arg_max(Rank, StartSeq) by SiteCode, GroupId;\n\
         let members = rows | lookup kind=inner base on SiteCode, GroupId | where Seq >= StartSeq\n \
         | summarize arg_max(Seq, *) by SiteCode, GroupId, ResourceId | where Action != 'Remove';\n"
    )
}

/// Two lines for `Names::Both`, which needs each member twice.
fn named(columns: &str, names: Names) -> String {
    let fqdn = format!("members | project {columns}Computer");
    let netbios = format!("members | project {columns}Computer = NetbiosName");
    match names {
        Names::Fqdn => format!("{fqdn}\n"),
        Names::Netbios => format!("{netbios}\n"),
        Names::Both => format!("union ({fqdn}), ({netbios})\n"),
    }
}

/// The computers of one group, from the tables: one column, `Computer`.
#[must_use]
pub fn group_from_tables(site_code: &str, group_id: &str, days: u32, names: Names) -> String {
    let (site, group) = (kql_string(site_code), kql_string(group_id));
    let condition = format!(" and SiteCode == {site} and GroupId == {group}");
    let (rule, named) = (members(&condition, days), named("", names));
    format!("{rule}{named}| where isnotempty(Computer) | distinct Computer")
}

/// The computers of one group, given: one column, `Computer`. It does not depend on any time range.
pub fn group_of_names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let literals: Vec<String> = names.into_iter().map(kql_string).collect();
    format!("datatable(Computer:string)[{}] | distinct Computer", literals.join(","))
}

/// What queries call a collection's group.
#[must_use]
pub fn group_alias(site_code: &str, group_id: &str) -> String {
    format!("CMG_{site_code}_{group_id}")
}

/// The same group by another name.
#[must_use]
pub fn group_of_group(alias: &str) -> String {
    format!("{alias} | distinct Computer")
}

/// All groups with the columns of the former `ComputerGroup` table.
#[must_use]
pub fn all_groups(days: u32, names: Names) -> String {
    let rule = members("", days);
    let named = named("SiteCode, GroupId, TimeGenerated, ", names);
    format!(
        "{rule}\
         let groups = collections | where Status == 'Complete' | summarize arg_max(Seq, Group, GroupFullName) by SiteCode, GroupId\n \
         | project SiteCode, GroupId, Group, GroupFullName;\n\
         {named}\
         | where isnotempty(Computer) | distinct SiteCode, GroupId, Computer, TimeGenerated\n\
         | lookup kind=leftouter groups on SiteCode, GroupId\n\
         | project Computer, Group, GroupFullName, GroupId, GroupSource = 'SCCM', GroupSourceName = SiteCode, TimeGenerated"
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
