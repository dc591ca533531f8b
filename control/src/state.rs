//! The producer's state, read by those who only look.

use std::collections::{BTreeMap, HashMap};

use cmsync_queue::{Error, Queue};
use cmsync_schemas::topics::{self, StateKey};
use cmsync_schemas::{COLLECTION_STATE, CollectionState, DEVICE_CHUNK, Device};
use roaring::RoaringBitmap;

/// Calls `found` for each entry of the state.
pub(crate) async fn entries(
    queue: &dyn Queue,
    mut found: impl FnMut(&str, StateKey, &[u8]),
) -> Result<(), Error> {
    for entry in queue.scan(topics::STATE).await? {
        let (key, value) = entry?;
        if let Some((connection, key)) = StateKey::decode(&key) {
            found(connection, key, &value);
        }
    }
    Ok(())
}

/// Every kept collection, by connection and id.
pub(crate) async fn collections(
    queue: &dyn Queue,
) -> Result<BTreeMap<(String, String), CollectionState>, Error> {
    let mut collections = BTreeMap::new();
    entries(queue, |connection, key, value| {
        if let (StateKey::Collection(id), Ok(state)) = (key, COLLECTION_STATE.decode(value)) {
            collections.insert((connection.to_owned(), id), state);
        }
    })
    .await?;
    Ok(collections)
}

/// The members of one collection; `None` when it is not kept.
pub(crate) async fn members(
    queue: &dyn Queue,
    connection: &str,
    collection: &str,
) -> Result<Option<Vec<Device>>, Error> {
    let mut members = None;
    entries(queue, |of, key, value| {
        if let StateKey::Members(id, _) = key
            && of == connection
            && id == collection
            && let Ok(part) = RoaringBitmap::deserialize_from(value)
        {
            *members.get_or_insert_with(RoaringBitmap::new) |= part;
        }
    })
    .await?;
    let Some(members) = members else {
        return Ok(None);
    };
    let mut devices = Vec::new();
    entries(queue, |of, key, value| {
        if of == connection
            && matches!(key, StateKey::Devices(_))
            && let Ok(chunk) = DEVICE_CHUNK.decode(value)
        {
            let is_member =
                |d: &Device| u32::try_from(d.resource_id).is_ok_and(|id| members.contains(id));
            devices.extend(chunk.devices.into_iter().filter(is_member));
        }
    })
    .await?;
    Ok(Some(devices))
}

/// The names of some devices, by connection and ResourceID.
pub(crate) async fn names(
    queue: &dyn Queue,
    wanted: &BTreeMap<&str, RoaringBitmap>,
) -> Result<HashMap<(String, u32), String>, Error> {
    let mut names = HashMap::new();
    if wanted.is_empty() {
        return Ok(names);
    }
    entries(queue, |connection, key, value| {
        if let Some(ids) = wanted.get(connection)
            && matches!(key, StateKey::Devices(_))
            && let Ok(chunk) = DEVICE_CHUNK.decode(value)
        {
            names.extend(chunk.devices.into_iter().filter_map(|device| {
                let id = u32::try_from(device.resource_id).ok().filter(|id| ids.contains(*id))?;
                Some(((connection.to_owned(), id), device.fqdn.unwrap_or(device.netbios_name)))
            }));
        }
    })
    .await?;
    Ok(names)
}

/// How many computers are members of one collection or more, of each connection together.
pub(crate) async fn computers(queue: &dyn Queue) -> Result<u64, Error> {
    let mut members: BTreeMap<String, RoaringBitmap> = BTreeMap::new();
    entries(queue, |connection, key, value| {
        if let (StateKey::Members(..), Ok(more)) = (key, RoaringBitmap::deserialize_from(value)) {
            *members.entry(connection.to_owned()).or_default() |= more;
        }
    })
    .await?;
    Ok(members.values().map(RoaringBitmap::len).sum())
}

/// The devices whose FQDN or NetBIOS name is this, in any case.
pub(crate) async fn devices_named(
    queue: &dyn Queue,
    connection: &str,
    name: &str,
) -> Result<Vec<Device>, Error> {
    let is_it = |d: &Device| {
        let is_fqdn = d.fqdn.as_deref().is_some_and(|fqdn| fqdn.eq_ignore_ascii_case(name));
        is_fqdn || d.netbios_name.eq_ignore_ascii_case(name)
    };
    let mut devices = Vec::new();
    entries(queue, |of, key, value| {
        if of == connection
            && matches!(key, StateKey::Devices(_))
            && let Ok(chunk) = DEVICE_CHUNK.decode(value)
        {
            devices.extend(chunk.devices.into_iter().filter(is_it));
        }
    })
    .await?;
    Ok(devices)
}

/// Collections that hold any of these devices, with the device.
pub(crate) async fn memberships(
    queue: &dyn Queue,
    connection: &str,
    devices: &[Device],
) -> Result<Vec<(String, i64)>, Error> {
    let mut found = Vec::new();
    entries(queue, |of, key, value| {
        if of == connection
            && let (StateKey::Members(id, _), Ok(members)) =
                (key, RoaringBitmap::deserialize_from(value))
        {
            let is_member =
                |d: &&Device| u32::try_from(d.resource_id).is_ok_and(|n| members.contains(n));
            let held = devices.iter().filter(is_member);
            found.extend(held.map(|d| (id.clone(), d.resource_id)));
        }
    })
    .await?;
    Ok(found)
}
