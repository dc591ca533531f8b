//! What was: of a collection its size, snapshots and changes; of a computer its groups' changes. It is the
//! workspace that says it.

use askama::Template;
use cmsync_control::history::{ChangeView, CollectionHistory, MOST, MarkerView};
use serde::Serialize;

use super::link::Link;
use super::words::{Time, number, span};
use crate::access::Frame;
use crate::samples::Unit;

/// The page.
#[derive(Template)]
#[template(path = "history.html")]
pub(crate) struct Page {
    frame: Frame,
    /// What it is of, and where that is shown.
    title: String,
    back: String,
    /// How far back the workspace was asked, in days.
    days: u32,
    /// Why nothing is known.
    wrong: String,
    /// Whether it is of a collection.
    has_markers: bool,
    markers: Vec<Marker>,
    changes: Vec<Change>,
    /// Whether the workspace may have older ones within those days.
    is_cut: bool,
    /// What the page's script draws.
    drawn: String,
}

struct Marker {
    at: Time,
    what: &'static str,
    name: String,
    members: String,
    took: String,
}

struct Change {
    at: Time,
    name: String,
    link: Option<String>,
    went: bool,
}

/// As plots of the process's samples are.
#[derive(Serialize)]
struct Drawn {
    times: Vec<f64>,
    plots: [Plot; 1],
}

#[derive(Serialize)]
struct Plot {
    id: &'static str,
    unit: Unit,
    lines: [Line; 1],
}

#[derive(Serialize)]
struct Line {
    name: &'static str,
    values: Vec<i64>,
}

/// The history of a collection, or of a computer with its connection.
pub(crate) enum Known<'a> {
    Collection(CollectionHistory),
    Computer { connection: &'a str, days: u32, changes: Vec<ChangeView> },
}

fn marker(view: &MarkerView, now: i64) -> Marker {
    let is_renamed = view.at != view.started_at;
    let is_whole = view.status == "Complete" && !is_renamed;
    Marker {
        at: Time::new(view.at, now),
        what: match (view.status.as_str(), is_renamed) {
            ("Removed", _) => "The collection is gone",
            (_, true) => "A new name",
            (_, false) => "A snapshot is complete",
        },
        name: view.name.clone(),
        members: if is_whole { number(view.members.unsigned_abs()) } else { String::new() },
        took: match view.came_at.filter(|came| is_whole && *came >= view.started_at) {
            Some(came) => span(view.started_at, came),
            None => String::new(),
        },
    }
}

/// The size over time, oldest first.
fn drawn(markers: &[MarkerView]) -> String {
    let whole = markers.iter().rev().filter(|m| m.status == "Complete" && m.at == m.started_at);
    #[expect(clippy::cast_precision_loss, reason = "microseconds of this century fit")]
    let (times, values) = whole.map(|m| (m.started_at as f64 / 1e6, m.members)).unzip();
    let lines = [Line { name: "members", values }];
    let plots = [Plot { id: "size", unit: Unit::Count, lines }];
    serde_json::to_string(&Drawn { times, plots }).unwrap_or_default()
}

impl Page {
    pub(crate) fn new(
        frame: Frame,
        (title, back): (String, Link),
        known: Result<Known<'_>, String>,
        now: i64,
    ) -> Self {
        let mut page = Self {
            frame,
            title,
            back: back.to_string(),
            days: 0,
            wrong: String::new(),
            has_markers: false,
            markers: Vec::new(),
            changes: Vec::new(),
            is_cut: false,
            drawn: String::new(),
        };
        match known {
            Err(wrong) => page.wrong = wrong,
            Ok(Known::Collection(history)) => {
                page.days = history.days;
                page.has_markers = true;
                page.drawn = drawn(&history.markers);
                page.markers = history.markers.iter().map(|view| marker(view, now)).collect();
                page.changes = history.changes.into_iter().map(|c| change(c, None, now)).collect();
            }
            Ok(Known::Computer { connection, days, changes }) => {
                page.days = days;
                let of = |c: ChangeView| change(c, Some(connection), now);
                page.changes = changes.into_iter().map(of).collect();
            }
        }
        page.is_cut = page.changes.len() >= MOST;
        page
    }
}

fn change(view: ChangeView, connection: Option<&str>, now: i64) -> Change {
    let ChangeView { at, collection, name, went } = view;
    Change {
        at: Time::new(at, now),
        link: connection.map(|own| Link::to("/groups").part(own).part(&collection).to_string()),
        name: if name.is_empty() { collection } else { name },
        went,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000_000;

    fn seen(at: i64, started_at: i64, status: &str) -> MarkerView {
        let name = "<b>Servers</b>".into();
        let came_at = Some(started_at + 65_000_000);
        MarkerView { started_at, at, members: 1_234, status: status.into(), name, came_at }
    }

    #[test]
    fn snapshots_are_told_from_new_names_and_drawn_from_the_oldest_on() {
        let first = NOW - 90_000_000_000;
        let markers = vec![
            seen(NOW - 10, first, "Removed"),
            seen(NOW - 3_600_000_000, NOW - 3_600_000_000, "Complete"),
            seen(first + 5, first, "Complete"),
            seen(first, first, "Complete"),
        ];
        let history = CollectionHistory { days: 7, markers, changes: Vec::new() };
        let known = Ok(Known::Collection(history));
        let about = ("Servers".to_owned(), Link::to("/groups"));
        let page = Page::new(Frame::default(), about, known, NOW);
        let whats: Vec<&str> = page.markers.iter().map(|marker| marker.what).collect();
        let whole = "A snapshot is complete";
        assert_eq!(whats, ["The collection is gone", whole, "A new name", whole]);
        assert_eq!(page.markers[1].took, "1 min");
        let data: serde_json::Value = serde_json::from_str(&page.drawn).unwrap();
        assert_eq!(data["times"].as_array().unwrap().len(), 2);
        assert!(data["times"][0].as_f64() < data["times"][1].as_f64());
        let text = page.render().unwrap();
        assert!(!text.contains("<b>Servers") && text.contains("&#60;b&#62;Servers"), "{text}");
    }

    #[test]
    fn a_workspace_that_cannot_be_asked_says_why() {
        let about = ("PC1".to_owned(), Link::to("/"));
        let page = Page::new(Frame::default(), about, Err("403 <x>".into()), NOW);
        let text = page.render().unwrap();
        assert!(text.contains("403 &#60;x&#62;") && !text.contains("<table"), "{text}");
    }
}
