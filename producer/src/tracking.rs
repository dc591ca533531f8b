//! Reads of what changed alone, where a site keeps track of it.
//!
//! The track only makes reads shorter. What it leads to counts when the site's own count and change time
//! agree before and after; otherwise, and once a day whatever it says, the collection is read in full.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use cmsync_configmgr::{Changed, Collection, FEW_MEMBERS, Site, Track};
use roaring::RoaringBitmap;

use crate::connection::Connection;
use crate::devices::DeviceTable;
use crate::reading::{self, Batch, Reading, Sinks};
use crate::state::Kept;

/// More changes than this of one collection are read with all of its members.
const MOST_CHANGES: usize = 5_000;

/// A site's track of changes, as this poll found it.
#[derive(Default)]
pub(crate) struct Look {
    /// Its version at the last poll.
    before: Option<i64>,
    /// Its version now.
    now: Option<i64>,
    since: HashMap<String, Vec<(i64, Changed)>>,
}

/// What has to be read of a collection that was known as of the last poll.
pub(crate) struct Known {
    pub(crate) collection: Collection,
    members: RoaringBitmap,
    rows: i64,
    changes: Vec<(i64, Changed)>,
}

impl Known {
    /// Whether a read of all its members would cost more than queries of its own.
    pub(crate) fn is_large(&self) -> bool {
        usize::try_from(self.rows).is_ok_and(|rows| rows >= FEW_MEMBERS)
    }
}

impl Connection {
    /// Looks where the track stands, after the collections were listed and before their members are read:
    /// whatever a listed change time tells is in it.
    pub(crate) async fn look_at_track(&mut self) {
        let before = self.track.before.take();
        self.track = Look::default();
        let Some(tracked) = self.site.tracked() else {
            return;
        };
        match tracked.track(before).await {
            Ok(Track { version, since }) => {
                let before = before.filter(|_| since.is_some());
                self.track = Look { before, now: Some(version), since: since.unwrap_or_default() };
            }
            Err(error) => self.warn_once(format!("everything is read in full: {error}")),
        }
    }

    /// After the reads of a poll: what did not change is known as of its beginning, as what was read is.
    /// What changed and was not read is known no more.
    pub(crate) fn keep_track(&mut self) {
        let Look { before, now, since } = std::mem::take(&mut self.track);
        for (id, kept) in &mut self.memory.collections {
            kept.run.known_as_of = kept.run.known_as_of.and_then(|(version, count)| {
                let stands = Some(version) == before && !since.contains_key(id);
                now.filter(|now| version == *now || stands).map(|now| (now, count))
            });
        }
        self.track.before = now;
    }

    /// Whether members changed of which no token tells yet.
    pub(crate) fn has_changes(&self, collection: &str) -> bool {
        self.track.since.contains_key(collection)
    }

    /// What has to be read of a collection, where that is not everything.
    pub(crate) fn known(&self, collection: &Collection, kept: &Kept, now: i64) -> Option<Known> {
        let (state, run) = (&kept.state, &kept.run);
        let (version, count) = run.known_as_of?;
        let is_settled = run.pending.is_none() && !kept.is_held() && !run.recheck;
        let is_known = self.track.before == Some(version) && kept.members.len() == count;
        if !is_settled || !is_known || self.is_due(collection, kept, now) {
            return None;
        }
        let changes = self.track.since.get(&collection.id).cloned().unwrap_or_default();
        let (members, rows) = (kept.members.clone(), state.rows_read);
        let collection = collection.clone();
        (changes.len() <= MOST_CHANGES).then_some(Known { collection, members, rows, changes })
    }

    /// The version as of which a read of this poll is known.
    pub(crate) fn known_from(&self) -> Option<i64> {
        self.track.now
    }
}

/// Reads what changed, or everything where that does not agree with what the site counts.
pub(crate) async fn read(
    site: Arc<dyn Site>,
    known: Known,
    devices: Arc<RwLock<DeviceTable>>,
) -> Batch {
    match read_changes(site.as_ref(), &known, &devices).await {
        Some(reading) => Batch { done: vec![(known.collection, Ok(reading))], ..Batch::default() },
        None => reading::read(site, vec![known.collection], devices).await,
    }
}

async fn read_changes(
    site: &dyn Site,
    known: &Known,
    devices: &RwLock<DeviceTable>,
) -> Option<Reading> {
    let Known { collection, members, rows, changes } = known;
    let ids: Vec<i64> = changes.iter().map(|(id, _)| *id).collect();
    let mut sinks = Sinks::new(devices);
    if !ids.is_empty() {
        site.tracked()?.some_members(&collection.id, &ids, &mut sinks).await.ok()?;
    }
    let found = sinks.only();
    let after = site.collections_of(std::slice::from_ref(&collection.id)).await.ok()?.pop()?;
    let mut count = *rows;
    let mut others = members.clone();
    for (id, changed) in changes {
        let id = u32::try_from(*id).ok()?;
        let is_there = found.rows.contains(id);
        match changed {
            Changed::Added if is_there => count += 1,
            Changed::Removed if !is_there => count -= 1,
            Changed::Otherwise if is_there => {}
            // It changed again since.
            _ => return None,
        }
        others.remove(id);
    }
    let is_steady = after.token == collection.token;
    if !is_steady || count != after.member_count || count != collection.member_count {
        return None;
    }
    Some(Reading {
        before: collection.clone(),
        after: Some(after),
        rows: u64::try_from(count).ok()?,
        read: found.rows.len(),
        is_whole: false,
        computers: others | found.computers,
        retired: found.retired.len(),
        unknown: found.unknown,
        renamed: found.renamed,
        sites: found.sites,
    })
}
