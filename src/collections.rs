//! `cmsync collections`: which collections of a site are kept.

use std::path::Path;

use anyhow::{Context as _, bail};
use cmsync_configmgr::{Collection, Selection};
use cmsync_control::verify::Asks;
use cmsync_control::{Answer, GroupView, Question, VisibleView, counted};
use toml_edit::{Array, DocumentMut, Item, Value};

use crate::asks::Outside;
use crate::cli::CollectionsCommand;
use crate::config::{Config, Connection};
use crate::connect::{selector, write};
use crate::{asks, commands, config, connections, output};

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
            let said = add(config, (path, None), &connection, &selectors).await?;
            eprintln!("{said}");
            Ok(true)
        }
        CollectionsCommand::Remove { connection, selectors } => {
            let asks = Outside(config);
            let said = remove(&asks, config, (path, None), &connection, &selectors).await?;
            eprintln!("{said}");
            Ok(true)
        }
        CollectionsCommand::Resend { connection, collection } => {
            let question = Question::Resend { connection, collection };
            output::print(&commands::ask(config, question).await?, as_json)
        }
    }
}

/// A collection of a connection's site.
pub(crate) fn view(name: &str, connection: &Connection, c: &Collection) -> VisibleView {
    VisibleView {
        connection: name.to_owned(),
        collection: c.id.clone(),
        name: c.name.clone(),
        folder: c.folder.clone(),
        members: c.member_count,
        is_kept: connection.producer.selection.has(c),
    }
}

pub(crate) async fn visible(connection: &Connection) -> anyhow::Result<Vec<Collection>> {
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
        let fitting = collections.iter().filter(|c| fits(c));
        let shown = fitting.map(|c| view(name, connection, c)).filter(|v| all || v.is_kept);
        views.extend(shown);
    }
    if as_json {
        println!("{}", serde_json::to_string_pretty(&views)?);
        return Ok(true);
    }
    let rows = views.iter().map(|v| {
        let kept = if v.is_kept { "kept" } else { "" };
        let members = v.members.to_string();
        let cells = [&v.connection, &v.collection, &v.name, &v.folder, &members, kept];
        cells.map(ToString::to_string).to_vec()
    });
    let titles = ["connection", "collection", "name", "folder", "members", ""];
    println!("{}", output::table(&titles, rows, "no collection fits"));
    Ok(true)
}

/// The file, with what was shown of it where it was.
pub(crate) type Seen<'a> = (&'a Path, Option<&'a str>);

/// The list of a connection in the file, and what to make of it.
fn change(
    (path, seen): Seen<'_>,
    name: &str,
    change: impl FnOnce(&mut Array) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    write::change_seen(path, seen, |document: &mut DocumentMut| {
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

/// Adds entries to the list; what happens now, in words.
pub(crate) async fn add(
    config: &Config,
    (path, seen): Seen<'_>,
    name: &str,
    selectors: &[String],
) -> anyhow::Result<String> {
    let collections = visible(config.connection(name)?).await?;
    let values: Vec<toml::Value> =
        selectors.iter().map(|text| entry(text, &collections)).collect::<Result<_, _>>()?;
    change((path, seen), name, |list| {
        for value in values {
            if !list.iter().any(|v| write::plain(v).as_ref() == Some(&value)) {
                let made: Value = value.to_string().parse().context("not a value")?;
                list.push(made);
            }
        }
        Ok(())
    })?;
    config::load(path, config::NO_SECRETS)?;
    Ok("added; a running cmsync follows within seconds".into())
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

/// Takes entries off the list; what happens now, in words.
pub(crate) async fn remove(
    asks: &dyn Asks,
    config: &Config,
    (path, seen): Seen<'_>,
    name: &str,
    selectors: &[String],
) -> anyhow::Result<String> {
    let before = config.connection(name)?;
    let kept = kept(asks, name).await?;
    let mut gone: Vec<toml::Value> = Vec::new();
    for text in selectors {
        gone.push(selector(text));
        gone.extend(kept.iter().filter(|g| g.name == *text).map(|g| g.collection.clone().into()));
    }
    change((path, seen), name, |list| {
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
    let after = config::load(path, config::NO_SECRETS)?;
    let selection = &after.connection(name)?.producer.selection;
    let keeps =
        |selection: &Selection, g: &GroupView| selection.keeps(&g.collection, &g.name, &g.folder);
    let is_gone = |g: &GroupView| keeps(&before.producer.selection, g) && !keeps(selection, g);
    let collections: Vec<String> = kept.into_iter().filter(is_gone).map(|g| g.collection).collect();
    let count = collections.len();
    if count > 0 {
        let connection = name.to_owned();
        asks::order(asks, Question::RemoveCollections { connection, collections }).await?;
    }
    let count = counted(count as u64, "collection", "collections");
    Ok(format!("removed; the rows of {count} are closed and their groups go"))
}

/// The collections that are kept now, from the state.
async fn kept(asks: &dyn Asks, name: &str) -> anyhow::Result<Vec<GroupView>> {
    let Answer::Groups(mut view) = asks.ask(Question::Groups).await.map_err(anyhow::Error::msg)?
    else {
        bail!("the running cmsync does not answer as this one asks: restart it");
    };
    view.groups.retain(|g| g.connection == name);
    Ok(view.groups)
}
