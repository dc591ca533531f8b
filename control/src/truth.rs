//! Whether the workspace shows what the site has, as far as this process knows; and what needs a
//! person. A pure judgement of a connection's view, so that the command line and the page say the same.

use std::time::Duration;

use cmsync_schemas::{Health, counted};
use serde::{Deserialize, Serialize};

use crate::views::{ConnectionView, StageView};

/// A poll that is older than this says nothing of now, unless polls are rarer: then three of them.
const STALE: Duration = Duration::from_secs(15 * 60);
/// What waits longer than this is not merely on its way.
const LATE: i64 = 15 * 60 * 1_000_000;

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
    /// The workspace was verified then; microseconds since 1970, 0 for never.
    pub verified_at: i64,
    /// What needs a person, most urgent first.
    pub needs: Vec<Need>,
}

/// Something that needs a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// What it is about.
    pub about: About,
    /// In words.
    pub text: String,
}

/// What a need is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum About {
    /// A stage that does not go on.
    Stage,
    /// Removals that wait for a decision.
    Removals,
    /// Records and messages that were set aside.
    DeadLetters,
    /// What verification found in the workspace.
    Workspace,
    /// What is not as it should be, without harm yet.
    Warning,
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

/// Verification looks, and holds up nothing.
const LOOKS: &str = "verify";

fn needs_person(stage: &&StageView) -> bool {
    stage.state == Health::Stopped
        || (stage.state == Health::Paused
            && ["rights", "credential"].contains(&stage.cause.as_str()))
}

fn is_at_rest(stage: &&StageView) -> bool {
    stage.state == Health::Paused && stage.cause == "asked"
}

fn is_trying(stage: &&StageView) -> bool {
    stage.state == Health::Paused && !needs_person(stage) && !is_at_rest(stage)
}

fn said(stage: &StageView) -> String {
    format!("{} waits: {}", work(stage), stage.reason)
}

/// What differs until a person decides, or it is mended.
fn differences(view: &ConnectionView) -> Vec<Need> {
    let held = counted(view.held_removals.unsigned_abs(), "removal waits", "removals wait");
    let aside =
        counted(view.dead_letters.unsigned_abs(), "record is set aside", "records are set aside");
    let counted = [
        (view.held_removals, About::Removals, format!("{held} for a decision")),
        (view.dead_letters, About::DeadLetters, aside),
    ];
    let counted = counted.into_iter().filter(|(number, ..)| *number > 0);
    let found = view.stages.iter().filter(|stage| stage.stage == LOOKS);
    let found = found.flat_map(|stage| &stage.warnings);
    counted
        .map(|(_, about, text)| Need { about, text })
        .chain(found.map(|text| Need { about: About::Workspace, text: text.clone() }))
        .collect()
}

/// What is told beside: it makes nothing untrue yet.
fn warnings(view: &ConnectionView) -> Vec<Need> {
    let own = view.stages.iter().filter(|stage| stage.stage != LOOKS);
    let unverified = view.stages.iter().filter(|s| s.stage == LOOKS && !s.reason.is_empty());
    let unverified = unverified.map(|s| format!("the workspace is not verified: {}", s.reason));
    let texts = own.flat_map(|stage| stage.warnings.clone()).chain(unverified);
    texts.map(|text| Need { about: About::Warning, text }).collect()
}

/// Why what waits does not move, where no stage says so.
fn stuck(view: &ConnectionView, now: i64) -> Option<String> {
    let age = now - view.oldest_waiting;
    (view.oldest_waiting > 0 && age > LATE).then(|| {
        let minutes = age / 60_000_000;
        let stage =
            if view.waiting_messages > view.waiting_changes { "uploader" } else { "transformer" };
        format!("what waits is {minutes} minutes old: is the {stage} running?")
    })
}

/// Judges a connection at a time, in microseconds since 1970, of a site that is polled so often.
#[must_use]
pub fn judge(view: &ConnectionView, now: i64, poll: Duration) -> Truth {
    let stage = |name: &str| view.stages.iter().find(|stage| stage.stage == name);
    let at = |name: &str| stage(name).map_or(0, |stage| stage.last_success);
    let (read_at, verified_at) = (at("producer"), at(LOOKS));
    let stale = i64::try_from(STALE.max(poll * 3).as_micros()).unwrap_or(i64::MAX);
    let works: Vec<&StageView> = view.stages.iter().filter(|s| s.stage != LOOKS).collect();
    let find = |is_so: fn(&&StageView) -> bool| works.iter().copied().find(is_so);
    let differences = differences(view);
    let waiting = i64::try_from(view.waiting_messages).unwrap_or(i64::MAX);
    let stuck = stuck(view, now).filter(|_| find(is_trying).is_none());
    let (verdict, reason) = if let Some(stage) = find(needs_person) {
        (Verdict::Blocked, said(stage))
    } else if let Some(stage) = find(is_at_rest) {
        (Verdict::Paused, stage.reason.clone())
    } else if let Some(stage) = find(is_trying) {
        (Verdict::Behind, said(stage))
    } else if read_at == 0 {
        (Verdict::Unknown, "the site was not read yet".to_owned())
    } else if let Some(text) = &stuck {
        (Verdict::Behind, text.clone())
    } else if waiting > 0 {
        (
            Verdict::Behind,
            format!("{} on the way", counted(waiting.unsigned_abs(), "message is", "messages are")),
        )
    } else if now - read_at > stale {
        (Verdict::Behind, "the site was not read for a while".to_owned())
    } else if !differences.is_empty() {
        let texts: Vec<&str> = differences.iter().map(|need| need.text.as_str()).collect();
        (Verdict::Differs, texts.join("; "))
    } else {
        (Verdict::True, "everything that changed was taken".to_owned())
    };
    // What tries by itself is left to it for a while.
    let tries = works.iter().copied().filter(is_trying).filter(|stage| now - stage.since > LATE);
    let is_held_up = works.iter().any(|s| s.state >= Health::Paused);
    let unread = (read_at > 0 && now - read_at > stale && !is_held_up)
        .then(|| "the site was not read for a while: is the producer running?".to_owned());
    let blocked = works.iter().copied().filter(needs_person).map(said);
    let blocked = blocked.chain(tries.map(said)).chain(stuck).chain(unread);
    let blocked = blocked.map(|text| Need { about: About::Stage, text });
    let needs = blocked.chain(differences).chain(warnings(view)).collect();
    Truth { verdict, reason, read_at, verified_at, needs }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000_000;
    const POLL: Duration = Duration::from_secs(60);

    fn view() -> ConnectionView {
        let stage = |name: &str| StageView {
            stage: name.into(),
            state: Health::Working,
            reason: String::new(),
            cause: String::new(),
            since: NOW - 60_000_000,
            last_success: NOW - 1_000_000,
            warnings: Vec::new(),
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
            oldest_waiting: 0,
            is_paused: false,
            warnings: Vec::new(),
            stages: ["producer", "transformer", "uploader", "verify"].map(stage).into(),
        }
    }

    /// With a stage that is paused.
    fn paused(stage: usize, cause: &str, reason: &str) -> ConnectionView {
        let mut view = view();
        view.stages[stage].state = Health::Paused;
        (view.stages[stage].cause, view.stages[stage].reason) = (cause.into(), reason.into());
        view
    }

    fn verdict(view: &ConnectionView, now: i64) -> Verdict {
        judge(view, now, POLL).verdict
    }

    fn needs(view: &ConnectionView) -> Vec<String> {
        judge(view, NOW, POLL).needs.into_iter().map(|need| need.text).collect()
    }

    #[test]
    fn a_connection_is_true_once_the_site_was_read_and_nothing_waits() {
        let truth = judge(&view(), NOW, POLL);
        assert_eq!((truth.verdict, truth.read_at), (Verdict::True, NOW - 1_000_000));
        assert!(truth.needs.is_empty());
    }

    #[test]
    fn what_waits_or_is_old_is_behind() {
        let waits =
            ConnectionView { waiting_messages: 2, oldest_waiting: NOW - 9_000_000, ..view() };
        let truth = judge(&waits, NOW, POLL);
        assert_eq!((truth.verdict, truth.needs.len()), (Verdict::Behind, 0));
        assert_eq!(truth.reason, "2 messages are on the way");
        assert_eq!(verdict(&view(), NOW + 3_600_000_000), Verdict::Behind);
        // Of a site that is read every hour, half an hour says nothing.
        let rarely = judge(&view(), NOW + 1_800_000_000, Duration::from_secs(3_600));
        assert_eq!(rarely.verdict, Verdict::True);
    }

    #[test]
    fn what_waits_for_long_while_no_stage_says_why_needs_a_person() {
        let old = NOW - 3_600_000_000;
        let waits = ConnectionView { waiting_messages: 2, oldest_waiting: old, ..view() };
        assert_eq!(needs(&waits), ["what waits is 60 minutes old: is the uploader running?"]);
        let changes = ConnectionView { waiting_changes: 2, ..waits.clone() };
        assert!(needs(&changes)[0].ends_with("is the transformer running?"));
        let mut outage = paused(2, "other", "timed out");
        (outage.waiting_messages, outage.oldest_waiting) = (2, old);
        assert!(needs(&outage).is_empty());
        // What tries by itself, and does for long, needs a look too.
        outage.stages[2].since = old;
        assert_eq!(needs(&outage), ["sending rows waits: timed out"]);
        let unread = judge(&view(), NOW + 3_600_000_000, POLL);
        assert!(unread.needs[0].text.contains("is the producer running?"));
    }

    #[test]
    fn missing_rights_and_secrets_need_a_person_and_a_fault_that_passes_needs_none() {
        for cause in ["rights", "credential"] {
            let view = paused(2, cause, "the secret ended");
            assert_eq!(verdict(&view, NOW), Verdict::Blocked, "{cause}");
            assert_eq!(needs(&view), ["sending rows waits: the secret ended"]);
        }
        let truth = judge(&paused(0, "other", "timed out"), NOW, POLL);
        assert_eq!((truth.verdict, truth.needs.len()), (Verdict::Behind, 0));
        assert_eq!(truth.reason, "reading the site waits: timed out");
        let mut stopped = view();
        stopped.stages[0].state = Health::Stopped;
        assert_eq!(verdict(&stopped, NOW), Verdict::Blocked);
    }

    #[test]
    fn quiet_hours_and_pauses_need_nobody() {
        let truth = judge(&paused(0, "asked", "quiet hours"), NOW, POLL);
        assert_eq!((truth.verdict, truth.reason.as_str()), (Verdict::Paused, "quiet hours"));
        assert!(truth.needs.is_empty());
    }

    #[test]
    fn what_was_never_read_is_unknown() {
        let mut new = view();
        new.stages[0].last_success = 0;
        assert_eq!(verdict(&new, NOW), Verdict::Unknown);
    }

    #[test]
    fn a_workspace_that_lacks_rows_or_keeps_members_is_not_called_true() {
        let mut view = ConnectionView { held_removals: 1, dead_letters: 2, ..view() };
        view.stages[3].warnings = vec!["PS100014: 3 computers are missing".into()];
        let truth = judge(&view, NOW, POLL);
        assert_eq!(truth.verdict, Verdict::Differs);
        let about: Vec<About> = truth.needs.iter().map(|need| need.about).collect();
        assert_eq!(about, [About::Removals, About::DeadLetters, About::Workspace]);
        let texts = ["1 removal waits for a decision", "2 records are set aside"];
        assert_eq!(needs(&view)[..2], texts);
        assert_eq!(needs(&view)[2], "PS100014: 3 computers are missing");
    }

    #[test]
    fn a_workspace_that_cannot_be_asked_is_told_and_a_warning_makes_nothing_untrue() {
        let mut view = view();
        view.stages[3].reason = "timed out".into();
        view.stages[2].warnings = vec!["the client secret ends on 2027-01-15".into()];
        let truth = judge(&view, NOW, POLL);
        assert_eq!(truth.verdict, Verdict::True);
        assert!(truth.needs.iter().all(|need| need.about == About::Warning));
        assert_eq!(needs(&view)[1], "the workspace is not verified: timed out");
    }
}
