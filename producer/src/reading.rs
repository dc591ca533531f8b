//! One read of a collection's members, and whether it counts as complete.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use cmsync_configmgr::{Collection, MemberRow, MemberSink, Site};
use roaring::RoaringBitmap;

use crate::devices::DeviceTable;
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

impl MemberSink for Sink<'_> {
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

    fn restart(&mut self) {
        *self = Self::new(self.devices);
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

/// Reads a collection, and its count and token after it.
pub(crate) async fn read(
    site: Arc<dyn Site>,
    before: Collection,
    devices: Arc<RwLock<DeviceTable>>,
) -> (Collection, Result<Reading, cmsync_configmgr::Error>) {
    let mut sink = Sink::new(&devices);
    if let Err(error) = site.members(&before.id, &mut sink).await {
        return (before, Err(error));
    }
    let after = match site.collection(&before.id).await {
        Ok(after) => after,
        Err(error) => return (before, Err(error)),
    };
    let Sink { rows, computers, unknown, renamed, sites, .. } = sink;
    let reading =
        Reading { before: before.clone(), after, rows, computers, unknown, renamed, sites };
    (before, Ok(reading))
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
    run.short = if difference > 0 { run.short + 1 } else { 0 };
    let is_steady = run.difference.1 >= PATIENCE;
    // Of what changes while it is read, count and rows differ by chance: neither is believed yet.
    let is_chance = !is_steady && difference > 0 && run.short < LONG_PATIENCE;
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
}
