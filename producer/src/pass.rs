//! Many collections read in one pass over the members of all, where a site costs that less.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use cmsync_configmgr::{Collection, MemberRow, PassSink, Site};
use tokio::task::JoinSet;
use tracing::Instrument as _;

use crate::devices::DeviceTable;
use crate::reading::{self, Batch, Found, Sink};
use crate::work::READS;

/// The rows of one range, by collection.
struct Side<'a> {
    devices: &'a RwLock<DeviceTable>,
    sinks: HashMap<String, Sink>,
}

impl PassSink for Side<'_> {
    fn row(&mut self, collection: &str, row: &MemberRow<'_>) {
        if let Some(sink) = self.sinks.get_mut(collection) {
            let devices = self.devices.read().unwrap_or_else(PoisonError::into_inner);
            sink.row(&devices, row);
        }
    }
}

/// So many ranges of resources, which cover all and hold about as many known devices each.
fn ranges(devices: &DeviceTable, count: usize) -> Vec<(i64, i64)> {
    let step = devices.len().div_ceil(count.max(1)).max(1);
    let inner = devices.ids(0, u32::MAX).step_by(step).skip(1).map(i64::from);
    let edges: Vec<i64> = std::iter::once(-1).chain(inner).chain([i64::from(u32::MAX)]).collect();
    edges.windows(2).map(|pair| (pair[0], pair[1])).collect()
}

/// Reads collections in one pass of so many requests; those of a pass that failed are to be read each.
pub(crate) async fn read(
    site: Arc<dyn Site>,
    (wanted, requests): (Vec<Collection>, usize),
    devices: Arc<RwLock<DeviceTable>>,
) -> Batch {
    let count = requests.min(READS);
    let ranges = ranges(&devices.read().unwrap_or_else(PoisonError::into_inner), count);
    let mut sides = JoinSet::new();
    for range in ranges {
        let (site, devices) = (Arc::clone(&site), Arc::clone(&devices));
        let sinks = wanted.iter().map(|c| (c.id.clone(), Sink::default())).collect();
        let read = async move {
            let mut side = Side { devices: &devices, sinks };
            match site.passes() {
                Some(passes) => passes.members_between(range, &mut side).await?,
                None => return Err(reading::panicked()),
            }
            Ok(side.sinks)
        };
        sides.spawn(read.in_current_span());
    }
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    while let Some(side) = sides.join_next().await {
        let sinks = match side {
            Ok(Ok(sinks)) => sinks,
            Ok(Err(error)) => return given_up(wanted, &error),
            Err(_) => return given_up(wanted, &reading::panicked()),
        };
        for (id, sink) in sinks {
            found.entry(id).or_default().add(sink.into_found());
        }
    }
    let after = match site.collections().await {
        Ok(after) => after,
        Err(error) => return given_up(wanted, &error),
    };
    let read = wanted.into_iter().map(|before| {
        let found = found.remove(&before.id).unwrap_or_default();
        (before, found)
    });
    let mut batch = Batch::default();
    batch.conclude(read, after);
    batch
}

fn given_up(wanted: Vec<Collection>, error: &cmsync_configmgr::Error) -> Batch {
    tracing::warn!(%error, collections = wanted.len(), "one pass over all members failed; reading each");
    Batch { each: wanted, ..Batch::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cmsync_schemas::Device;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranges_cover_every_resource_once(
            ids in prop::collection::btree_set(0..100_000_i64, 0..300), count in 0..9_usize,
        ) {
            let device = |id: i64| Device { resource_id: id, ..Device::default() };
            let mut devices = DeviceTable::default();
            devices.put(ids.into_iter().map(device).collect());
            let ranges = ranges(&devices, count);
            prop_assert!((1..=count.max(1)).contains(&ranges.len()));
            prop_assert_eq!(ranges[0].0, -1);
            prop_assert_eq!(ranges[ranges.len() - 1].1, i64::from(u32::MAX));
            prop_assert!(ranges.windows(2).all(|pair| pair[0].1 == pair[1].0));
            prop_assert!(ranges.iter().all(|(from, to)| from < to));
        }
    }
}
