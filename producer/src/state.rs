//! What the producer remembers: durable entries, and beside them what only this run knows.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use cmsync_configmgr::Collection;
use cmsync_queue::StateEntry;
use cmsync_schemas::topics::{MAX_MESSAGE_BYTES, StateKey};
use cmsync_schemas::{
    COLLECTION_STATE, CONNECTION_STATE, CollectionState, ConnectionState, DEVICE_CHUNK,
};
use roaring::RoaringBitmap;

use crate::devices::DeviceTable;
use crate::error::Error;
use crate::metrics::Metrics;

/// A collection that a connection keeps.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// What is durable of it.
    pub(crate) state: CollectionState,
    /// Its members.
    pub(crate) members: RoaringBitmap,
    pub(crate) run: RunState,
}

/// What only this run knows of a collection; forgetting it is always safe.
#[derive(Debug, Default)]
pub(crate) struct RunState {
    /// Polls in a row that did not list it.
    pub(crate) vanished: u32,
    /// What one complete read found missing and a second must agree to.
    pub(crate) pending: Option<RoaringBitmap>,
    /// What the last read found missing, where that was no complete read: the next must miss it too.
    pub(crate) missed: Option<RoaringBitmap>,
    /// Reads in a row whose token moved.
    pub(crate) moving: u32,
    /// The last difference between count and rows, and how often in a row.
    pub(crate) difference: (i64, u32),
    /// Reads in a row that showed less than the site counts.
    pub(crate) short: u32,
    /// Not read again before; microseconds since 1970.
    pub(crate) not_before: i64,
    /// How often in a row a read was taken for complete with reservations.
    pub(crate) reservations: u32,
    /// The track's version as of which the members are those that the site has, and how many they were.
    pub(crate) known_as_of: Option<(i64, u64)>,
    /// To be read at the next poll, whatever its token says.
    pub(crate) recheck: bool,
    /// Whether what is held may be there after all: it was read with fewer rights, or could not be read
    /// since. Only a read that is believed ends that.
    pub(crate) is_doubtful: bool,
    /// Parts of the members that the state may hold.
    pub(crate) parts: AtomicU32,
}

impl Kept {
    /// A collection that was never read.
    pub(crate) fn unread(listed: &Collection) -> Self {
        let mut kept = Self::default();
        kept.rename(listed);
        kept.state.rows_read = -1;
        kept
    }

    /// Takes over the name and folder that are listed.
    pub(crate) fn rename(&mut self, listed: &Collection) {
        self.state.name.clone_from(&listed.name);
        self.state.folder.clone_from(&listed.folder);
    }

    /// Whether it is there under the name and folder that are listed.
    pub(crate) fn is_as(&self, listed: &Collection) -> bool {
        let state = &self.state;
        !state.held_vanished && state.name == listed.name && state.folder == listed.folder
    }

    pub(crate) fn is_held(&self) -> bool {
        !self.state.held_reason.is_empty()
    }

    /// Whether what is held waits for a person.
    pub(crate) fn waits(&self) -> bool {
        self.is_held() && !self.state.dismissed
    }

    /// What is held of a collection may be there after all: it is read before it goes.
    pub(crate) fn doubt(&mut self) {
        if self.waits() && !self.state.held_vanished {
            (self.run.is_doubtful, self.run.recheck) = (true, true);
        }
    }

    /// Members whose removal is held.
    pub(crate) fn held_devices(&self) -> RoaringBitmap {
        decode_bitmap(&self.state.held_devices).unwrap_or_default()
    }

    /// Memberships whose removal waits for a person.
    pub(crate) fn waiting(&self) -> u64 {
        match self.waits() {
            true if self.state.held_vanished => self.members.len(),
            true => self.held_devices().intersection_len(&self.members),
            false => 0,
        }
    }

    /// Holds no longer what a read showed again: it must not go when its time is over.
    pub(crate) fn narrow_hold(&mut self, missing: &RoaringBitmap) {
        if !self.waits() || self.state.held_vanished {
            return;
        }
        let held = self.held_devices();
        let still = &held & missing;
        if still.is_empty() {
            self.release();
        } else if still != held {
            self.state.held_devices = encode_bitmap(&still);
        }
    }

    pub(crate) fn release(&mut self) {
        self.state.held_reason.clear();
        self.state.held_devices.clear();
        (self.state.held_since, self.state.held_vanished, self.state.dismissed) = (0, false, false);
    }
}

/// Everything of one connection.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// What is durable of the connection itself.
    pub(crate) connection: ConnectionState,
    /// Its devices.
    pub(crate) devices: DeviceTable,
    /// Its collections by id.
    pub(crate) collections: BTreeMap<String, Kept>,
    pub(crate) owed: RoaringBitmap,
}

/// A bitmap as it is stored.
///
/// # Errors
/// When the bytes are none.
pub(crate) fn decode_bitmap(bytes: &[u8]) -> Result<RoaringBitmap, std::io::Error> {
    if bytes.is_empty() { Ok(RoaringBitmap::new()) } else { RoaringBitmap::deserialize_from(bytes) }
}

pub(crate) fn encode_bitmap(bitmap: &RoaringBitmap) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(bitmap.serialized_size());
    // Writing to memory does not fail.
    drop(bitmap.serialize_into(&mut bytes));
    bytes
}

/// Cuts a bitmap into disjoint ones that take so many bytes at most.
fn split(bitmap: RoaringBitmap, max: usize, parts: &mut Vec<RoaringBitmap>) {
    let middle = u32::try_from(bitmap.len() / 2).ok().and_then(|half| bitmap.select(half));
    match middle {
        Some(middle) if bitmap.serialized_size() > max && bitmap.len() > 1 => {
            let (mut low, mut high) = (bitmap.clone(), bitmap);
            low.remove_range(middle..);
            high.remove_range(..middle);
            split(low, max, parts);
            split(high, max, parts);
        }
        _ => parts.push(bitmap),
    }
}

/// Collections whose members are not those that were written, because a part of the topic was lost:
/// they are read and sent whole again.
fn repair(memory: &mut Memory, connection: &str) {
    for (id, kept) in &mut memory.collections {
        let written = u64::try_from(kept.state.members).unwrap_or(0);
        if kept.members.len() != written {
            tracing::error!(
                connection,
                collection = id,
                found = kept.members.len(),
                written,
                "the state lacks members, a part of it was lost: read and sent whole again"
            );
            Metrics::new(connection).state_repairs.increment(1);
            kept.members.clear();
            kept.release();
            let state = &mut kept.state;
            (state.rows_read, state.start_seq, state.sending) = (-1, 0, false);
            state.token.clear();
        }
    }
}

/// Loads the connections of one partition of the state.
pub(crate) fn load(
    entries: impl Iterator<Item = Result<(Bytes, Bytes), cmsync_queue::Error>>,
) -> Result<BTreeMap<String, Memory>, Error> {
    let mut memories: BTreeMap<String, Memory> = BTreeMap::new();
    for entry in entries {
        let (key, value) = entry?;
        let Some((connection, key)) = StateKey::decode(&key) else {
            let detail = format!("unknown entry `{}`", String::from_utf8_lossy(&key));
            return Err(Error::State { connection: "?".into(), detail });
        };
        let memory = memories.entry(connection.to_owned()).or_default();
        take_entry(memory, key, &value)
            .map_err(|detail| Error::State { connection: connection.to_owned(), detail })?;
    }
    for (connection, memory) in &mut memories {
        repair(memory, connection);
        memory.collections.values_mut().for_each(Kept::doubt);
    }
    Ok(memories)
}

fn take_entry(memory: &mut Memory, key: StateKey, value: &[u8]) -> Result<(), String> {
    let text = |e: &dyn std::error::Error| e.to_string();
    match key {
        StateKey::Connection => {
            memory.connection = CONNECTION_STATE.decode(value).map_err(|e| text(&e))?;
            memory.owed = decode_bitmap(&memory.connection.owed_devices).map_err(|e| text(&e))?;
        }
        StateKey::Devices(_) => {
            memory.devices.load(DEVICE_CHUNK.decode(value).map_err(|e| text(&e))?)
        }
        StateKey::Collection(id) => {
            let state = COLLECTION_STATE.decode(value).map_err(|e| text(&e))?;
            memory.collections.entry(id).or_default().state = state;
        }
        StateKey::Members(id, part) => {
            let members = decode_bitmap(value).map_err(|e| text(&e))?;
            let kept = memory.collections.entry(id).or_default();
            kept.members |= members;
            kept.run.parts.fetch_max(part + 1, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Builds state entries of one connection.
pub(crate) struct Entries<'a> {
    pub(crate) connection: &'a str,
    pub(crate) partition: u32,
}

impl Entries<'_> {
    fn entry(&self, key: &StateKey, value: Option<Bytes>) -> StateEntry {
        let key = Bytes::from(key.encode(self.connection));
        StateEntry { partition: self.partition, key, value }
    }

    pub(crate) fn connection(&self, memory: &Memory) -> StateEntry {
        let state = ConnectionState {
            owed_devices: encode_bitmap(&memory.owed),
            ..memory.connection.clone()
        };
        self.entry(&StateKey::Connection, Some(CONNECTION_STATE.encode(&state)))
    }

    pub(crate) fn collection(&self, id: &str, kept: &Kept) -> StateEntry {
        let members = i64::try_from(kept.members.len()).unwrap_or(i64::MAX);
        let state = CollectionState { members, ..kept.state.clone() };
        self.entry(&StateKey::Collection(id.to_owned()), Some(COLLECTION_STATE.encode(&state)))
    }

    /// The members, in parts that fit into messages; parts that are needed no longer go.
    pub(crate) fn members(&self, id: &str, kept: &Kept) -> Vec<StateEntry> {
        let mut parts = Vec::new();
        split(kept.members.clone(), MAX_MESSAGE_BYTES, &mut parts);
        let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        let before = kept.run.parts.fetch_max(count, Ordering::Relaxed);
        let key = |part| StateKey::Members(id.to_owned(), part);
        let there =
            (0..).zip(&parts).map(|(n, p)| self.entry(&key(n), Some(encode_bitmap(p).into())));
        there.chain((count..before).map(|n| self.entry(&key(n), None))).collect()
    }

    pub(crate) fn forget(&self, id: &str, kept: &Kept) -> Vec<StateEntry> {
        let parts = 0..kept.run.parts.load(Ordering::Relaxed).max(1);
        let members = parts.map(|part| StateKey::Members(id.to_owned(), part));
        let keys = [StateKey::Collection(id.to_owned())].into_iter().chain(members);
        keys.map(|key| self.entry(&key, None)).collect()
    }

    pub(crate) fn devices(&self, devices: &mut DeviceTable) -> Vec<StateEntry> {
        let chunks = devices.take_dirty().into_iter();
        let entry = |(number, chunk): (u32, Option<_>)| {
            self.entry(&StateKey::Devices(number), chunk.map(|c| DEVICE_CHUNK.encode(&c)))
        };
        chunks.map(entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(kept: &Kept) -> BTreeMap<Bytes, Bytes> {
        let entries = Entries { connection: "c", partition: 0 };
        let collection = entries.collection("PS1", kept);
        let all = entries.members("PS1", kept).into_iter().chain([collection]);
        all.filter_map(|e| Some((e.key, e.value?))).collect()
    }

    #[test]
    fn members_beyond_one_message_are_kept_in_parts_and_come_back() {
        // Far apart, so that each takes two bytes.
        let members: RoaringBitmap = (0..1_000_000).map(|n| n * 32).collect();
        let mut kept = Kept { members, ..Kept::default() };
        kept.state.rows_read = 1_000_000;
        let state = written(&kept);
        assert!(state.len() > 2 && state.values().all(|v| v.len() <= MAX_MESSAGE_BYTES));
        let loaded = |state: &BTreeMap<Bytes, Bytes>| {
            let entries = state.iter().map(|(k, v)| Ok((k.clone(), v.clone())));
            load(entries).unwrap().remove("c").unwrap().collections.remove("PS1").unwrap()
        };
        assert_eq!(loaded(&state).members, kept.members);

        // Fewer members need fewer parts, and the others go.
        let mut again = loaded(&state);
        again.members.remove_range(1_000..);
        let entries = Entries { connection: "c", partition: 0 }.members("PS1", &again);
        let gone = entries.iter().filter(|e| e.value.is_none()).count();
        assert_eq!(gone, state.len() - 2, "{entries:?}");

        // A part that is lost is noticed: the collection is read and sent whole again.
        let mut lacking = state.clone();
        lacking.remove(&Bytes::from("c/m/PS1/0001"));
        let repaired = loaded(&lacking);
        assert!(repaired.members.is_empty());
        assert_eq!((repaired.state.rows_read, repaired.state.start_seq), (-1, 0));
    }

    proptest! {
        #[test]
        fn parts_are_small_disjoint_and_whole(ids in proptest::collection::btree_set(any::<u32>(), 0..500), max in 64_usize..2_000) {
            let bitmap: RoaringBitmap = ids.iter().copied().collect();
            let mut parts = Vec::new();
            split(bitmap.clone(), max, &mut parts);
            prop_assert!(parts.iter().all(|p| p.serialized_size() <= max || p.len() == 1));
            prop_assert_eq!(parts.iter().map(RoaringBitmap::len).sum::<u64>(), bitmap.len());
            let whole = parts.iter().fold(RoaringBitmap::new(), |all, part| all | part);
            prop_assert_eq!(whole, bitmap);
        }
    }

    #[test]
    fn a_hold_lets_go_of_what_is_shown_again_and_ends_with_the_last() {
        let held = |devices: [u32; 2]| Kept {
            state: CollectionState {
                held_reason: "r".into(),
                held_since: 7,
                held_devices: encode_bitmap(&RoaringBitmap::from(devices)),
                ..CollectionState::default()
            },
            ..Kept::default()
        };
        let mut kept = held([1, 2]);
        kept.narrow_hold(&RoaringBitmap::from([2, 3]));
        assert_eq!(kept.held_devices(), RoaringBitmap::from([2]));
        assert_eq!(kept.state.held_since, 7);
        kept.narrow_hold(&RoaringBitmap::from([3]));
        assert!(!kept.is_held() && kept.held_devices().is_empty());
        // What a person decided, and a collection that vanished, are not for a read to change.
        for (dismissed, held_vanished) in [(true, false), (false, true)] {
            let mut kept = held([1, 2]);
            (kept.state.dismissed, kept.state.held_vanished) = (dismissed, held_vanished);
            kept.narrow_hold(&RoaringBitmap::new());
            assert_eq!(kept.held_devices(), RoaringBitmap::from([1, 2]));
        }
    }
}
