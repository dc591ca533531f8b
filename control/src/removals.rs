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

/// What would go.
struct Going {
    members: u64,
    /// The first of them; none of a collection that would go itself, whose members are listed.
    first: RoaringBitmap,
}

impl Going {
    fn of(state: &CollectionState) -> Self {
        let devices = RoaringBitmap::deserialize_from(state.held_devices.as_slice());
        let devices = devices.unwrap_or_default();
        let all = u64::try_from(state.members).unwrap_or(0);
        let members = if state.held_vanished { all } else { devices.len() };
        Self { members, first: devices.into_iter().take(NAMED).collect() }
    }
}

impl Desk {
    pub(crate) async fn removals(&self) -> Result<Answer, Error> {
        let mut held = state::collections(&*self.queue).await?;
        held.retain(|_, state| !state.held_reason.is_empty());
        let held: Vec<_> = held.into_iter().map(|(of, s)| (of, Going::of(&s), s)).collect();
        let mut named: BTreeMap<&str, RoaringBitmap> = BTreeMap::new();
        for ((connection, _), going, _) in &held {
            *named.entry(connection).or_default() |= &going.first;
        }
        let names = state::names(&*self.queue, &named).await?;
        let view = |(of, going, s): ((String, String), Going, CollectionState)| {
            let (connection, collection) = of;
            let name = |id| names.get(&(connection.clone(), id)).cloned();
            let computers = going.first.into_iter().filter_map(name).collect();
            RemovalView {
                computers,
                connection,
                collection,
                name: s.name,
                is_collection: s.held_vanished,
                members: going.members,
                reason: s.held_reason,
                since: s.held_since,
                is_dismissed: s.dismissed,
            }
        };
        Ok(Answer::Removals(held.into_iter().map(view).collect()))
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
