//! The first page: is the workspace true, and what needs a person?

use askama::Template;
use cmsync_control::{About, ConnectionView, Health, Need, StageView, Truth, Verdict};

use super::connection;
use super::words::{Time, ago, clock, number, span, stamp, until};
use crate::access::Frame;
use crate::configured::Configured;
use crate::samples::{Lately, Since};

/// What is seen of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) view: ConnectionView,
    pub(crate) truth: Truth,
    pub(crate) configured: Configured,
    /// Computers in one collection or more; `None` while they are counted.
    pub(crate) computers: Option<u64>,
    /// When the collection was sent whole that was so longest ago.
    pub(crate) oldest_snapshot: Option<i64>,
    /// Since when it is as it is; `None` where that began a moment ago.
    pub(crate) since: Option<Since>,
    pub(crate) lately: Lately,
}

/// The page.
#[derive(Template)]
#[template(path = "overview.html")]
pub(crate) struct Page {
    pub(crate) frame: Frame,
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
    link: String,
    site: String,
    /// For the eye: a class of the style sheet, and a word that says the same.
    verdict: (&'static str, &'static str),
    /// For how long it is so.
    since: Option<String>,
    reason: String,
    read: Option<Time>,
    facts: Vec<(&'static str, String)>,
    steps: Vec<Step>,
    /// Each with where it is looked at, where there is such a page.
    needs: Vec<(String, Option<String>)>,
}

/// A place on the way from the site to the workspace.
struct Step {
    name: &'static str,
    detail: String,
    /// What is wrong there.
    trouble: Option<String>,
}

impl Cards {
    pub(crate) fn new(looks: &[Look], now: i64) -> Self {
        let cards = looks.iter().map(|look| card(look, now)).collect();
        Self { trouble: None, cards, now: (stamp(now), clock(now)) }
    }

    /// What is shown when nobody answers.
    pub(crate) fn unknown(trouble: String, now: i64) -> Self {
        Self { trouble: Some(trouble), cards: Vec::new(), now: (stamp(now), clock(now)) }
    }
}

pub(super) fn verdict(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::True => ("true", "True"),
        Verdict::Differs => ("behind", "Differs"),
        Verdict::Behind => ("behind", "Catching up"),
        Verdict::Blocked => ("blocked", "Needs you"),
        Verdict::Paused => ("paused", "Paused"),
        Verdict::Unknown => ("unknown", "Not known yet"),
    }
}

fn card(look: &Look, now: i64) -> Card {
    let Look { view, truth, .. } = look;
    Card {
        name: view.connection.clone(),
        link: connection::address(&view.connection).to_string(),
        site: view.site_code.clone(),
        verdict: verdict(truth.verdict),
        since: look.since.map(|since| {
            let longer = if since.is_from_start { " or longer" } else { "" };
            format!("for {}{longer}", span(since.at, now))
        }),
        reason: truth.reason.clone(),
        read: (truth.read_at > 0).then(|| Time::new(truth.read_at, now)),
        facts: facts(look, now),
        steps: steps(look, now),
        needs: truth.needs.iter().map(|need| (need.text.clone(), place(need, view))).collect(),
    }
}

/// Where something that needs a person is looked at.
fn place(need: &Need, view: &ConnectionView) -> Option<String> {
    match need.about {
        About::Removals => Some("/removals".to_owned()),
        About::DeadLetters => Some("/dead-letters".to_owned()),
        About::Stage | About::Workspace | About::Warning => {
            Some(connection::address(&view.connection).to_string())
        }
    }
}

fn facts(look: &Look, now: i64) -> Vec<(&'static str, String)> {
    let Look { view, truth, configured, computers, oldest_snapshot, .. } = look;
    let unknown = || "not known yet".to_owned();
    // After a start, what the producer keeps is known from its first poll on.
    let kept = |count: i64| match truth.read_at {
        0 => unknown(),
        _ => number(u64::try_from(count).unwrap_or(0)),
    };
    let interval = i64::try_from(configured.snapshots.as_micros()).unwrap_or(0);
    let next = oldest_snapshot.map_or_else(unknown, |at| until(at + interval, now));
    let mut facts = vec![
        ("Collections", kept(view.collections)),
        ("Computers", computers.map_or_else(unknown, number)),
        ("Memberships", kept(view.members)),
        changes(look.lately),
        ("Next snapshot", next),
    ];
    if truth.verified_at > 0 {
        facts.push(("Verified", ago(truth.verified_at, now)));
    }
    if let Some((what, at)) = configured.expires {
        let at = at.saturating_mul(1_000_000);
        let titles = match what == "certificate" {
            true => ("Certificate ends", "Certificate ended"),
            false => ("Secret ends", "Secret ended"),
        };
        facts.push(match at > now {
            true => (titles.0, until(at, now)),
            false => (titles.1, ago(at, now)),
        });
    }
    facts
}

/// What the workspace took of changes in the last day, or since the process began to count.
fn changes(lately: Lately) -> (&'static str, String) {
    let span = if lately.is_full_day { "a day" } else { "so far" };
    let count = |count| format!("{} {span}", number(count));
    ("Change messages", lately.changes.map_or_else(|| "not known yet".to_owned(), count))
}

/// Site, changes, records, workspace: what waits at each, and the last error where it happened.
fn steps(Look { view, lately, .. }: &Look, now: i64) -> Vec<Step> {
    let stage = |name: &str| view.stages.iter().find(|stage| stage.stage == name);
    let trouble = |name: &str| {
        let stage = stage(name).filter(|s| s.state >= Health::Paused);
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
    let lag = match view.oldest_waiting {
        0 => String::new(),
        at => format!(", the oldest for {}", span(at, now)),
    };
    let a_minute = |count: Option<u64>, what: &str| match count {
        None | Some(0) => String::new(),
        Some(count) => format!(", {} {what} a minute", number(count)),
    };
    let rows = a_minute(lately.alone.map(|(rows, _)| rows), "rows");
    let records_taken = a_minute(lately.alone.map(|(_, records)| records), "records");
    // It is of a record where one waits: those are further on their way.
    let (of_changes, of_records) = match records {
        0 => (lag, String::new()),
        _ => (String::new(), lag),
    };
    vec![
        Step {
            name: "Site",
            detail: last("read", stage("producer")) + &rows,
            trouble: trouble("producer"),
        },
        Step {
            name: "Changes",
            detail: waiting(view.waiting_changes)
                + &of_changes
                + &a_minute(lately.a_minute, "messages"),
            trouble: trouble("transformer"),
        },
        Step {
            name: "Records",
            detail: waiting(records) + &of_records,
            trouble: trouble("uploader"),
        },
        Step {
            name: "Workspace",
            detail: last("took rows", stage("uploader")) + &records_taken,
            trouble: trouble("groups"),
        },
    ]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: i64 = 1_800_000_000_000_000;

    fn look(text: &str, read_at: i64) -> Look {
        let stage = StageView {
            stage: "uploader".into(),
            state: Health::Paused,
            reason: text.into(),
            cause: "rights".into(),
            since: 1,
            last_success: 0,
            warnings: vec![text.into()],
        };
        let view = ConnectionView {
            connection: text.into(),
            site_code: text.into(),
            collections: 0,
            members: 0,
            held_removals: 0,
            dead_letters: 1,
            waiting_bytes: 0,
            waiting_messages: 0,
            waiting_changes: 0,
            oldest_waiting: 0,
            is_paused: false,
            warnings: vec![text.into()],
            stages: vec![stage],
        };
        let mut truth = cmsync_control::judge(&view, NOW, Duration::from_secs(60));
        truth.read_at = read_at;
        let (configured, computers) = (Configured::default(), None);
        Look {
            view,
            truth,
            configured,
            computers,
            oldest_snapshot: None,
            since: None,
            lately: Lately::default(),
        }
    }

    fn page(looks: &[Look]) -> String {
        Page { frame: Frame::default(), cards: Cards::new(looks, NOW) }.render().unwrap()
    }

    #[test]
    fn what_comes_from_outside_is_text_and_never_markup() {
        let page = page(&[look("<script>alert(1)</script>\"'><img src=x>", NOW)]);
        assert!(page.contains("&#60;script&#62;alert(1)"), "{page}");
        assert!(!page.contains("<script>") && !page.contains("<img src=x"), "{page}");
        assert!(!page.contains("-<"), "{page}");
    }

    #[test]
    fn what_needs_a_person_leads_to_where_it_is_decided() {
        let page = page(&[look("contoso", NOW)]);
        assert!(page.contains("href=\"/dead-letters\">1 record is set aside</a>"), "{page}");
        assert!(page.contains("href=\"/connections/contoso\">sending rows waits"), "{page}");
    }

    #[test]
    fn rates_stand_where_they_are_of_this_connection_alone() {
        let mut look = look("contoso", NOW);
        look.lately = Lately { a_minute: Some(7), alone: Some((1_200, 980)), ..Lately::default() };
        let page = page(&[look.clone()]).replace('\u{202f}', "");
        for part in [", 7 messages a minute", ", 1200 rows a minute", ", 980 records a minute"] {
            assert!(page.contains(part), "`{part}`: {page}");
        }
        look.lately.alone = None;
        assert!(!self::page(&[look]).contains("rows a minute"));
    }

    #[test]
    fn before_the_first_poll_nothing_is_called_zero() {
        let before = page(&[look("contoso", 0)]);
        assert!(before.contains("<dt>Memberships</dt><dd>not known yet</dd>"), "{before}");
        let after = page(&[look("contoso", NOW)]);
        assert!(after.contains("<dt>Memberships</dt><dd>0</dd>"), "{after}");
    }
}
