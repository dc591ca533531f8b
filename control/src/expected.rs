//! What the workspace should show, from the state.

use std::collections::{BTreeMap, HashMap, HashSet};

use cmsync_queue::{Error, Queue};
use cmsync_schemas::questions::row_hash;
use cmsync_schemas::topics::{self, StateKey};
use cmsync_schemas::{
    COLLECTION_STATE, CONNECTION_STATE, CollectionState, DEVICE_CHUNK, Device, GROUP,
};
use roaring::RoaringBitmap;

use crate::setup::Heartbeats;
use crate::state::{aside, devices, each, entries, is_among, members_of_all};
use crate::views::{Answer, ExpectedGroup, ExpectedView};

/// What of a connection should be there: each collection's count and sum.
pub(crate) async fn of(queue: &dyn Queue, connection: &str) -> Result<ExpectedView, Error> {
    let mut hashes: HashMap<u32, i64> = HashMap::new();
    let mut members: BTreeMap<String, RoaringBitmap> = BTreeMap::new();
    let mut states: BTreeMap<String, CollectionState> = BTreeMap::new();
    let (mut site_code, mut instance) = (String::new(), String::new());
    // One look at all of it, so that it fits together.
    entries(queue, &format!("{connection}/"), |key, value| match key {
        StateKey::Devices(_) => {
            let devices = DEVICE_CHUNK.decode(value).map(|c| c.devices).unwrap_or_default();
            let hash = |d: &Device| {
                let id = u32::try_from(d.resource_id).ok()?;
                Some((id, row_hash(d.resource_id, d.computer(), &d.netbios_name)))
            };
            hashes.extend(devices.iter().filter_map(hash));
        }
        StateKey::Members(id, _) => {
            let part = RoaringBitmap::deserialize_from(value).unwrap_or_default();
            *members.entry(id).or_default() |= part;
        }
        StateKey::Collection(id) => {
            states.extend(COLLECTION_STATE.decode(value).ok().map(|s| (id, s)));
        }
        StateKey::Connection => {
            if let Ok(state) = CONNECTION_STATE.decode(value) {
                (site_code, instance) = (state.site_code, state.instance);
            }
        }
    })
    .await?;
    let changed = changes(queue, connection).await?;
    let group = move |(collection, state): (String, CollectionState)| {
        let ids = members.remove(&collection).unwrap_or_default();
        let sum = ids.iter().filter_map(|id| hashes.get(&id)).sum();
        ExpectedGroup {
            count: i64::try_from(ids.len()).unwrap_or(i64::MAX),
            sum,
            changed_at: changed.get(&collection).copied().unwrap_or(state.started_at),
            is_sending: state.sending || state.start_seq == 0,
            set_aside: 0,
            name: state.name,
            collection,
        }
    };
    // Every membership is looked up.
    let groups = aside(move || states.into_iter().map(group).collect()).await?;
    Ok(ExpectedView {
        connection: connection.to_owned(),
        site_code,
        instance,
        waiting: 0,
        raw_limit: 0,
        groups,
    })
}

/// When each collection changed last: a group's seq is that time, in microseconds.
async fn changes(queue: &dyn Queue, connection: &str) -> Result<BTreeMap<String, i64>, Error> {
    let mut changed = BTreeMap::new();
    each(queue, (&topics::groups(connection), ""), |_, value| {
        if let Ok(group) = GROUP.decode(value) {
            changed.insert(group.collection_id, group.seq);
        }
    })
    .await?;
    Ok(changed)
}

/// How many computers with memberships are among these names.
pub(crate) async fn reporting(
    queue: &dyn Queue,
    connection: &str,
    names: Vec<String>,
) -> Result<Answer, Error> {
    let names: HashSet<String> = names.into_iter().collect();
    let mut members = RoaringBitmap::new();
    members_of_all(queue, connection, |_, more| members |= more).await?;
    let mut sum = Heartbeats::default();
    devices(queue, connection, |d| {
        if is_among(&d, &members) {
            let named = std::iter::once((d.fqdn.as_deref(), d.netbios_name.as_str()));
            let more = Heartbeats::count(&names, named);
            sum.computers += more.computers;
            sum.by_fqdn += more.by_fqdn;
            sum.by_netbios += more.by_netbios;
        }
    })
    .await?;
    let Heartbeats { computers, by_fqdn, by_netbios } = sum;
    Ok(Answer::Reporting { computers, by_fqdn, by_netbios })
}
