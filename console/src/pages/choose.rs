//! The collections of a site, to be added to a connection's list: searched, and folder by folder.

use std::collections::BTreeMap;

use askama::Template;
use cmsync_control::VisibleView;
use serde::Deserialize;

use super::connect::{At, Form};
use super::link::{Link, Pages};
use super::words::number;
use super::{connection, properties::Tab};
use crate::access::{Fields, Frame};

/// Collections on a page.
const PAGE: usize = 100;

/// What a person looks for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    /// A part of a name, an id or a folder, in any case.
    q: String,
    /// Within this folder and below.
    folder: String,
    /// From 1.
    page: usize,
}

/// The collections, folder by folder.
pub(crate) struct Tree {
    link: String,
    q: String,
    folder: String,
    /// Folders on the way to this one, each with its link.
    trail: Vec<(String, String)>,
    /// Folders directly below: name, link, collections in it and below.
    folders: Vec<(String, String, String)>,
    found: String,
    rows: Vec<Row>,
    pages: Pages,
}

struct Row {
    view: VisibleView,
    members: String,
}

/// The page that adds to a connection's list.
#[derive(Template)]
#[template(path = "choose.html")]
pub(crate) struct Page {
    frame: Frame,
    name: String,
    workspace: String,
    seen: String,
    tree: Tree,
    /// What could not be done.
    wrong: String,
}

/// The page of a set-up that chooses the first.
#[derive(Template)]
#[template(path = "connect_collections.html")]
pub(crate) struct Chosen {
    frame: Frame,
    of: Form,
    tree: Tree,
    wrong: String,
}

/// What was marked or typed to be kept.
pub(crate) fn entries(fields: &Fields) -> Vec<String> {
    let all = ["entry", "folder", "pattern"].into_iter().flat_map(|field| fields.all(field));
    all.map(str::trim).filter(|text| !text.is_empty()).map(ToOwned::to_owned).collect()
}

/// Whether a folder is another or lies below it.
fn is_within(folder: &str, other: &str) -> bool {
    let other = other.trim_end_matches('/');
    folder.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The names of the folders directly below one, with how many collections each holds.
fn below(folder: &str, all: &[VisibleView]) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for view in all.iter().filter(|view| is_within(&view.folder, folder)) {
        let rest = view.folder.get(folder.trim_end_matches('/').len()..).unwrap_or_default();
        if let Some(next) = rest.split('/').find(|part| !part.is_empty()) {
            *found.entry(next.to_owned()).or_default() += 1;
        }
    }
    found
}

impl Tree {
    fn new(base: &Link, all: Vec<VisibleView>, asked: &Asked) -> Self {
        let at = |folder: &str| base.clone().with("folder", folder).to_string();
        let folder = if asked.folder.is_empty() { "/" } else { &asked.folder };
        let trail = folder.match_indices('/').map(|(end, _)| folder.get(..end).unwrap_or_default());
        let trail = trail.filter(|part| !part.is_empty());
        let trail = std::iter::once(("All folders".to_owned(), base.to_string()))
            .chain(trail.map(|part| (part.to_owned(), at(part))));
        let inner = below(folder, &all).into_iter().map(|(inner, count)| {
            let link = at(&format!("{}/{inner}", folder.trim_end_matches('/')));
            (inner, link, number(count))
        });
        let q = asked.q.trim().to_lowercase();
        let fits = |view: &VisibleView| {
            let has = |text: &str| text.to_lowercase().contains(&q);
            is_within(&view.folder, folder)
                && (has(&view.name) || has(&view.collection) || has(&view.folder))
        };
        let (trail, folders) = (trail.collect(), inner.collect());
        let mut found: Vec<VisibleView> = all.into_iter().filter(fits).collect();
        found.sort_by_cached_key(|view| (view.name.to_lowercase(), view.collection.clone()));
        let own = base.clone().with("folder", &asked.folder).with("q", asked.q.trim());
        let pages = Pages::new(found.len(), PAGE, asked.page, &own);
        let row = |view: VisibleView| {
            let members = number(u64::try_from(view.members).unwrap_or(0));
            Row { view, members }
        };
        Self {
            link: base.to_string(),
            found: number(found.len() as u64),
            rows: found.into_iter().skip(pages.first()).take(PAGE).map(row).collect(),
            q: asked.q.clone(),
            folder: asked.folder.clone(),
            trail,
            folders,
            pages,
        }
    }
}

impl Page {
    pub(crate) fn new(
        frame: Frame,
        (name, seen): (String, String),
        (all, asked): (Vec<VisibleView>, &Asked),
        wrong: String,
    ) -> Self {
        let base = connection::address(&name).part("collections");
        let workspace = Tab::Workspace.address(&name).to_string();
        Self { frame, workspace, seen, tree: Tree::new(&base, all, asked), wrong, name }
    }
}

impl Chosen {
    pub(crate) fn new(
        frame: Frame,
        of: Form,
        (all, asked): (Vec<VisibleView>, &Asked),
        wrong: String,
    ) -> Self {
        let tree = Tree::new(&At::Collections.address(&of.name), all, asked);
        Self { frame, of, tree, wrong }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(collection: &str, name: &str, folder: &str) -> VisibleView {
        VisibleView {
            connection: "contoso".into(),
            collection: collection.into(),
            name: name.into(),
            folder: folder.into(),
            members: 7,
            is_kept: false,
        }
    }

    fn page(query: &str) -> Page {
        let all = vec![
            view("PS100001", "All of <b>them</b>", "/"),
            view("PS100002", "Servers", "/Servers"),
            view("PS100003", "Database servers", "/Servers/Data & base"),
            view("PS100004", "Not within", "/Servers2"),
        ];
        let address = format!("/x?{query}").parse().unwrap();
        let asked = axum::extract::Query::<Asked>::try_from_uri(&address).unwrap();
        let of = ("contoso".to_owned(), "seen".to_owned());
        Page::new(Frame::default(), of, (all, &asked), String::new())
    }

    fn ids(query: &str) -> Vec<String> {
        page(query).tree.rows.into_iter().map(|row| row.view.collection).collect()
    }

    #[test]
    fn a_folder_holds_what_is_in_it_and_below() {
        assert_eq!(ids("folder=/Servers"), ["PS100003", "PS100002"]);
        assert_eq!(ids("folder=/Servers/Data+%26+base"), ["PS100003"]);
        assert_eq!(ids("").len(), 4);
        assert_eq!(ids("folder=/nowhere").len(), 0);
        let root = page("").tree;
        let names: Vec<&str> = root.folders.iter().map(|(name, ..)| &**name).collect();
        assert_eq!(names, ["Servers", "Servers2"]);
        assert_eq!(root.folders[0].2, "2");
        let inner = page("folder=/Servers").tree;
        assert_eq!(
            inner.folders[0].1,
            "/connections/contoso/collections?folder=%2FServers%2FData+%26+base"
        );
        assert_eq!(inner.trail.len(), 1);
    }

    #[test]
    fn a_search_goes_through_the_folder_that_one_is_in() {
        assert_eq!(ids("q=SERVERS").len(), 3);
        assert_eq!(ids("q=data&folder=/Servers"), ["PS100003"]);
        assert_eq!(ids("q=ps100001"), ["PS100001"]);
        let text = page("q=them").render().unwrap();
        assert!(text.contains("All of &#60;b&#62;them"), "{text}");
    }
}
