//! The producer's state, read by those who only look.

use std::collections::{BTreeMap, HashMap};

use cmsync_queue::{Error, Queue};
use cmsync_schemas::topics::{self, StateKey};
use cmsync_schemas::{COLLECTION_STATE, CollectionState, DEVICE_CHUNK, Device};
use roaring::RoaringBitmap;

/// Entries that are read at a time, off the async threads; looking at so many takes some milliseconds.
const AT_ONCE: usize = 16;

/// Every kept collection, by connection and id.
pub(crate) type Collections = BTreeMap<(String, String), CollectionState>;

/// Does what takes long off the async threads.
pub(crate) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(value) => Ok(value),
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // The process ends.
        Err(Err(_)) => Err(Error::Closed),
    }
}

/// Calls `found` for each entry of a compacted topic whose key begins with `prefix`.
pub(crate) async fn each(
    queue: &dyn Queue,
    (topic, prefix): (&str, &str),
    mut found: impl FnMut(&[u8], &[u8]),
) -> Result<(), Error> {
    let mut all = queue.scan_within(topic, prefix.to_owned().into()).await?;
    loop {
        let read = move || {
            let some: Vec<_> = all.by_ref().take(AT_ONCE).collect();
            (some, all)
        };
        let (some, rest) = aside(read).await?;
        if some.is_empty() {
            return Ok(());
        }
        for entry in some {
            let (key, value) = entry?;
            found(&key, &value);
        }
        all = rest;
    }
}

/// Calls `found` for each entry of the state whose key begins with `prefix`.
pub(crate) async fn entries(
    queue: &dyn Queue,
    prefix: &str,
    mut found: impl FnMut(StateKey, &[u8]),
) -> Result<(), Error> {
    each(queue, (topics::STATE, prefix), |key, value| {
        if let Some((_, key)) = StateKey::decode(key) {
            found(key, value);
        }
    })
    .await
}

/// Calls `found` for each device of a connection.
pub(crate) async fn devices(
    queue: &dyn Queue,
    connection: &str,
    mut found: impl FnMut(Device),
) -> Result<(), Error> {
    entries(queue, &StateKey::devices_of(connection), |_, value| {
        let chunk = DEVICE_CHUNK.decode(value).map(|chunk| chunk.devices);
        chunk.unwrap_or_default().into_iter().for_each(&mut found);
    })
    .await
}

/// Calls `found` with collection and members, of each part of each collection of a connection.
pub(crate) async fn members_of_all(
    queue: &dyn Queue,
    connection: &str,
    mut found: impl FnMut(String, RoaringBitmap),
) -> Result<(), Error> {
    entries(queue, &StateKey::members_of(connection), |key, value| {
        if let (StateKey::Members(id, _), Ok(part)) = (key, RoaringBitmap::deserialize_from(value))
        {
            found(id, part);
        }
    })
    .await
}

/// The collections of some connections.
pub(crate) async fn collections(
    queue: &dyn Queue,
    connections: &[String],
) -> Result<Collections, Error> {
    let mut collections = BTreeMap::new();
    for connection in connections {
        entries(queue, &StateKey::collections_of(connection), |key, value| {
            if let (StateKey::Collection(id), Ok(state)) = (key, COLLECTION_STATE.decode(value)) {
                collections.insert((connection.clone(), id), state);
            }
        })
        .await?;
    }
    Ok(collections)
}

/// The ids of one collection's members; `None` when it is not kept.
pub(crate) async fn member_ids(
    queue: &dyn Queue,
    connection: &str,
    collection: &str,
) -> Result<Option<RoaringBitmap>, Error> {
    let mut members = None;
    let prefix = StateKey::Members(collection.to_owned(), 0).encode(connection);
    entries(queue, &prefix, |key, value| {
        if let (StateKey::Members(id, _), Ok(part)) = (key, RoaringBitmap::deserialize_from(value))
            && id == collection
        {
            *members.get_or_insert_with(RoaringBitmap::new) |= part;
        }
    })
    .await?;
    Ok(members)
}

/// Whether a device is among some ids.
pub(crate) fn is_among(device: &Device, ids: &RoaringBitmap) -> bool {
    u32::try_from(device.resource_id).is_ok_and(|id| ids.contains(id))
}

/// The members of one collection; `None` when it is not kept.
pub(crate) async fn members(
    queue: &dyn Queue,
    connection: &str,
    collection: &str,
) -> Result<Option<Vec<Device>>, Error> {
    let Some(ids) = member_ids(queue, connection, collection).await? else {
        return Ok(None);
    };
    let mut members = Vec::new();
    devices(queue, connection, |d| members.extend(Some(d).filter(|d| is_among(d, &ids)))).await?;
    Ok(Some(members))
}

/// The names of some devices, by connection and ResourceID.
pub(crate) async fn names(
    queue: &dyn Queue,
    wanted: &BTreeMap<&str, RoaringBitmap>,
) -> Result<HashMap<(String, u32), String>, Error> {
    let mut names = HashMap::new();
    for (connection, ids) in wanted {
        devices(queue, connection, |device| {
            if let Ok(id) = u32::try_from(device.resource_id)
                && ids.contains(id)
            {
                names.insert(((*connection).to_owned(), id), device.computer().to_owned());
            }
        })
        .await?;
    }
    Ok(names)
}

/// How many computers are members of one collection or more, of each connection together.
pub(crate) async fn computers(queue: &dyn Queue, connections: &[String]) -> Result<u64, Error> {
    let mut count = 0;
    for connection in connections {
        let mut members = RoaringBitmap::new();
        members_of_all(queue, connection, |_, more| members |= more).await?;
        count += members.len();
    }
    Ok(count)
}

/// The devices whose FQDN or NetBIOS name is this, in any case.
pub(crate) async fn devices_named(
    queue: &dyn Queue,
    connection: &str,
    name: &str,
) -> Result<Vec<Device>, Error> {
    let mut found = Vec::new();
    devices(queue, connection, |device| found.extend(Some(device).filter(|d| d.is_called(name))))
        .await?;
    Ok(found)
}

/// Collections that hold any of these devices, with the device.
pub(crate) async fn memberships(
    queue: &dyn Queue,
    connection: &str,
    devices: Vec<i64>,
) -> Result<Vec<(String, i64)>, Error> {
    let all = queue.scan_within(topics::STATE, StateKey::members_of(connection).into()).await?;
    // Thousands of bitmaps are looked into: all of it off the async threads.
    let find = move || {
        let mut found = Vec::new();
        for entry in all {
            let (key, value) = entry?;
            let Some((_, StateKey::Members(id, _))) = StateKey::decode(&key) else { continue };
            let members = RoaringBitmap::deserialize_from(&*value).unwrap_or_default();
            let is_member = |device: &&i64| {
                u32::try_from(**device).is_ok_and(|device| members.contains(device))
            };
            found.extend(devices.iter().filter(is_member).map(|device| (id.clone(), *device)));
        }
        Ok(found)
    };
    aside(find).await?
}
