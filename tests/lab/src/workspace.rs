//! What was ingested, and what a reader of the workspace would see.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::read::GzDecoder;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::rows::stored;
pub use crate::rows::{MarkerRow, MemberRow};
use crate::world::World;

/// Decompressed bytes above which a body is lost after its 204.
const LOST_ABOVE: u64 = 50 * 1024 * 1024;

/// A body that was taken.
pub(crate) struct Body {
    pub(crate) arrived: Instant,
    /// The same as wall time.
    pub(crate) received: jiff::Timestamp,
    pub(crate) stream: String,
    pub(crate) bytes: Bytes,
    pub(crate) is_gzip: bool,
}

/// The workspace's store.
pub struct Workspace {
    pub(crate) bodies: Mutex<Vec<Body>>,
    /// Rows that were taken and are not there: by group and device, up to a seq.
    pub(crate) lost: Mutex<HashMap<(String, u32), i64>>,
    taken: watch::Sender<u64>,
}

impl Default for Workspace {
    fn default() -> Self {
        Self { bodies: Mutex::default(), lost: Mutex::default(), taken: watch::Sender::new(0) }
    }
}

/// What of the workspace a reader sees: each row after a delay of its own, which is drawn, so that
/// rows of either table come in any order.
#[derive(Debug, Clone, Copy)]
pub struct Sight {
    /// Decides what is drawn.
    pub seed: u64,
    /// When the reader looks, and the longest delay; `None` for the end of all days.
    pub at: Option<(Instant, Duration)>,
}

impl Sight {
    fn sees(&self, arrived: Instant, row: impl Hash) -> bool {
        let Some((at, longest)) = self.at else { return true };
        let mut hasher = DefaultHasher::new();
        (self.seed, row).hash(&mut hasher);
        let share = (hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64;
        arrived + longest.mul_f64(share) <= at
    }
}

impl From<u64> for Sight {
    fn from(seed: u64) -> Self {
        Self { seed, at: None }
    }
}

/// A member as a reader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seen {
    pub computer: String,
    pub netbios_name: String,
    pub assigned_site: Option<String>,
}

/// What the reading rule gives.
#[derive(Debug, Default)]
pub struct View {
    /// Members by group and resource id.
    pub groups: BTreeMap<String, BTreeMap<u32, Seen>>,
    /// The newest name of each group.
    pub names: BTreeMap<String, String>,
    pub member_rows: u64,
    pub marker_rows: u64,
    /// Bodies that were taken and are not there.
    pub lost_bodies: u64,
    pub highest_seq: i64,
    pub instances: std::collections::BTreeSet<String>,
}

/// How workspace and site compare.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    pub equal: bool,
    pub collections: usize,
    pub memberships: usize,
    pub missing: usize,
    pub extra: usize,
    pub wrong: usize,
    pub member_rows: u64,
    pub marker_rows: u64,
    pub lost_bodies: u64,
    /// The first differences, in words.
    pub differences: Vec<String>,
}

#[derive(Clone)]
struct Latest {
    seq: i64,
    is_member: bool,
    seen: Seen,
}

#[derive(Default)]
struct Group {
    removed: Option<i64>,
    complete: HashMap<i64, u64>,
    present: HashMap<i64, RoaringBitmap>,
    name: (i64, String),
}

/// The bytes of a body as they were meant; `None` where the service loses it.
fn inflate(body: &Body) -> Option<Vec<u8>> {
    let mut raw = Vec::new();
    if body.is_gzip {
        GzDecoder::new(&body.bytes[..]).take(LOST_ABOVE + 1).read_to_end(&mut raw).ok()?;
    } else {
        raw.extend_from_slice(&body.bytes);
    }
    let is_array = raw.trim_ascii_start().first() == Some(&b'[');
    (is_array && raw.len() as u64 <= LOST_ABOVE).then_some(raw)
}

impl Workspace {
    fn bodies(&self) -> std::sync::MutexGuard<'_, Vec<Body>> {
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a body that was accepted.
    pub fn take(&self, stream: &str, bytes: Bytes, is_gzip: bool) {
        let (arrived, received) = (Instant::now(), jiff::Timestamp::now());
        let stream = stream.to_owned();
        self.bodies().push(Body { arrived, received, stream, bytes, is_gzip });
        self.taken.send_modify(|n| *n += 1);
    }

    /// A number that changes with each body that is taken.
    pub fn taken(&self) -> watch::Receiver<u64> {
        self.taken.subscribe()
    }

    /// Calls `member` and `marker` for every row that is there, with the arrival of its body.
    /// Bodies come in an order drawn from `seed`: nothing may depend on it. Gives the lost bodies.
    pub fn rows(
        &self,
        seed: u64,
        mut member: impl FnMut(Instant, MemberRow<'_>),
        mut marker: impl FnMut(Instant, MarkerRow),
    ) -> u64 {
        let bodies = self.bodies();
        let mut order: Vec<usize> = (0..bodies.len()).collect();
        order.shuffle(&mut SmallRng::seed_from_u64(seed));
        let missing = self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_there = |row: &MemberRow<'_>| {
            let key = (row.group_id.to_string(), row.resource_id);
            missing.is_empty() || missing.get(&key).is_none_or(|up_to| row.seq > *up_to)
        };
        let mut lost = 0;
        for body in order.into_iter().map(|index| &bodies[index]) {
            let Some(raw) = inflate(body) else {
                lost += 1;
                continue;
            };
            let is_member = body.stream == "Custom-ConfigMgrCollectionMember";
            if is_member {
                match serde_json::from_slice::<Vec<MemberRow<'_>>>(&raw) {
                    Ok(rows) => rows
                        .into_iter()
                        .filter(&is_there)
                        .for_each(|row| member(body.arrived, stored(row, body.received))),
                    Err(_) => lost += 1,
                }
            } else {
                match serde_json::from_slice::<Vec<MarkerRow>>(&raw) {
                    Ok(rows) => rows.into_iter().for_each(|row| marker(body.arrived, row)),
                    Err(_) => lost += 1,
                }
            }
        }
        lost
    }

    /// What a reader sees, by the rule: the newest whole snapshot (or the newest), and what came
    /// after it.
    pub fn view(&self, site: &str, sight: impl Into<Sight>) -> View {
        let sight = sight.into();
        let mut view = View::default();
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        let mut member_rows = 0;
        let mut highest = 0;
        let mut markers = Vec::new();
        let lost = self.rows(
            sight.seed,
            |arrived, row| {
                let id = (&row.group_id, row.resource_id, row.seq, &row.action);
                if !sight.sees(arrived, id) {
                    return;
                }
                member_rows += 1;
                highest = highest.max(row.seq);
                if row.site_code == site && row.action == "Present" {
                    let group = groups.entry(row.group_id.into_owned()).or_default();
                    group.present.entry(row.seq).or_default().insert(row.resource_id);
                }
            },
            |arrived, row| {
                if sight.sees(arrived, (&row.run_id, row.seq)) {
                    markers.push(row);
                }
            },
        );
        view.lost_bodies = lost;
        view.marker_rows = markers.len() as u64;
        for row in markers.into_iter().filter(|row| row.site_code == site && row.status != "Test") {
            highest = highest.max(row.seq);
            view.instances.insert(row.instance.clone());
            let group = groups.entry(row.group_id).or_default();
            if row.status == "Removed" {
                group.removed = group.removed.max(Some(row.seq));
            } else {
                let count = group.complete.entry(row.start_seq).or_default();
                *count = (*count).max(row.member_count);
                group.name = group.name.clone().max((row.seq, row.group));
            }
        }
        let base: HashMap<String, i64> =
            groups.iter().filter_map(|(id, group)| Some((id.clone(), group.base()?))).collect();
        for id in base.keys() {
            view.groups.insert(id.clone(), BTreeMap::new());
            view.names.insert(id.clone(), groups[id].name.1.clone());
        }
        self.read_members(&mut view, (site, sight), &base);
        view.member_rows = member_rows;
        view.highest_seq = highest;
        view
    }

    /// The latest row of each member at and above its group's base.
    fn read_members(
        &self,
        view: &mut View,
        (site, sight): (&str, Sight),
        base: &HashMap<String, i64>,
    ) {
        let mut latest: HashMap<(String, u32), Latest> = HashMap::new();
        self.rows(
            sight.seed ^ 1,
            |arrived, row| {
                let id = (&row.group_id, row.resource_id, row.seq, &row.action);
                if row.site_code == site
                    && sight.sees(arrived, id)
                    && base.get(row.group_id.as_ref()).is_some_and(|s| row.seq >= *s)
                {
                    let key = (row.group_id.clone().into_owned(), row.resource_id);
                    let known = latest.get(&key).map(|l| l.seq);
                    if known.is_none_or(|seq| row.seq > seq) {
                        latest.insert(key, Latest::from_row(&row));
                    }
                }
            },
            |_, _| {},
        );
        for ((group, id), row) in latest {
            if row.is_member {
                view.groups.entry(group).or_default().insert(id, row.seen);
            }
        }
    }

    /// The highest Seq of a site that is there.
    pub fn highest_seq(&self, site: &str) -> Option<i64> {
        let highest = self.view(site, 0).highest_seq;
        (highest > 0).then_some(highest)
    }

    /// Compares what a reader sees with what the site has of these collections.
    pub fn compare(&self, world: &World, collections: &[String], seed: u64) -> Report {
        let view = self.view(&world.plan.site, seed);
        let mut report = Report {
            collections: collections.len(),
            member_rows: view.member_rows,
            marker_rows: view.marker_rows,
            lost_bodies: view.lost_bodies,
            ..Report::default()
        };
        for id in collections {
            let site = world.computers(id);
            report.memberships += site.len();
            let Some(seen) = view.groups.get(id) else {
                report.missing += site.len();
                report.differences.push(format!("{id}: no snapshot in the workspace"));
                continue;
            };
            let name = &world.collections[id].name;
            if view.names.get(id) != Some(name) {
                report.wrong += 1;
                report
                    .differences
                    .push(format!("{id}: named {:?}, not {name:?}", view.names.get(id)));
            }
            for (resource, device) in &site {
                let expected = Seen {
                    computer: device.fqdn().unwrap_or_else(|| device.name.clone()),
                    netbios_name: device.name.clone(),
                    assigned_site: device.site.clone(),
                };
                match seen.get(resource) {
                    None => {
                        report.missing += 1;
                        report.differences.push(format!("{id}/{resource}: missing"));
                    }
                    Some(found) if *found != expected => {
                        report.wrong += 1;
                        report
                            .differences
                            .push(format!("{id}/{resource}: {found:?}, not {expected:?}"));
                    }
                    Some(_) => {}
                }
            }
            for resource in seen.keys().filter(|resource| !site.contains_key(resource)) {
                report.extra += 1;
                report.differences.push(format!("{id}/{resource}: extra"));
            }
        }
        for id in view.groups.keys().filter(|id| !collections.contains(id)) {
            report.extra += 1;
            report.differences.push(format!("{id}: a group that is not kept"));
        }
        report.equal = report.differences.is_empty();
        report.differences.truncate(20);
        report
    }
}

impl Group {
    /// The seq of the snapshot that counts.
    fn base(&self) -> Option<i64> {
        let alive = |start: &i64| self.removed.is_none_or(|removed| *start > removed);
        let rank = |(start, count): (&i64, &u64)| {
            let have = self.present.get(start).map_or(0, RoaringBitmap::len);
            let is_whole = *count == 0 || have >= *count;
            (if is_whole { *start } else { *start - 100_000_000_000_000_000 }, *start)
        };
        self.complete
            .iter()
            .filter(|(start, _)| alive(start))
            .map(rank)
            .max()
            .map(|(_, start)| start)
    }
}

impl Latest {
    fn from_row(row: &MemberRow<'_>) -> Self {
        Self {
            seq: row.seq,
            is_member: row.action != "Remove",
            seen: Seen {
                computer: row.computer.to_string(),
                netbios_name: row.netbios_name.to_string(),
                assigned_site: row.assigned_site.as_deref().map(Into::into),
            },
        }
    }
}
