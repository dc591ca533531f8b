//! One computer: the groups that it is in.

use askama::Template;
use cmsync_control::MembershipView;

use super::link::Link;
use crate::access::Frame;

/// The page.
#[derive(Template)]
#[template(path = "computer.html")]
pub(crate) struct Page {
    frame: Frame,
    connection: String,
    computer: String,
    all: String,
    history: String,
    rows: Vec<Row>,
}

struct Row {
    view: MembershipView,
    link: String,
}

impl Page {
    pub(crate) fn new(
        frame: Frame,
        (connection, computer): (String, String),
        mut views: Vec<MembershipView>,
    ) -> Self {
        views.sort_by_cached_key(|view| (view.name.to_lowercase(), view.collection.clone()));
        let row = |view: MembershipView| {
            let link = Link::to("/groups").part(&connection).part(&view.collection).to_string();
            Row { view, link }
        };
        let rows = views.into_iter().map(row).collect();
        let all = super::computers::address(&connection).to_string();
        let own = Link::to("/computer").part(&connection).part(&computer);
        let history = own.below("history").to_string();
        Self { frame, connection, computer, all, history, rows }
    }
}
