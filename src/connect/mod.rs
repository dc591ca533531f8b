//! `cmsync connect`: from nothing to true computer groups, by questions or by answers that are given.
//!
//! Every page looks live at what it asks for, and asks only what is not answered yet. Answers are
//! kept until the set-up is complete; what is made in Azure is found again by looking. So it can be
//! stopped anywhere and run again.

mod answers;
mod ask;
mod collections;
mod finish;
mod flags;
mod identity;
mod place;
mod site;
mod step;
mod turn;
pub(crate) mod write;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use cmsync_azure::Role;
use cmsync_control::setup::{Outcome, Setup, State, Target};

use answers::Answers;
use ask::{Ask, Prompt};
use identity::Identities;
use place::Place;
use site::SiteFound;
use turn::Turn;

use crate::BadUse;
use crate::config::{Mistake, Mistakes, is_name};
use crate::connections;

pub(crate) use answers::drafts;
pub(crate) use flags::{ConnectArgs, selector};
pub(crate) use identity::{keep_secret, write_secret};
pub(crate) use turn::discard;

/// What every page needs.
pub(crate) struct Page<'a> {
    ask: Ask,
    args: &'a ConnectArgs,
    config: &'a Path,
}

impl Page<'_> {
    fn title(&self, text: &str) {
        eprintln!("\n{text}");
    }

    /// Whether nothing is to be changed, here or in Azure.
    fn only_looks(&self) -> bool {
        self.args.plan || self.args.template.is_some()
    }

    fn say(&self, text: &str) {
        eprintln!("  {text}");
    }

    /// Says what is wrong with a page's answers and asks whether to give others; the error where
    /// nobody can be asked, or would not.
    fn again(&self, error: anyhow::Error) -> anyhow::Result<()> {
        if !self.ask.is_terminal() || error.is::<ask::Stopped>() {
            return Err(error);
        }
        self.say(&format!("✗ {error:#}"));
        let prompt = Prompt { text: "Answer again?", key: "", help: "" };
        if self.ask.confirm(&prompt, true)? { Ok(()) } else { Err(error) }
    }
}

/// Sets a connection up; true when it is complete.
pub(crate) async fn run(args: &ConnectArgs, config: &Path) -> anyhow::Result<bool> {
    if let (true, Some(name)) = (args.discard, &args.name) {
        if let Some((key, _)) = args.given().first() {
            return Err(BadUse(format!("--discard forgets answers and takes none: `{key}`")).into());
        }
        turn::discard_begun(config, name)?;
        eprintln!("The set-up of {name} is discarded.");
        return Ok(true);
    }
    if let Some(step) = args.step {
        return step::run(args, config, step).await;
    }
    let is_asked = args.answers.is_none() && !args.yes && !args.plan && args.template.is_none();
    let page = Page { ask: Ask::new(is_asked), args, config };
    let mut answers = Answers::gather(args, config)?;
    ask_name(&page, &mut answers)?;
    let _turn = (!page.only_looks()).then(|| Turn::take(config, &answers.name)).transpose()?;
    let outcome = pages(&page, &mut answers).await;
    if outcome.is_err() && page.ask.is_terminal() {
        answers.keep(config)?;
    }
    outcome
}

async fn pages(page: &Page<'_>, answers: &mut Answers) -> anyhow::Result<bool> {
    let found = site::page(page, answers).await?;
    keep_unless_planned(page, answers)?;
    let who = identity::page(page, answers).await?;
    keep_unless_planned(page, answers)?;
    let manager = connections::manager(&who.connection.workspace, Arc::clone(&who.caller))?;
    let place = place::page(page, answers, &manager).await?;
    answers.connection.workspace.resource_id = Some(place.workspace.to_string());
    let kept = collections::page(page, answers, &found)?;
    if let Some(customer) = &place.customer_id {
        let (workspace, id) = (&who.connection.workspace, place.workspace.to_string());
        let query = connections::query(workspace, Some(&id), Arc::clone(&who.caller))?;
        collections::heartbeats(page, answers, &kept, (&query, customer)).await;
    }
    import(page, answers)?;
    let setup = Setup::new(manager, target(answers, &found, &who, &place)?);
    if let Some(file) = &page.args.template {
        return template(page, &setup, file, &place).await;
    }
    if page.args.plan {
        return plan(&setup).await;
    }
    if !summary(page, answers, (&setup, &who)).await? {
        return Err(ask::Stopped.into());
    }
    keep_unless_planned(page, answers)?;
    let made = apply(page, &setup).await?;
    finish::run(page, answers, &who, made).await
}

fn keep_unless_planned(page: &Page<'_>, answers: &Answers) -> anyhow::Result<()> {
    if page.only_looks() {
        return Ok(());
    }
    answers.keep(page.config).context("failed to keep the answers beside the configuration")
}

fn ask_name(page: &Page<'_>, answers: &mut Answers) -> anyhow::Result<()> {
    if page.ask.is_terminal() {
        eprintln!("{WELCOME}");
    }
    if answers.name.is_empty() {
        let prompt = Prompt {
            text: "Name of the connection",
            key: "name",
            help: "up to 32 small letters, digits and hyphens",
        };
        answers.name = page.ask.text(&prompt, "", is_name)?;
        // What is known of a connection with this name.
        let mut args = page.args.clone();
        args.name = Some(answers.name.clone());
        *answers = Answers::gather(&args, page.config)?;
        if answers.connection.description.is_empty() {
            let prompt = Prompt { text: "Description", key: "description", help: "may be empty" };
            answers.connection.description = page.ask.text(&prompt, "", |_| Ok(()))?;
        }
    }
    is_name(&answers.name).map_err(anyhow::Error::msg)
}

const WELCOME: &str = "\
Sets up a connection: one Configuration Manager hierarchy, one Log Analytics workspace.

What you need:
  - the administration service of the hierarchy's top-tier site, and an account that may read
  - an identity in Microsoft Entra ID (an app registration; it can be made here)
  - a workspace, or the right to make one; whoever sets up needs, on its resource group,
    Monitoring Contributor and Log Analytics Contributor, and to assign roles
    User Access Administrator (without it, the commands for whoever has it are shown)
Each is checked as you go. Ctrl-C stops; the answers so far are kept.";

fn import(page: &Page<'_>, answers: &mut Answers) -> anyhow::Result<()> {
    if page.ask.is_terminal() {
        let prompt = Prompt {
            text: "Import now?",
            key: "import",
            help: "`cmsync import enable` and `disable` change it at any time",
        };
        let before = answers.connection.import;
        answers.connection.import = page.ask.confirm(&prompt, before)?;
    }
    Ok(())
}

fn target(
    answers: &Answers,
    found: &SiteFound,
    who: &Identities,
    place: &Place,
) -> anyhow::Result<Target> {
    let keeps_groups = answers.connection.groups.kind != crate::config::raw::GroupKind::None;
    let role = match answers.setup.groups_role.as_str() {
        "" => Role::log_analytics_contributor(),
        id => Role { name: "for computer groups".into(), definition: id.to_owned() },
    };
    let rules = answers.setup.rules;
    if !(1..=10).contains(&rules) {
        let message = "must lie between 1 and 10".into();
        return Err(Mistakes(vec![Mistake { path: "setup.rules".into(), message }]).into());
    }
    Ok(Target {
        connection: answers.name.clone(),
        site_code: found.code.clone(),
        workspace: place.workspace.clone(),
        new: place.new.clone(),
        principal: who.runtime.object_id.clone(),
        rules,
        groups_role: keeps_groups.then_some(role),
    })
}

#[expect(clippy::print_stdout, reason = "this is what `--plan` is for")]
async fn plan(setup: &Setup) -> anyhow::Result<bool> {
    let plan = setup.plan().await?;
    for (step, state) in &plan {
        println!("{step}: {state}");
    }
    Ok(!plan.iter().any(|(_, state)| matches!(state, State::Blocked(_))))
}

async fn template(
    page: &Page<'_>,
    setup: &Setup,
    file: &Path,
    place: &Place,
) -> anyhow::Result<bool> {
    let text = serde_json::to_string_pretty(&setup.template().await?)?;
    std::fs::write(file, text + "\n")
        .with_context(|| format!("failed to write `{}`", file.display()))?;
    let (group, path) = (&place.workspace.resource_group, file.display());
    let subscription = &place.workspace.subscription;
    page.title("Somebody with the rights deploys it; then run this again without --template:");
    if let Some((location, _)) = &place.new {
        page.say(&format!(
            "az group create --subscription {subscription} --name {group} --location {location}"
        ));
    }
    page.say(&format!(
        "az deployment group create --subscription {subscription} --resource-group {group} \
         --template-file {path}"
    ));
    Ok(true)
}

/// Shows what will be done; whether to do it.
async fn summary(
    page: &Page<'_>,
    answers: &Answers,
    (setup, who): (&Setup, &Identities),
) -> anyhow::Result<bool> {
    page.title("Summary");
    let places = who.connection.site.places().join(", ");
    page.say(&format!("connection {} for {places}", answers.name));
    if let Some(id) = &answers.connection.workspace.resource_id {
        page.say(&format!("into {id}"));
    }
    for (step, state) in setup.plan().await? {
        page.say(&format!("{step}: {state}"));
    }
    let then =
        if answers.connection.import { "then everything is sent" } else { "nothing is sent yet" };
    page.say(then);
    let prompt = Prompt { text: "Go on?", key: "yes", help: "" };
    page.ask.confirm(&prompt, true)
}

async fn apply(page: &Page<'_>, setup: &Setup) -> anyhow::Result<cmsync_control::setup::Made> {
    page.title("Set-up");
    let made = setup
        .apply(&mut |step, outcome| match outcome {
            Outcome::WasThere => eprintln!("  ✓ {step}"),
            Outcome::Made => eprintln!("  ✓ {step}: made"),
            Outcome::Changed => eprintln!("  ✓ {step}: changed"),
            Outcome::LeftToOthers(_) => eprintln!("  ! {step}: you may not; see below"),
        })
        .await;
    made.context("set-up stopped; what was made stays, and the next `cmsync connect` goes on")
}

fn not_empty(text: &str) -> Result<(), String> {
    if text.is_empty() { Err("must not be empty".into()) } else { Ok(()) }
}

fn file(text: &str) -> Result<(), String> {
    std::fs::metadata(text).map(drop).map_err(|e| format!("`{text}`: {e}"))
}

fn file_or_empty(text: &str) -> Result<(), String> {
    if text.is_empty() { Ok(()) } else { file(text) }
}
