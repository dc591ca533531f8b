//! Held removals: what would go, and what a person decides about it.

use std::collections::BTreeMap;

use cmsync_queue::Error;
use cmsync_schemas::{CollectionState, Control, Decision, Subject, topics};
use roaring::RoaringBitmap;

use crate::desk::Desk;
use crate::lists::first_of;
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
        Ok(Answer::Removals(self.list_removals(0, usize::MAX).await?.1))
    }

    /// Some of the held removals, oldest first, and the number of all.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn list_removals(
        &self,
        first: usize,
        limit: usize,
    ) -> Result<(usize, Vec<RemovalView>), Error> {
        let collections = self.shelf.collections().await?;
        let mut held: Vec<_> =
            collections.iter().filter(|(_, state)| !state.held_reason.is_empty()).collect();
        held.sort_by_key(|(of, state)| (state.held_since, *of));
        let all = held.len();
        let page = held.into_iter().skip(first_of(first, limit, all)).take(limit);
        let page: Vec<_> = page.map(|(of, state)| (of, Going::of(state), state)).collect();
        let mut named: BTreeMap<&str, RoaringBitmap> = BTreeMap::new();
        for ((connection, _), going, _) in &page {
            *named.entry(connection).or_default() |= &going.first;
        }
        named.retain(|_, ids| !ids.is_empty());
        // All devices are looked through: one at a time.
        let _one = self.shelf.heavy.acquire().await;
        let names = state::names(&*self.queue, &named).await?;
        let asked = self.orders(Subject::Removal).await?;
        let view = |(of, going, s): (&(String, String), Going, &CollectionState)| {
            let (connection, collection) = of.clone();
            let name = |id| names.get(&(connection.clone(), id)).cloned();
            let is_order = |c: &&Control| {
                c.connection == connection && (c.item == collection || c.item == topics::ALL)
            };
            let order = asked.iter().find(is_order).and_then(|c| c.action.parse::<Decision>().ok());
            RemovalView {
                computers: going.first.iter().filter_map(name).collect(),
                asked: order.map(|d| if d.approve { "approve" } else { "dismiss" }.to_owned()),
                print: s.hold_print(),
                name: s.name.clone(),
                is_collection: s.held_vanished,
                members: going.members,
                reason: s.held_reason.clone(),
                since: s.held_since,
                is_dismissed: s.dismissed,
                connection,
                collection,
            }
        };
        Ok((all, page.into_iter().map(view).collect()))
    }

    pub(crate) async fn decide_removal(
        &self,
        connection: &str,
        collection: &str,
        decision: Decision,
    ) -> Result<Answer, Error> {
        let collections = self.shelf.collections().await?;
        let is_it = |((of, id), state): &(&(String, String), &CollectionState)| {
            of == connection
                && (collection == topics::ALL || collection == id)
                && !state.held_reason.is_empty()
        };
        let mut held = collections.iter().filter(is_it).peekable();
        if held.peek().is_none() {
            let of = match collection {
                topics::ALL => String::new(),
                id => format!(" of `{id}`"),
            };
            return Ok(Answer::Refused(format!(
                "no removal{of} is held for connection `{connection}`; see `cmsync removals list`"
            )));
        }
        if !held.any(|(_, state)| decision.is_about(state)) {
            return Ok(Answer::Refused(format!(
                "what would go from `{collection}` changed since it was shown: look at it again"
            )));
        }
        let then = if decision.approve {
            "approved: the removal goes with the next poll"
        } else {
            "dismissed: the members stay until what would be removed changes"
        };
        self.order(connection, (Subject::Removal, collection), &decision.to_string(), then).await
    }
}
