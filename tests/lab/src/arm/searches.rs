//! Saved searches, with what the service refuses in them.

use serde_json::{Value, json};

use super::address::Address;
use super::{Begun, Made, refused};
use crate::faults::Faults;

/// Judges a saved search and says what becomes of it.
pub(super) fn put(
    faults: &Faults,
    address: &Address<'_>,
    before: Option<&Value>,
    mut body: Value,
) -> Made {
    let bad = |text: &str| refused(400, "InvalidArgument", text);
    let properties = &body["properties"];
    for key in ["category", "displayName", "query"] {
        if properties[key].as_str().is_none_or(str::is_empty) {
            return bad(&format!("'{key}' is required."));
        }
    }
    let alias = properties["functionAlias"].as_str().unwrap_or_default();
    let is_alias = alias.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !is_alias || alias.starts_with(['_', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) {
        return bad("'functionAlias' is not a valid function name.");
    }
    if faults.refused_searches.contains(address.name.unwrap_or_default()) {
        return bad("The query is not valid.");
    }
    if before.is_some() && body["etag"] != "*" {
        let text = "The saved search was changed: the etag does not match.";
        return refused(409, "Conflict", text);
    }
    body["etag"] = json!("x");
    Ok((body, Begun::Done(200)))
}
