//! Removals on their way: those that go, those that wait for a person, and what the person says.

use cmsync_schemas::{Decision, Health, topics};
use roaring::RoaringBitmap;

use crate::connection::Connection;
use crate::cycle::micros;
use crate::error::Error;
use crate::guard::{Evidence, is_doubt};
use crate::publish::Finish;
use crate::state::{Kept, encode_bitmap};

/// Why a removal is held that may be a member which is not shown. It stands in states that are kept, and
/// [`is_doubt`] compares it: the words stay as they are.
pub(crate) const SHORT: &str = "the site counts more members than it shows";

/// What would go.
pub(crate) struct Candidate {
    pub(crate) id: String,
    pub(crate) devices: RoaringBitmap,
    /// The collection itself would go.
    pub(crate) is_vanished: bool,
    /// Counts, rows and change times of its read agreed.
    pub(crate) is_complete: bool,
    /// The state that its read leads to.
    pub(crate) finish: Option<Finish>,
    /// Why it must wait whatever the evidence says.
    pub(crate) hold: Option<String>,
}

impl Candidate {
    /// Whether this is the removal that a collection holds already: any part of it while it waits,
    /// exactly it once a person dismissed it.
    fn continues(&self, kept: &Kept) -> bool {
        if self.is_vanished || kept.state.held_vanished {
            return self.is_vanished && kept.state.held_vanished;
        }
        let held = kept.held_devices();
        if kept.state.dismissed { held == self.devices } else { !held.is_disjoint(&self.devices) }
    }

    /// Why it is held already: what is held stays held until its time, or until a person decides. A read
    /// in which counts and rows agree takes away the doubt that they did not, and that it was made with fewer
    /// rights, unless a person has decided.
    fn held_for(&self, kept: &Kept) -> Option<String> {
        let reason = &kept.state.held_reason;
        let is_cleared = is_doubt(reason) && self.is_complete && !kept.state.dismissed;
        (kept.is_held() && self.continues(kept) && !is_cleared).then(|| reason.clone())
    }

    pub(crate) fn vanished(id: &str) -> Self {
        let devices = RoaringBitmap::new();
        let id = id.to_owned();
        Self { id, devices, is_vanished: true, is_complete: false, finish: None, hold: None }
    }
}

/// What would go, in words.
fn going(name: &str, is_vanished: bool, members: u64) -> String {
    match (is_vanished, members) {
        (true, _) => format!("{name} itself"),
        (false, 1) => format!("1 member of {name}"),
        (false, members) => format!("{members} members of {name}"),
    }
}

impl Connection {
    /// Judges what would go; what could not be judged is read again.
    pub(crate) async fn judge_all(
        &mut self,
        candidates: Vec<Candidate>,
        all_systems: bool,
    ) -> Result<(), Error> {
        let ids: Vec<String> = candidates.iter().map(|candidate| candidate.id.clone()).collect();
        let had_fewer_rights = self.had_fewer_rights;
        let judged = self.judge(candidates, all_systems).await;
        if had_fewer_rights && !self.had_fewer_rights {
            // Rows may have had no record because their devices were not shown.
            self.recheck_without_record();
        }
        if judged.is_err() {
            let collections = self.memory.collections.iter_mut();
            let unjudged = collections.filter(|(id, _)| ids.contains(id));
            unjudged.for_each(|(_, kept)| kept.run.recheck = true);
        }
        judged
    }

    /// Lets go what may go, and holds what may not.
    async fn judge(&mut self, candidates: Vec<Candidate>, all_systems: bool) -> Result<(), Error> {
        // What reads have added does not wait for the site's answer.
        self.publisher.flush().await?;
        let collections = &self.memory.collections;
        // What a person dismissed is no evidence against what comes after it.
        let is_vanished = |kept: &&Kept| {
            kept.run.vanished > 0 && !(kept.state.held_vanished && kept.state.dismissed)
        };
        let vanished = collections.values().filter(is_vanished).count();
        let holds = collections.values().any(Kept::waits);
        let pends = collections.values().any(|kept| kept.run.pending.is_some());
        if candidates.is_empty() && vanished == 0 && !holds && !pends {
            self.had_fewer_rights = self.memory.connection.all_systems_visible && !all_systems;
            return Ok(());
        }
        // A probe costs requests: it is made where it decides something.
        let rights = self.look_at_rights(all_systems).await?;
        let collections = &self.memory.collections;
        let going = |c: &Candidate| match collections.get(&c.id) {
            Some(kept) if kept.state.dismissed && c.continues(kept) => 0,
            Some(kept) if c.is_vanished => kept.members.len(),
            _ => c.devices.len(),
        };
        // What waits already counts with what comes now: a loss that dribbles in is one loss.
        let waits = |(id, _): &(&String, &Kept)| candidates.iter().all(|c| c.id != **id);
        let waiting = collections.iter().filter(waits).map(|(_, kept)| kept.waiting());
        let evidence = Evidence {
            rights,
            vanished,
            memberships: (
                collections.values().map(|kept| kept.members.len()).sum(),
                candidates.iter().map(going).sum::<u64>() + waiting.sum::<u64>(),
            ),
        };
        let reason = evidence.hold_reason();
        for candidate in candidates {
            let held = self.memory.collections.get(&candidate.id);
            let held = held.and_then(|kept| candidate.held_for(kept));
            match candidate.hold.clone().or(held).or_else(|| reason.clone()) {
                Some(reason) => self.hold(candidate, &reason).await?,
                None => self.let_go(candidate).await?,
            }
        }
        let are_as_before = evidence.rights.are_as_before();
        for kept in self.memory.collections.values_mut().filter(|kept| kept.waits()) {
            // One read with all rights takes the doubt away; with fewer there is no use in reading.
            kept.run.recheck |= are_as_before && kept.run.is_doubtful && !kept.state.held_vanished;
            kept.run.is_doubtful |= !are_as_before;
        }
        if are_as_before { self.release_old().await } else { Ok(()) }
    }

    async fn let_go(&mut self, candidate: Candidate) -> Result<(), Error> {
        let Candidate { id, devices, is_vanished, finish, .. } = candidate;
        // Before anything is forgotten: without room it waits as it is.
        self.publisher.backlog.check().await?;
        if is_vanished {
            return self.publisher.removed(&mut self.memory, &id).await;
        }
        self.note_rows(devices.len());
        let none = RoaringBitmap::new();
        self.publisher.delta(&mut self.memory, &id, (&none, &devices), finish).await
    }

    /// Holds a removal. The same one again keeps its time and what was said of it.
    async fn hold(&mut self, candidate: Candidate, reason: &str) -> Result<(), Error> {
        let now = self.now();
        let Some(kept) = self.memory.collections.get_mut(&candidate.id) else {
            return Ok(());
        };
        let devices =
            if candidate.is_vanished { Vec::new() } else { encode_bitmap(&candidate.devices) };
        let continues = kept.is_held() && candidate.continues(kept);
        let (members, is_vanished) = (candidate.devices.len(), candidate.is_vanished);
        let state = &mut kept.state;
        if !continues {
            let what = going(&state.name, is_vanished, members);
            self.publisher.diary.removal(&candidate.id, format!("held: {what} would go: {reason}"));
            tracing::error!(
                collection = candidate.id,
                reason,
                "removal is held; see `cmsync removals list`"
            );
            (state.held_since, state.dismissed) = (now, false);
            reason.clone_into(&mut state.held_reason);
        }
        (state.held_vanished, state.held_devices) = (candidate.is_vanished, devices);
        if let Some(finish) = candidate.finish {
            state.token = finish.token;
            (state.rows_read, state.last_read) = (finish.rows_read, finish.last_read);
        }
        self.publisher.commit_collection(&self.memory, &candidate.id).await
    }

    /// Lets held removals go after their time, those that the last read still missed.
    async fn release_old(&mut self) -> Result<(), Error> {
        let before = self.now() - micros(self.options.removal_hold);
        let is_old = |kept: &Kept| {
            let state = &kept.state;
            (state.held_vanished || !kept.run.is_doubtful)
                && kept.waits()
                && state.held_since <= before
        };
        let old = self.memory.collections.iter().filter(|(_, kept)| is_old(kept));
        let ids: Vec<String> = old.map(|(id, _)| id.clone()).collect();
        for id in ids {
            let told = self.words_of_held(&id, "goes after its time");
            self.release_held(&id).await?;
            self.publisher.diary.removal(&id, told);
        }
        Ok(())
    }

    /// What became of something that was held, to be told once it is so.
    fn words_of_held(&self, id: &str, fate: &str) -> String {
        let kept = self.memory.collections.get(id);
        let what = kept.map(|kept| {
            going(&kept.state.name, kept.state.held_vanished, kept.held_devices().len())
        });
        format!("{} that waited {fate}", what.unwrap_or_default())
    }

    async fn release_held(&mut self, id: &str) -> Result<(), Error> {
        let Some(kept) = self.memory.collections.get(id).filter(|kept| kept.is_held()) else {
            return Ok(());
        };
        let is_vanished = kept.state.held_vanished;
        let devices = kept.held_devices() & &kept.members;
        self.let_go(Candidate { devices, is_vanished, ..Candidate::vanished(id) }).await
    }

    /// Does what a person decided about a held removal; `*` stands for all. What is held otherwise than
    /// the person saw it waits for another decision.
    pub(crate) async fn decide_removal(&mut self, item: &str, action: &str) -> Result<bool, Error> {
        let Ok(decision) = action.parse::<Decision>() else {
            tracing::error!(
                item,
                action,
                "a decision that this version does not know is passed over"
            );
            return Ok(true);
        };
        let is_meant = |id: &str, kept: &Kept| {
            kept.is_held() && (item == topics::ALL || item == id) && decision.is_about(&kept.state)
        };
        let held = self.memory.collections.iter().filter(|(id, kept)| is_meant(id, kept));
        let ids: Vec<String> = held.map(|(id, _)| id.clone()).collect();
        if ids.is_empty() {
            tracing::warn!(
                item,
                "what was decided is held no longer, or otherwise: nothing is done"
            );
            return Ok(true);
        }
        for id in ids {
            let fate = if decision.approve { "goes: approved" } else { "stays: dismissed" };
            let told = self.words_of_held(&id, fate);
            if decision.approve {
                self.release_held(&id).await?;
            } else if let Some(kept) = self.memory.collections.get_mut(&id) {
                kept.state.dismissed = true;
                self.publisher.commit_collection(&self.memory, &id).await?;
            }
            self.publisher.diary.removal(&id, told);
        }
        if decision.approve && !self.memory.collections.values().any(Kept::waits) {
            // A person has seen what went: the rights of now are what the next loss is measured by.
            let connection = &mut self.memory.connection;
            self.had_fewer_rights = false;
            connection.account.clear();
            connection.all_systems_visible = false;
            self.publisher.commit_connection(&self.memory).await?;
        }
        self.publisher.flush().await?;
        if self.status.borrow().state == Health::Working {
            self.report();
        }
        Ok(true)
    }
}
