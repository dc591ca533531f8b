//! One read of a collection's members, and whether it counts as complete.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use cmsync_configmgr::{Collection, CollectionsSink, MemberRow, Site};
use roaring::RoaringBitmap;

use crate::devices::{DeviceTable, Near};
use crate::state::RunState;

/// Reads in a row that may disagree before one counts.
const PATIENCE: u32 = 3;
/// Reads in a row that show less than is counted, of a collection that never stands still, before that is
/// no chance.
const LONG_PATIENCE: u32 = 10;
/// Longest name that a computer can have, as DNS counts.
const MAX_NAME: usize = 255;

/// What a read found.
pub(crate) struct Reading {
    /// The collection as the poll showed it before the read.
    pub(crate) before: Collection,
    /// The collection after the read; `None` when it was gone.
    pub(crate) after: Option<Collection>,
    /// How many rows there are, of every type.
    pub(crate) rows: u64,
    /// How many of them were read: not all where a site told which had changed.
    pub(crate) read: u64,
    pub(crate) is_whole: bool,
    /// Rows that may be computers.
    pub(crate) computers: RoaringBitmap,
    /// Rows of computers that are obsolete or decommissioned.
    pub(crate) retired: u64,
    /// Computers that the table does not know.
    pub(crate) unknown: RoaringBitmap,
    /// Computers that the table knows by another name.
    pub(crate) renamed: Vec<(u32, String)>,
    /// Computers whose assigned site is another than the table has, by that site; empty for none.
    pub(crate) sites: BySite,
}

/// Devices by the code of their assigned site. There are few sites and many devices.
pub(crate) type BySite = BTreeMap<String, RoaringBitmap>;

/// Ids as they come, which mostly is in order: then they are added without a search for their place.
#[derive(Default)]
struct Ids {
    set: RoaringBitmap,
    new: Vec<u32>,
}

impl Ids {
    const AT_ONCE: usize = 1_024;

    fn add(&mut self, id: u32) {
        self.new.push(id);
        if self.new.len() == Self::AT_ONCE {
            self.settle();
        }
    }

    fn settle(&mut self) {
        if self.set.append(self.new.iter().copied()).is_err() {
            self.set.extend(&self.new);
        }
        self.new.clear();
    }

    fn into_set(mut self) -> RoaringBitmap {
        self.settle();
        self.set
    }
}

#[derive(Default)]
pub(crate) struct Sink {
    near: Near,
    rows: Ids,
    /// Rows that are no computers.
    others: RoaringBitmap,
    /// Those of them that are obsolete or decommissioned.
    retired: RoaringBitmap,
    unknown: RoaringBitmap,
    renamed: Vec<(u32, String)>,
    sites: BySite,
}

impl Sink {
    pub(crate) fn into_found(self) -> Found {
        let Self { rows, others, retired, unknown, renamed, sites, near: _ } = self;
        let rows = rows.into_set();
        let computers = &rows - &others;
        Found { rows, computers, retired, unknown, renamed, sites }
    }

    fn note_site(&mut self, id: u32, site: &str) {
        if let Some(devices) = self.sites.get_mut(site) {
            devices.insert(id);
        } else {
            self.sites.insert(site.to_owned(), RoaringBitmap::from([id]));
        }
    }

    pub(crate) fn row(&mut self, devices: &DeviceTable, row: &MemberRow<'_>) {
        let Ok(id) = u32::try_from(row.resource_id) else {
            return;
        };
        self.rows.add(id);
        let is_system = matches!(row.resource_type, 5 | -1);
        if !is_system || row.is_retired {
            self.others.insert(id);
            if is_system {
                self.retired.insert(id);
            }
            return;
        }
        let site = row.assigned_site.as_deref().unwrap_or_default();
        match devices.name_and_site(id, &mut self.near) {
            None => {
                self.unknown.insert(id);
                self.note_site(id, site);
            }
            Some((name, known)) => {
                // Rows without a name come from sites that were asked for ids alone.
                if name != row.name && is_computer_name(&row.name) {
                    self.renamed.push((id, row.name.clone().into_owned()));
                }
                if known != Some(site) {
                    self.note_site(id, site);
                }
            }
        }
    }
}

/// What rows came to.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) rows: RoaringBitmap,
    pub(crate) computers: RoaringBitmap,
    pub(crate) retired: RoaringBitmap,
    pub(crate) unknown: RoaringBitmap,
    pub(crate) renamed: Vec<(u32, String)>,
    pub(crate) sites: BySite,
}

impl Found {
    /// Takes over what other rows of the same collection came to.
    pub(crate) fn add(&mut self, other: Self) {
        self.rows |= other.rows;
        self.retired |= other.retired;
        self.computers |= other.computers;
        self.unknown |= other.unknown;
        self.renamed.extend(other.renamed);
        for (site, devices) in other.sites {
            *self.sites.entry(site).or_default() |= devices;
        }
    }
}

/// Whether a computer can have this name.
pub(crate) fn is_computer_name(name: &str) -> bool {
    let forbidden = |c: char| c.is_control() || c.is_whitespace() || r#"\/:*?"<>|,"#.contains(c);
    !name.is_empty() && name.len() <= MAX_NAME && !name.contains(forbidden)
}

/// The rows of several collections, each for itself.
pub(crate) struct Sinks<'a> {
    devices: &'a RwLock<DeviceTable>,
    /// The collection whose rows come.
    current: Option<(String, Sink)>,
    complete: HashMap<String, Sink>,
}

impl<'a> Sinks<'a> {
    pub(crate) fn new(devices: &'a RwLock<DeviceTable>) -> Self {
        Self { devices, current: None, complete: HashMap::new() }
    }

    /// Of the one collection that was asked for.
    pub(crate) fn only(self) -> Found {
        self.current.map(|(_, sink)| sink).unwrap_or_default().into_found()
    }
}

impl CollectionsSink for Sinks<'_> {
    fn collection(&mut self, id: &str) {
        if let Some((before, sink)) = self.current.take()
            && before != id
        {
            self.complete.insert(before, sink);
        }
        self.complete.remove(id);
        self.current = Some((id.to_owned(), Sink::default()));
    }

    fn row(&mut self, row: &MemberRow<'_>) {
        self.rows(std::slice::from_ref(row));
    }

    fn rows(&mut self, rows: &[MemberRow<'_>]) {
        if let Some((_, sink)) = &mut self.current {
            let devices = self.devices.read().unwrap_or_else(PoisonError::into_inner);
            rows.iter().for_each(|row| sink.row(&devices, row));
        }
    }
}

/// What came of one read of several collections.
#[derive(Default)]
pub(crate) struct Batch {
    /// Those that were read, and the one that cannot be.
    pub(crate) done: Vec<(Collection, Result<Reading, cmsync_configmgr::Error>)>,
    /// Those that a failed read had not finished with. Which of them is to blame is not known: each is
    /// read for itself next.
    pub(crate) left: Vec<Collection>,
    /// Those of a pass over all members that failed: they are read without it.
    pub(crate) each: Vec<Collection>,
}

/// Reads collections, and their counts and tokens after it.
pub(crate) async fn read(
    site: Arc<dyn Site>,
    wanted: Vec<Collection>,
    devices: Arc<RwLock<DeviceTable>>,
) -> Batch {
    let ids: Vec<String> = wanted.iter().map(|collection| collection.id.clone()).collect();
    let mut sinks = Sinks::new(&devices);
    let failure = site.members_of(&ids, &mut sinks).await.err();
    let Sinks { mut complete, current, .. } = sinks;
    if failure.is_none() {
        complete.extend(current);
    }
    let (mut read, mut rest) = (Vec::new(), Vec::new());
    for before in wanted {
        match complete.remove(&before.id) {
            Some(sink) => read.push((before, sink)),
            // Where nothing failed, those that were passed over have no rows.
            None if failure.is_none() => read.push((before, Sink::default())),
            None => rest.push(before),
        }
    }
    let mut batch = Batch::default();
    if let Some(error) = failure {
        batch.failed(rest, error, ids.len());
    }
    let ids: Vec<String> = read.iter().map(|(before, _)| before.id.clone()).collect();
    if ids.is_empty() {
        return batch;
    }
    match site.collections_of(&ids).await {
        Ok(after) => {
            let read = read.into_iter().map(|(before, sink)| (before, sink.into_found()));
            batch.conclude(read, after);
        }
        Err(error) => {
            let count = read.len();
            batch.failed(read.into_iter().map(|(before, _)| before).collect(), error, count);
        }
    }
    batch
}

/// What is said of a read whose task ended in a fault of this program.
pub(crate) fn panicked() -> cmsync_configmgr::Error {
    let (host, class) = ("site".to_owned(), "members".to_owned());
    cmsync_configmgr::Error::Answer { host, class, detail: "the read panicked".to_owned() }
}

impl Batch {
    /// Takes whole reads, with what the site says of their collections after them.
    pub(crate) fn conclude(
        &mut self,
        read: impl Iterator<Item = (Collection, Found)>,
        after: Vec<Collection>,
    ) {
        let mut after: HashMap<String, Collection> =
            after.into_iter().map(|collection| (collection.id.clone(), collection)).collect();
        self.done.extend(read.map(|(before, found)| {
            let after = after.remove(&before.id);
            let Found { rows, computers, retired, unknown, renamed, sites } = found;
            let (rows, kept) = (rows.len(), before.clone());
            let reading = Reading {
                before: kept,
                after,
                rows,
                read: rows,
                is_whole: true,
                computers,
                retired: retired.len(),
                unknown,
                renamed,
                sites,
            };
            (before, Ok(reading))
        }));
    }

    /// Of one alone it is known whose failure it is.
    fn failed(&mut self, mut rest: Vec<Collection>, error: cmsync_configmgr::Error, of: usize) {
        if of == 1 {
            self.done.extend(rest.pop().map(|only| (only, Err(error))));
        } else {
            tracing::warn!(%error, collections = of, "a read of several collections failed; reading each");
            self.left.append(&mut rest);
        }
    }
}

/// Whether removals may be told from a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Rows, counts and token agree.
    Complete,
    /// They do not, and not for the first time: it counts, and is repeated later.
    WithReservations {
        /// Whether the site counts more members than it shows.
        is_short: bool,
    },
    /// They do not: members that are there count, members that are not do not.
    No,
}

/// Judges a read and notes it for the next.
pub(crate) fn settle(reading: &Reading, run: &mut RunState) -> Settled {
    let rows = i64::try_from(reading.rows).unwrap_or(i64::MAX);
    let Some(after) = &reading.after else {
        return Settled::No;
    };
    let stood_still = after.token == reading.before.token;
    let difference = after.member_count - rows;
    if stood_still && difference == 0 && reading.before.member_count == rows {
        (run.moving, run.difference, run.short, run.reservations) = (0, (0, 0), 0, 0);
        return Settled::Complete;
    }
    run.moving = if stood_still { 0 } else { run.moving + 1 };
    run.difference = match run.difference {
        (known, times) if stood_still && known == difference && difference != 0 => {
            (known, times + 1)
        }
        _ => (difference, 1),
    };
    let was_short = run.short > 0;
    run.short = if difference > 0 { run.short + 1 } else { 0 };
    let is_steady = run.difference.1 >= PATIENCE;
    // Of what changes while it is read, count and rows differ by chance: neither is believed yet.
    let is_short = difference > 0 || was_short;
    let is_chance = !is_steady && is_short && run.short < LONG_PATIENCE;
    if (run.moving >= PATIENCE && !is_chance) || is_steady {
        run.reservations += 1;
        Settled::WithReservations { is_short: difference > 0 }
    } else {
        Settled::No
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(rows: u32, before: (i64, &str), after: (i64, &str)) -> Reading {
        let collection = |(count, token): (i64, &str)| Collection {
            id: "PS100001".into(),
            name: "n".into(),
            folder: "/".into(),
            member_count: count,
            token: token.into(),
        };
        Reading {
            before: collection(before),
            after: Some(collection(after)),
            rows: u64::from(rows),
            read: u64::from(rows),
            is_whole: true,
            computers: (0..rows).collect(),
            retired: 0,
            unknown: RoaringBitmap::new(),
            renamed: vec![],
            sites: BySite::new(),
        }
    }

    #[test]
    fn a_read_is_complete_when_rows_counts_and_token_agree() {
        let settle = |r: &Reading| settle(r, &mut RunState::default());
        assert_eq!(settle(&reading(5, (5, "a"), (5, "a"))), Settled::Complete);
        for other in [
            reading(4, (5, "a"), (5, "a")),
            reading(5, (4, "a"), (5, "a")),
            reading(5, (5, "a"), (5, "b")),
        ] {
            assert_eq!(settle(&other), Settled::No);
        }
        let gone = Reading { after: None, ..reading(5, (5, "a"), (5, "a")) };
        assert_eq!(settle(&gone), Settled::No);
    }

    #[test]
    fn three_reads_that_move_or_differ_alike_count_with_reservations() {
        let mut run = RunState::default();
        let short = reading(4, (5, "a"), (5, "a"));
        assert_eq!(settle(&short, &mut run), Settled::No);
        assert_eq!(settle(&reading(3, (5, "a"), (5, "a")), &mut run), Settled::No);
        assert_eq!(settle(&short, &mut run), Settled::No);
        assert_eq!(settle(&short, &mut run), Settled::No);
        assert_eq!(settle(&short, &mut run), Settled::WithReservations { is_short: true });
        let mut run = RunState::default();
        let moving = reading(5, (5, "a"), (5, "b"));
        assert_eq!(settle(&moving, &mut run), Settled::No);
        assert_eq!(settle(&moving, &mut run), Settled::No);
        assert_eq!(settle(&moving, &mut run), Settled::WithReservations { is_short: false });
        assert_eq!(settle(&reading(5, (5, "b"), (5, "b")), &mut run), Settled::Complete);
        assert_eq!(run.moving, 0);
        // While it moves, a count above the rows is chance, until it is so for long.
        let later = reading(4, (5, "a"), (5, "b"));
        for _ in 1..LONG_PATIENCE {
            assert_eq!(settle(&later, &mut run), Settled::No);
        }
        assert_eq!(settle(&later, &mut run), Settled::WithReservations { is_short: true });
        // Nor is it believed that they agree at once after that.
        let agrees = reading(5, (5, "a"), (5, "b"));
        assert_eq!(settle(&agrees, &mut run), Settled::No);
        assert_eq!(settle(&agrees, &mut run), Settled::WithReservations { is_short: false });
    }

    proptest::proptest! {
        #[test]
        fn ids_are_all_kept_in_whatever_order_they_come(
            ids in proptest::collection::vec(0..100_000_u32, 0..5_000), is_sorted: bool,
        ) {
            let mut ids = ids;
            if is_sorted {
                ids.sort_unstable();
            }
            let mut kept = Ids::default();
            ids.iter().for_each(|id| kept.add(*id));
            proptest::prop_assert_eq!(kept.into_set(), ids.into_iter().collect());
        }
    }

    #[test]
    fn names_that_no_computer_can_have_are_told() {
        for good in ["PC1", "pc-1_x", "Büro7", "x.y"] {
            assert!(is_computer_name(good), "{good}");
        }
        for bad in ["", "a b", "a\\b", "a\u{7}", "a:b", &"x".repeat(256)] {
            assert!(!is_computer_name(bad), "{bad}");
        }
    }

    /// Gives one row of each collection until it fails.
    struct Failing {
        at: usize,
    }

    #[async_trait::async_trait]
    impl Site for Failing {
        async fn hierarchy(&self) -> Result<cmsync_configmgr::Hierarchy, cmsync_configmgr::Error> {
            unreachable!("nobody asks")
        }

        async fn collections(&self) -> Result<Vec<Collection>, cmsync_configmgr::Error> {
            unreachable!("nobody asks")
        }

        async fn collections_of(
            &self,
            ids: &[String],
        ) -> Result<Vec<Collection>, cmsync_configmgr::Error> {
            Ok(ids.iter().map(|id| collection(id)).collect())
        }

        async fn members_of(
            &self,
            ids: &[String],
            sink: &mut dyn CollectionsSink,
        ) -> Result<(), cmsync_configmgr::Error> {
            for (index, id) in ids.iter().enumerate() {
                sink.collection(id);
                let (name, assigned_site) = ("PC1".into(), None);
                let (resource_id, resource_type, is_retired) = (7, 5, false);
                sink.row(&MemberRow {
                    resource_id,
                    resource_type,
                    name,
                    assigned_site,
                    is_retired,
                });
                if index == self.at {
                    return Err(cmsync_configmgr::Error::Answer {
                        host: "h".into(),
                        class: "c".into(),
                        detail: "d".into(),
                    });
                }
            }
            Ok(())
        }

        async fn devices(
            &self,
            _: &cmsync_configmgr::DeviceScope,
        ) -> Result<Vec<cmsync_configmgr::DeviceRow>, cmsync_configmgr::Error> {
            unreachable!("nobody asks")
        }

        async fn account(&self) -> Result<Option<String>, cmsync_configmgr::Error> {
            unreachable!("nobody asks")
        }
    }

    fn collection(id: &str) -> Collection {
        let (id, name, folder) = (id.to_owned(), "n".into(), "/".into());
        Collection { id, name, folder, member_count: 1, token: "t".into() }
    }

    #[tokio::test]
    async fn a_read_of_several_that_fails_goes_on_where_it_stopped() {
        let all = ["A", "B", "C", "D"];
        for at in 0..5 {
            let wanted = all.map(collection).to_vec();
            let Batch { done, left, .. } =
                read(Arc::new(Failing { at }), wanted, Arc::default()).await;
            let (complete, rest) = all.split_at(at);
            assert!(done.iter().all(|(_, read)| read.as_ref().is_ok_and(|r| r.rows == 1)));
            assert_eq!(done.iter().map(|(c, _)| c.id.as_str()).collect::<Vec<_>>(), complete);
            assert_eq!(left.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), rest);
        }
        let alone = read(Arc::new(Failing { at: 0 }), vec![collection("A")], Arc::default()).await;
        assert!(alone.left.is_empty() && alone.done.len() == 1 && alone.done[0].1.is_err());
    }
}
