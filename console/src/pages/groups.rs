//! Computer groups: one for each collection, searched, sorted and shown page by page.

use std::cmp::Reverse;

use askama::Template;
use cmsync_control::{GroupView, GroupsView};
use serde::Deserialize;

use super::link::{Link, Pages};
use super::words::{Time, number};

/// Groups on a page.
const PAGE: usize = 50;

/// What a person looks for: the address says it, so that it can be kept and sent to others.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    /// A part of a name, an id, a folder or a function, in any case.
    q: String,
    sort: Sort,
    /// Whether the largest or last comes first.
    down: bool,
    /// From 1.
    page: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Sort {
    #[default]
    Name,
    Collection,
    Folder,
    Members,
    Read,
}

impl Sort {
    const ALL: [(Self, &'static str, &'static str); 5] = [
        (Self::Name, "name", "Name"),
        (Self::Collection, "collection", "Collection"),
        (Self::Folder, "folder", "Folder"),
        (Self::Members, "members", "Members"),
        (Self::Read, "read", "Read"),
    ];
}

/// The page.
#[derive(Template)]
#[template(path = "groups.html")]
pub(crate) struct Page {
    q: String,
    computers: String,
    collections: String,
    found: String,
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
    pub(crate) fn new(view: GroupsView, asked: &Asked, now: i64) -> Self {
        let GroupsView { collections, computers, groups } = view;
        let mut groups: Vec<GroupView> =
            groups.into_iter().filter(|g| is_found(g, asked)).collect();
        sort(&mut groups, asked);
        let pages = Pages::new(groups.len(), PAGE, asked.page, &link(asked));
        let rows = groups.drain(..).skip(pages.first()).take(PAGE).map(|group| row(group, now));
        Self {
            q: asked.q.clone(),
            computers: number(computers),
            collections: number(collections),
            found: number(pages.all() as u64),
            heads: Sort::ALL.map(|one| head(one, asked)).into(),
            rows: rows.collect(),
            pages,
        }
    }
}

fn is_found(group: &GroupView, asked: &Asked) -> bool {
    let wanted = asked.q.trim().to_lowercase();
    let fields = [&group.name, &group.collection, &group.folder, &group.alias, &group.connection];
    fields.iter().any(|field| field.to_lowercase().contains(&wanted))
}

fn sort(groups: &mut [GroupView], asked: &Asked) {
    match asked.sort {
        Sort::Name => groups.sort_by_cached_key(|g| (g.name.to_lowercase(), g.collection.clone())),
        Sort::Collection => groups.sort_by_cached_key(|g| g.collection.clone()),
        Sort::Folder => groups.sort_by_cached_key(|g| (g.folder.to_lowercase(), g.name.clone())),
        Sort::Members => groups.sort_by_key(|g| g.members),
        Sort::Read => groups.sort_by_key(|g| Reverse(g.last_read)),
    }
    if asked.down {
        groups.reverse();
    }
}

/// The address that asks for this, from its first page on.
fn link(asked: &Asked) -> Link {
    let name = Sort::ALL.iter().find(|one| one.0 == asked.sort).map_or("name", |one| one.1);
    Link::to("/groups")
        .with("q", asked.q.trim())
        .with("sort", name)
        .with("down", if asked.down { "true" } else { "" })
}

fn head((sort, _, title): (Sort, &str, &'static str), asked: &Asked) -> Head {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn view(count: usize) -> GroupsView {
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
        let groups: Vec<GroupView> = (0..count).map(group).collect();
        GroupsView { collections: count as u64, computers: 7, groups }
    }

    fn page(count: usize, query: &str) -> Page {
        let address = format!("/groups?{query}").parse().unwrap();
        let asked = axum::extract::Query::<Asked>::try_from_uri(&address).unwrap();
        Page::new(view(count), &asked, 2_000_000)
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
    fn what_is_looked_for_is_found_in_any_case_by_each_of_its_names() {
        for q in ["servers+%3Cb%3E0042", "ps100042", "CMG_cas_PS100042"] {
            let rows = page(100, &format!("q={q}")).rows;
            assert_eq!(rows.len(), 1, "{q}");
            assert_eq!(rows[0].collection, "PS100042");
        }
        assert_eq!(page(100, "q=nothing").rows.len(), 0);
        assert_eq!(page(98, "q=/folder+3").found, "14");
    }

    #[test]
    fn groups_are_sorted_by_what_a_head_says_and_the_other_way_round() {
        let members = |query: &str| {
            let rows = page(40, query).rows;
            rows.iter().map(|row| row.members.parse::<u64>().unwrap()).collect::<Vec<_>>()
        };
        assert!(members("sort=members").is_sorted());
        assert!(members("sort=members&down=true").is_sorted_by(|one, next| one >= next));
        let heads = page(40, "sort=members&q=x&page=3").heads;
        assert_eq!(heads[3].sorted, "ascending");
        assert_eq!(heads[3].link, "/groups?q=x&sort=members&down=true");
        assert_eq!(heads[0].link, "/groups?q=x&sort=name");
    }

    #[test]
    fn names_are_text_and_the_page_is_whole() {
        let text = page(120, "page=2").render().unwrap();
        assert!(text.contains("Servers &#60;b&#62;0050") && !text.contains("<b>0"), "{text}");
        assert!(text.contains("href=\"/groups/contoso/PS100050\""), "{text}");
    }
}
