//! Changes that keep coming, and how long each took to be accepted.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::seq::IndexedRandom;

use crate::workspace::Workspace;
use crate::world::{CLIENTS, World};

/// A change of one membership.
#[derive(Debug, Clone)]
pub struct Change {
    pub at: Instant,
    pub collection: String,
    pub resource: u32,
    pub is_add: bool,
}

/// Changes that were made and have to arrive.
#[derive(Default)]
pub struct Churn {
    pub changes: Vec<Change>,
}

impl Churn {
    /// Changes a few memberships of `collections` drawn collections.
    pub fn step(&mut self, world: &mut World, collections: usize) {
        let mut rng = world.rng.clone();
        let ids: Vec<String> =
            world.collections.keys().filter(|id| !id.starts_with("SMS")).cloned().collect();
        for id in ids.choose_multiple(&mut rng, collections) {
            let members = &world.collections[id].members;
            let add: Vec<u32> = (0..rng.random_range(1..5))
                .map(|_| CLIENTS + rng.random_range(0..world.plan.devices))
                .filter(|device| !members.contains(*device) && world.devices.contains(*device))
                .collect();
            let index = rng.random_range(0..members.len().max(1));
            let remove: Vec<u32> =
                members.select(u32::try_from(index).unwrap_or(0)).into_iter().collect();
            let at = Instant::now();
            for (resources, is_add) in [(&add, true), (&remove, false)] {
                let counted = resources.iter().filter(|r| world.is_computer(**r));
                self.changes.extend(counted.map(|resource| Change {
                    at,
                    collection: id.clone(),
                    resource: *resource,
                    is_add,
                }));
            }
            world.change_members(id, &add, &remove);
        }
        world.rng = rng;
    }

    /// How long each change took from the site to its acceptance, in order of length. Changes that
    /// a snapshot carried, or a later change undid, are left out.
    pub fn delays(&self, workspace: &Workspace) -> Vec<Duration> {
        let mut arrivals: HashMap<(String, u32, bool), Vec<Instant>> = HashMap::new();
        workspace.rows(
            0,
            |arrived, row| {
                if row.action != "Present" {
                    let key = (row.group_id.into_owned(), row.resource_id, row.action == "Add");
                    arrivals.entry(key).or_default().push(arrived);
                }
            },
            |_, _| {},
        );
        let mut delays: Vec<Duration> = self
            .changes
            .iter()
            .filter_map(|change| {
                let key = (change.collection.clone(), change.resource, change.is_add);
                let after = arrivals.get(&key)?.iter().filter(|a| **a >= change.at).min()?;
                Some(after.duration_since(change.at))
            })
            .collect();
        delays.sort_unstable();
        delays
    }
}

/// The value below which this share of the sorted `delays` lies.
pub fn percentile(delays: &[Duration], share: f64) -> Duration {
    let index = (delays.len().saturating_sub(1) as f64 * share).round();
    delays.get(index as usize).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::{Lab, Options};

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_changes_once_the_churn_was_stopped() {
        let lab = Lab::start(Options::default()).await.expect("a lab");
        for _ in 0..20 {
            lab.start_churn(Duration::from_micros(50), 2);
            while lab.churn().changes.is_empty() {
                tokio::task::yield_now().await;
            }
            lab.stop_churn();
            let before = lab.churn().changes.len();
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
            assert_eq!(lab.churn().changes.len(), before);
        }
    }
}
