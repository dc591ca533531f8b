//! The page of the workspace: which one, or a new one. What there is one of is taken without asking.

use anyhow::bail;
use cmsync_azure::{ResourceManager, Subscription, WorkspaceId, WorkspaceItem};

use super::Page;
use super::answers::Answers;
use super::ask::{Choice, Prompt};

const NEW: &str = "a new one";

/// Where the connection's workspace is, or will be.
pub(crate) struct Place {
    pub(crate) workspace: WorkspaceId,
    /// Region and pricing tier of what may be made.
    pub(crate) new: Option<(String, String)>,
    /// The workspace's id for queries, where it is there.
    pub(crate) customer_id: Option<String>,
}

/// Finds the workspace, from what was answered and what there is.
pub(super) async fn page(
    page: &Page<'_>,
    answers: &mut Answers,
    manager: &ResourceManager,
) -> anyhow::Result<Place> {
    page.title("Workspace");
    if let Some(text) = &answers.connection.workspace.resource_id {
        let workspace: WorkspaceId = text.parse().map_err(anyhow::Error::msg)?;
        let found = manager.workspace(&workspace).await?;
        let new = new_of(answers);
        let Some(found) = found else {
            if new.is_none() {
                bail!(
                    "the workspace {workspace} does not exist, or was deleted: check \
                     `workspace.resource_id`, or give `setup.location` to make it"
                );
            }
            return Ok(Place { workspace, new, customer_id: None });
        };
        page.say(&format!("✓ {} in {}", workspace.name, found.location));
        let customer_id = Some(found.properties.customer_id);
        return Ok(Place { workspace, new, customer_id });
    }
    let subscription = subscription(page, answers, manager).await?;
    let there = manager.workspaces(&subscription.id).await?;
    let found = choose(page, answers, &there)?;
    if let Some(found) = found {
        let workspace: WorkspaceId = found.id.parse().map_err(anyhow::Error::msg)?;
        page.say(&format!("✓ {} in {}", found.name, found.workspace.location));
        let customer_id = Some(found.workspace.properties.customer_id.clone());
        return Ok(Place { workspace, new: new_of(answers), customer_id });
    }
    new(page, answers, manager, &subscription).await
}

fn new_of(answers: &Answers) -> Option<(String, String)> {
    let setup = &answers.setup;
    let is_given = !setup.location.is_empty();
    is_given.then(|| (setup.location.clone(), setup.pricing_tier.clone()))
}

async fn subscription(
    page: &Page<'_>,
    answers: &mut Answers,
    manager: &ResourceManager,
) -> anyhow::Result<Subscription> {
    let mut all = manager.subscriptions().await?;
    all.sort_by(|a, b| a.name.cmp(&b.name));
    let given = &answers.setup.subscription;
    if all.is_empty() {
        bail!(
            "no subscription can be seen: whoever sets up needs at least the role Reader on one, in \
             the tenant that they signed in to"
        );
    }
    let is_it = |s: &&Subscription| s.id.eq_ignore_ascii_case(given) || s.name == *given;
    if !given.is_empty() {
        let found: Vec<&Subscription> = all.iter().filter(is_it).collect();
        return match found[..] {
            [one] => Ok(one.clone()),
            [] => bail!("no subscription `{given}` among the {} that can be seen", all.len()),
            _ => bail!("more than one subscription is named `{given}`: give its id"),
        };
    }
    let label = |s: &Subscription| format!("{} ({})", s.name, s.id);
    let choice = |s: &Subscription| {
        let answers = vec![("setup.subscription", s.id.clone())];
        Choice { label: label(s), answers }
    };
    let choices: Vec<Choice> = all.iter().map(choice).collect();
    let prompt = Prompt { text: "Subscription", key: "setup.subscription", help: "" };
    let number = page.ask.choose(&prompt, &choices)?;
    let chosen = all.swap_remove(number);
    page.say(&format!("✓ subscription {}", label(&chosen)));
    answers.setup.subscription.clone_from(&chosen.id);
    Ok(chosen)
}

/// An existing workspace; `None` for a new one.
fn choose<'a>(
    page: &Page<'_>,
    answers: &mut Answers,
    there: &'a [WorkspaceItem],
) -> anyhow::Result<Option<&'a WorkspaceItem>> {
    let setup = &answers.setup;
    let is_in = |item: &&WorkspaceItem, group: &str| {
        let id: Option<WorkspaceId> = item.id.parse().ok();
        id.is_some_and(|id| id.resource_group.eq_ignore_ascii_case(group))
    };
    let fits = |item: &&WorkspaceItem| {
        (setup.workspace.is_empty() || item.name.eq_ignore_ascii_case(&setup.workspace))
            && (setup.resource_group.is_empty() || is_in(item, &setup.resource_group))
    };
    let found: Vec<&WorkspaceItem> = there.iter().filter(fits).collect();
    let is_named = !setup.workspace.is_empty();
    let may_make = !setup.location.is_empty();
    match found[..] {
        [one] if is_named || !page.ask.is_terminal() => return Ok(Some(one)),
        [] if is_named && may_make => return Ok(None),
        [] if is_named && !page.ask.is_terminal() => bail!(
            "no workspace `{}` in the subscription; give `setup.location` to make it",
            setup.workspace
        ),
        [] if !page.ask.is_terminal() => {
            bail!("there is no workspace: give `setup.workspace` and `setup.location` to make one")
        }
        [] => return Ok(None),
        _ => {}
    }
    let place = |item: &WorkspaceItem| {
        let id: Option<WorkspaceId> = item.id.parse().ok();
        let group = id.map(|id| id.resource_group).unwrap_or_default();
        let label = format!("{} (resource group {group}, {})", item.name, item.workspace.location);
        let answers = vec![("setup.workspace", item.name.clone()), ("setup.resource_group", group)];
        Choice { label, answers }
    };
    let mut choices: Vec<Choice> = found.iter().map(|item| place(item)).collect();
    if page.ask.is_terminal() {
        choices.push(Choice::plain(NEW));
    }
    let prompt = Prompt { text: "Workspace", key: "setup.workspace", help: "" };
    let number = page.ask.choose(&prompt, &choices)?;
    Ok(found.get(number).copied())
}

async fn new(
    page: &Page<'_>,
    answers: &mut Answers,
    manager: &ResourceManager,
    subscription: &Subscription,
) -> anyhow::Result<Place> {
    let setup = &mut answers.setup;
    if setup.workspace.is_empty() {
        let prompt = Prompt {
            text: "Name of the new workspace",
            key: "setup.workspace",
            help: "4 to 63 letters, digits and hyphens",
        };
        setup.workspace = page.ask.text(&prompt, "", is_workspace_name)?;
    }
    is_workspace_name(&setup.workspace).map_err(anyhow::Error::msg)?;
    if setup.resource_group.is_empty() {
        let groups = manager.resource_groups(&subscription.id).await?;
        let choice = |g: &cmsync_azure::ResourceGroup| Choice {
            label: format!("{} ({})", g.name, g.location),
            answers: vec![("setup.resource_group", g.name.clone())],
        };
        let mut choices: Vec<Choice> = groups.iter().map(choice).collect();
        choices.push(Choice::plain(NEW));
        let prompt = Prompt { text: "Resource group", key: "setup.resource_group", help: "" };
        let number = if groups.is_empty() && page.ask.is_terminal() {
            0
        } else {
            page.ask.choose(&prompt, &choices)?
        };
        setup.resource_group = match groups.get(number) {
            Some(group) => group.name.clone(),
            None => page.ask.text(&prompt, "", super::not_empty)?,
        };
    }
    if setup.location.is_empty() {
        let mut regions = manager.locations(&subscription.id).await?;
        regions.sort_by(|a, b| a.display_name.cmp(&b.display_name));
        let label = |l: &cmsync_azure::Location| format!("{} ({})", l.display_name, l.name);
        let choice = |l: &cmsync_azure::Location| Choice {
            label: label(l),
            answers: vec![("setup.location", l.name.clone())],
        };
        let choices: Vec<Choice> = regions.iter().map(choice).collect();
        let prompt = Prompt { text: "Region", key: "setup.location", help: "" };
        let number = page.ask.choose(&prompt, &choices)?;
        setup.location = regions.swap_remove(number).name;
        let prompt = Prompt {
            text: "Pricing tier",
            key: "setup.pricing_tier",
            help: "PerGB2018 is pay as you go",
        };
        let tier = setup.pricing_tier.clone();
        setup.pricing_tier = page.ask.text(&prompt, &tier, super::not_empty)?;
    }
    let workspace = WorkspaceId {
        subscription: subscription.id.clone(),
        resource_group: setup.resource_group.clone(),
        name: setup.workspace.clone(),
    };
    page.say(&format!("✓ new workspace {} in {}", workspace.name, setup.location));
    Ok(Place { workspace, new: new_of(answers), customer_id: None })
}

fn is_workspace_name(text: &str) -> Result<(), String> {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let is_fine = (4..=63).contains(&text.len())
        && text.chars().all(is_inner)
        && !text.starts_with('-')
        && !text.ends_with('-');
    is_fine.then_some(()).ok_or_else(|| {
        format!("`{text}` is no name of a workspace: 4 to 63 letters, digits and hyphens")
    })
}
