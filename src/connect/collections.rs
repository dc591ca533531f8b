//! The page of the collections: which ones, what they cost, and whether their computers report to
//! the workspace.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::bail;
use cmsync_azure::Query;
use cmsync_configmgr::{Collection, DeviceScope, MemberRow, MemberSink, Selection};
use cmsync_control::setup::{Heartbeats, monthly_gigabytes, monthly_price, reporting};
use cmsync_producer::Options;

use super::Page;
use super::answers::Answers;
use super::ask::{Ask, Choice, Prompt};
use super::site::SiteFound;
use crate::config::{self, raw};
use crate::connections;

/// Computers that are looked for among the heartbeats, at most: a sample says enough.
const SAMPLE: usize = 300;

/// Asks which collections are kept.
pub(super) fn page(
    page: &Page<'_>,
    answers: &mut Answers,
    found: &SiteFound,
) -> anyhow::Result<Vec<Collection>> {
    page.title("Device collections");
    while answers.connection.collections.is_empty() {
        let ways = [
            "choose from the list",
            "all whose names fit a pattern, also new ones",
            "all in a folder, also new ones",
        ];
        let prompt = Prompt {
            text: "Which collections?",
            key: "collections",
            help: "ids, { name = \"pattern\" } or { folder = \"/path\" }",
        };
        if !page.ask.is_terminal() {
            return Ask::refuse(&prompt);
        }
        let chosen = match page.ask.choose(&prompt, &ways.map(Choice::plain))? {
            0 => from_list(page, &found.collections)?,
            1 => vec![raw::Selector::Name { name: pattern(page)? }],
            _ => vec![raw::Selector::Folder { folder: folder(page, &found.collections)? }],
        };
        if !selected(&chosen, &found.collections)?.is_empty() {
            answers.connection.collections = chosen;
        } else {
            page.say("✗ no collection fits");
        }
    }
    let kept = selected(&answers.connection.collections, &found.collections)?;
    if kept.is_empty() {
        bail!(
            "none of {} visible collections is chosen: check `collections`",
            found.collections.len()
        );
    }
    page.say(&estimate(&kept));
    Ok(kept)
}

/// Those of the site that are kept as far as is answered.
pub(super) fn kept(answers: &Answers, found: &SiteFound) -> anyhow::Result<Vec<Collection>> {
    selected(&answers.connection.collections, &found.collections)
}

fn selected(selectors: &[raw::Selector], all: &[Collection]) -> anyhow::Result<Vec<Collection>> {
    let selection = config::selection(selectors)
        .map_err(|(index, message)| anyhow::anyhow!("collections[{index}]: {message}"))?;
    if let Some(id) = Selection::missing(&selection, all).first() {
        bail!("collection `{id}` does not exist, is a user collection, or is not visible");
    }
    Ok(all.iter().filter(|c| selection.has(c)).cloned().collect())
}

fn from_list(page: &Page<'_>, all: &[Collection]) -> anyhow::Result<Vec<raw::Selector>> {
    let label = |c: &Collection| {
        let name: String = c.name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        format!("{} {name} ({} members, {})", c.id, c.member_count, c.folder)
    };
    let choices: Vec<String> = all.iter().map(label).collect();
    let prompt = Prompt { text: "Collections", key: "collections", help: "" };
    let chosen = page.ask.choose_many(&prompt, &choices)?;
    let id = |index: usize| all.get(index).map(|c| raw::Selector::Id(c.id.clone()));
    Ok(chosen.into_iter().filter_map(id).collect())
}

fn pattern(page: &Page<'_>) -> anyhow::Result<String> {
    let prompt = Prompt {
        text: "Pattern",
        key: "collections",
        help: "with * and ?, for example Servers - *",
    };
    page.ask.text(&prompt, "", super::not_empty)
}

fn folder(page: &Page<'_>, all: &[Collection]) -> anyhow::Result<String> {
    let mut folders: Vec<String> = all.iter().map(|c| c.folder.clone()).collect();
    folders.sort();
    folders.dedup();
    let prompt = Prompt { text: "Folder", key: "collections", help: "" };
    let choices: Vec<Choice> = folders.iter().map(Choice::plain).collect();
    let number = page.ask.choose(&prompt, &choices)?;
    Ok(folders.swap_remove(number))
}

/// What the collections are and what they may cost.
fn estimate(kept: &[Collection]) -> String {
    let members: i64 = kept.iter().map(|c| c.member_count).sum();
    let members = u64::try_from(members).unwrap_or(0);
    let hours = Options::default().snapshot_interval.as_secs_f64() / 3_600.0;
    let gigabytes = monthly_gigabytes(members, hours);
    let price = monthly_price(gigabytes);
    format!(
        "✓ {} collections with {members} memberships: about {gigabytes:.1} GB a month, {price:.0} \
         USD at list price",
        kept.len()
    )
}

#[derive(Default)]
struct Ids(Vec<i64>);

impl MemberSink for Ids {
    fn row(&mut self, row: &MemberRow<'_>) {
        if row.resource_type == 5 && !row.is_retired {
            self.0.push(row.resource_id);
        }
    }

    fn restart(&mut self) {
        self.0.clear();
    }
}

/// Says how many of the collections' computers send heartbeats to the workspace, by a sample. What
/// cannot be told is no reason to stop.
pub(super) async fn heartbeats(
    page: &Page<'_>,
    answers: &Answers,
    kept: &[Collection],
    (query, workspace): (&Query, &str),
) {
    let looked = tokio::time::timeout(Duration::from_secs(60), async {
        let names = reporting(query, workspace).await.map_err(anyhow::Error::from)?;
        sample(answers, kept, &names).await
    });
    match looked.await {
        Ok(Ok(found)) => page.say(&format!("- of a sample, {}", found.sentence())),
        Ok(Err(error)) => page.say(&format!("- heartbeats cannot be looked at: {error:#}")),
        Err(_) => page.say("- heartbeats were not looked at: it took too long"),
    }
}

async fn sample(
    answers: &Answers,
    kept: &[Collection],
    names: &HashSet<String>,
) -> anyhow::Result<Heartbeats> {
    let checked = config::check_site(&answers.name, &answers.connection)?;
    let site = connections::site(&checked)?;
    // The smallest first: more collections are seen, and the site is asked for little.
    let mut smallest: Vec<&Collection> = kept.iter().filter(|c| c.member_count > 0).collect();
    smallest.sort_by_key(|c| c.member_count);
    let mut ids = std::collections::BTreeSet::new();
    for collection in smallest {
        if ids.len() >= SAMPLE {
            break;
        }
        let mut members = Ids::default();
        site.members(&collection.id, &mut members).await?;
        ids.extend(members.0.into_iter().take(SAMPLE - ids.len()));
    }
    let ids: Vec<i64> = ids.into_iter().collect();
    let mut devices = Vec::new();
    for some in ids.chunks(DeviceScope::MOST_IDS) {
        devices.extend(site.devices(&DeviceScope::Ids(some.to_vec())).await?);
    }
    let named = devices.iter().map(|d| (d.fqdn.as_deref(), d.netbios_name.as_str()));
    Ok(Heartbeats::count(names, named))
}
