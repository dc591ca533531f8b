//! Logs Query, for what cmsync asks: each text is known by its comment, and answered from the rows
//! that are there with the service's own limits.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::arm;
use crate::ingestion::{Reply, bearer, failure};
use crate::routes::Request;
use crate::rows::MarkerRow;
use crate::server::Lab;
use crate::workspace::Seen;

/// Most rows of an answer.
const MOST_ROWS: usize = 500_000;

/// Answers a query.
pub(crate) fn answer(lab: &Lab, workspace: &str, request: &Request<'_>) -> Reply {
    let principal = match bearer(lab, request.headers, &lab.query()) {
        Ok(principal) => principal,
        Err(refusal) => return refusal,
    };
    let id = lab.resources().workspace(workspace).and_then(|w| w["id"].as_str().map(String::from));
    let Some(id) = id else {
        return failure(404, "PathNotFoundError", "The requested path does not exist");
    };
    let action = "microsoft.operationalinsights/workspaces/query/read";
    if arm::check(lab, &principal, action, &id).is_err() {
        return failure(
            403,
            "InsufficientAccessError",
            "The provided credentials have insufficient access to perform the requested operation",
        );
    }
    let body: Value = serde_json::from_slice(request.body).unwrap_or_default();
    let text = body["query"].as_str().unwrap_or_default();
    match rows(lab, &id, text) {
        Ok((columns, mut rows)) => {
            let columns: Vec<Value> =
                columns.iter().map(|(name, kind)| json!({"name": name, "type": kind})).collect();
            let most = lab.faults().query_rows.unwrap_or(MOST_ROWS);
            let is_cut = rows.len() > most;
            rows.truncate(most);
            let mut table =
                json!({"tables": [{"name": "PrimaryResult", "columns": columns, "rows": rows}]});
            if is_cut {
                table["error"] = json!({"code": "PartialError", "message": "There were some errors when processing your query.",
                    "innererror": {"code": "QueryResultTruncated", "message": format!("Query result set has exceeded the internal record count limit {most}")}});
            }
            Some((200, vec![("content-type", "application/json".into())], table.to_string()))
        }
        Err(message) => {
            let inner = json!({"code": "SEM0100", "message": message});
            let error = json!({"error": {"code": "BadArgumentError", "message": "The request had some invalid properties",
                "innererror": {"code": "SemanticError", "message": "A semantic error occurred.", "innererror": inner}}});
            Some((400, vec![("content-type", "application/json".into())], error.to_string()))
        }
    }
}

type Rows = (Vec<(&'static str, &'static str)>, Vec<Vec<Value>>);

/// What stands in quotes in a text, one after the other.
fn quoted(text: &str) -> Vec<String> {
    text.split('\'').skip(1).step_by(2).map(Into::into).collect()
}

/// The number after a word.
fn number(text: &str, word: &str) -> i64 {
    let rest = text.split(&format!(" {word} ")).nth(1).unwrap_or_default();
    rest.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// What a row adds to its group's sum: the first 40 bits of the SHA-256 of its id and names.
fn hash(id: u32, seen: &Seen) -> i64 {
    let text = format!("{id}|{}|{}", seen.computer, seen.netbios_name);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    let hex: String = digest.as_ref().iter().take(5).map(|b| format!("{b:02x}")).collect();
    i64::from_str_radix(&hex, 16).unwrap_or(0)
}

/// A column that a table lacks is an error where the text uses it.
fn resolve(lab: &Lab, workspace: &str, text: &str) -> Result<(), String> {
    for (table, columns) in arm::OURS {
        if !text.contains(table) {
            continue;
        }
        let resources = lab.resources();
        let Some(found) = resources.get(&format!("{workspace}/tables/{table}")) else {
            return Err(format!(
                "'where' operator: Failed to resolve table or column expression named '{table}'"
            ));
        };
        let there =
            found["properties"]["schema"]["columns"].as_array().cloned().unwrap_or_default();
        for (column, _) in columns {
            if text.contains(column) && !there.iter().any(|c| c["name"] == *column) {
                return Err(format!(
                    "'project' operator: Failed to resolve scalar expression named '{column}'"
                ));
            }
        }
    }
    Ok(())
}

fn group_sums(lab: &Lab, site: &str) -> Rows {
    let view = lab.workspace.view(site, 0);
    let row = |(id, members): (&String, &BTreeMap<u32, Seen>)| {
        let sum: i64 = members.iter().map(|(id, seen)| hash(*id, seen)).sum();
        vec![json!(id), json!(view.names.get(id)), json!(members.len()), json!(sum)]
    };
    let columns =
        vec![("GroupId", "string"), ("Group", "string"), ("Count", "long"), ("Sum", "long")];
    (columns, view.groups.iter().map(row).collect())
}

fn group_members(lab: &Lab, (group, site): (&str, &str), (from, to): (i64, i64)) -> Rows {
    let view = lab.workspace.view(site, 0);

    let within = |id: &u32| (from..=to).contains(&i64::from(*id));
    let members = view.groups.get(group).into_iter().flatten().filter(|(id, _)| within(id));
    let row =
        |(id, seen): (&u32, &Seen)| vec![json!(id), json!(seen.computer), json!(seen.netbios_name)];
    let columns = vec![("ResourceId", "long"), ("Computer", "string"), ("NetbiosName", "string")];
    (columns, members.map(row).collect())
}

fn instances(lab: &Lab, site: &str) -> Rows {
    let mut spans: BTreeMap<String, (String, String)> = BTreeMap::new();
    lab.workspace.rows(
        0,
        |_, _| {},
        |_, row| {
            if row.site_code == site && row.status != "Test" {
                let at = row.time_generated.clone();
                let span = spans.entry(row.instance).or_insert((at.clone(), at.clone()));
                *span = (span.0.clone().min(at.clone()), span.1.clone().max(at));
            }
        },
    );
    let row = |(instance, (first, last)): (String, (String, String))| {
        vec![json!(instance), json!(first), json!(last)]
    };
    let columns = vec![("Instance", "string"), ("First", "datetime"), ("Last", "datetime")];
    (columns, spans.into_iter().map(row).collect())
}

fn run_rows(lab: &Lab, run: &str) -> Rows {
    let mut seqs = std::collections::BTreeSet::new();
    lab.workspace.rows(
        0,
        |_, _| {},
        |_, row| {
            if row.status == "Test" && row.run_id == run {
                seqs.insert(row.seq);
            }
        },
    );
    (vec![("Count", "long")], vec![vec![json!(seqs.len())]])
}

/// When a body was there, as the service writes times.
fn arrival(arrived: std::time::Instant) -> String {
    let age = jiff::SignedDuration::try_from(arrived.elapsed()).unwrap_or_default();
    (jiff::Timestamp::now() - age).to_string()
}

/// Rows from the newest on, each once.
fn newest_first(mut rows: Vec<(i64, Vec<Value>)>) -> Vec<Vec<Value>> {
    rows.sort_by_key(|(seq, row)| (std::cmp::Reverse(*seq), json!(row).to_string()));
    rows.dedup_by(|a, b| a.1 == b.1);
    rows.into_iter().map(|(_, row)| row).collect()
}

fn snapshots(lab: &Lab, group: &str, site: &str) -> Rows {
    let mut found = Vec::new();
    lab.workspace.rows(
        0,
        |_, _| {},
        |arrived, row| {
            if row.site_code == site && row.group_id == group && row.status != "Test" {
                let MarkerRow { start_seq, seq, member_count, status, group, .. } = row;
                let came = arrival(arrived);
                let row = json!([start_seq, seq, member_count, status, group, came]);
                found.extend(row.as_array().cloned().map(|row| (seq, row)));
            }
        },
    );
    let columns = vec![
        ("StartSeq", "long"),
        ("Seq", "long"),
        ("MemberCount", "long"),
        ("Status", "string"),
        ("Group", "string"),
        ("Came", "datetime"),
    ];
    (columns, newest_first(found))
}

fn changes(lab: &Lab, group: &str, site: &str) -> Rows {
    let mut found = Vec::new();
    lab.workspace.rows(
        0,
        |_, row| {
            if row.site_code == site && row.group_id == group && row.action != "Present" {
                let (seq, action) = (row.seq, row.action);
                found.push((
                    seq,
                    vec![json!(seq), json!(row.resource_id), json!(row.computer), json!(action)],
                ));
            }
        },
        |_, _| {},
    );
    let columns =
        vec![("Seq", "long"), ("ResourceId", "long"), ("Computer", "string"), ("Action", "string")];
    (columns, newest_first(found))
}

fn computer_changes(lab: &Lab, computer: &str, site: &str) -> Rows {
    let names = lab.workspace.view(site, 0).names;
    let mut found = Vec::new();
    lab.workspace.rows(
        0,
        |_, row| {
            let is_called =
                [&row.computer, &row.netbios_name].iter().any(|n| n.eq_ignore_ascii_case(computer));
            if row.site_code == site && is_called && row.action != "Present" {
                let (seq, action) = (row.seq, row.action);
                let name = names.get(&*row.group_id).cloned().unwrap_or_default();
                found
                    .push((seq, vec![json!(seq), json!(row.group_id), json!(name), json!(action)]));
            }
        },
        |_, _| {},
    );
    let columns =
        vec![("Seq", "long"), ("GroupId", "string"), ("Group", "string"), ("Action", "string")];
    (columns, newest_first(found))
}

fn rows(lab: &Lab, workspace: &str, text: &str) -> Result<Rows, String> {
    resolve(lab, workspace, text)?;
    let first = text.lines().next().unwrap_or_default();
    let names = quoted(first);
    let name = |at: usize| names.get(at).map(String::as_str).unwrap_or_default();
    let asked = first.strip_prefix("// cmsync: ").unwrap_or_default();
    match asked.split_whitespace().next().unwrap_or_default() {
        "heartbeats" => {
            let names = lab.world().reporting().into_iter().map(|n| vec![json!(n)]).collect();
            Ok((vec![("Computer", "string")], names))
        }
        "group" => Ok(group_sums(lab, name(0))),
        "members" => {
            Ok(group_members(lab, (name(0), name(1)), (number(first, "from"), number(first, "to"))))
        }
        "snapshots" => Ok(snapshots(lab, name(0), name(1))),
        "changes" => Ok(changes(lab, name(0), name(1))),
        "computer" => Ok(computer_changes(lab, name(0), name(1))),
        "instances" => Ok(instances(lab, name(0))),
        "collection" => {
            let errors = lab.faults().rule_errors.clone();
            let rows = errors.into_iter().map(|message| vec![json!(message), json!(1)]).collect();
            Ok((vec![("Message", "string"), ("Count", "long")], rows))
        }
        "rows" => Ok(run_rows(lab, name(0))),
        _ => {
            let site = text.split("SiteCode == '").nth(1).and_then(|rest| rest.split('\'').next());
            let (Some(site), true) = (site, text.contains("max(Seq)")) else {
                return Err("the lab does not know this query".into());
            };
            Ok((vec![("Seq", "long")], vec![vec![json!(lab.workspace.highest_seq(site))]]))
        }
    }
}
