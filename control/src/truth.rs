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
    /// The site was read a moment ago and the workspace took everything that changed.
    True,
    /// The workspace took everything but what waits for a decision, or was set aside.
    Differs,
    /// Something is on its way, or is tried again by itself.
    Behind,
    /// A stage waits for a person, or stopped.
    Blocked,
    /// A person, or a setting, lets the site rest.
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
    /// The site was read whole then; microseconds since 1970, 0 for never.
    pub read_at: i64,
    /// What needs a person, most urgent first.
    pub needs: Vec<String>,
}

/// What people call a stage's work.
fn work(stage: &StageView) -> &str {
    match stage.stage.as_str() {
        "producer" => "reading the site",
        "transformer" => "mapping changes",
        "uploader" => "sending rows",
        "groups" => "keeping computer groups",
        other => other,
    }
}

fn count(number: i64, one: &str, more: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {more}") }
}

fn needs_person(stage: &&StageView) -> bool {
    stage.state == "Stopped"
        || (stage.state == "Paused" && ["rights", "credential"].contains(&stage.cause.as_str()))
}

fn is_at_rest(stage: &&StageView) -> bool {
    stage.state == "Paused" && stage.cause == "asked"
}

fn is_trying(stage: &&StageView) -> bool {
    stage.state == "Paused" && !needs_person(stage) && !is_at_rest(stage)
}

fn said(stage: &StageView) -> String {
    format!("{} waits: {}", work(stage), stage.reason)
}

/// What differs until a person decides.
fn decisions(view: &ConnectionView) -> Vec<String> {
    let held = count(view.held_removals, "removal waits", "removals wait");
    let aside = count(view.dead_letters, "record is set aside", "records are set aside");
    let both = [(view.held_removals, format!("{held} for a decision")), (view.dead_letters, aside)];
    both.into_iter().filter(|(number, _)| *number > 0).map(|(_, text)| text).collect()
}

/// Judges a connection at a time, in microseconds since 1970.
#[must_use]
pub fn judge(view: &ConnectionView, now: i64) -> Truth {
    let producer = view.stages.iter().find(|stage| stage.stage == "producer");
    let read_at = producer.map_or(0, |producer| producer.last_success);
    let find = |is_so: fn(&&StageView) -> bool| view.stages.iter().find(is_so);
    let decisions = decisions(view);
    let waiting = i64::try_from(view.waiting_messages).unwrap_or(i64::MAX);
    let (verdict, reason) = if let Some(stage) = find(needs_person) {
        (Verdict::Blocked, said(stage))
    } else if let Some(stage) = find(is_at_rest) {
        (Verdict::Paused, stage.reason.clone())
    } else if let Some(stage) = find(is_trying) {
        (Verdict::Behind, said(stage))
    } else if read_at == 0 {
        (Verdict::Unknown, "the site was not read yet".to_owned())
    } else if waiting > 0 {
        (Verdict::Behind, format!("{} on the way", count(waiting, "message is", "messages are")))
    } else if now - read_at > STALE * 1_000_000 {
        (Verdict::Behind, "the site was not read for a while".to_owned())
    } else if !decisions.is_empty() {
        (Verdict::Differs, decisions.join("; "))
    } else {
        (Verdict::True, "everything that changed was taken".to_owned())
    };
    let blocked = view.stages.iter().filter(needs_person).map(said);
    let needs = blocked.chain(decisions).chain(view.warnings.iter().cloned()).collect();
    Truth { verdict, reason, read_at, needs }
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
            cause: String::new(),
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

    /// With a stage that is paused.
    fn paused(stage: usize, cause: &str, reason: &str) -> ConnectionView {
        let mut view = view();
        view.stages[stage].state = "Paused".into();
        (view.stages[stage].cause, view.stages[stage].reason) = (cause.into(), reason.into());
        view
    }

    #[test]
    fn a_connection_is_true_once_the_site_was_read_and_nothing_waits() {
        let truth = judge(&view(), NOW);
        assert_eq!((truth.verdict, truth.read_at), (Verdict::True, NOW - 1_000_000));
        assert!(truth.needs.is_empty());
    }

    #[test]
    fn what_waits_or_is_old_is_behind() {
        let waits = ConnectionView { waiting_messages: 2, ..view() };
        assert_eq!(judge(&waits, NOW).verdict, Verdict::Behind);
        assert_eq!(judge(&view(), NOW + 3_600_000_000).verdict, Verdict::Behind);
    }

    #[test]
    fn missing_rights_and_secrets_need_a_person_and_a_fault_that_passes_needs_none() {
        for cause in ["rights", "credential"] {
            let truth = judge(&paused(2, cause, "the secret ended"), NOW);
            assert_eq!(truth.verdict, Verdict::Blocked, "{cause}");
            assert_eq!(truth.needs, ["sending rows waits: the secret ended"]);
        }
        let truth = judge(&paused(0, "other", "timed out"), NOW);
        assert_eq!((truth.verdict, truth.needs.len()), (Verdict::Behind, 0));
        assert_eq!(truth.reason, "reading the site waits: timed out");
        let mut stopped = view();
        stopped.stages[0].state = "Stopped".into();
        assert_eq!(judge(&stopped, NOW).verdict, Verdict::Blocked);
    }

    #[test]
    fn quiet_hours_and_pauses_need_nobody() {
        let truth = judge(&paused(0, "asked", "quiet hours"), NOW);
        assert_eq!((truth.verdict, truth.reason.as_str()), (Verdict::Paused, "quiet hours"));
        assert!(truth.needs.is_empty());
    }

    #[test]
    fn what_was_never_read_is_unknown() {
        let mut new = view();
        new.stages[0].last_success = 0;
        assert_eq!(judge(&new, NOW).verdict, Verdict::Unknown);
    }

    #[test]
    fn a_workspace_that_lacks_rows_or_keeps_members_is_not_called_true() {
        let view = ConnectionView { held_removals: 1, dead_letters: 2, ..view() };
        let truth = judge(&view, NOW);
        assert_eq!(truth.verdict, Verdict::Differs);
        assert_eq!(truth.needs, ["1 removal waits for a decision", "2 records are set aside"]);
    }
}
