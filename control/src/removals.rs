//! Held removals: what would go, and what a person decides about it.

use std::collections::BTreeMap;

use cmsync_queue::Error;
use cmsync_schemas::{CollectionState, Subject};
use roaring::RoaringBitmap;

use crate::desk::Desk;
use crate::state;
use crate::views::{Answer, RemovalView};

/// Computers of a removal that are named, at most.
const NAMED: usize = 100;

/// The first members that would go; none of a collection that would go itself, whose members are listed.
fn first(state: &CollectionState) -> RoaringBitmap {
    let held = RoaringBitmap::deserialize_from(state.held_devices.as_slice()).unwrap_or_default();
    held.into_iter().take(NAMED).collect()
}

impl Desk {
    pub(crate) async fn removals(&self) -> Result<Answer, Error> {
        let mut held = state::collections(&*self.queue).await?;
        held.retain(|_, state| !state.held_reason.is_empty());
        let mut named: BTreeMap<&str, RoaringBitmap> = BTreeMap::new();
        for ((connection, _), state) in &held {
            *named.entry(connection).or_default() |= first(state);
        }
        let names = state::names(&*self.queue, &named).await?;
        let view = |((connection, collection), s): (&(String, String), &CollectionState)| {
            let devices = RoaringBitmap::deserialize_from(s.held_devices.as_slice());
            let count = devices.map_or(0, |d| d.len());
            let all = u64::try_from(s.members).unwrap_or(0);
            let name = |id| names.get(&(connection.clone(), id)).cloned();
            RemovalView {
                connection: connection.clone(),
                collection: collection.clone(),
                name: s.name.clone(),
                is_collection: s.held_vanished,
                members: if s.held_vanished { all } else { count },
                computers: first(s).into_iter().filter_map(name).collect(),
                reason: s.held_reason.clone(),
                since: s.held_since,
                is_dismissed: s.dismissed,
            }
        };
        Ok(Answer::Removals(held.iter().map(view).collect()))
    }

    pub(crate) async fn decide_removal(
        &self,
        connection: &str,
        collection: &str,
        approve: bool,
    ) -> Result<Answer, Error> {
        let held = state::collections(&*self.queue).await?;
        let is_it = |((of, id), state): (&(String, String), &CollectionState)| {
            of == connection
                && (collection == "*" || collection == id)
                && !state.held_reason.is_empty()
        };
        if !held.iter().any(is_it) {
            return Ok(Answer::Refused(format!(
                "no removal of `{collection}` is held for connection `{connection}`"
            )));
        }
        let (action, then) = if approve {
            ("approve", "the removal goes")
        } else {
            ("dismiss", "the members stay until what would be removed changes")
        };
        self.order(connection, (Subject::Removal, collection), action, then).await
    }
}
