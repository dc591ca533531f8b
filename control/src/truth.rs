//! Whether the workspace shows what the site has, as far as this process knows; and what needs a
//! person. A pure judgement of a connection's view, so that the command line and the page say the same.

use serde::{Deserialize, Serialize};

use crate::views::{ConnectionView, StageView};

/// A poll that is older than this many seconds says nothing of now.
const STALE: i64 = 15 * 60;

/// How a connection is, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The site was read a moment ago and everything that changed was taken.
    True,
    /// Something is on its way.
    Behind,
    /// A stage waits for a person, or stopped.
    Blocked,
    /// A person paused it: true as of then.
    Paused,
    /// The site was not read yet.
    Unknown,
}

/// The judgement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truth {
    /// In one word.
    pub verdict: Verdict,
    /// What makes it so, for a person.
    pub reason: String,
    /// What the workspace shows is what the site had then; microseconds since 1970, 0 for never.
    pub as_of: i64,
    /// What needs a person, most urgent first.
    pub needs: Vec<String>,
}

fn stage<'a>(view: &'a ConnectionView, name: &str) -> Option<&'a StageView> {
    view.stages.iter().find(|stage| stage.stage == name)
}

fn count(number: i64, one: &str, more: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {more}") }
}

/// What a person is asked for.
fn needs(view: &ConnectionView) -> Vec<String> {
    let mut needs: Vec<String> = view
        .stages
        .iter()
        .filter(|stage| is_blocked(view, stage))
        .map(|stage| format!("the {} waits: {}", stage.stage, stage.reason))
        .collect();
    if view.held_removals > 0 {
        let held = count(view.held_removals, "removal waits", "removals wait");
        needs.push(format!("{held} for a decision"));
    }
    if view.dead_letters > 0 {
        needs.push(format!("{} set aside", count(view.dead_letters, "record is", "records are")));
    }
    needs.extend(view.warnings.iter().cloned());
    needs
}

fn is_blocked(view: &ConnectionView, stage: &StageView) -> bool {
    let by_person = view.is_paused && stage.stage == "producer";
    stage.state == "Stopped" || (stage.state == "Paused" && !by_person)
}

/// Judges a connection at a time, in microseconds since 1970.
#[must_use]
pub fn judge(view: &ConnectionView, now: i64) -> Truth {
    let as_of = stage(view, "producer").map_or(0, |producer| producer.last_success);
    let blocked = view.stages.iter().find(|stage| is_blocked(view, stage));
    let (verdict, reason) = if let Some(stage) = blocked {
        (Verdict::Blocked, format!("the {} waits: {}", stage.stage, stage.reason))
    } else if view.is_paused {
        (Verdict::Paused, "paused by a person".to_owned())
    } else if as_of == 0 {
        (Verdict::Unknown, "the site was not read yet".to_owned())
    } else if view.waiting_messages > 0 {
        let waiting = i64::try_from(view.waiting_messages).unwrap_or(i64::MAX);
        (Verdict::Behind, format!("{} on the way", count(waiting, "message is", "messages are")))
    } else if now - as_of > STALE * 1_000_000 {
        (Verdict::Behind, "the site was not read for a while".to_owned())
    } else {
        (Verdict::True, "everything that changed was taken".to_owned())
    };
    Truth { verdict, reason, as_of, needs: needs(view) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000_000;

    fn view() -> ConnectionView {
        let stage = |name: &str| StageView {
            stage: name.into(),
            state: "Working".into(),
            reason: String::new(),
            since: NOW - 60_000_000,
            last_success: NOW - 1_000_000,
        };
        ConnectionView {
            connection: "contoso".into(),
            site_code: "CAS".into(),
            collections: 3,
            members: 30,
            held_removals: 0,
            dead_letters: 0,
            waiting_bytes: 0,
            waiting_messages: 0,
            waiting_changes: 0,
            is_paused: false,
            warnings: Vec::new(),
            stages: ["producer", "transformer", "uploader"].map(stage).into(),
        }
    }

    #[test]
    fn a_connection_is_true_once_the_site_was_read_and_nothing_waits() {
        let truth = judge(&view(), NOW);
        assert_eq!((truth.verdict, truth.as_of), (Verdict::True, NOW - 1_000_000));
        assert!(truth.needs.is_empty());
    }

    #[test]
    fn what_waits_or_is_old_is_behind() {
        let waits = ConnectionView { waiting_messages: 2, ..view() };
        assert_eq!(judge(&waits, NOW).verdict, Verdict::Behind);
        assert_eq!(judge(&view(), NOW + 3_600_000_000).verdict, Verdict::Behind);
    }

    #[test]
    fn a_stage_that_waits_blocks_and_says_why_and_a_pause_by_a_person_does_not() {
        let mut paused = view();
        paused.stages[0].state = "Paused".into();
        paused.stages[0].reason = "paused by `connection pause`".into();
        paused.is_paused = true;
        assert_eq!(judge(&paused, NOW).verdict, Verdict::Paused);
        assert!(judge(&paused, NOW).needs.is_empty());
        paused.stages[2].state = "Paused".into();
        paused.stages[2].reason = "the secret ended".into();
        let truth = judge(&paused, NOW);
        assert_eq!(truth.verdict, Verdict::Blocked);
        assert_eq!(truth.reason, "the uploader waits: the secret ended");
        assert_eq!(truth.needs, ["the uploader waits: the secret ended"]);
    }

    #[test]
    fn what_was_never_read_is_unknown() {
        let mut new = view();
        new.stages[0].last_success = 0;
        assert_eq!(judge(&new, NOW).verdict, Verdict::Unknown);
    }

    #[test]
    fn held_removals_dead_letters_and_warnings_need_a_person() {
        let warnings = vec!["the secret ends in 6 days".to_owned()];
        let view = ConnectionView { held_removals: 1, dead_letters: 2, warnings, ..view() };
        let expected = [
            "1 removal waits for a decision",
            "2 records are set aside",
            "the secret ends in 6 days",
        ];
        assert_eq!(judge(&view, NOW).needs, expected);
    }
}
