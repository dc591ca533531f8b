//! Prints every KQL text that cmsync writes or asks, as JSON, for the checks in `tests/kql`.

use cmsync_schemas::kql::{self, Names};
use cmsync_schemas::{questions, tables};
use serde_json::json;

/// All that could end a literal, or turn a line around.
const ODD: &str = "It's \\ \"q\" | take 1; // \n\r\t\u{0}\u{2028}\u{202e}\u{2067}";

#[expect(clippy::print_stdout, reason = "this is what the example is for")]
fn main() {
    let columns = |columns: &[(&str, &str)]| {
        columns.iter().map(|(name, kind)| format!("{name}: {kind}")).collect::<Vec<_>>().join(", ")
    };
    let texts = json!({
        "group_both": kql::group_from_tables("CAS", "PS100014", 7, Names::Both),
        "group_fqdn": kql::group_from_tables("CAS", "PS100014", 7, Names::Fqdn),
        "group_netbios": kql::group_from_tables("CAS", "PS100014", 7, Names::Netbios),
        "group_odd": kql::group_from_tables(ODD, ODD, 7, Names::Both),
        "all_both": kql::all_groups(7, Names::Both),
        "all_fqdn": kql::all_groups(7, Names::Fqdn),
        "all_netbios": kql::all_groups(7, Names::Netbios),
        "static": kql::group_of_names(["a.contoso.com", "A", ODD]),
        "static_empty": kql::group_of_names([]),
        "sums": questions::group_sums("CAS", 7),
        "sums_odd": questions::group_sums(ODD, 7),
        "members": questions::group_members("CAS", "PS100014", 7, (0, 4_294_967_295)),
        "members_odd": questions::group_members(ODD, ODD, 7, (0, 9)),
        "snapshots": questions::group_snapshots("CAS", "PS100014", 7),
        "snapshots_odd": questions::group_snapshots(ODD, ODD, 7),
        "changes": questions::group_changes("CAS", "PS100014", 7),
        "changes_odd": questions::group_changes(ODD, ODD, 7),
        "computer": questions::computer_changes("CAS", "DEV3", 7),
        "computer_odd": questions::computer_changes(ODD, ODD, 7),
        "instances": questions::instances(ODD),
        "errors": questions::collection_errors(),
        "large_body": questions::large_body_rows(ODD),
        "heartbeats": questions::heartbeats(),
        "highest_seq": questions::highest_seq(ODD),
    });
    let tables = json!({
        "ConfigMgrCollectionMember_CL": columns(tables::MEMBER_COLUMNS),
        "ConfigMgrCollection_CL": columns(tables::COLLECTION_COLUMNS),
        // As far as they are asked; source: the reference of Azure Monitor's tables.
        "Heartbeat": "TimeGenerated: datetime, Computer: string, OSType: string, Version: string, _ResourceId: string",
        "Event": "TimeGenerated: datetime, Computer: string, EventLevelName: string",
        "DCRLogErrors": "TimeGenerated: datetime, OperationName: string, Message: string, InputStreamId: string",
    });
    println!("{}", json!({ "texts": texts, "tables": tables, "odd": ODD }));
}
