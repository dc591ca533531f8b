//! Dead letters: what was set aside, what it was, and the two ways to go on.

use askama::Template;
use cmsync_control::DeadLetterView;

use super::link::{Link, Pages};
use super::words::Time;
use crate::access::Frame;

/// Letters on a page.
pub(crate) const PAGE: usize = 25;
/// Characters of a row or message that are shown.
const SHOWN: usize = 4_000;

/// The page.
#[derive(Template)]
#[template(path = "letters.html")]
pub(crate) struct Page {
    frame: Frame,
    rows: Vec<Row>,
    pages: Pages,
}

struct Row {
    id: String,
    connection: String,
    stage: String,
    reason: String,
    error: String,
    collection: String,
    since: Time,
    payload: String,
    /// What was decided a moment ago.
    asked: Option<String>,
    link: String,
}

/// What a person may decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Decision {
    /// Sent again.
    Replay,
    /// Dropped.
    Drop,
}

/// Where one stands in the list.
pub(crate) fn pages(all: usize, page: usize) -> Pages {
    Pages::new(all, PAGE, page, &Link::to("/dead-letters"))
}

impl Page {
    pub(crate) fn new(
        frame: Frame,
        (views, pages): (Vec<DeadLetterView>, Pages),
        now: i64,
    ) -> Self {
        let rows = views.into_iter().map(|view| row(view, now)).collect();
        Self { frame, rows, pages }
    }
}

fn row(view: DeadLetterView, now: i64) -> Row {
    let mut payload: String = view.payload.chars().take(SHOWN).collect();
    if payload.len() < view.payload.len() {
        payload.push('…');
    }
    Row {
        link: Link::to("/dead-letters").part(&view.id).to_string(),
        since: Time::new(view.first_seen, now),
        id: view.id,
        connection: view.connection,
        stage: view.stage,
        reason: view.reason,
        error: view.error,
        collection: view.collection,
        asked: view.asked,
        payload,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{By, Person, Role};

    #[test]
    fn a_letter_can_be_looked_into_and_its_id_stays_one_part_of_the_address() {
        let view = DeadLetterView {
            id: "cmsync.records.contoso/3/17/0".into(),
            connection: "contoso".into(),
            stage: "uploader".into(),
            reason: "refused".into(),
            error: "column `ResourceId` <b>".into(),
            collection: "PS100014".into(),
            first_seen: 1_000_000,
            payload: "x".repeat(5_000),
            asked: None,
        };
        let person = Person {
            name: "alice".into(),
            by: By::Ticket,
            role: Role::Operator,
            csrf: "c5rf".into(),
        };
        let frame = Frame { person: Some(person), ..Frame::default() };
        let text = Page::new(frame, (vec![view], pages(1, 1)), 61_000_000).render().unwrap();
        assert!(text.contains("action=\"/dead-letters/cmsync%2Erecords%2Econtoso%2F3%2F17%2F0\""));
        assert!(text.contains("column `ResourceId` &#60;b&#62;"), "{text}");
        assert!(text.contains('…') && text.matches('x').count() < 4_200);
    }
}
