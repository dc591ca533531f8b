//! The first page: is the workspace true, and what needs a person?

use askama::Template;
use cmsync_control::{ConnectionView, StageView, Truth, Verdict, judge};

use super::words::{Time, ago, clock, number, stamp};

/// The page.
#[derive(Template)]
#[template(path = "overview.html")]
pub(crate) struct Page {
    pub(crate) cards: Cards,
}

/// The part that is written anew while somebody looks.
#[derive(Template)]
#[template(path = "cards.html")]
pub(crate) struct Cards {
    /// Why nothing is known, where that is so.
    trouble: Option<String>,
    cards: Vec<Card>,
    /// For machines, and for people.
    now: (String, String),
}

struct Card {
    name: String,
    site: String,
    /// For the eye: a class of the style sheet, and a word that says the same.
    verdict: (&'static str, &'static str),
    reason: String,
    read: Option<Time>,
    facts: Vec<(&'static str, String)>,
    steps: Vec<Step>,
    needs: Vec<String>,
}

/// A place on the way from the site to the workspace.
struct Step {
    name: &'static str,
    detail: String,
    /// What is wrong there.
    trouble: Option<String>,
}

impl Cards {
    pub(crate) fn new(views: &[ConnectionView], now: i64) -> Self {
        let cards = views.iter().map(|view| card(view, &judge(view, now), now)).collect();
        Self { trouble: None, cards, now: (stamp(now), clock(now)) }
    }

    /// What is shown when nobody answers.
    pub(crate) fn unknown(trouble: String, now: i64) -> Self {
        Self { trouble: Some(trouble), cards: Vec::new(), now: (stamp(now), clock(now)) }
    }
}

fn verdict(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::True => ("true", "True"),
        Verdict::Differs => ("behind", "Differs"),
        Verdict::Behind => ("behind", "Catching up"),
        Verdict::Blocked => ("blocked", "Needs you"),
        Verdict::Paused => ("paused", "Paused"),
        Verdict::Unknown => ("unknown", "Not known yet"),
    }
}

fn card(view: &ConnectionView, truth: &Truth, now: i64) -> Card {
    let read = (truth.read_at > 0)
        .then(|| Time { stamp: stamp(truth.read_at), ago: ago(truth.read_at, now) });
    let count = |count: i64| number(u64::try_from(count).unwrap_or(0));
    Card {
        name: view.connection.clone(),
        site: view.site_code.clone(),
        verdict: verdict(truth.verdict),
        reason: truth.reason.clone(),
        read,
        facts: vec![
            ("Collections", count(view.collections)),
            ("Memberships", count(view.members)),
            ("Held removals", count(view.held_removals)),
            ("Set aside", count(view.dead_letters)),
        ],
        steps: steps(view, now),
        needs: truth.needs.clone(),
    }
}

/// Site, changes, records, workspace: what waits at each, and the last error where it happened.
fn steps(view: &ConnectionView, now: i64) -> Vec<Step> {
    let stage = |name: &str| view.stages.iter().find(|stage| stage.stage == name);
    let trouble = |name: &str| {
        let stage = stage(name).filter(|s| s.state == "Paused" || s.state == "Stopped");
        stage.map(|stage| stage.reason.clone())
    };
    let last = |word: &str, stage: Option<&StageView>| {
        let at = stage.map(|stage| stage.last_success).filter(|at| *at > 0);
        at.map_or_else(|| format!("not {word} yet"), |at| format!("{word} {}", ago(at, now)))
    };
    let waiting = |count: u64| match count {
        0 => "nothing waits".to_owned(),
        1 => "1 message waits".to_owned(),
        more => format!("{} messages wait", number(more)),
    };
    let records = view.waiting_messages.saturating_sub(view.waiting_changes);
    vec![
        Step {
            name: "Site",
            detail: last("read", stage("producer")),
            trouble: trouble("producer"),
        },
        Step {
            name: "Changes",
            detail: waiting(view.waiting_changes),
            trouble: trouble("transformer"),
        },
        Step { name: "Records", detail: waiting(records), trouble: trouble("uploader") },
        Step {
            name: "Workspace",
            detail: last("took rows", stage("uploader")),
            trouble: trouble("groups"),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_is_text_and_never_markup() {
        let markup = "<script>alert(1)</script>\"'><img src=x>";
        let stage = StageView {
            stage: "uploader".into(),
            state: "Paused".into(),
            reason: markup.into(),
            cause: "other".into(),
            since: 1,
            last_success: 0,
        };
        let view = ConnectionView {
            connection: markup.into(),
            site_code: markup.into(),
            collections: 0,
            members: 0,
            held_removals: 0,
            dead_letters: 0,
            waiting_bytes: 0,
            waiting_messages: 0,
            waiting_changes: 0,
            is_paused: false,
            warnings: vec![markup.into()],
            stages: vec![stage],
        };
        let page = Page { cards: Cards::new(&[view], 1_800_000_000_000_000) }.render().unwrap();
        assert!(page.contains("&#60;script&#62;alert(1)"), "{page}");
        assert!(!page.contains("<script>") && !page.contains("<img src=x"), "{page}");
        assert!(!page.contains("id=\"c-<"), "{page}");
    }
}
