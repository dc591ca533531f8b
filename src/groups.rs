//! `cmsync groups`: each with the text that asks for it and the portal's page that opens it.

use std::time::Duration;

use cmsync_control::{Answer, Portal, Question, log_search};
use serde_json::{Value, json};

use crate::cli::GroupsCommand;
use crate::config::{Config, Connection};
use crate::{commands, output};

/// A snapshot that is due may take so long to arrive.
const ARRIVAL: Duration = Duration::from_secs(3_600);

/// Lists groups, groups of a computer, or members.
pub(crate) async fn run(
    config: &Config,
    command: GroupsCommand,
    as_json: bool,
) -> anyhow::Result<bool> {
    let (question, one) = match command {
        GroupsCommand::List => (Question::Groups, None),
        GroupsCommand::Of { connection, computer } => (
            Question::GroupsOf { connection: connection.clone(), computer },
            Some((connection, None)),
        ),
        GroupsCommand::Members { connection, collection } => {
            let question = Question::Members {
                connection: connection.clone(),
                collection: collection.clone(),
            };
            (question, Some((connection, Some(collection))))
        }
    };
    let answer = commands::ask(config, question).await?;
    match (&answer, &one) {
        (Answer::Groups(view), _) if as_json => {
            print(config, serde_json::to_value(view)?, "groups", None)
        }
        (Answer::GroupsOf(views), Some((connection, _))) if as_json => {
            print(config, json!({ "of": views }), "of", Some(connection))
        }
        (Answer::Members(_), Some((connection, Some(collection)))) if !as_json => {
            let is_known = output::print(&answer, false)?;
            let found = commands::ask(config, Question::Groups).await?;
            let alias = match found {
                Answer::Groups(view) => view
                    .groups
                    .into_iter()
                    .find(|g| g.connection == *connection && g.collection == *collection)
                    .map(|g| g.alias),
                _ => None,
            };
            let connection = config.connections.get(connection);
            if let (Some(alias), Some(connection)) = (alias.filter(|a| !a.is_empty()), connection) {
                eprintln!("\nlog search: {}", log_search(&alias));
                eprintln!("in the portal: {}", link(connection, &alias).unwrap_or_default());
            }
            Ok(is_known)
        }
        _ => output::print(&answer, as_json),
    }
}

/// Prints what was answered with texts and links beside each alias.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
fn print(
    config: &Config,
    mut value: Value,
    key: &str,
    connection: Option<&str>,
) -> anyhow::Result<bool> {
    for item in value[key].as_array_mut().into_iter().flatten() {
        let alias = item["alias"].as_str().unwrap_or_default().to_owned();
        let name = item["connection"].as_str().or(connection).unwrap_or_default().to_owned();
        if alias.is_empty() {
            continue;
        }
        item["log_search"] = json!(log_search(&alias));
        if let Some(connection) = config.connections.get(&name) {
            item["portal"] = json!(link(connection, &alias));
        }
        if let Some(is_static) = item["is_static"].as_bool() {
            let needs = config.producer.snapshot_interval + ARRIVAL;
            let window = if is_static {
                "any".into()
            } else {
                humantime::format_duration(needs).to_string()
            };
            item["shortest_window"] = json!(window);
        }
    }
    let shown = if key == "of" { &value[key] } else { &value };
    println!("{}", serde_json::to_string_pretty(shown)?);
    Ok(true)
}

/// Where a connection's workspace is in the portal.
pub(crate) fn portal(connection: &Connection) -> Option<Portal> {
    let workspace = &connection.written().workspace;
    Portal::new(workspace.cloud, &workspace.tenant_id, workspace.resource_id.as_deref())
}

fn link(connection: &Connection, alias: &str) -> Option<String> {
    portal(connection)?.link(&log_search(alias))
}
