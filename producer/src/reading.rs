//! One read of a collection's members, and whether it counts as complete.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

use cmsync_configmgr::{Collection, CollectionsSink, MemberRow, Site};
use roaring::RoaringBitmap;

use crate::devices::DeviceTable;
use crate::state::RunState;

/// Reads in a row that may disagree before one counts.
const PATIENCE: u32 = 3;
/// Reads in a row that show less than is counted, of a collection that never stands still, before that is
/// no chance.
const LONG_PATIENCE: u32 = 10;
/// Members of one read of several collections: what a fault costs, and what is held of it.
const MOST_MEMBERS: i64 = 2_000_000;
/// Longest name that a computer can have, as DNS counts.
const MAX_NAME: usize = 255;

/// What a read found.
pub(crate) struct Reading {
    /// The collection as the poll showed it before the read.
    pub(crate) before: Collection,
    /// The collection after the read; `None` when it was gone.
    pub(crate) after: Option<Collection>,
    /// Rows of every type.
    pub(crate) rows: RoaringBitmap,
    /// Rows that may be computers.
    pub(crate) computers: RoaringBitmap,
    /// Computers that the table does not know.
    pub(crate) unknown: RoaringBitmap,
    /// Computers that the table knows by another name.
    pub(crate) renamed: Vec<(u32, String)>,
    /// Computers whose assigned site is another than the table has, by that site; empty for none.
    pub(crate) sites: BySite,
}

/// Devices by the code of their assigned site. There are few sites and many devices.
pub(crate) type BySite = BTreeMap<String, RoaringBitmap>;

struct Sink<'a> {
    devices: &'a RwLock<DeviceTable>,
    rows: RoaringBitmap,
    computers: RoaringBitmap,
    unknown: RoaringBitmap,
    renamed: Vec<(u32, String)>,
    sites: BySite,
}

impl Sink<'_> {
    fn note_site(&mut self, id: u32, site: &str) {
        if let Some(devices) = self.sites.get_mut(site) {
            devices.insert(id);
        } else {
            self.sites.insert(site.to_owned(), RoaringBitmap::from([id]));
        }
    }
}

impl Sink<'_> {
    fn row(&mut self, row: &MemberRow<'_>) {
        let Ok(id) = u32::try_from(row.resource_id) else {
            return;
        };
        if !self.rows.insert(id) {
            return;
        }
        let is_system = matches!(row.resource_type, 5 | -1);
        if !is_system || row.is_retired {
            return;
        }
        self.computers.insert(id);
        let site = row.assigned_site.as_deref().unwrap_or_default();
        let devices = self.devices.read().unwrap_or_else(PoisonError::into_inner);
        match devices.name_and_site(id) {
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

impl<'a> Sink<'a> {
    fn new(devices: &'a RwLock<DeviceTable>) -> Self {
        Self {
            devices,
            rows: RoaringBitmap::new(),
            computers: RoaringBitmap::new(),
            unknown: RoaringBitmap::new(),
            renamed: Vec::new(),
            sites: BySite::new(),
        }
    }
}

/// Whether a computer can have this name.
pub(crate) fn is_computer_name(name: &str) -> bool {
    let forbidden = |c: char| c.is_control() || c.is_whitespace() || r#"\/:*?"<>|,"#.contains(c);
    !name.is_empty() && name.len() <= MAX_NAME && !name.contains(forbidden)
}

/// The rows of several collections, each for itself.
struct Sinks<'a> {
    devices: &'a RwLock<DeviceTable>,
    /// The collection whose rows come.
    current: Option<(String, Sink<'a>)>,
    complete: HashMap<String, Sink<'a>>,
}

impl CollectionsSink for Sinks<'_> {
    fn collection(&mut self, id: &str) {
        if let Some((before, sink)) = self.current.take()
            && before != id
        {
            self.complete.insert(before, sink);
        }
        self.complete.remove(id);
        self.current = Some((id.to_owned(), Sink::new(self.devices)));
    }

    fn row(&mut self, row: &MemberRow<'_>) {
        if let Some((_, sink)) = &mut self.current {
            sink.row(row);
        }
    }
}

/// The next collections that are read together: not more members than a read should be long.
pub(crate) fn next_batch(
    waiting: &mut VecDeque<Collection>,
    together: usize,
) -> Option<Vec<Collection>> {
    let mut batch = vec![waiting.pop_front()?];
    let mut members = batch.iter().map(|c| c.member_count).sum::<i64>();
    while batch.len() < together
        && let Some(next) = waiting.pop_front_if(|next| members + next.member_count <= MOST_MEMBERS)
    {
        members += next.member_count;
        batch.push(next);
    }
    Some(batch)
}

/// What came of one read of several collections.
pub(crate) struct Batch {
    /// Those that were read, and the one that cannot be.
    pub(crate) done: Vec<(Collection, Result<Reading, cmsync_configmgr::Error>)>,
    /// Those that a failed read had not finished with. Which of them is to blame is not known: each is
    /// read for itself next.
    pub(crate) left: Vec<Collection>,
}

/// Reads collections, and their counts and tokens after it.
pub(crate) async fn read(
    site: Arc<dyn Site>,
    wanted: Vec<Collection>,
    devices: Arc<RwLock<DeviceTable>>,
) -> Batch {
    let ids: Vec<String> = wanted.iter().map(|collection| collection.id.clone()).collect();
    let mut sinks = Sinks { devices: &devices, current: None, complete: HashMap::new() };
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
            None if failure.is_none() => read.push((before, Sink::new(&devices))),
            None => rest.push(before),
        }
    }
    let mut batch = Batch { done: Vec::new(), left: Vec::new() };
    if let Some(error) = failure {
        batch.failed(rest, error, ids.len());
    }
    let ids: Vec<String> = read.iter().map(|(before, _)| before.id.clone()).collect();
    if ids.is_empty() {
        return batch;
    }
    match site.collections_of(&ids).await {
        Ok(found) => {
            let mut after: HashMap<String, Collection> =
                found.into_iter().map(|collection| (collection.id.clone(), collection)).collect();
            batch.done.extend(read.into_iter().map(|(before, sink)| {
                let after = after.remove(&before.id);
                let Sink { rows, computers, unknown, renamed, sites, .. } = sink;
                let kept = before.clone();
                let reading =
                    Reading { before: kept, after, rows, computers, unknown, renamed, sites };
                (before, Ok(reading))
            }));
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
    let rows = i64::try_from(reading.rows.len()).unwrap_or(i64::MAX);
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
            rows: (0..rows).collect(),
            computers: (0..rows).collect(),
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
                let (name, domain, assigned_site) = ("PC1".into(), None, None);
                let (resource_id, resource_type, is_retired) = (7, 5, false);
                sink.row(&MemberRow {
                    resource_id,
                    resource_type,
                    name,
                    domain,
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
            let Batch { done, left } = read(Arc::new(Failing { at }), wanted, Arc::default()).await;
            let (complete, rest) = all.split_at(at);
            assert!(done.iter().all(|(_, read)| read.as_ref().is_ok_and(|r| r.rows.len() == 1)));
            assert_eq!(done.iter().map(|(c, _)| c.id.as_str()).collect::<Vec<_>>(), complete);
            assert_eq!(left.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), rest);
        }
        let alone = read(Arc::new(Failing { at: 0 }), vec![collection("A")], Arc::default()).await;
        assert!(alone.left.is_empty() && alone.done.len() == 1 && alone.done[0].1.is_err());
    }
}
