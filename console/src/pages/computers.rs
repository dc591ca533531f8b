//! Computers: the members of one group, or all with memberships, searched, sorted and shown page by page.

use askama::Template;
use cmsync_control::{Asked as List, ComputerSort, Computers, GroupView, MemberView, log_search};
use serde::Deserialize;

use super::activity;
use super::link::{Link, Pages};
use super::words::{Time, number};
use crate::access::Frame;
use crate::configured::Configured;

/// Computers on a page.
const PAGE: usize = 100;

/// What a person looks for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    /// A part of a computer's name, in any case.
    q: String,
    sort: ComputerSort,
    down: bool,
    /// From 1.
    page: usize,
}

impl Asked {
    pub(crate) fn list(&self) -> List<ComputerSort> {
        List { q: self.q.clone(), sort: self.sort, down: self.down }
    }
}

/// The page.
#[derive(Template)]
#[template(path = "computers.html")]
pub(crate) struct Page {
    frame: Frame,
    connection: String,
    group: Option<Group>,
    q: String,
    sort: &'static str,
    down: bool,
    all: String,
    found: String,
    link: String,
    csv: String,
    heads: [Head; 2],
    rows: Vec<Row>,
    pages: Pages,
}

/// The group whose members they are.
struct Group {
    collection: String,
    name: String,
    folder: String,
    alias: String,
    search: String,
    portal: Option<String>,
    read: Time,
    sent: Option<Time>,
    snapshot: String,
    is_static: bool,
    resend: String,
    history: String,
    activity: String,
}

struct Head {
    title: &'static str,
    sorted: &'static str,
    link: String,
}

struct Row {
    view: MemberView,
    link: String,
}

/// Where the computers of a connection are.
pub(crate) fn address(connection: &str) -> Link {
    Link::to("/computers").part(connection)
}

impl Page {
    pub(crate) fn new(
        frame: Frame,
        (connection, configured): (&str, &Configured),
        group: Option<GroupView>,
        (computers, asked): (&Computers, &Asked),
        now: i64,
    ) -> Self {
        let link = match &group {
            Some(group) => Link::to("/groups").part(&group.connection).part(&group.collection),
            None => address(connection),
        };
        let sort = if asked.sort == ComputerSort::ResourceId { "resource-id" } else { "" };
        let down = |down| if down { "true" } else { "" };
        let whole = link.clone().with("q", asked.q.trim());
        let sorted = |by: &str, is_down| whole.clone().with("sort", by).with("down", down(is_down));
        let pages = Pages::new(computers.len(), PAGE, asked.page, &sorted(sort, asked.down));
        let heads = [("", "Computer"), ("resource-id", "ResourceID")].map(|(by, title)| Head {
            title,
            sorted: match (by == sort, asked.down) {
                (false, _) => "none",
                (true, false) => "ascending",
                (true, true) => "descending",
            },
            link: sorted(by, by == sort && !asked.down).to_string(),
        });
        let row = |view: MemberView| {
            let link = Link::to("/computer").part(connection).part(&view.computer).to_string();
            Row { view, link }
        };
        Self {
            q: asked.q.clone(),
            sort,
            down: asked.down,
            all: number(computers.all),
            found: number(computers.len() as u64),
            csv: format!("{}", whole.below("computers.csv")),
            rows: computers.from(pages.first()).take(PAGE).map(row).collect(),
            group: group.map(|view| Group::new(view, configured, &link, now)),
            link: link.to_string(),
            connection: connection.to_owned(),
            frame,
            heads,
            pages,
        }
    }
}

impl Group {
    fn new(view: GroupView, configured: &Configured, link: &Link, now: i64) -> Self {
        let resend = link.clone().below("resend").to_string();
        let search = log_search(&view.alias);
        let portal = configured.portal.as_ref().filter(|_| !view.alias.is_empty());
        Self {
            portal: portal.and_then(|portal| portal.link(&search)),
            search,
            read: Time::new(view.last_read, now),
            sent: (view.last_snapshot > 0).then(|| Time::new(view.last_snapshot, now)),
            name: view.name,
            folder: view.folder,
            alias: view.alias,
            snapshot: view.snapshot,
            is_static: view.is_static,
            resend,
            history: link.clone().below("history").to_string(),
            activity: activity::address(&view.connection, &view.collection).to_string(),
            collection: view.collection,
        }
    }
}
