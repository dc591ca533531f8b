//! Activity: what happened, from the newest on, of all connections or one, of all kinds or one.

use askama::Template;
use cmsync_control::activity::Looked;
use cmsync_control::{Activity, Kind};
use serde::Deserialize;

use super::link::{Link, Pages};
use super::words::{Time, number};
use crate::access::Frame;

/// Entries on a page.
pub(crate) const PAGE: usize = 50;

/// What is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    connection: String,
    kind: String,
    item: String,
    pub(crate) page: usize,
}

impl Asked {
    pub(crate) fn looked(&self) -> Looked {
        let Self { connection, kind, item, .. } = self;
        Looked { connection: connection.clone(), kind: kind.clone(), item: item.clone() }
    }

    fn link(&self) -> Link {
        address(&self.connection, &self.item).with("kind", &self.kind)
    }
}

/// Where one sees what happened to a connection, or to something of it.
pub(crate) fn address(connection: &str, item: &str) -> Link {
    Link::to("/activity").with("connection", connection).with("item", item)
}

/// The page.
#[derive(Template)]
#[template(path = "activity.html")]
pub(crate) struct Page {
    frame: Frame,
    connection: String,
    item: String,
    kind: String,
    connections: Vec<String>,
    kinds: Vec<(&'static str, &'static str)>,
    found: String,
    rows: Vec<Row>,
    pages: Pages,
}

/// An entry.
pub(crate) struct Row {
    time: Time,
    kind: String,
    connection: String,
    /// What it is about, each with where it is shown, where it has a page.
    items: Vec<(String, Option<String>)>,
    text: String,
    who: String,
}

/// A kind as people say it; one that a newer version wrote as it is.
fn words(kind: &str) -> &str {
    let known = Kind::ALL.into_iter().find(|own| own.text() == kind);
    known.map_or(kind, |kind| title(kind))
}

fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::Changes => "Changes",
        Kind::Snapshots => "Snapshots",
        Kind::Removal => "Held removal",
        Kind::DeadLetters => "Dead letters",
        Kind::Verification => "Verification",
        Kind::Stage => "Stage",
        Kind::Configuration => "Configuration",
        Kind::Order => "Order",
    }
}

pub(crate) fn row(entry: Activity, now: i64) -> Row {
    let is_collection = [Kind::Changes, Kind::Removal].iter().any(|k| k.text() == entry.kind);
    let link = |id: &str| Link::to("/groups").part(&entry.connection).part(id).to_string();
    let items = entry.item.split(' ').filter(|item| !item.is_empty());
    let items = items.map(|item| (item.to_owned(), is_collection.then(|| link(item)))).collect();
    Row {
        time: Time::new(entry.at, now),
        kind: words(&entry.kind).to_owned(),
        items,
        connection: entry.connection,
        text: entry.text,
        who: entry.who,
    }
}

impl Page {
    pub(crate) fn new(
        frame: Frame,
        connections: impl Iterator<Item = String>,
        asked: Asked,
        (all, entries): (usize, Vec<Activity>),
        now: i64,
    ) -> Self {
        let pages = Pages::new(all, PAGE, asked.page, &asked.link());
        Self {
            frame,
            connections: connections.collect(),
            kinds: Kind::ALL.map(|kind| (kind.text(), title(kind))).into(),
            found: number(all as u64),
            rows: entries.into_iter().map(|entry| row(entry, now)).collect(),
            pages,
            connection: asked.connection,
            item: asked.item,
            kind: asked.kind,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_from_outside_is_text_and_a_newer_kind_is_shown_as_it_is() {
        let entry = |kind: &str, text: &str| Activity {
            kind: kind.into(),
            who: "<b>alice</b>".into(),
            ..Activity::new("contoso", 1_000_000, Kind::Changes, "PS100014", text.into())
        };
        let two = Activity { item: "PS100014 PS100020".into(), ..entry("changes", "two") };
        let entries = vec![entry("changes", "<script>x</script>"), entry("weather", "rain"), two];
        let asked = Asked { item: "\"><i>".into(), ..Asked::default() };
        let connections = std::iter::once("contoso".to_owned());
        let page = Page::new(Frame::default(), connections, asked, (3, entries), 61_000_000);
        let text = page.render().unwrap();
        assert!(
            !text.contains("<script>x") && !text.contains("<b>alice") && !text.contains("\"><i>")
        );
        assert!(text.contains("href=\"/groups/contoso/PS100014\"") && text.contains("weather"));
        assert!(text.contains("href=\"/groups/contoso/PS100020\">PS100020</a>"), "{text}");
    }
}
