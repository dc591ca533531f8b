//! Plays a folder of captured answers (`SMS_*.json`, each with its `response`).

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::admin_service::{Ask, Reply, error};
use crate::filter::{self, Literal};

/// Captured rows by class.
pub(crate) struct Captures {
    classes: HashMap<String, Vec<Map<String, Value>>>,
}

impl Captures {
    /// Reads a folder. What the captures lack is added: the site's identification, and the type of
    /// members, which is that of systems but for unknown computers.
    pub(crate) fn read(folder: &Path) -> std::io::Result<Self> {
        let mut classes: HashMap<String, Vec<Map<String, Value>>> = HashMap::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let Some(class) =
                path.file_stem().and_then(|s| s.to_str()).filter(|s| s.starts_with("SMS_"))
            else {
                continue;
            };
            let file: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
            let rows: Vec<Map<String, Value>> =
                serde_json::from_value(file["response"]["value"].clone())?;
            classes.insert(class.to_ascii_lowercase(), rows);
        }
        for row in classes.get_mut("sms_fullcollectionmembership").into_iter().flatten() {
            let is_unknown = row["ResourceID"].as_i64().is_some_and(|id| id >> 24 == 0x7A);
            row.insert("ResourceType".into(), json!(if is_unknown { 2 } else { 5 }));
        }
        let site = classes
            .get("sms_site")
            .and_then(|rows| rows.first())
            .map(|row| row["SiteCode"].clone());
        let identification = json!({"ThisSiteCode": site.unwrap_or_default()});
        classes.insert(
            "sms_identification".into(),
            vec![identification.as_object().cloned().unwrap_or_default()],
        );
        classes.entry("sms_replicationlinksummary".into()).or_default();
        classes.entry("sms_admin".into()).or_default();
        Ok(Self { classes })
    }

    pub(crate) fn answer(&self, ask: &Ask<'_>) -> Reply {
        let Some(rows) = self.classes.get(&ask.class.to_ascii_lowercase()) else {
            return error(404, "not captured");
        };
        let filter = match ask.options.get("$filter").map(|f| filter::parse(f)).transpose() {
            Ok(filter) => filter,
            Err(detail) => return error(400, &detail),
        };
        let find = |row: &Map<String, Value>, name: &str| {
            row.iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.clone())
        };
        let literal = |value: Value| match value {
            Value::String(text) => Some(Literal::Text(text)),
            other => other.as_i64().map(Literal::Number),
        };
        let mut found: Vec<_> = rows
            .iter()
            .filter(|row| {
                filter.as_ref().is_none_or(|f| f.passes(&|name| find(row, name).and_then(literal)))
            })
            .collect();
        if let Some(column) = ask.options.get("$orderby") {
            found.sort_by_key(|row| {
                find(row, column)
                    .map(|v| v.as_i64().map_or_else(|| v.to_string(), |n| format!("{n:020}")))
            });
        }
        let top = ask.options.get("$top").and_then(|t| t.parse().ok()).unwrap_or(usize::MAX);
        let value: Vec<Value> = found
            .into_iter()
            .take(top)
            .map(|row| match ask.options.get("$select") {
                Some(names) => {
                    let own = |name: &str| {
                        row.keys()
                            .find(|k| k.eq_ignore_ascii_case(name))
                            .cloned()
                            .unwrap_or_else(|| name.into())
                    };
                    Value::Object(
                        names
                            .split(',')
                            .map(|n| (own(n), find(row, n).unwrap_or(Value::Null)))
                            .collect(),
                    )
                }
                None => Value::Object(row.clone()),
            })
            .collect();
        let body = json!({"@odata.context": format!("{}/wmi/$metadata#{}", ask.base, ask.class), "value": value});
        (200, true, body.to_string().into_bytes())
    }
}
