//! One poll and all that it leads to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cmsync_configmgr::{Collection, Site};
use cmsync_schemas::MAX_CLOCK_SKEW;
use roaring::RoaringBitmap;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::connection::Connection;
use crate::error::Error;
use crate::guard::{self, Weighed};
use crate::holds::Candidate;
use crate::measured::Measured;
use crate::publish::Finish;
use crate::reading::{self, Batch, Reading, Settled};
use crate::schedule;
use crate::state::Kept;
use crate::waiting::WAITS;
use crate::work::{READS, beside};

/// The collection that holds every device; its absence says that rights changed.
pub(crate) const ALL_SYSTEMS: &str = "SMS00001";
/// The hierarchy is looked at this often.
const HIERARCHY_INTERVAL: Duration = Duration::from_secs(600);

impl Connection {
    /// Polls the site once and publishes what changed; what was decided before a failure too.
    pub(crate) async fn poll(&mut self) -> Result<(), Error> {
        self.publisher.polled_at.store(self.now(), Ordering::Relaxed);
        let outcome = self.read_site().await;
        self.publisher.flush().await?;
        let (spent, waited) = self.site.newly_spent();
        self.metrics.site_seconds.increment(spent);
        self.metrics.wait_seconds.increment(waited);
        if outcome.is_ok() {
            self.metrics.polls.increment(1);
        }
        outcome
    }

    async fn read_site(&mut self) -> Result<(), Error> {
        self.former_warnings = std::mem::take(&mut self.warnings);
        self.note_rows(0);
        self.look_at_hierarchy().await?;
        let listed = self.site.collections().await.inspect_err(|_| self.forget_agreement())?;
        self.metrics.last_answer.set(self.now() as f64 / 1e6);
        self.look_at_track().await;
        self.first_sweep().await?;
        let missing: Vec<String> =
            self.config.selection.missing(&listed).into_iter().map(Into::into).collect();
        for id in missing {
            self.warn_once(format!("collection `{id}` does not exist, is a user collection, or is not visible to the account"));
        }
        let all_systems = listed.iter().any(|c| c.id == ALL_SYSTEMS);
        let wanted: BTreeMap<String, Collection> = listed
            .into_iter()
            .filter(|c| self.config.selection.has(c))
            .map(|c| (c.id.clone(), c))
            .collect();
        let mut candidates = self.note_vanished(&wanted);
        let shows_less = self.shows_less(&wanted);
        self.note_rights(all_systems, shows_less).await?;
        self.note_names(&wanted).await?;
        let read = self.read_dirty(&wanted).await;
        self.keep_track();
        let (read, failure) = read?;
        candidates.extend(read);
        let judged = self.judge_all(candidates, all_systems).await;
        if judged.as_ref().is_err_and(Error::is_fatal) {
            return judged;
        }
        self.resend_owed().await?;
        judged?;
        failure.map_or(Ok(()), |error| Err(error.into()))
    }

    /// After a list or a rights probe that failed, removals need two good polls again.
    pub(crate) fn forget_agreement(&mut self) {
        for kept in self.memory.collections.values_mut() {
            (kept.run.vanished, kept.run.pending) = (0, None);
            kept.doubt();
        }
    }

    /// Which site is this, and may its data be old?
    async fn look_at_hierarchy(&mut self) -> Result<(), Error> {
        if self.hierarchy_at.is_some_and(|at| Instant::now() < at) {
            return Ok(());
        }
        let hierarchy = self.site.hierarchy().await?;
        let ahead = self.site.clock_skew().unwrap_or(0);
        self.clock_is_wrong = ahead.abs() > MAX_CLOCK_SKEW;
        if self.clock_is_wrong {
            return Err(Error::Clock { ahead });
        }
        if let Some(above) = hierarchy.above() {
            let (site, above) = (hierarchy.this_site.clone(), above.to_owned());
            return Err(Error::NotTopTier { site, above });
        }
        let kept = &mut self.memory.connection.site_code;
        if kept.is_empty() {
            kept.clone_from(&hierarchy.this_site);
        } else if *kept != hierarchy.this_site {
            return Err(Error::OtherSite { found: hierarchy.this_site, kept: kept.clone() });
        }
        self.claim_site().await?;
        let failed: Vec<_> = hierarchy.links.iter().filter(|link| link.is_failed()).collect();
        self.metrics.failed_links.set(failed.len() as f64);
        for link in &failed {
            self.warn_once(format!(
                "replication from site {} has failed: its members are true as of {}",
                link.child, link.site_data_at
            ));
        }
        for note in &hierarchy.notes {
            self.warn_once(note.clone());
        }
        let failed_sites: Vec<_> = hierarchy.sites.iter().filter(|s| s.has_failed()).collect();
        for site in &failed_sites {
            self.warn_once(format!("site {} ({}) says that it has failed", site.code, site.name));
        }
        // While something is wrong it is looked at with every poll, so that the warning goes in time.
        let is_well = failed.is_empty() && failed_sites.is_empty() && hierarchy.notes.is_empty();
        self.hierarchy_at = is_well.then(|| Instant::now() + HIERARCHY_INTERVAL);
        Ok(())
    }

    /// Counts polls that lack a kept collection; those that two polls lack are to go.
    fn note_vanished(&mut self, wanted: &BTreeMap<String, Collection>) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for (id, kept, listed) in beside(&mut self.memory.collections, wanted) {
            if listed.is_some() {
                kept.run.vanished = 0;
                continue;
            }
            kept.run.vanished += 1;
            if kept.run.vanished >= 2 && !kept.state.held_vanished {
                candidates.push(Candidate::vanished(id));
            }
        }
        candidates
    }

    /// Takes over new collections, and publishes new names.
    async fn note_names(&mut self, wanted: &BTreeMap<String, Collection>) -> Result<(), Error> {
        let others = beside(wanted, &self.memory.collections)
            .filter(|(_, listed, kept)| !kept.is_some_and(|kept| kept.is_as(listed)));
        let others: Vec<_> = others.map(|(id, listed, _)| (id, listed)).collect();
        for (id, collection) in others {
            let Some(kept) = self.memory.collections.get_mut(id) else {
                self.memory.collections.insert(id.clone(), Kept::unread(collection));
                continue;
            };
            let is_back = kept.state.held_vanished;
            if is_back {
                kept.release();
                kept.run.recheck = true;
            }
            if !kept.is_as(collection) {
                kept.rename(collection);
                self.publisher.renamed(&mut self.memory, id).await?;
            } else if is_back {
                self.publisher.commit_collection(&self.memory, id).await?;
            }
        }
        Ok(())
    }

    /// Reads what is dirty, several at once, and publishes what each read adds; gives what would go,
    /// and the first read that failed. A collection that cannot be read holds up no other; a site of
    /// which nothing can be read is not asked for more.
    async fn read_dirty(
        &mut self,
        wanted: &BTreeMap<String, Collection>,
    ) -> Result<(Vec<Candidate>, Option<cmsync_configmgr::Error>), Error> {
        let mut work = self.work(wanted);
        if work.is_one_pass() {
            // It would be for nothing.
            self.publisher.backlog.check().await?;
        }
        let mut reads = JoinSet::new();
        let mut candidates = Vec::new();
        let mut failure = None;
        let mut failed_in_a_row = 0;
        loop {
            while reads.len() < READS
                && failed_in_a_row < READS
                && let Some(piece) = work.next()
            {
                let site: Arc<dyn Site> = Arc::<Measured>::clone(&self.site);
                let read = piece.read(site, Arc::clone(&self.devices));
                reads.spawn(read.in_current_span());
            }
            // What was read before waits for company and not for a slow read.
            let done = match tokio::time::timeout(WAITS, reads.join_next()).await {
                Ok(done) => done,
                Err(_) => {
                    self.publisher.flush().await?;
                    reads.join_next().await
                }
            };
            let Some(done) = done else {
                break;
            };
            let Ok(Batch { done, left, each }) = done else {
                failure.get_or_insert(reading::panicked());
                continue;
            };
            work.again(left);
            work.without_pass(each);
            for (collection, read) in done {
                match read {
                    Ok(reading) => {
                        failed_in_a_row = 0;
                        candidates.extend(self.take_reading(reading).await?);
                        self.publisher.flush_due().await?;
                    }
                    Err(error) => {
                        // An error of its own read resets what two reads would have to agree on.
                        if let Some(kept) = self.memory.collections.get_mut(&collection.id) {
                            (kept.run.pending, kept.run.is_doubtful) = (None, true);
                        }
                        failed_in_a_row += 1;
                        let id = &collection.id;
                        tracing::warn!(collection = id, %error, "failed to read a collection");
                        failure.get_or_insert(error);
                    }
                }
            }
        }
        Ok((candidates, failure))
    }

    /// Publishes what a read adds; gives what it would take away.
    async fn take_reading(&mut self, reading: Reading) -> Result<Option<Candidate>, Error> {
        self.metrics.rows_read.increment(reading.read);
        self.metrics.last_answer.set(self.now() as f64 / 1e6);
        let id = reading.before.id.clone();
        let taken = self.publish_reading(reading).await;
        if taken.is_err()
            && let Some(kept) = self.memory.collections.get_mut(&id)
        {
            // What was read may not be what is kept.
            kept.run.known_as_of = None;
        }
        taken
    }

    async fn publish_reading(&mut self, reading: Reading) -> Result<Option<Candidate>, Error> {
        let id = reading.before.id.clone();
        let computers = self.learn(&reading).await?;
        let (now, version) = (self.now(), self.known_from());
        let Some(kept) = self.memory.collections.get_mut(&id) else {
            return Ok(None);
        };
        let settled = reading::settle(&reading, &mut kept.run);
        let version = version.filter(|_| settled == Settled::Complete);
        kept.run.known_as_of = version.map(|version| (version, computers.len()));
        kept.run.recheck &= settled == Settled::No;
        if settled != Settled::Complete {
            self.metrics.unsettled_reads.increment(1);
        }
        let finish = reading.after.as_ref().map(|_| Finish {
            // That of before: where it moved meanwhile, the collection stays dirty.
            token: reading.before.token.clone(),
            rows_read: i64::try_from(reading.rows).unwrap_or(i64::MAX),
            last_read: if reading.is_whole { now } else { kept.state.last_read },
        });
        let is_first = kept.state.rows_read < 0;
        if is_first {
            return self.take_first(&id, computers, settled, finish).await.map(|()| None);
        }
        let adds = &computers - &kept.members;
        let missing = &kept.members - &computers;
        let moved = self.same_computers(&adds, &missing);
        let missing = missing - &moved;
        let is_complete = settled == Settled::Complete;
        let Some((weighed, is_held_otherwise)) = self.weigh(&id, settled, missing) else {
            return Ok(None);
        };
        let Weighed { may_go, hold, is_done } = weighed;
        let finish = finish.filter(|_| is_done);
        self.note_rows(adds.len());
        let removes = if settled == Settled::No { RoaringBitmap::new() } else { moved };
        let now_done = if may_go.is_empty() { finish.clone() } else { None };
        if !(adds.is_empty() && removes.is_empty()) || now_done.is_some() {
            self.publisher.delta(&mut self.memory, &id, (&adds, &removes), now_done).await?;
        } else if is_held_otherwise {
            self.publisher.commit_collection(&self.memory, &id).await?;
        }
        Ok((!may_go.is_empty()).then_some(Candidate {
            id,
            devices: may_go,
            is_vanished: false,
            is_complete,
            finish,
            hold,
        }))
    }

    /// What a read that misses members leads to, and whether what is held of the collection is another now.
    fn weigh(
        &mut self,
        id: &str,
        settled: Settled,
        missing: RoaringBitmap,
    ) -> Option<(Weighed, bool)> {
        let now = self.now();
        let kept = self.memory.collections.get_mut(id)?;
        let held = (kept.is_held(), kept.state.held_devices.clone());
        let weighed = guard::weigh(kept, settled, missing, self.options.max_removed_share);
        let rest = schedule::rest_after(kept.run.reservations, self.options.poll_interval);
        if matches!(settled, Settled::WithReservations { .. }) {
            kept.run.not_before = now + micros(rest);
        }
        if settled != Settled::No
            && weighed.may_go.is_empty()
            && kept.run.pending.is_none()
            && !kept.state.held_vanished
        {
            // What was held is back, or is no longer missing.
            kept.release();
        }
        let is_otherwise = (kept.is_held(), &kept.state.held_devices) != (held.0, &held.1);
        Some((weighed, is_otherwise))
    }

    /// The first read of a collection: it is sent whole from the state, at once where there is room.
    async fn take_first(
        &mut self,
        id: &str,
        computers: RoaringBitmap,
        settled: Settled,
        finish: Option<Finish>,
    ) -> Result<(), Error> {
        let Some(finish) = finish else { return Ok(()) };
        let Some(kept) = self.memory.collections.get_mut(id) else {
            return Ok(());
        };
        kept.members = computers;
        // A first read that did not settle is not guarded, and is repeated at the next poll.
        kept.state.token = if settled == Settled::No { String::new() } else { finish.token };
        (kept.state.rows_read, kept.state.last_read) = (finish.rows_read, finish.last_read);
        self.publisher.commit_collection(&self.memory, id).await?;
        loop {
            match self.snapshot_step(id).await {
                Ok(false) => {}
                // What finds no room now goes when there is some.
                Ok(true) | Err(Error::Backlog { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Members that only changed their `ResourceID`: the same computer is among `adds`.
    fn same_computers(&self, adds: &RoaringBitmap, missing: &RoaringBitmap) -> RoaringBitmap {
        if adds.is_empty() || missing.is_empty() {
            return RoaringBitmap::new();
        }
        let devices = self.devices.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let name = |id: u32| devices.get(id).map(|d| (d.netbios_name.to_ascii_lowercase(), d.fqdn));
        let added: BTreeSet<_> = adds.iter().filter_map(name).collect();
        missing.iter().filter(|id| name(*id).is_some_and(|n| added.contains(&n))).collect()
    }

    /// Sends devices whose names changed to every collection that holds them.
    pub(crate) async fn resend_owed(&mut self) -> Result<(), Error> {
        if self.memory.owed.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = self.memory.collections.keys().cloned().collect();
        for id in ids {
            let Some(kept) = self.memory.collections.get(&id) else {
                continue;
            };
            let owed = &kept.members & &self.memory.owed;
            // A collection that was never sent gets the names with its first snapshot.
            if !owed.is_empty() && kept.state.start_seq > 0 {
                self.note_rows(owed.len());
                self.publisher
                    .delta(&mut self.memory, &id, (&owed, &RoaringBitmap::new()), None)
                    .await?;
            }
        }
        self.memory.owed.clear();
        self.publisher.commit_connection(&self.memory).await
    }
}

pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
