//! Data collection rules and endpoints, with what the service refuses in them.

use serde_json::{Value, json};

use super::address::Address;
use super::store::Resources;
use super::{Begun, Made, WORKSPACE, invalid, refused, tables};

/// A rule that was there before.
pub(super) fn furnished(immutable_id: &str, endpoint: &str) -> Value {
    let mut declarations = json!({});
    let mut flows = Vec::new();
    for (table, columns) in tables::OURS {
        let stream = format!("Custom-{}", table.trim_end_matches("_CL"));
        let columns: Vec<Value> =
            columns.iter().map(|(n, t)| json!({"name": n, "type": t})).collect();
        declarations[&stream] = json!({"columns": columns});
        flows.push(json!({"streams": [stream], "destinations": ["workspace"], "transformKql": "source", "outputStream": format!("Custom-{table}")}));
    }
    json!({"location": "westeurope", "kind": "Direct", "properties": {
        "immutableId": immutable_id, "provisioningState": "Succeeded",
        "endpoints": {"logsIngestion": endpoint},
        "streamDeclarations": declarations, "dataFlows": flows,
        "destinations": {"logAnalytics": [{"workspaceResourceId": WORKSPACE, "name": "workspace"}]},
    }})
}

/// Whether a stream's rows reach a table that is there.
pub(crate) fn reaches_a_table(resources: &Resources, rule: &Value, stream: &str) -> bool {
    let properties = &rule["properties"];
    let is_declared = properties["streamDeclarations"].get(stream).is_some();
    let is_in = |f: &&Value| f["streams"].as_array().is_some_and(|s| s.contains(&json!(stream)));
    let flow = properties["dataFlows"].as_array().and_then(|flows| flows.iter().find(is_in));
    let output = flow.and_then(|flow| flow["outputStream"].as_str());
    let table = output.and_then(|output| output.strip_prefix("Custom-")).unwrap_or_default();
    let workspace = &properties["destinations"]["logAnalytics"][0]["workspaceResourceId"];
    let workspace = workspace.as_str().unwrap_or_default();
    is_declared && resources.get(&format!("{workspace}/tables/{table}")).is_some()
}

/// Judges a rule and says what becomes of it.
pub(super) fn put(
    resources: &Resources,
    address: &Address<'_>,
    body: &Value,
    (number, endpoint): (u64, &str),
) -> Made {
    let before = resources.get(address.id);
    let properties = &body["properties"];
    let destination = &properties["destinations"]["logAnalytics"][0];
    let id = destination["workspaceResourceId"].as_str().unwrap_or_default();
    let Some(workspace) = resources.get(id) else {
        return invalid("InvalidDestination", &format!("The workspace '{id}' does not exist."));
    };
    if before.is_some_and(|b| b["location"] != body["location"]) {
        return refused(409, "InvalidResourceLocation", "The resource exists in another location.");
    }
    if workspace["location"] != body["location"] {
        let text = "The rule's location must be that of its workspace.";
        return invalid("InvalidWorkspaceLocation", text);
    }
    for flow in properties["dataFlows"].as_array().into_iter().flatten() {
        let streams = flow["streams"].as_array().cloned().unwrap_or_default();
        for stream in streams.iter().filter_map(Value::as_str) {
            if !stream.starts_with("Custom-") && !stream.starts_with("Microsoft-Event") {
                let text = format!(
                    "'Streams' stream '{stream}' must be a custom stream or one of the allowed streams."
                );
                return invalid("InvalidStream", &text);
            }
            let columns = properties["streamDeclarations"][stream]["columns"].as_array();
            let Some(columns) = columns else {
                return invalid("InvalidStream", &format!("Stream '{stream}' is not declared."));
            };
            if !columns.iter().any(|c| c["name"] == "TimeGenerated" && c["type"] == "datetime") {
                let text = "The transform's output must hold TimeGenerated of the type datetime.";
                return invalid("InvalidTransformOutput", text);
            }
        }
        let output = flow["outputStream"].as_str().unwrap_or_default();
        let table = output.strip_prefix("Custom-").unwrap_or_default();
        if resources.get(&format!("{id}/tables/{table}")).is_none() {
            let text = format!(
                "Table for output stream '{output}' is not available for destination '{}'.",
                destination["name"]
            );
            return invalid("InvalidOutputTable", &text);
        }
    }
    let mut rule = body.clone();
    let immutable = before.map(|b| b["properties"]["immutableId"].clone());
    rule["properties"]["immutableId"] =
        immutable.unwrap_or_else(|| json!(format!("dcr-{number:032x}")));
    rule["properties"]["provisioningState"] = json!("Succeeded");
    if rule["kind"] == "Direct" {
        // Only rules that were made so have an address of their own.
        let is_old = before.is_some_and(|b| b["kind"] != "Direct");
        if !is_old {
            rule["properties"]["endpoints"] =
                json!({"logsIngestion": endpoint, "metricsIngestion": endpoint});
        }
    }
    Ok((rule, Begun::Done(if before.is_some() { 200 } else { 201 })))
}

/// A data collection endpoint, with its address.
pub(super) fn put_endpoint(body: &Value, address: &str) -> Made {
    let mut made = body.clone();
    made["properties"]["logsIngestion"] = json!({"endpoint": address});
    made["properties"]["provisioningState"] = json!("Succeeded");
    Ok((made, Begun::Done(200)))
}
