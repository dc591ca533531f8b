//! Prints every KQL text that cmsync writes or asks, as JSON, for the checks in `tests/kql`.

use cmsync_schemas::kql::{self, Names};
use cmsync_schemas::tables;
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
        "highest_seq": tables::highest_seq_query(ODD),
    });
    let tables = json!({
        "ConfigMgrCollectionMember_CL": columns(tables::MEMBER_COLUMNS),
        "ConfigMgrCollection_CL": columns(tables::COLLECTION_COLUMNS),
    });
    println!("{}", json!({ "texts": texts, "tables": tables, "odd": ODD }));
}
