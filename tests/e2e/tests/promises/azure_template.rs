//! The template of `deploy/azure`, for whoever sets up a workspace without cmsync at hand, is what `cmsync connect --template`
//! writes, with parameters in the place of names; and its Bicep form makes the same.

use cmsync_lab::arm::{GROUP, SUBSCRIPTION, WORKSPACE};
use serde_json::{Map, Value, json};

use crate::connect::{Desk, assert_done};
use crate::prometheus::project;
use crate::rig::{options, small};

const RULES: &str = "Microsoft.Insights/dataCollectionRules";
const WORKSPACES: &str = "Microsoft.OperationalInsights/workspaces";

/// What stands in the place of what, the longer first.
fn expressions(desk: &Desk) -> Vec<(String, String)> {
    let name = |id: &str| id.rsplit('/').next().unwrap().to_owned();
    let resource = |kind: &str, of: &str| format!("resourceId('{kind}', parameters('{of}'))");
    vec![
        (WORKSPACE.to_owned(), resource(WORKSPACES, "workspace")),
        (format!("{GROUP}/providers/{RULES}/cmsync-lab"), resource(RULES, "rule")),
        (SUBSCRIPTION.to_owned(), "subscription().subscriptionId".to_owned()),
        (desk.lab.options.object_id.clone(), "parameters('principalId')".to_owned()),
        (name(WORKSPACE), "parameters('workspace')".to_owned()),
        ("cmsync-lab".to_owned(), "parameters('rule')".to_owned()),
        ("westeurope".to_owned(), "parameters('location')".to_owned()),
        ("CAS".to_owned(), "parameters('siteCode')".to_owned()),
    ]
}

/// A text as an expression of templates, where anything in it is a parameter.
fn parameterised(text: &str, expressions: &[(String, String)]) -> String {
    let mut parts = vec![(text.to_owned(), false)];
    for (value, expression) in expressions {
        parts = parts
            .into_iter()
            .flat_map(|(part, is_expression)| {
                if is_expression {
                    return vec![(part, true)];
                }
                let mut found = Vec::new();
                for (number, piece) in part.split(value.as_str()).enumerate() {
                    if number > 0 {
                        found.push((expression.clone(), true));
                    }
                    found.push((piece.to_owned(), false));
                }
                found
            })
            .filter(|(part, _)| !part.is_empty())
            .collect();
    }
    match parts.as_slice() {
        [(only, false)] => only.clone(),
        [(only, true)] => format!("[{only}]"),
        _ => {
            let part = |(part, is_expression): &(String, bool)| match is_expression {
                true => part.clone(),
                false => format!("'{part}'"),
            };
            format!("[concat({})]", parts.iter().map(part).collect::<Vec<_>>().join(", "))
        }
    }
}

fn each_text(value: &Value, change: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(change(text)),
        Value::Array(values) => values.iter().map(|v| each_text(v, change)).collect(),
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| (key.clone(), each_text(value, change));
            Value::Object(map.iter().map(entry).collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

async fn generic() -> String {
    let desk = Desk::with_workspace(options(small())).await;
    let file = desk.directory.path().join("cmsync.json");
    assert_done(&desk.connect(&["--template", file.to_str().unwrap()]).await);
    let written: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let expressions = expressions(&desk);
    let mut template = each_text(&written, &|text| parameterised(text, &expressions));
    for resource in template["resources"].as_array_mut().unwrap() {
        if resource["type"] == "Microsoft.Authorization/roleAssignments" {
            let inner = |key: &Value| {
                let text = key.as_str().unwrap();
                text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text).to_owned()
            };
            let role = inner(&resource["properties"]["roleDefinitionId"]);
            let scope = inner(&resource["scope"]);
            resource["name"] = json!(format!("[guid({scope}, parameters('principalId'), {role})]"));
        }
    }
    template["parameters"] = json!({
        "workspace": { "type": "string", "metadata": { "description": "Name of the Log Analytics workspace, which is there." } },
        "rule": { "type": "string", "defaultValue": "cmsync", "metadata": { "description": "Name of the data collection rule." } },
        "location": { "type": "string", "defaultValue": "[resourceGroup().location]", "metadata": { "description": "The workspace's region." } },
        "siteCode": { "type": "string", "metadata": { "description": "Code of the hierarchy's top-tier site." } },
        "principalId": { "type": "string", "metadata": { "description": "Object id of the service principal, or managed identity, that cmsync signs in as." } },
    });
    template["outputs"] = json!({
        "ruleId": { "type": "string", "value": "[reference(resourceId('Microsoft.Insights/dataCollectionRules', parameters('rule'))).immutableId]" },
        "endpoint": { "type": "string", "value": "[reference(resourceId('Microsoft.Insights/dataCollectionRules', parameters('rule'))).endpoints.logsIngestion]" },
    });
    serde_json::to_string_pretty(&template).unwrap() + "\n"
}

#[tokio::test(flavor = "multi_thread")]
async fn the_template_in_deploy_is_what_connect_writes_with_parameters() {
    let (made, path) = (generic().await, project("deploy/azure/workspace.json"));
    if std::env::var_os("CMSYNC_WRITE_DOCS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), made);
}

#[test]
fn the_bicep_form_names_every_resource_column_and_stream_of_the_template() {
    let template: Value =
        serde_json::from_slice(&std::fs::read(project("deploy/azure/workspace.json")).unwrap())
            .unwrap();
    let bicep = std::fs::read_to_string(project("deploy/azure/workspace.bicep")).unwrap();
    for resource in template["resources"].as_array().unwrap() {
        let kind = format!(
            "'{}@{}'",
            resource["type"].as_str().unwrap(),
            resource["apiVersion"].as_str().unwrap()
        );
        assert!(bicep.contains(&kind), "{kind}");
        for column in resource["properties"]["schema"]["columns"].as_array().into_iter().flatten() {
            let text = format!("name: {}", column["name"]).replace('"', "'");
            assert!(bicep.contains(&text), "{text}");
        }
    }
    for parameter in template["parameters"].as_object().unwrap().keys() {
        assert!(bicep.contains(&format!("param {parameter} string")), "{parameter}");
    }
}
