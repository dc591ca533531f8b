//! What a poll has to read, in which order, and how much at once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, RwLock};

use cmsync_configmgr::{Collection, Site};

use crate::connection::Connection;
use crate::devices::DeviceTable;
use crate::pass;
use crate::reading::{self, Batch};
use crate::schedule;
use crate::state::Kept;
use crate::tracking::{self, Known};

/// Reads that go on at once; the site's own limit on requests is the client's business.
pub(crate) const READS: usize = 8;

/// Collections of which what changed is read, each by queries of its own, however small they are.
const MANY: usize = 64;

/// Collections that wait to be read.
pub(crate) struct Work {
    /// Those of which what changed is enough.
    known: Vec<Known>,
    /// What a read of several that failed had not come to.
    alone: VecDeque<Collection>,
    /// The largest first, so that reads that go on at once end at about the same time.
    waiting: VecDeque<Collection>,
    /// Those that are read in one pass, and how many requests it takes.
    pass: Option<(Vec<Collection>, usize)>,
    /// How many collections, and how many members, one read should have.
    together: (usize, usize),
}

/// One read.
pub(crate) enum Piece {
    Changes(Known),
    Whole(Vec<Collection>),
    Pass((Vec<Collection>, usize)),
}

impl Work {
    pub(crate) fn new(
        known: Vec<Known>,
        mut dirty: Vec<Collection>,
        together: (usize, usize),
    ) -> Self {
        dirty.sort_by_key(|collection| Reverse(collection.member_count));
        let (alone, pass) = (VecDeque::new(), None);
        Self { known, alone, waiting: dirty.into(), pass, together }
    }

    /// The same, with one pass in the place of reads of several.
    fn in_one_pass(mut self, requests: usize) -> Self {
        self.pass = Some((std::mem::take(&mut self.waiting).into(), requests));
        self
    }

    pub(crate) fn is_one_pass(&self) -> bool {
        self.pass.is_some()
    }

    /// Collections of a pass that failed.
    pub(crate) fn without_pass(&mut self, each: Vec<Collection>) {
        self.waiting.extend(each);
    }

    /// Collections that are read again, each for itself.
    pub(crate) fn again(&mut self, left: Vec<Collection>) {
        self.alone.extend(left);
    }

    /// What is read next.
    pub(crate) fn next(&mut self) -> Option<Piece> {
        if let Some(known) = self.known.pop() {
            return Some(Piece::Changes(known));
        }
        if let Some(one) = self.alone.pop_front() {
            return Some(Piece::Whole(vec![one]));
        }
        if let Some(pass) = self.pass.take() {
            return Some(Piece::Pass(pass));
        }
        self.batch().map(Piece::Whole)
    }

    /// Collections that are read together: no more members than a read should have, and a small share of
    /// those that wait, of which all reads have something to do.
    fn batch(&mut self) -> Option<Vec<Collection>> {
        let (together, most) = self.together;
        let reads = i64::try_from(READS).unwrap_or(i64::MAX);
        let left = self.waiting.iter().map(|collection| collection.member_count).sum::<i64>();
        let most = i64::try_from(most).unwrap_or(i64::MAX).min(left / (2 * reads));
        let together = together.min(self.waiting.len().div_ceil(READS));
        let mut batch = vec![self.waiting.pop_front()?];
        let mut members = batch.iter().map(|c| c.member_count).sum::<i64>();
        while batch.len() < together
            && let Some(next) =
                self.waiting.pop_front_if(|next| members + next.member_count <= most)
        {
            members += next.member_count;
            batch.push(next);
        }
        Some(batch)
    }
}

impl Piece {
    pub(crate) async fn read(
        self,
        site: Arc<dyn Site>,
        devices: Arc<RwLock<DeviceTable>>,
    ) -> Batch {
        match self {
            Self::Changes(known) => tracking::read(site, known, devices).await,
            Self::Whole(collections) => reading::read(site, collections, devices).await,
            Self::Pass(pass) => pass::read(site, pass, devices).await,
        }
    }
}

impl Connection {
    /// What has to be read of the collections that are wanted.
    pub(crate) fn work(&self, wanted: &BTreeMap<String, Collection>) -> Work {
        let (mut known, mut dirty) = (Vec::new(), Vec::new());
        let now = self.now();
        for (_, collection, kept) in beside(wanted, &self.memory.collections) {
            let Some(kept) = kept.filter(|kept| self.is_dirty(collection, kept, now)) else {
                continue;
            };
            match self.known(collection, kept, now) {
                Some(changes) => known.push(changes),
                None => dirty.push(collection.clone()),
            }
        }
        if known.len() > MANY {
            // Small ones share their queries when they are read whole.
            let (large, small) = known.into_iter().partition(Known::is_large);
            known = large;
            dirty.extend(small.into_iter().map(|known: Known| known.collection));
        }
        let ids: Vec<String> = dirty.iter().map(|collection| collection.id.clone()).collect();
        let pass = self.site.passes().and_then(|passes| passes.pays(&ids));
        let work = Work::new(known, dirty, self.site.together());
        match pass {
            Some(requests) => work.in_one_pass(requests),
            None => work,
        }
    }

    /// Whether a collection is to be read.
    pub(crate) fn is_dirty(&self, collection: &Collection, kept: &Kept, now: i64) -> bool {
        let (state, run) = (&kept.state, &kept.run);
        let differs = state.token != collection.token || state.rows_read != collection.member_count;
        let waits = now < run.not_before;
        let differs =
            (differs && !waits) || (run.known_as_of.is_some() && self.has_changes(&collection.id));
        differs || run.recheck || run.pending.is_some() || self.is_due(collection, kept, now)
    }

    /// Whether a collection is to be read in full, whatever its token says.
    pub(crate) fn is_due(&self, collection: &Collection, kept: &Kept, now: i64) -> bool {
        let (state, interval) = (&kept.state, self.options.reread_interval);
        state.rows_read < 0 || schedule::is_due(&collection.id, state.last_read, now, interval)
    }
}

/// What is kept under each key, with what `others` keep under the same: both are in order, so nothing is
/// searched for.
pub(crate) fn beside<'a, 'b, V, O>(
    all: impl IntoIterator<Item = (&'a String, V)>,
    others: &'b BTreeMap<String, O>,
) -> impl Iterator<Item = (&'a String, V, Option<&'b O>)> {
    let mut others = others.iter().peekable();
    all.into_iter().map(move |(key, value)| {
        while others.next_if(|(other, _)| *other < key).is_some() {}
        let other = others.next_if(|(other, _)| *other == key);
        (key, value, other.map(|(_, other)| other))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn batches_hold_every_collection_once_the_largest_first_and_none_is_too_large(
            counts in prop::collection::vec(0_i64..5_000, 0..200),
            (together, most) in (1..70_usize, 0..20_000_usize),
        ) {
            let named = |(n, count): (usize, &i64)| Collection {
                id: format!("PS1{n:05}"),
                name: String::new(),
                folder: "/".into(),
                member_count: *count,
                token: String::new(),
            };
            let dirty: Vec<_> = counts.iter().enumerate().map(named).collect();
            let mut work = Work::new(Vec::new(), dirty.clone(), (together, most));
            let mut read = Vec::new();
            while let Some(Piece::Whole(batch)) = work.next() {
                let members: i64 = batch.iter().map(|c| c.member_count).sum();
                prop_assert!(batch.len() == 1 || members <= most as i64);
                prop_assert!((1..=together).contains(&batch.len()));
                read.extend(batch);
            }
            prop_assert!(read.is_sorted_by_key(|c| Reverse(c.member_count)));
            read.sort_by(|a, b| a.id.cmp(&b.id));
            prop_assert_eq!(read, dirty);
        }

        #[test]
        fn what_is_beside_a_key_is_what_a_search_finds(
            all in prop::collection::btree_map("[a-d]{0,2}", 0..9, 0..12),
            others in prop::collection::btree_map("[a-d]{0,2}", 0..9, 0..12),
        ) {
            let found: Vec<_> = beside(&all, &others).collect();
            let sought: Vec<_> = all.iter().map(|(key, n)| (key, n, others.get(key))).collect();
            prop_assert_eq!(found, sought);
        }
    }
}
