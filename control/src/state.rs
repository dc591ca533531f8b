//! The producer's state, read by those who only look.

use std::collections::BTreeMap;

use cmsync_queue::{Error, Queue};
use cmsync_schemas::topics::{self, StateKey};
use cmsync_schemas::{COLLECTION_STATE, CollectionState, DEVICE_CHUNK, Device};
use roaring::RoaringBitmap;

/// Calls `found` for each entry of the state.
async fn entries(
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
        if of == connection && key == StateKey::Members(collection.to_owned()) {
            members = RoaringBitmap::deserialize_from(value).ok();
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
