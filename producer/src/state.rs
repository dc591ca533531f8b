//! What the producer remembers: durable entries, and beside them what only this run knows.

use std::collections::BTreeMap;

use bytes::Bytes;
use cmsync_queue::StateEntry;
use cmsync_schemas::topics::StateKey;
use cmsync_schemas::{
    COLLECTION_STATE, CONNECTION_STATE, CollectionState, ConnectionState, DEVICE_CHUNK,
};
use roaring::RoaringBitmap;

use crate::devices::DeviceTable;
use crate::error::Error;

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
    /// Reads in a row whose token moved.
    pub(crate) moving: u32,
    /// The last difference between count and rows, and how often in a row.
    pub(crate) difference: (i64, u32),
    /// Not read again before; microseconds since 1970.
    pub(crate) not_before: i64,
    /// How often in a row a read was taken for complete with reservations.
    pub(crate) reservations: u32,
    /// Where the last change of its last snapshot lies.
    pub(crate) snapshot_end: Option<(u32, u64)>,
    /// To be read at the next poll, whatever its token says.
    pub(crate) recheck: bool,
}

impl Kept {
    pub(crate) fn is_held(&self) -> bool {
        !self.state.held_reason.is_empty()
    }

    /// Members whose removal is held.
    pub(crate) fn held_devices(&self) -> RoaringBitmap {
        decode_bitmap(&self.state.held_devices).unwrap_or_default()
    }

    /// Memberships whose removal waits for a person.
    pub(crate) fn waiting(&self) -> u64 {
        match self.is_held() && !self.state.dismissed {
            true if self.state.held_vanished => self.members.len(),
            true => self.held_devices().intersection_len(&self.members),
            false => 0,
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
        StateKey::Members(id) => {
            let members = decode_bitmap(value).map_err(|e| text(&e))?;
            memory.collections.entry(id).or_default().members = members;
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

    pub(crate) fn members(&self, id: &str, kept: &Kept) -> StateEntry {
        let bytes = encode_bitmap(&kept.members);
        self.entry(&StateKey::Members(id.to_owned()), Some(bytes.into()))
    }

    pub(crate) fn forget(&self, id: &str) -> Vec<StateEntry> {
        let keys = [StateKey::Collection(id.to_owned()), StateKey::Members(id.to_owned())];
        keys.iter().map(|key| self.entry(key, None)).collect()
    }

    pub(crate) fn devices(&self, devices: &mut DeviceTable) -> Vec<StateEntry> {
        let chunks = devices.take_dirty().into_iter();
        let entry = |(number, chunk): (u32, Option<_>)| {
            self.entry(&StateKey::Devices(number), chunk.map(|c| DEVICE_CHUNK.encode(&c)))
        };
        chunks.map(entry).collect()
    }
}
