//! Held removals: what would go, and the two ways to decide.

use askama::Template;
use cmsync_control::RemovalView;

use super::link::{Link, Pages};
use super::words::{Time, number};
use crate::access::Frame;

/// Removals on a page.
pub(crate) const PAGE: usize = 20;

/// The page.
#[derive(Template)]
#[template(path = "removals.html")]
pub(crate) struct Page {
    frame: Frame,
    rows: Vec<Row>,
    pages: Pages,
}

struct Row {
    connection: String,
    collection: String,
    name: String,
    what: String,
    computers: String,
    reason: String,
    since: Time,
    is_dismissed: bool,
    print: String,
    /// What was decided a moment ago.
    asked: Option<String>,
    link: String,
}

/// What a person may decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Decision {
    /// It goes.
    Approve,
    /// The members stay until what would go changes.
    Dismiss,
}

/// Where one stands in the list.
pub(crate) fn pages(all: usize, page: usize) -> Pages {
    Pages::new(all, PAGE, page, &Link::to("/removals"))
}

impl Page {
    pub(crate) fn new(frame: Frame, (views, pages): (Vec<RemovalView>, Pages), now: i64) -> Self {
        let rows = views.into_iter().map(|view| row(view, now)).collect();
        Self { frame, rows, pages }
    }
}

fn row(view: RemovalView, now: i64) -> Row {
    let named = view.computers.len() as u64;
    let mut computers = view.computers.join(", ");
    if named > 0 && view.members > named {
        computers += &format!(" and {} more", number(view.members - named));
    }
    Row {
        link: Link::to("/removals").part(&view.connection).part(&view.collection).to_string(),
        what: match (view.is_collection, view.members) {
            (true, members) => format!("the collection, with {} members", number(members)),
            (false, 1) => "1 member".into(),
            (false, members) => format!("{} members", number(members)),
        },
        computers,
        since: Time::new(view.since, now),
        connection: view.connection,
        collection: view.collection,
        name: view.name,
        reason: view.reason,
        is_dismissed: view.is_dismissed,
        print: view.print,
        asked: view.asked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{By, Person, Role};

    #[test]
    fn what_would_go_is_named_and_each_decision_has_its_own_button() {
        let view = RemovalView {
            connection: "contoso".into(),
            collection: "PS100014".into(),
            name: "<i>Servers</i>".into(),
            is_collection: false,
            members: 3,
            computers: vec!["a.contoso.com".into(), "b.contoso.com".into()],
            reason: "the account's row changed".into(),
            since: 1_000_000,
            is_dismissed: false,
            print: "0123456789abcdef".into(),
            asked: None,
        };
        let person = Person {
            name: "alice".into(),
            by: By::Ticket,
            role: Role::Operator,
            csrf: "c5rf".into(),
        };
        let page = |view: RemovalView, person| {
            let rows = (vec![view], pages(1, 1));
            Page::new(Frame { person, ..Frame::default() }, rows, 61_000_000).render().unwrap()
        };
        let text = page(view.clone(), Some(person.clone()));
        for part in [
            "&#60;i&#62;Servers&#60;/i&#62;",
            "3 members",
            "a.contoso.com, b.contoso.com and 1 more",
            "1 min ago",
            "action=\"/removals/contoso/PS100014\"",
            "value=\"approve\"",
            "value=\"dismiss\"",
            "name=\"seen\" value=\"0123456789abcdef\"",
            "name=\"csrf\" value=\"c5rf\"",
        ] {
            assert!(text.contains(part), "`{part}` is missing: {text}");
        }
        // Who only reads gets no button; neither does what is decided.
        for text in [
            page(view.clone(), None),
            page(RemovalView { asked: Some("approve".into()), ..view }, Some(person)),
        ] {
            assert!(!text.contains("value=\"approve\""), "{text}");
        }
    }
}
