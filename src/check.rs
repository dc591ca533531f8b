//! `cmsync check`: whether everything that a run needs is there, said in the order in which one
//! would mend it.

use std::path::PathBuf;
use std::sync::Arc;

use cmsync_azure::{ResourceManager, Verdict, WorkspaceId};
use cmsync_configmgr::{Collection, Hierarchy};
use cmsync_schemas::{MAX_CLOCK_SKEW, counted};
use serde::Serialize;

use crate::cli::StageName;
use crate::config::{Config, Connection};
use crate::pipeline::clock;
use crate::{connections, platform, queue, topics};

/// One thing that was checked.
#[derive(Debug, Serialize)]
struct Finding {
    connection: String,
    what: &'static str,
    is_fine: bool,
    detail: String,
}

/// Checks every connection; true when all is fine.
pub(crate) async fn run(
    config: &Config,
    stages: &[StageName],
    as_json: bool,
) -> anyhow::Result<bool> {
    let has = |stage| stages.is_empty() || stages.contains(&stage);
    let mut findings = Vec::new();
    if config.kafka.is_some() {
        let outcome = match queue::open_probed(config).await {
            Ok(opened) => topics::check(config, &*opened.queue).await,
            Err(error) => Err(error),
        };
        let is_fine = outcome.is_ok();
        let detail = outcome.unwrap_or_else(|error| format!("{error:#}"));
        findings.push(Finding { connection: "-".into(), what: "queue", is_fine, detail });
    }
    if let Some(provider) = crate::console::openid(config)? {
        let outcome = provider.check().await;
        let is_fine = outcome.is_ok();
        let detail = outcome.map_or_else(
            |error| error.to_string(),
            |()| format!("people can sign in at {}", provider.host()),
        );
        findings.push(Finding { connection: "-".into(), what: "console", is_fine, detail });
    }
    findings.extend(private_files(config));
    for (name, connection) in &config.connections {
        let mut note = |what, outcome: Result<String, String>| {
            let (is_fine, detail) = match outcome {
                Ok(detail) => (true, detail),
                Err(detail) => (false, detail),
            };
            findings.push(Finding { connection: name.clone(), what, is_fine, detail });
        };
        if has(StageName::Producer) {
            site(connection, &mut note).await?;
        }
        if has(StageName::Uploader) {
            workspace(connection, &mut note).await?;
        }
    }
    show(&findings, as_json)
}

/// Checks what needs nobody else: the configuration has been, and the queue's directory is left.
pub(crate) fn offline(config: &Config, as_json: bool) -> anyhow::Result<bool> {
    let count = config.connections.len();
    let finding = |what, is_fine, detail| Finding { connection: "-".into(), what, is_fine, detail };
    let mut findings = vec![finding(
        "configuration",
        true,
        match count {
            0 => "no connection yet: `cmsync connect` sets one up".into(),
            count => counted(count as u64, "connection", "connections"),
        },
    )];
    if config.kafka.is_none() {
        let directory = &config.queue_directory;
        let shown = directory.display();
        let writable = tempfile::Builder::new().prefix(".check").tempfile_in(directory);
        findings.push(match writable {
            Ok(_) => finding("queue", true, format!("`{shown}` can be written")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                finding("queue", true, format!("`{shown}` will be made"))
            }
            Err(error) => {
                let remedy = "give the directory to the user that cmsync runs as";
                finding("queue", false, format!("`{shown}` cannot be written: {error}; {remedy}"))
            }
        });
    }
    findings.extend(private_files(config));
    show(&findings, as_json)
}

/// Secrets, configuration and queue, where others than the service and administrators can read or change them.
fn private_files(config: &Config) -> Vec<Finding> {
    let queue = config.kafka.is_none().then_some(&config.queue_directory);
    let accounts = platform::service_accounts();
    let finding = |path: &PathBuf| {
        let shown = path.display();
        let detail = match cmsync_files::strangers(path, &accounts) {
            Ok(strangers) if strangers.is_empty() => return None,
            Ok(strangers) => {
                let all = if path.is_dir() { "(OI)(CI)F" } else { "F" };
                let removed: String =
                    strangers.iter().map(|who| format!(" /remove:g \"{who}\"")).collect();
                format!(
                    "`{shown}` can be read or changed by {}: leave it to administrators and the service \
                     (icacls \"{shown}\" /inheritance:r{removed} /grant *S-1-5-18:{all} *S-1-5-32-544:{all} \
                     \"NT SERVICE\\{}:{all}\")",
                    strangers.join(", "),
                    cmsync_files::SERVICE,
                )
            }
            // It may be made later.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => format!("who can read `{shown}` is not known: {error}"),
        };
        Some(Finding { connection: "-".into(), what: "secrets", is_fine: false, detail })
    };
    config.private.iter().chain(queue).filter_map(finding).collect()
}

/// Prints what was found; true when all is fine.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
fn show(findings: &[Finding], as_json: bool) -> anyhow::Result<bool> {
    let all_fine = findings.iter().all(|f| f.is_fine);
    if as_json {
        println!("{}", serde_json::to_string_pretty(&findings)?);
    } else {
        for Finding { connection, what, is_fine, detail } in findings {
            // What is of no connection.
            let of = if connection == "-" { String::new() } else { format!("{connection}: ") };
            println!("{} {of}{what}: {detail}", if *is_fine { "ok    " } else { "FAILED" });
        }
    }
    Ok(all_fine)
}

type Note<'a> = &'a mut dyn FnMut(&'static str, Result<String, String>);

/// What is said of data that may be old.
fn old_data(hierarchy: &Hierarchy, note: Note<'_>) {
    for text in &hierarchy.notes {
        note("replica", Ok(text.clone()));
    }
    for link in hierarchy.links.iter().filter(|link| link.is_failed()) {
        let (child, at) = (&link.child, &link.site_data_at);
        note("replication", Err(format!("the link from {child} has failed; its data is of {at}")));
    }
}

/// Which collections are chosen, and what of the list fits none.
fn chosen(connection: &Connection, collections: &[Collection], note: Note<'_>) {
    let selection = &connection.producer.selection;
    let kept = collections.iter().filter(|c| selection.has(c)).count();
    note(
        "collections",
        if kept == 0 {
            Err(format!("none of {} visible collections is chosen", collections.len()))
        } else {
            Ok(format!("{kept} of {} visible collections are chosen", collections.len()))
        },
    );
    for pattern in selection.unmatched(collections) {
        let text = format!(
            "`{pattern}` fits no collection that the account can see: is it spelled as in the console?"
        );
        note("collections", Err(text));
    }
    for id in selection.missing(collections) {
        note(
            "collections",
            Err(format!(
                "`{id}` does not exist, is a user collection, or is not visible to the account"
            )),
        );
    }
}

async fn site(connection: &Connection, note: Note<'_>) -> anyhow::Result<()> {
    let site = connections::site(&connection.site)?;
    let hierarchy = match site.hierarchy().await {
        Ok(hierarchy) => hierarchy,
        Err(error) => {
            note("site", Err(error.to_string()));
            return Ok(());
        }
    };
    if let Some(text) = clock_is_wrong(site.clock_skew(), "site") {
        note("clock", Err(text));
    }
    let code = &hierarchy.this_site;
    note(
        "site",
        match hierarchy.above() {
            None => Ok(format!("{code} is the top tier of {} sites", hierarchy.sites.len())),
            Some(above) => Err(cmsync_configmgr::wrong_tier(code, above)),
        },
    );
    old_data(&hierarchy, note);
    let collections = match site.collections().await {
        Ok(collections) => collections,
        Err(error) => {
            note("collections", Err(error.to_string()));
            return Ok(());
        }
    };
    chosen(connection, &collections, note);
    let sees_all = collections.iter().any(|c| c.id == "SMS00001");
    note("rights", match (sees_all, site.account().await) {
        (true, Ok(Some(_))) => Ok("All Systems and the account's own user are visible".into()),
        (false, _) => Ok("All Systems is not visible: held removals will wait for a person".into()),
        (true, Ok(None)) => Ok("the account's own user is not visible (`account`): held removals will wait for a person".into()),
        (true, Err(error)) => Err(error.to_string()),
    });
    Ok(())
}

/// What is said of a clock that no producer, or no connection, starts with.
pub(crate) fn clock_is_wrong(ahead: Option<i64>, server: &str) -> Option<String> {
    let ahead = ahead.filter(|ahead| ahead.abs() > MAX_CLOCK_SKEW)?;
    let apart = cmsync_producer::apart(ahead);
    Some(format!("this machine's clock is {apart} the {server}'s: set it right"))
}

async fn workspace(connection: &Connection, note: Note<'_>) -> anyhow::Result<()> {
    let workspace = &connection.workspace;
    let credential = connections::credential(workspace)?;
    let token = match credential.token(&workspace.endpoints.ingestion_audience).await {
        Ok(token) => token,
        Err(error) => {
            note("token", Err(error.to_string()));
            return Ok(());
        }
    };
    note("token", Ok("granted".into()));
    if let Some(text) = clock_is_wrong(credential.clock_skew(), "token endpoint") {
        note("clock", Err(text));
    }
    let ingestion = connections::ingestion(workspace)?;
    let tests = |rule| cmsync_uploader::test_bodies(clock()()).map(move |body| (rule, body));
    for (rule, body) in workspace.rules.iter().flat_map(tests) {
        let stream = body.0;
        let posted = ingestion.post(rule, &token, "cmsync-check", body).await;
        note(
            "rule",
            match posted {
                Verdict::Accepted => Ok(format!("{} took a test row of {stream}", rule.id)),
                other => Err(format!("{}: {other}", rule.id)),
            },
        );
    }
    if let Some((id, _)) = &connection.groups {
        let manager = connections::manager(workspace, Arc::clone(&credential))?;
        groups(&manager, id, workspace.workspace_id.as_deref(), note).await;
    } else if connection.written().workspace.resource_id.is_none() {
        note("groups", Ok("none are kept: `workspace.resource_id` is not given".to_owned()));
    }
    Ok(())
}

/// Whether the workspace is the one that is meant, and its computer groups can be read.
async fn groups(
    manager: &ResourceManager,
    id: &WorkspaceId,
    workspace_id: Option<&str>,
    note: Note<'_>,
) {
    match manager.workspace(id).await {
        Err(error) => return note("workspace", Err(error.to_string())),
        Ok(None) => {
            let text = format!("{id} does not exist, or was deleted: check `resource_id`");
            return note("workspace", Err(text));
        }
        Ok(Some(found)) => {
            let (own, location) = (&found.properties.customer_id, &found.location);
            note("workspace", Ok(format!("{} in {location}", id.name)));
            if workspace_id.is_some_and(|given| !given.eq_ignore_ascii_case(own)) {
                note("workspace", Err(format!("its id is {own}: `workspace_id` names another")));
            }
            if found.is_private() {
                let text = "takes rows through Private Link alone: the rule needs a data \
                            collection endpoint, whose address stands in `rules`";
                note("workspace", Err(text.into()));
            }
        }
    }
    let found = manager.saved_searches(id).await;
    let outcome = found.map(|all| format!("{} saved searches can be read", all.len()));
    note("groups", outcome.map_err(|e| e.to_string()));
}
