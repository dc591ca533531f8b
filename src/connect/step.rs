//! One page of the set-up for a face that is no terminal: nothing is asked, and what came of it is one
//! line of JSON. It runs in a process of its own, so that a site's keys come into its environment as they do
//! for a person at the terminal.

use std::path::Path;
use std::sync::Arc;

use cmsync_control::{Step, StepView, VisibleView};

use super::answers::Answers;
use super::ask::{Ask, Missing};
use super::{ConnectArgs, Page, collections, identity, place, site};
use crate::config::is_name;
use crate::connections;

/// Takes one page; true when it is answered as it should be.
#[expect(clippy::print_stdout, reason = "this is what it is for")]
pub(super) async fn run(args: &ConnectArgs, config: &Path, step: Step) -> anyhow::Result<bool> {
    let page = Page { ask: Ask::Nobody, args, config };
    let mut view = StepView::default();
    let taken = take(&page, step, &mut view).await;
    if let Err(error) = &taken {
        view.wrong = Some(format!("{error:#}"));
        if let Some(missing) = error.downcast_ref::<Missing>() {
            view.missing.clone_from(&missing.key);
            let pairs = |answers: &[(&str, String)]| {
                answers.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
            };
            let choices = missing.choices.iter().filter(|choice| !choice.answers.is_empty());
            view.choices = choices.map(|c| (c.label.clone(), pairs(&c.answers))).collect();
        }
    }
    println!("{}", serde_json::to_string(&view)?);
    Ok(taken.is_ok())
}

async fn take(page: &Page<'_>, step: Step, view: &mut StepView) -> anyhow::Result<()> {
    let mut answers = Answers::gather(page.args, page.config)?;
    is_name(&answers.name).map_err(anyhow::Error::msg)?;
    // What is answered is kept whatever it leads to: whoever comes back finds it. Who only looks at a page
    // begins nothing.
    let is_begun = !page.args.given().is_empty() || answers.is_kept(page.config);
    let keep = |answers: &Answers| if is_begun { answers.keep(page.config) } else { Ok(()) };
    keep(&answers)?;
    let done = pages(page, step, &mut answers, view).await;
    if done.is_ok() {
        keep(&answers)?;
    }
    view.answers = answers.flat();
    done
}

async fn pages(
    page: &Page<'_>,
    step: Step,
    answers: &mut Answers,
    view: &mut StepView,
) -> anyhow::Result<()> {
    match step {
        Step::Answers => {}
        Step::Site => drop(site::page(page, answers).await?),
        Step::Visible => {
            let found = site::page(page, answers).await?;
            let name = answers.name.clone();
            let kept = collections::kept(answers, &found)?;
            let shown = |c: &cmsync_configmgr::Collection| VisibleView {
                connection: name.clone(),
                collection: c.id.clone(),
                name: c.name.clone(),
                folder: c.folder.clone(),
                members: c.member_count,
                is_kept: kept.iter().any(|k| k.id == c.id),
            };
            view.visible = found.collections.iter().map(shown).collect();
        }
        Step::Identity => drop(identity::page(page, answers).await?),
        Step::Workspace => {
            let who = identity::page(page, answers).await?;
            let manager = connections::manager(&who.connection.workspace, Arc::clone(&who.caller))?;
            let place = place::page(page, answers, &manager).await?;
            answers.connection.workspace.resource_id = Some(place.workspace.to_string());
        }
        Step::Collections => {
            let found = site::page(page, answers).await?;
            collections::page(page, answers, &found)?;
        }
    }
    Ok(())
}
