//! The writer: looks at what is wanted and what is there, and writes what differs, one at a time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use cmsync_azure::AzureError;
use cmsync_http::Policy;
use cmsync_queue::worker::while_owner;
use cmsync_queue::{Error, Output, Queue};
use cmsync_schemas::searches::{all_groups, searches};
use cmsync_schemas::{Cause, Clock, GROUP, Health, Status, Subject, topics};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::budget::Budget;
use super::plan::{Planner, Present, Write};
use super::{GroupOptions, Target, saved};
use crate::metrics::Metrics;

/// How often the workspace is asked what it has, so that what somebody deleted comes back.
const LOOK_AGAIN: Duration = Duration::from_secs(3_600);
/// A group that this process never saw wanted goes after this time: a queue that is new, or a first
/// synchronisation, does not know all groups at once.
const GRACE: Duration = Duration::from_secs(3_600);
/// Looking through all groups takes at most a tenth of the time.
const SHARE: u32 = 10;
/// The shortest time between two looks.
const SHORTEST: Duration = Duration::from_secs(1);

/// The writer of one connection's groups.
#[derive(Clone)]
pub struct GroupsWriter {
    /// The connection.
    pub connection: String,
    /// The queue.
    pub queue: Arc<dyn Queue>,
    /// Where groups are kept.
    pub target: Target,
    /// Options.
    pub options: GroupOptions,
    /// First and longest rest after a failure.
    pub rests: (Duration, Duration),
    /// Wall time.
    pub clock: Clock,
    /// Where it says how it is.
    pub status: watch::Sender<Status>,
    /// Where it says what of the topic it has looked at, and how many searches differed then.
    pub progress: watch::Sender<Option<Progress>>,
}

/// How far the writer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The topic's number of changes at the last look.
    pub seen: u64,
    /// Searches that were not as they should be then, less those that were refused for themselves.
    pub behind: usize,
    /// Whether no more may be written for now.
    pub is_spent: bool,
}

struct Stage {
    writer: GroupsWriter,
    topic: String,
    metrics: Metrics,
    present: Option<(Present, Instant)>,
    budget: Budget,
    policy: Policy,
    /// The site whose groups these are; `None` until there was a group.
    site: Option<String>,
    /// Whether no groups are kept for the time being.
    is_off: bool,
    /// How long the last look asks to rest before the next.
    rest: Duration,
    seen: BTreeSet<String>,
    unwanted_since: BTreeMap<String, Instant>,
    /// Searches that were refused for themselves, with when to try them again.
    refused: BTreeMap<String, (Instant, Policy, String)>,
    warnings: Vec<String>,
    /// The topic's number of changes.
    looking_at: u64,
}

/// Writes groups until `shutdown`, while no other copy does. What is not written then is written by
/// the next process.
///
/// # Errors
/// When the queue is closed or breaks its contract.
pub async fn run(writer: GroupsWriter, shutdown: CancellationToken) -> Result<(), Error> {
    let topic = topics::groups(&writer.connection);
    let queue = Arc::clone(&writer.queue);
    let work = |stop| {
        let (writer, topic) = (writer.clone(), topic.clone());
        let shutdown = shutdown.clone();
        async move {
            let ended = write(writer.clone(), topic, stop).await;
            // Another copy knows from now on how the groups are.
            Metrics::new(&writer.connection).groups_behind.set(0.0);
            if !shutdown.is_cancelled() {
                let now = (writer.clock)();
                writer.status.send_if_modified(|status| status.stand_by(now));
            }
            ended
        }
    };
    while_owner(&*queue, (topics::GROUPS, &topic), &shutdown, work).await
}

async fn write(
    writer: GroupsWriter,
    topic: String,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let mut changes = writer.queue.watch(&topic)?;
    let mut control = writer.queue.watch(topics::CONTROL)?;
    let mut stage = Stage::new(writer, topic);
    let mut rest = Duration::ZERO;
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(rest) => {}
        }
        stage.looking_at = *changes.borrow_and_update();
        control.borrow_and_update();
        stage.look_if_asked().await?;
        rest = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            rest = stage.turn() => match rest? {
                Some(rest) => rest,
                None => {
                    tokio::select! {
                        biased;
                        () = shutdown.cancelled() => return Ok(()),
                        Ok(()) = changes.changed() => {}
                        Ok(()) = control.changed() => {}
                        () = tokio::time::sleep(stage.next_look()) => {}
                    }
                    stage.rest
                }
            },
        };
    }
}

impl Stage {
    fn new(writer: GroupsWriter, topic: String) -> Self {
        Self {
            topic,
            metrics: Metrics::new(&writer.connection),
            present: None,
            budget: Budget::new(writer.options.writes_per_hour),
            policy: Policy::new(writer.rests.0, writer.rests.1),
            site: None,
            is_off: false,
            rest: SHORTEST,
            seen: BTreeSet::new(),
            unwanted_since: BTreeMap::new(),
            refused: BTreeMap::new(),
            warnings: Vec::new(),
            looking_at: 0,
            writer,
        }
    }

    /// What a person asked for: to look at the workspace now, or to keep no groups for the time
    /// being.
    async fn look_if_asked(&mut self) -> Result<(), Error> {
        let key = |item| topics::control_key(&self.writer.connection, Subject::Groups, item);
        let (look, off) = (key(topics::GROUPS_LOOK), key(topics::GROUPS_OFF));
        let (mut is_asked, mut is_off) = (false, false);
        for entry in self.writer.queue.scan(topics::CONTROL).await? {
            let (found, _) = entry?;
            is_asked |= found.as_ref() == look.as_bytes();
            is_off |= found.as_ref() == off.as_bytes();
        }
        self.is_off = is_off;
        if is_asked {
            self.present = None;
            let (topic, key) = (topics::CONTROL.to_owned(), look.into());
            let done = Output { topic, partition: 0, key, value: None };
            self.writer.queue.publish(vec![done]).await?;
        }
        Ok(())
    }

    /// When something is to be done though nothing changes.
    fn next_look(&self) -> Duration {
        let now = Instant::now();
        let look = self.present.as_ref().map_or(now, |(_, at)| *at + LOOK_AGAIN);
        let retries = self.refused.values().map(|(at, ..)| *at);
        let graces = self.unwanted_since.values().map(|since| *since + GRACE);
        let graces = graces.filter(|at| *at > now);
        retries.chain(graces).fold(look, Instant::min).saturating_duration_since(now)
    }

    /// Does one thing; how long to rest, or `None` when there is nothing to do.
    async fn turn(&mut self) -> Result<Option<Duration>, Error> {
        if self.site.is_none() {
            self.site = self.find_site().await?;
        }
        let Some(site) = &self.site else {
            self.tell(0);
            return Ok(None);
        };
        let is_old = self.present.as_ref().is_none_or(|(_, at)| at.elapsed() >= LOOK_AGAIN);
        if is_old {
            match self.writer.target.list().await {
                Ok(found) => self.present = Some((Present::new(&found, site), Instant::now())),
                Err(error) => return Ok(Some(self.failed(&error))),
            }
        }
        let started = Instant::now();
        let mut writes = self.plan().await?;
        self.rest = SHORTEST.max(started.elapsed() * SHARE);
        if writes.is_empty() {
            self.say(Health::Working, (Cause::Nothing, ""));
            return Ok(None);
        }
        // Looking costs more than writing, so several are written between two looks.
        while let Some(write) = writes.pop_front() {
            if self.budget.next() > Instant::now() {
                let (wait, limit) = (writes.len() + 1, self.writer.options.writes_per_hour);
                self.warnings.push(format!(
                    "{wait} saved searches of computer groups wait: {limit} may be written an hour (`writes_per_hour`)"
                ));
                self.say(Health::Working, (Cause::Nothing, ""));
                tokio::time::sleep_until(self.budget.next()).await;
                // Something newer may be wanted by now.
                return Ok(Some(Duration::ZERO));
            }
            self.budget.spend();
            let target = &self.writer.target;
            let outcome = match &write {
                Write::Put(search) => target.put(search).await,
                Write::Delete(id) => target.delete(id).await,
            };
            match outcome {
                Ok(()) => self.did(&write),
                Err(AzureError::Refused(refusal)) if !refusal.is_general() => {
                    self.postpone(write.id(), refusal.to_string());
                }
                Err(error) => return Ok(Some(self.failed(&error))),
            }
            if started.elapsed() > self.rest {
                break;
            }
        }
        Ok(Some(Duration::ZERO))
    }

    async fn find_site(&self) -> Result<Option<String>, Error> {
        for entry in self.writer.queue.scan(&self.topic).await? {
            if let Ok(group) = GROUP.decode(&entry?.1) {
                return Ok(Some(group.site_code));
            }
        }
        Ok(None)
    }

    /// Looks through what is wanted: what is to be written of what differs.
    async fn plan(&mut self) -> Result<VecDeque<Write>, Error> {
        let Some((present, _)) = &self.present else { return Ok(VecDeque::new()) };
        let mut planner = Planner::new(present);
        let (now, refused) = (Instant::now(), &self.refused);
        let may_go = |id: &str| refused.get(id).is_none_or(|(at, ..)| *at <= now);
        let show = self.writer.options.show(!present.has_other_site);
        if !self.is_off || present.has_other_site {
            planner.want(saved(all_groups(show)), may_go);
        }
        let mut unreadable = 0_u32;
        for entry in self.writer.queue.scan(&self.topic).await? {
            let Ok(group) = GROUP.decode(&entry?.1) else {
                unreadable += 1;
                continue;
            };
            if self.is_off {
                continue;
            }
            for search in searches(&group, show) {
                self.seen.insert(search.id.clone());
                planner.want(saved(search), may_go);
            }
        }
        let (writes, differing, foreign) = planner.finish();
        self.warnings = foreign
            .into_iter()
            .map(|alias| {
                format!("a saved search that cmsync did not make has the name `{alias}`: rename it")
            })
            .chain(self.refused.values().map(|(_, _, why)| why.clone()))
            .collect();
        if unreadable > 0 {
            self.warnings.push(format!("{unreadable} groups were written by a newer version"));
        }
        self.metrics.groups_behind.set(differing as f64);
        let beyond_held = differing - writes.len().min(differing);
        let due = self.due(writes, unreadable > 0);
        // What is too early, or was refused for itself, is not waited for.
        self.tell(if due.is_empty() { 0 } else { due.len() + beyond_held });
        Ok(due)
    }

    fn tell(&self, behind: usize) {
        let is_spent = self.budget.next() > Instant::now();
        let progress = Progress { seen: self.looking_at, behind, is_spent };
        self.writer.progress.send_replace(Some(progress));
    }

    /// Leaves out deletions that it is too early for, and what was refused a moment ago.
    fn due(&mut self, writes: VecDeque<Write>, keeps_all: bool) -> VecDeque<Write> {
        let now = Instant::now();
        let ids: BTreeSet<&str> = writes.iter().map(Write::id).collect();
        // What is wanted no longer, or was written, is not waited for.
        self.refused.retain(|id, (at, ..)| *at > now || ids.contains(id.as_str()));
        let is_deleted = |write: &&Write| matches!(write, Write::Delete(_));
        let unwanted: BTreeSet<&str> =
            writes.iter().filter(is_deleted).map(Write::id).filter(|_| !keeps_all).collect();
        self.unwanted_since.retain(|id, _| unwanted.contains(id.as_str()));
        for id in unwanted {
            self.unwanted_since.entry(id.to_owned()).or_insert(now);
        }
        let is_due = |write: &Write| {
            let id = write.id();
            let is_allowed = self.refused.get(id).is_none_or(|(at, ..)| *at <= now);
            let is_late = self.unwanted_since.get(id).is_some_and(|since| *since + GRACE <= now);
            let is_known = !keeps_all && (self.is_off || self.seen.contains(id) || is_late);
            is_allowed && (is_known || matches!(write, Write::Put(_)))
        };
        writes.into_iter().filter(is_due).collect()
    }

    fn did(&mut self, write: &Write) {
        if let Some((present, _)) = &mut self.present {
            present.did(write);
        }
        self.refused.remove(write.id());
        if let Write::Delete(id) = write {
            self.seen.remove(id);
            self.unwanted_since.remove(id);
        }
        self.policy.reset();
        self.metrics.group_writes.increment(1);
        let now = (self.writer.clock)();
        self.writer.status.send_if_modified(|status| status.note_success(now));
        self.say(Health::Working, (Cause::Nothing, ""));
    }

    /// One search is refused: the others go on.
    fn postpone(&mut self, id: &str, why: String) {
        tracing::warn!(search = id, why, "a computer group is refused");
        self.metrics.group_failures.increment(1);
        let (first, longest) = self.writer.rests;
        let fresh = || (Instant::now(), Policy::new(first, longest), String::new());
        let (at, policy, reason) = self.refused.entry(id.to_owned()).or_insert_with(fresh);
        *at = Instant::now() + policy.next_delay();
        *reason = why;
    }

    /// Nothing can be written now: how long to rest.
    fn failed(&mut self, error: &AzureError) -> Duration {
        self.metrics.group_failures.increment(1);
        let rest = match error {
            AzureError::Throttled(asked) => (*asked).max(SHORTEST),
            _ => self.policy.next_delay(),
        };
        // What is there may have been changed by whoever mends it.
        if !error.is_transient() {
            self.present = None;
        }
        self.say(Health::Paused, (cause(error), &format!("computer groups: {error}")));
        rest
    }

    fn say(&self, state: Health, why: (Cause, &str)) {
        let now = (self.writer.clock)();
        self.writer.status.send_if_modified(|status| {
            let is_news = status.warnings != self.warnings;
            status.warnings.clone_from(&self.warnings);
            status.turn(state, why, now) || is_news
        });
    }
}

/// Who must act on a failure.
fn cause(error: &AzureError) -> Cause {
    match error {
        AzureError::Token(error) if error.is_transient() => Cause::Other,
        AzureError::Token(_) => Cause::Credential,
        AzureError::Refused(refusal) if refusal.status == 401 => Cause::Credential,
        AzureError::Refused(refusal) if refusal.status == 403 => Cause::Rights,
        _ => Cause::Other,
    }
}
