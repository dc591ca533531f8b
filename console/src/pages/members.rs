//! One computer group: its members, page by page.

use askama::Template;
use cmsync_control::{GroupView, MemberView};
use serde::Deserialize;

use super::link::{Link, Pages};
use super::words::number;

/// Members on a page.
const PAGE: usize = 100;

/// What a person looks for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    /// A part of a computer's name, in any case.
    q: String,
    /// From 1.
    page: usize,
}

/// The page.
#[derive(Template)]
#[template(path = "members.html")]
pub(crate) struct Page {
    connection: String,
    collection: String,
    name: String,
    alias: String,
    q: String,
    all: String,
    found: String,
    link: String,
    rows: Vec<MemberView>,
    pages: Pages,
}

impl Page {
    pub(crate) fn new(group: GroupView, members: Vec<MemberView>, asked: &Asked) -> Self {
        let all = number(members.len() as u64);
        let wanted = asked.q.trim().to_lowercase();
        let is_found = |member: &MemberView| {
            let names = [&member.computer, &member.netbios_name];
            names.iter().any(|name| name.to_lowercase().contains(&wanted))
        };
        let mut found: Vec<MemberView> = members.into_iter().filter(is_found).collect();
        found.sort_by_cached_key(|member| (member.computer.to_lowercase(), member.resource_id));
        let link = Link::to("/groups").part(&group.connection).part(&group.collection);
        let pages =
            Pages::new(found.len(), PAGE, asked.page, &link.clone().with("q", asked.q.trim()));
        Self {
            q: asked.q.clone(),
            all,
            found: number(found.len() as u64),
            rows: found.into_iter().skip(pages.first()).take(PAGE).collect(),
            link: link.to_string(),
            connection: group.connection,
            collection: group.collection,
            name: group.name,
            alias: group.alias,
            pages,
        }
    }
}
