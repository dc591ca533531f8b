//! Computer groups: one for each collection, searched, sorted and shown page by page.

use askama::Template;
use cmsync_control::{Asked as List, GroupSort, GroupView, Groups};
use serde::Deserialize;

use super::computers;
use super::link::{Link, Pages};
use super::words::{Time, number};
use crate::access::Frame;

/// Groups on a page.
const PAGE: usize = 50;

/// What a person looks for: the address says it, so that it can be kept and sent to others.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    /// A part of a name, an id, a folder or a function, in any case.
    q: String,
    sort: GroupSort,
    /// Whether the largest or last comes first.
    down: bool,
    /// From 1.
    page: usize,
}

impl Asked {
    pub(crate) fn list(&self) -> List<GroupSort> {
        List { q: self.q.clone(), sort: self.sort, down: self.down }
    }
}

/// What a list can be sorted by, as addresses and heads have it.
const SORTS: [(GroupSort, &str, &str); 5] = [
    (GroupSort::Name, "", "Name"),
    (GroupSort::Collection, "collection", "Collection"),
    (GroupSort::Folder, "folder", "Folder"),
    (GroupSort::Members, "members", "Members"),
    (GroupSort::Read, "read", "Read"),
];

/// The page.
#[derive(Template)]
#[template(path = "groups.html")]
pub(crate) struct Page {
    frame: Frame,
    q: String,
    sort: &'static str,
    down: bool,
    computers: Option<String>,
    collections: String,
    found: String,
    csv: String,
    /// The connections, each with where its computers are.
    of: Vec<(String, String)>,
    heads: Vec<Head>,
    rows: Vec<Row>,
    pages: Pages,
}

struct Head {
    title: &'static str,
    /// What a reader of the screen is told.
    sorted: &'static str,
    link: String,
}

struct Row {
    connection: String,
    collection: String,
    name: String,
    folder: String,
    alias: String,
    kind: &'static str,
    members: String,
    read: Time,
    snapshot: String,
    link: String,
}

impl Page {
    pub(crate) fn new(
        frame: Frame,
        connections: impl Iterator<Item = String>,
        (groups, asked): (Groups, &Asked),
        now: i64,
    ) -> Self {
        let Groups { collections, computers, found } = groups;
        let link = link(asked);
        let pages = Pages::new(found.len(), PAGE, asked.page, &link);
        let rows = found.into_iter().skip(pages.first()).take(PAGE).map(|group| row(group, now));
        let of = |name: String| {
            let link = computers::address(&name).to_string();
            (name, link)
        };
        Self {
            frame,
            q: asked.q.clone(),
            sort: name_of(asked.sort),
            down: asked.down,
            computers: computers.map(number),
            collections: number(collections),
            found: number(pages.all() as u64),
            csv: link.below("groups.csv").to_string(),
            of: connections.map(of).collect(),
            heads: SORTS.map(|one| head(one, asked)).into(),
            rows: rows.collect(),
            pages,
        }
    }
}

fn name_of(sort: GroupSort) -> &'static str {
    SORTS.iter().find(|one| one.0 == sort).map_or("", |one| one.1)
}

/// The address that asks for this, from its first page on.
fn link(asked: &Asked) -> Link {
    Link::to("/groups")
        .with("q", asked.q.trim())
        .with("sort", name_of(asked.sort))
        .with("down", if asked.down { "true" } else { "" })
}

fn head((sort, _, title): (GroupSort, &str, &'static str), asked: &Asked) -> Head {
    let is_sorted = sort == asked.sort;
    let down = is_sorted && !asked.down;
    let sorted = match (is_sorted, asked.down) {
        (false, _) => "none",
        (true, false) => "ascending",
        (true, true) => "descending",
    };
    Head { title, sorted, link: link(&Asked { sort, down, ..asked.clone() }).to_string() }
}

fn row(group: GroupView, now: i64) -> Row {
    Row {
        link: Link::to("/groups").part(&group.connection).part(&group.collection).to_string(),
        kind: if group.is_static { "static" } else { "function" },
        members: number(u64::try_from(group.members).unwrap_or(0)),
        read: Time::new(group.last_read, now),
        connection: group.connection,
        collection: group.collection,
        name: group.name,
        folder: group.folder,
        alias: group.alias,
        snapshot: group.snapshot,
    }
}

/// A group as a line of a CSV file.
pub(crate) fn cells(group: GroupView) -> Vec<String> {
    let kind = if group.is_static { "static" } else { "function" };
    vec![
        group.connection,
        group.collection,
        group.name,
        group.folder,
        group.members.to_string(),
        group.alias,
        kind.to_owned(),
        super::words::stamp(group.last_read),
        super::words::stamp(group.last_snapshot),
        group.snapshot,
    ]
}

/// What the cells are.
pub(crate) const TITLES: [&str; 10] = [
    "connection",
    "collection",
    "name",
    "folder",
    "members",
    "function",
    "kind",
    "last_read",
    "last_snapshot",
    "snapshot",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(count: usize) -> Groups {
        let group = |index: usize| GroupView {
            connection: "contoso".into(),
            collection: format!("PS1{index:05}"),
            name: format!("Servers <b>{index:04}</b>"),
            folder: format!("/Folder {}", index % 7),
            alias: format!("CMG_CAS_PS1{index:05}"),
            is_static: index.is_multiple_of(2),
            members: i64::try_from(index * 37 % 101).unwrap(),
            last_read: 1_000_000,
            last_snapshot: 1_000_000,
            snapshot: "sent".into(),
        };
        let found: Vec<GroupView> = (0..count).map(group).collect();
        Groups { collections: count as u64, computers: None, found }
    }

    fn page(count: usize, query: &str) -> Page {
        let address = format!("/groups?{query}").parse().unwrap();
        let asked = axum::extract::Query::<Asked>::try_from_uri(&address).unwrap();
        let names = std::iter::once("contoso".to_owned());
        Page::new(Frame::default(), names, (groups(count), &asked), 2_000_000)
    }

    #[test]
    fn every_group_is_on_one_page_and_only_on_one() {
        let names = |number: usize| {
            let rows = page(5_000, &format!("page={number}")).rows;
            rows.into_iter().map(|row| row.collection).collect::<Vec<_>>()
        };
        let all: Vec<String> = (1..=100).flat_map(names).collect();
        assert_eq!(all.len(), 5_000);
        assert!(all.is_sorted_by(|one, next| one < next));
        // A page beyond the last is the last.
        assert_eq!(names(7_000), names(100));
    }

    #[test]
    fn a_head_sorts_and_its_second_click_sorts_the_other_way_round() {
        let heads = page(40, "sort=members&q=x&page=3").heads;
        assert_eq!(heads[3].sorted, "ascending");
        assert_eq!(heads[3].link, "/groups?q=x&sort=members&down=true");
        assert_eq!(heads[0].link, "/groups?q=x");
        let turned = page(40, "sort=members&down=true").heads;
        assert_eq!((turned[3].sorted, &*turned[3].link), ("descending", "/groups?sort=members"));
    }

    #[test]
    fn a_search_keeps_its_order() {
        let text = page(40, "sort=members&down=true&q=serv").render().unwrap();
        let hidden = r#"<input type="hidden" name="sort" value="members">"#;
        assert!(text.contains(hidden), "{text}");
        assert!(text.contains(r#"name="down" value="true""#), "{text}");
        assert!(
            text.contains(r#"href="/groups/groups.csv?q=serv&#38;sort=members&#38;down=true""#)
        );
    }

    #[test]
    fn names_are_text_and_the_page_is_whole() {
        let text = page(120, "page=2").render().unwrap();
        assert!(text.contains("Servers &#60;b&#62;0050") && !text.contains("<b>0"), "{text}");
        assert!(text.contains("href=\"/groups/contoso/PS100050\""), "{text}");
    }
}
