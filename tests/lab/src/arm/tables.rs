//! Tables, with what the service refuses in them.

use serde_json::{Value, json};

use super::address::Address;
use super::{Begun, Made, refused};

/// The tables of cmsync with their columns.
pub(crate) const OURS: [(&str, &[(&str, &str)]); 2] = [
    (
        "ConfigMgrCollectionMember_CL",
        &[
            ("TimeGenerated", "datetime"),
            ("SiteCode", "string"),
            ("GroupId", "string"),
            ("ResourceId", "long"),
            ("Computer", "string"),
            ("NetbiosName", "string"),
            ("AssignedSite", "string"),
            ("Action", "string"),
            ("Seq", "long"),
        ],
    ),
    (
        "ConfigMgrCollection_CL",
        &[
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
        ],
    ),
];

const TYPES: [&str; 8] =
    ["string", "int", "long", "real", "boolean", "datetime", "dynamic", "guid"];
const RESERVED: [&str; 7] =
    ["_ResourceId", "id", "_SubscriptionId", "TenantId", "Type", "UniqueId", "Title"];

fn is_name(name: &str) -> bool {
    name.len() <= 45
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn kind_of(column: &Value) -> String {
    column["type"].as_str().unwrap_or_default().to_lowercase()
}

/// Judges a table and says what becomes of it.
pub(super) fn put(address: &Address<'_>, before: Option<&Value>, body: &Value) -> Made {
    let name = address.name.unwrap_or_default();
    let schema = &body["properties"]["schema"];
    let bad = |text: String| refused(400, "InvalidParameter", &text);
    if before.is_some_and(|t| t["properties"]["provisioningState"] == "Deleting") {
        let text = format!("Table {name} is being deleted. Wait until it is gone, or restore it.");
        return refused(409, "Conflict", &text);
    }
    if !name.ends_with("_CL")
        || !is_name(name)
        || name != schema["name"].as_str().unwrap_or_default()
    {
        return bad(format!("Table name {name} is not valid: a custom table ends in _CL."));
    }
    let columns = schema["columns"].as_array().cloned().unwrap_or_default();
    for column in &columns {
        let column_name = column["name"].as_str().unwrap_or_default();
        if !is_name(column_name) || RESERVED.contains(&column_name) {
            return bad(format!("Column name {column_name} is not valid."));
        }
        if !TYPES.contains(&kind_of(column).as_str()) {
            return bad(format!("Column {column_name} has the unknown type {}.", column["type"]));
        }
        let old = before.and_then(|t| t["properties"]["schema"]["columns"].as_array());
        let old = old.into_iter().flatten().find(|c| c["name"] == column["name"]);
        if old.is_some_and(|c| kind_of(c) != kind_of(column)) {
            return bad(format!("The type of column {column_name} cannot be changed."));
        }
    }
    let has_time = columns.iter().any(|c| c["name"] == "TimeGenerated" && kind_of(c) == "datetime");
    let mut table = json!({"properties": {
        "plan": body["properties"]["plan"].as_str().unwrap_or("Analytics"),
        "retentionInDays": 30, "totalRetentionInDays": 30, "provisioningState": "Succeeded",
        "schema": {"name": name, "description": schema["description"], "columns": columns,
            "tableType": "CustomLog", "tableSubType": "DataCollectionRuleBased"},
    }});
    if let Some(mut kept) = before.map(|t| t["properties"]["schema"]["columns"].clone()) {
        // Columns that are not named stay.
        let known =
            table["properties"]["schema"]["columns"].as_array().cloned().unwrap_or_default();
        if let Some(kept) = kept.as_array_mut() {
            kept.extend(
                known
                    .into_iter()
                    .filter(|c| !kept.iter().any(|k| k["name"] == c["name"]))
                    .collect::<Vec<_>>(),
            );
        }
        table["properties"]["schema"]["columns"] = kept;
    }
    if has_time {
        Ok((table, Begun::Operation))
    } else {
        let text = "TimeGenerated is missing or not a datetime.";
        Ok((table, Begun::Failing("SchemaUpdateFatalError", text)))
    }
}
