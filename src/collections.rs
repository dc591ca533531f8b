//! `cmsync collections`: which collections of a site are kept.

use std::path::Path;

use anyhow::{Context as _, bail};
use cmsync_configmgr::{Collection, Selection};
use cmsync_control::{Answer, GroupView, Question};
use serde::Serialize;
use toml_edit::{Array, DocumentMut, Item, Value};

use crate::cli::CollectionsCommand;
use crate::config::{Config, Connection};
use crate::connect::{selector, write};
use crate::{commands, config, connections, output};

/// A collection as the site shows it.
#[derive(Serialize)]
struct View<'a> {
    connection: &'a str,
    collection: &'a str,
    name: &'a str,
    folder: &'a str,
    members: i64,
    is_kept: bool,
}

/// Lists, adds or removes.
pub(crate) async fn run(
    config: &Config,
    path: &Path,
    command: CollectionsCommand,
    as_json: bool,
) -> anyhow::Result<bool> {
    match command {
        CollectionsCommand::List { connection, all, search } => {
            list(config, connection.as_deref(), (all, search.as_deref()), as_json).await
        }
        CollectionsCommand::Add { connection, selectors } => {
            add(config, path, &connection, &selectors).await
        }
        CollectionsCommand::Remove { connection, selectors } => {
            remove(config, path, &connection, &selectors).await
        }
        CollectionsCommand::Resend { connection, collection } => {
            let question = Question::Resend { connection, collection };
            output::print(&commands::ask(config, question).await?, as_json)
        }
    }
}

async fn visible(connection: &Connection) -> anyhow::Result<Vec<Collection>> {
    Ok(connections::site(&connection.site)?.collections().await?)
}

#[expect(clippy::print_stdout, reason = "this is what the command is for")]
async fn list(
    config: &Config,
    wanted: Option<&str>,
    (all, search): (bool, Option<&str>),
    as_json: bool,
) -> anyhow::Result<bool> {
    if let Some(name) = wanted {
        config.connection(name)?;
    }
    let search = search.map(str::to_lowercase);
    let mut found = Vec::new();
    for (name, connection) in &config.connections {
        if wanted.is_none_or(|w| w == name) {
            found.push((name, connection, visible(connection).await?));
        }
    }
    let fits = |c: &Collection| {
        let has = |text: &str, part: &String| text.to_lowercase().contains(part);
        search.as_ref().is_none_or(|s| has(&c.id, s) || has(&c.name, s) || has(&c.folder, s))
    };
    let mut views = Vec::new();
    for (name, connection, collections) in &found {
        for c in collections.iter().filter(|c| fits(c)) {
            let is_kept = connection.producer.selection.has(c);
            if all || is_kept {
                views.push(View {
                    connection: name,
                    collection: &c.id,
                    name: &c.name,
                    folder: &c.folder,
                    members: c.member_count,
                    is_kept,
                });
            }
        }
    }
    if as_json {
        println!("{}", serde_json::to_string_pretty(&views)?);
        return Ok(true);
    }
    let rows = views.iter().map(|v| {
        let kept = if v.is_kept { "kept" } else { "" };
        let cells = [v.connection, v.collection, v.name, v.folder, &v.members.to_string(), kept];
        cells.map(ToOwned::to_owned).to_vec()
    });
    let titles = ["connection", "collection", "name", "folder", "members", ""];
    println!("{}", output::table(&titles, rows, "no collection fits"));
    Ok(true)
}

/// The list of a connection in the file, and what to make of it.
fn change(
    path: &Path,
    name: &str,
    change: impl FnOnce(&mut Array) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    write::change(path, |document: &mut DocumentMut| {
        let table = write::existing(document, name)?;
        let list = table.entry("collections").or_insert_with(|| Item::Value(Array::new().into()));
        if let Item::ArrayOfTables(_) = list {
            let value = list.clone().into_value().map_err(|_| anyhow::anyhow!("not a list"))?;
            *list = Item::Value(value);
        }
        let place = format!("`connections.{name}.collections` is not a list in this file");
        change(list.as_array_mut().context(place)?)
    })
}

async fn add(
    config: &Config,
    path: &Path,
    name: &str,
    selectors: &[String],
) -> anyhow::Result<bool> {
    let collections = visible(config.connection(name)?).await?;
    for text in selectors {
        let value = entry(text, &collections)?;
        change(path, name, |list| {
            if !list.iter().any(|v| write::plain(v).as_ref() == Some(&value)) {
                let made: Value = value.to_string().parse().context("not a value")?;
                list.push(made);
            }
            Ok(())
        })?;
    }
    config::load(path, &[])?;
    eprintln!("added; a running cmsync follows within seconds");
    Ok(true)
}

/// The entry for a selector, which must fit something: an id, a folder, a pattern, or the name of
/// one collection, which is kept by its id.
fn entry(text: &str, collections: &[Collection]) -> anyhow::Result<toml::Value> {
    let named: Vec<&Collection> = collections.iter().filter(|c| c.name == text).collect();
    if let [one] = named[..] {
        return Ok(one.id.clone().into());
    }
    let value = selector(text);
    let written: config::raw::Selector = value.clone().try_into()?;
    let selection = config::selection(&[written]).map_err(|(_, m)| anyhow::anyhow!(m))?;
    if !collections.iter().any(|c| selection.has(c)) {
        bail!("`{text}` fits none of {} visible device collections", collections.len());
    }
    Ok(value)
}

async fn remove(
    config: &Config,
    path: &Path,
    name: &str,
    selectors: &[String],
) -> anyhow::Result<bool> {
    let before = config.connection(name)?;
    let kept = kept(config, name).await?;
    let mut gone: Vec<toml::Value> = Vec::new();
    for text in selectors {
        gone.push(selector(text));
        gone.extend(kept.iter().filter(|g| g.name == *text).map(|g| g.collection.clone().into()));
    }
    change(path, name, |list| {
        let count = list.len();
        list.retain(|v| !write::plain(v).is_some_and(|v| gone.contains(&v)));
        if list.len() == count {
            let texts = selectors.join("`, `");
            bail!(
                "no entry of `collections` is `{texts}`; what a pattern or a folder keeps goes with \
                 that entry"
            );
        }
        if list.is_empty() {
            bail!(
                "these are all: to stop, use `cmsync import disable {name}`; to take everything \
                 back, `cmsync disconnect {name}`"
            );
        }
        Ok(())
    })?;
    let after = config::load(path, &[])?;
    let selection = &after.connection(name)?.producer.selection;
    let keeps =
        |selection: &Selection, g: &GroupView| selection.keeps(&g.collection, &g.name, &g.folder);
    let is_gone = |g: &GroupView| keeps(&before.producer.selection, g) && !keeps(selection, g);
    let collections: Vec<String> = kept.into_iter().filter(is_gone).map(|g| g.collection).collect();
    let count = collections.len();
    if count > 0 {
        let connection = name.to_owned();
        let question = Question::RemoveCollections { connection, collections };
        if let Answer::Refused(reason) = commands::ask(&after, question).await? {
            bail!(reason);
        }
    }
    eprintln!("removed; the rows of {count} collections are closed and their groups go");
    Ok(true)
}

/// The collections that are kept now, from the state.
async fn kept(config: &Config, name: &str) -> anyhow::Result<Vec<GroupView>> {
    let Answer::Groups(mut view) = commands::ask(config, Question::Groups).await? else {
        bail!("the running cmsync does not answer as this one asks: restart it");
    };
    view.groups.retain(|g| g.connection == name);
    Ok(view.groups)
}
