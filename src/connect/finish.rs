//! The last page: the configuration, a test row, and the first synchronisation.

use std::time::{Duration, Instant};

use cmsync_azure::{Rule, Verdict};
use cmsync_control::setup::Made;
use cmsync_control::{Answer, Question, local_api};

use super::Page;
use super::answers::Answers;
use super::identity::Identities;
use super::write;
use crate::asks::{self, Outside};
use crate::config::{self, raw};
use crate::host::Host;
use crate::pipeline::{self, clock};
use crate::{connections, logging, verify};

/// Between two tries of a rule that refuses still.
const REST: Duration = Duration::from_secs(10);
/// Shortest rest: what is there counts at once, new roles take minutes.
const FIRST_REST: Duration = Duration::from_millis(500);

/// Makes the file say what was answered, and leaves everything else in it.
fn into_file(path: &std::path::Path, answers: &Answers) -> anyhow::Result<()> {
    let written = config::written(&answers.connection);
    write::change(path, |file| {
        let table = write::connection(file, &answers.name)?;
        write::merge(table, &written)?;
        // What was taken back would say otherwise; what says no more than a default stays.
        let said = config::parse_connection(&answers.name, write::plain_table(table)?);
        if said.map_or(true, |said| config::written(&said) != written) {
            write::keep_only(table, &written);
        }
        Ok(())
    })
}

/// Writes the configuration, waits for the rules, and synchronises.
pub(super) async fn run(
    page: &Page<'_>,
    answers: &mut Answers,
    who: &Identities,
    made: Made,
) -> anyhow::Result<bool> {
    let workspace = &mut answers.connection.workspace;
    let is_new = workspace.rules.is_empty();
    workspace.workspace_id = Some(made.workspace_id);
    workspace.rules = made
        .rules
        .into_iter()
        .map(|(endpoint, id)| raw::Rule { endpoint: endpoint.trim_end_matches('/').to_owned(), id })
        .collect();
    // Without this the file would be refused as a whole; with it, it says what is wrong with the rest.
    config::check_connection(&answers.name, &answers.connection)?;
    if is_new {
        forget_orders(page, &answers.name).await?;
    }
    into_file(page.config, answers)?;
    forget(page, &answers.name);
    page.say(&format!("✓ connection {} in {}", answers.name, page.config.display()));
    for note in &made.notes {
        page.say(&format!("! {note}"));
    }
    let mut config = config::load(page.config, &[])?;
    let connection = config.connections.get(&answers.name);
    let Some(connection) = connection else {
        anyhow::bail!("the configuration lacks the connection that was just written");
    };
    let takes = wait(page, who, &connection.workspace.rules).await?;
    if !takes {
        page.title("Not complete yet: run this again when the roles above are there.");
        return Ok(false);
    }
    if is_new && verify::send_large_body(connection).await.unwrap_or(false) {
        page.say(
            "- sent a body of 16 MiB; once `cmsync verify` finds its rows, large bodies are used",
        );
    }
    if !answers.connection.import || page.args.no_sync {
        page.title("Complete. `cmsync run` keeps it so.");
        return Ok(true);
    }
    if config.kafka.is_some() {
        page.title("Complete. Every copy of `cmsync run` takes it over with this configuration.");
        return Ok(true);
    }
    let is_running = local_api::ask(&config.queue_directory, &Question::Status).await?;
    if let Some(Answer::Status(_)) = is_running {
        page.title("Complete. The running cmsync takes the connection over.");
        return Ok(true);
    }
    page.title("First synchronisation");
    let logging = logging::start(config.log_format, "warn", None);
    // Nobody watches it, and the port may be another's.
    config.listen = None;
    let how = (&logging, Host::default());
    let is_well = pipeline::run(config, page.config.to_owned(), (true, Vec::new()), how).await?;
    page.title(if is_well {
        "Complete. `cmsync run` keeps it so."
    } else {
        "Set up, but not everything was sent: see above, and `cmsync check`. `cmsync run` goes on."
    });
    Ok(is_well)
}

/// Forgets the answers, which are in the configuration now.
fn forget(page: &Page<'_>, name: &str) {
    if let Err(error) = super::answers::forget(page.config, name) {
        page.say(&format!("! {error:#}: remove it, its answers are in the configuration now"));
    }
}

/// Takes back what was ordered of a connection of this name in a former life, the order to close it above all:
/// before the file names it, so that whoever is stopped here begins anew.
async fn forget_orders(page: &Page<'_>, name: &str) -> anyhow::Result<()> {
    if !page.config.exists() {
        return Ok(());
    }
    let config = config::load(page.config, config::NO_SECRETS)?;
    if config.kafka.is_some() || config.queue_directory.exists() {
        let question = Question::ForgetOrders { connection: name.to_owned() };
        asks::order(&Outside(&config), question).await?;
    }
    Ok(())
}

/// Waits until the rules take a row from the identity: a new role needs up to 30 minutes to count.
async fn wait(page: &Page<'_>, who: &Identities, rules: &[Rule]) -> anyhow::Result<bool> {
    let workspace = &who.connection.workspace;
    let credential = connections::credential(workspace)?;
    let ingestion = connections::ingestion(workspace)?;
    let started = Instant::now();
    let mut rest = FIRST_REST;
    for rule in rules {
        loop {
            let token = credential.token(&workspace.endpoints.ingestion_audience).await?;
            let mut refused = None;
            for body in cmsync_uploader::test_bodies(clock()()) {
                match ingestion.post(rule, &token, "cmsync-connect", body).await {
                    Verdict::Accepted => {}
                    other => refused = Some(other.to_string()),
                }
            }
            let Some(reason) = refused else {
                page.say(&format!("✓ {} takes rows", rule.id));
                break;
            };
            if started.elapsed() + rest > page.args.wait {
                page.say(&format!("✗ {}: {reason}", rule.id));
                return Ok(false);
            }
            if rest == FIRST_REST {
                page.say("- waiting for the roles to count, which takes up to 30 minutes");
            }
            tokio::time::sleep(rest).await;
            rest = (rest * 2).min(REST);
        }
    }
    Ok(true)
}
