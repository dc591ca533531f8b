//! What became durable and what was taken, held against the promises as it happens.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cmsync_lab::workspace::{MarkerRow, MemberRow};
use cmsync_queue::local::Batch;
use cmsync_schemas::topics::{self, StateKey};
use cmsync_schemas::{
    CHANGE, COLLECTION_STATE, Change, ChangeKind, CollectionState, DEAD_LETTER, RECORD_BATCH,
    RecordBatch,
};

use crate::CONNECTION;
use crate::site::{Time, Truth};

/// What a read may take, and an answer be behind: a removal is judged by what was so at its beginning.
const STALE: Time = 20 * 60 * 1_000_000;

/// A row, as the workspace tells it from others: collection, device, seq.
type Row = (String, i64, i64);

/// How far one collection's changes are.
#[derive(Default)]
struct Order {
    start: i64,
    chunk: i64,
    highest: i64,
    /// The delta that may go on, and the devices of it.
    delta: (i64, BTreeSet<i64>),
}

/// What readers of the changes see of one collection.
#[derive(Default)]
struct View {
    members: BTreeSet<i64>,
    /// Whether a snapshot was whole.
    is_known: bool,
    /// Rows of the snapshot that goes out, and the deltas that came since it began.
    run: BTreeSet<i64>,
    since: Vec<(BTreeSet<i64>, BTreeSet<i64>)>,
}

/// A delta: who came, and who went.
fn apply(members: &mut BTreeSet<i64>, came: &BTreeSet<i64>, went: &BTreeSet<i64>) {
    members.extend(came);
    members.retain(|device| !went.contains(device));
}

/// What was seen so far.
#[derive(Default)]
pub(crate) struct Ledger {
    topics: BTreeMap<u32, String>,
    orders: HashMap<String, Order>,
    /// Whose each seq is.
    seqs: HashMap<i64, String>,
    /// When a device was last published as a member, and when a collection was last published.
    published: HashMap<(String, i64), Time>,
    told: HashMap<String, Time>,
    /// The names that readers of the changes know.
    names: HashMap<String, (String, String)>,
    views: HashMap<String, View>,
    /// Rows that each run published and the workspace does not refuse, by collection and start.
    runs: HashMap<(String, i64), u64>,
    /// Changes and the records that were made of them, by partition.
    next_mapped: BTreeMap<u32, i64>,
    /// Records that the uploader has not passed, by partition and offset.
    open: BTreeMap<(u32, u64), RecordBatch>,
    passed: BTreeMap<u32, u64>,
    /// What the workspace took.
    rows: BTreeSet<Row>,
    markers: BTreeSet<(String, i64)>,
    /// Dead letters by the message that they come from.
    letters: HashMap<(u32, u64), BTreeSet<String>>,
    pub findings: Vec<String>,
}

impl Ledger {
    pub(crate) fn find(&mut self, what: String) {
        if self.findings.len() < 5 {
            self.findings.push(what);
        }
    }

    /// A batch became durable. Gives it in words.
    pub(crate) fn observe(&mut self, batch: &Batch, truth: &Truth, now: Time) -> String {
        let mut words = Vec::new();
        for topic in &batch.new_topics {
            self.topics.insert(topic.id, topic.name.clone());
        }
        let name =
            |id: u32, topics: &BTreeMap<u32, String>| topics.get(&id).cloned().unwrap_or_default();
        for ((topic, _), _, value) in &batch.upserts {
            if name(*topic, &self.topics) == topics::dead_letters(CONNECTION)
                && let Some(value) = value
            {
                words.push(self.letter(value, truth));
            }
        }
        for ((topic, partition), offset, _, value) in &batch.appends {
            let topic = name(*topic, &self.topics);
            if topic == topics::changes(CONNECTION) {
                match CHANGE.decode(value) {
                    Ok(change) => words.push(self.change(&change, truth, now)),
                    Err(error) => self.find(format!("a change cannot be read: {error}")),
                }
            } else if topic == topics::records(CONNECTION) {
                match RECORD_BATCH.decode(value) {
                    Ok(records) => words.push(self.records((*partition, *offset), records)),
                    Err(error) => self.find(format!("records cannot be read: {error}")),
                }
            }
        }
        for ((topic, _), key, value) in &batch.upserts {
            if name(*topic, &self.topics) == topics::STATE
                && let Some((_, StateKey::Collection(id))) = StateKey::decode(key)
                && let Some(state) = value.as_ref().and_then(|v| COLLECTION_STATE.decode(v).ok())
            {
                self.state(&id, &state);
            }
            if name(*topic, &self.topics) == topics::STATE
                && let Some((_, StateKey::Members(id, 0))) = StateKey::decode(key)
                && let Some(value) = value
            {
                self.members(&id, value);
            }
        }
        for ((topic, partition), group, position) in &batch.positions {
            if name(*topic, &self.topics) == topics::records(CONNECTION)
                && group == topics::UPLOADER
            {
                words.push(format!("uploader at {partition}/{}", position.offset));
                self.pass(*partition, position.offset);
            }
        }
        words.join("; ")
    }

    /// Order is kept, no seq is used twice, and nothing is removed that was never gone.
    fn change(&mut self, change: &Change, truth: &Truth, now: Time) -> String {
        let id = &change.collection_id;
        let of = format!("{id} {:?}", change.kind);
        let owner = self.seqs.entry(change.seq).or_insert_with(|| of.clone());
        if *owner != of {
            let owner = owner.clone();
            self.find(format!("seq {} of {of} was used by {owner}", change.seq));
        }
        let order = self.orders.entry(id.clone()).or_default();
        let touched: BTreeSet<i64> =
            change.present.iter().chain(&change.removed).map(|d| d.resource_id).collect();
        let is_next = match change.kind {
            ChangeKind::Snapshot if change.chunk == 0 => change.seq > order.highest,
            ChangeKind::Snapshot => change.seq == order.start && change.chunk == order.chunk + 1,
            ChangeKind::Delta if change.seq == order.delta.0 => order.delta.1.is_disjoint(&touched),
            // What is to be sent whole anew follows no run until then.
            _ => change.seq > order.highest && [0, order.start].contains(&change.start_seq),
        };
        let was = (order.start, order.chunk, order.highest);
        match change.kind {
            ChangeKind::Snapshot => (order.start, order.chunk) = (change.seq, change.chunk),
            ChangeKind::Delta if change.seq == order.delta.0 => order.delta.1.extend(&touched),
            _ => order.delta = (change.seq, touched),
        }
        order.highest = order.highest.max(change.seq);
        if !is_next {
            let (seq, chunk) = (change.seq, change.chunk);
            self.find(format!("{of} with seq {seq}, chunk {chunk} out of order: start, chunk and highest were {was:?}"));
        }
        let has_marker = change.is_last || change.kind == ChangeKind::Renamed;
        if has_marker {
            self.names.insert(id.clone(), (change.name.clone(), change.folder.clone()));
        }
        self.removals(change, truth);
        self.see(change, truth);
        for device in &change.present {
            self.published.insert((id.clone(), device.resource_id), now);
        }
        self.told.insert(id.clone(), now);
        let names = |devices: &[cmsync_schemas::Device]| {
            devices.iter().map(|d| d.resource_id.to_string()).collect::<Vec<_>>().join(" ")
        };
        let (present, removed) = (names(&change.present), names(&change.removed));
        format!("{of} seq {} chunk {} +[{present}] -[{removed}]", change.seq, change.chunk)
    }

    /// A snapshot says what the changes before it said: what it leaves out would be gone for readers.
    fn see(&mut self, change: &Change, truth: &Truth) {
        let ids = |devices: &[cmsync_schemas::Device]| -> BTreeSet<i64> {
            devices.iter().map(|device| device.resource_id).collect()
        };
        let (present, removed) = (ids(&change.present), ids(&change.removed));
        let id = &change.collection_id;
        let view = self.views.entry(id.clone()).or_default();
        match change.kind {
            ChangeKind::Delta => {
                apply(&mut view.members, &present, &removed);
                view.since.push((present, removed));
            }
            ChangeKind::Snapshot => {
                if change.chunk == 0 {
                    (view.run, view.since) = (BTreeSet::new(), Vec::new());
                }
                view.run.extend(&present);
                if change.is_last {
                    let rows = view.run.difference(&truth.poison).count() as u64;
                    let mut members = std::mem::take(&mut view.run);
                    for (present, removed) in view.since.drain(..) {
                        apply(&mut members, &present, &removed);
                    }
                    let (was_known, before) = (view.is_known, view.members.clone());
                    view.is_known = true;
                    view.members.clone_from(&members);
                    self.runs.insert((id.clone(), change.seq), rows);
                    if was_known && before != members {
                        self.find(format!(
                            "a snapshot of {id} has {members:?}, told was {before:?}"
                        ));
                    }
                }
            }
            ChangeKind::Removed => drop(self.views.remove(id)),
            ChangeKind::Renamed => {}
        }
    }

    /// Members that are kept are those that were told, once a snapshot was.
    fn members(&mut self, id: &str, kept: &[u8]) {
        let Ok(kept) = roaring::RoaringBitmap::deserialize_from(kept) else {
            return self.find(format!("members of {id} cannot be read"));
        };
        let kept: BTreeSet<i64> = kept.iter().map(i64::from).collect();
        let Some(view) = self.views.get(id).filter(|view| view.is_known) else { return };
        if view.members != kept {
            let told = view.members.clone();
            self.find(format!("of {id} {kept:?} are kept, and {told:?} were told"));
        }
    }

    /// What is remembered was told: a name that is kept is the one that was published last.
    fn state(&mut self, id: &str, state: &CollectionState) {
        // Of what is still to be sent whole, the name goes with the end of it.
        if state.start_seq == 0 || state.sending {
            return;
        }
        let kept = (state.name.clone(), state.folder.clone());
        let told = self.names.get(id).cloned();
        if told.as_ref() != Some(&kept) {
            self.find(format!("{id} is kept as {kept:?}, and was published as {told:?}"));
        }
    }

    fn removals(&mut self, change: &Change, truth: &Truth) {
        let id = &change.collection_id;
        for device in &change.removed {
            let last = self.published.get(&(id.clone(), device.resource_id));
            let then = last.map_or(Time::MIN, |last| last - STALE);
            if !truth.was_out_since(id, device.resource_id, then) {
                let device = device.resource_id;
                self.find(format!("{device} was removed from {id}, and never left it"));
            }
        }
        if change.kind == ChangeKind::Removed {
            let then = self.told.get(id).map_or(Time::MIN, |last| last - STALE);
            if !truth.was_gone_since(id, then) {
                self.find(format!("collection {id} was removed, and never went"));
            }
        }
    }

    /// Each change becomes records once, in its order.
    fn records(&mut self, at: (u32, u64), records: RecordBatch) -> String {
        let partition = u32::try_from(records.change_partition).unwrap_or(u32::MAX);
        let next = self.next_mapped.entry(partition).or_default();
        let expected = std::mem::replace(next, records.change_offset + 1);
        if expected != records.change_offset {
            let found = records.change_offset;
            self.find(format!(
                "records of change {partition}/{found} came where those of {expected} were due"
            ));
        }
        let words = format!("records {}/{} of {}", at.0, at.1, records.group_id);
        self.open.insert(at, records);
        words
    }

    /// Only what can never be taken is set aside.
    fn letter(&mut self, value: &[u8], truth: &Truth) -> String {
        let Ok(letter) = DEAD_LETTER.decode(value) else {
            self.find("a dead letter cannot be read".to_owned());
            return String::new();
        };
        let row: serde_json::Value = serde_json::from_slice(&letter.payload).unwrap_or_default();
        let device = row["ResourceId"].as_i64().unwrap_or(-1);
        if !truth.poison.contains(&device) {
            self.find(format!("{} was set aside: {}", letter.id, letter.error));
        }
        let mut parts = letter.id.rsplit('/').skip(1);
        let offset = parts.next().and_then(|o| o.parse().ok()).unwrap_or(u64::MAX);
        let partition = parts.next().and_then(|p| p.parse().ok()).unwrap_or(u32::MAX);
        self.letters.entry((partition, offset)).or_default().insert(letter.id.clone());
        format!("dead letter {}", letter.id)
    }

    /// Nothing is passed that was neither taken nor set aside.
    fn pass(&mut self, partition: u32, to: u64) {
        let from = self.passed.insert(partition, to).unwrap_or(0);
        if to < from {
            self.find(format!("position of records {partition} went back from {from} to {to}"));
        }
        for offset in from..to {
            let Some(records) = self.open.remove(&(partition, offset)) else { continue };
            let is_missing = |row: &&cmsync_schemas::MemberRecord| {
                let row = (records.group_id.clone(), row.resource_id, records.seq);
                !self.rows.contains(&row)
            };
            let rows = records.present.iter().chain(&records.removed).filter(is_missing).count();
            let marker = records.marker.as_ref().is_some_and(|marker| {
                !self.markers.contains(&(records.group_id.clone(), marker.seq))
            });
            let aside = self.letters.remove(&(partition, offset)).map_or(0, |ids| ids.len());
            if rows + usize::from(marker) > aside {
                self.find(format!(
                    "records {partition}/{offset} of {} were passed, {rows} rows and {} markers \
                     of them not taken, {aside} set aside",
                    records.group_id,
                    u32::from(marker)
                ));
            }
        }
    }

    /// The workspace took a member's row.
    pub(crate) fn row(&mut self, row: &MemberRow<'_>) {
        self.rows.insert((row.group_id.to_string(), i64::from(row.resource_id), row.seq));
    }

    /// The workspace took a marker: it says what was sent, so that must be there.
    pub(crate) fn marker(&mut self, row: &MarkerRow) {
        if row.status == "Test" {
            return;
        }
        let group = &row.group_id;
        self.markers.insert((group.clone(), row.seq));
        if row.status == "Complete" {
            let of_run = |(id, _, seq): &&Row| id == group && *seq == row.start_seq;
            let published = self.runs.get(&(group.clone(), row.start_seq)).copied();
            if row.seq == row.start_seq && published != Some(row.member_count) {
                let (count, run) = (row.member_count, &row.run_id);
                self.find(format!("marker of {run} says {count} rows, not {published:?}"));
            }
            let have = self.rows.iter().filter(of_run).count() as u64;
            if have < row.member_count {
                let (count, run) = (row.member_count, &row.run_id);
                self.find(format!("marker of {run} says {count} rows, and {have} were taken"));
            }
        }
    }
}
