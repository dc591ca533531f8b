//! A site code belongs to one connection of a workspace: rows and groups are told apart by it alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cmsync_queue::Queue;
use cmsync_schemas::CONNECTION_STATE;
use cmsync_schemas::topics::{self, StateKey};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use crate::connection::Connection;
use crate::error::Error;

/// Between two looks whether a code has become free: each reads the whole state.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// Connections that write into the same workspace, by connection.
pub type Neighbours = BTreeMap<String, BTreeSet<String>>;

/// How far a connection is with its site's code.
#[derive(Debug)]
enum Standing {
    /// Nothing was read of it yet.
    New,
    /// It had collections before this start.
    Old,
    /// The code is this connection's.
    Ours,
    /// Another connection has it.
    Taken { by: String, until: Instant },
}

/// A connection's claim to its site's code.
#[derive(Debug)]
pub(crate) struct Claim {
    standing: Standing,
    neighbours: watch::Receiver<Neighbours>,
    /// One connection of this process after the other.
    turn: Arc<Mutex<()>>,
}

impl Claim {
    pub(crate) fn new(
        is_old: bool,
        neighbours: watch::Receiver<Neighbours>,
        turn: Arc<Mutex<()>>,
    ) -> Self {
        let standing = if is_old { Standing::Old } else { Standing::New };
        Self { standing, neighbours, turn }
    }
}

/// A neighbour that has the code.
struct Holder {
    name: String,
    /// Whether it read its collections: it sends rows, or will at once.
    has_collections: bool,
}

impl Connection {
    /// Takes the site's code for this connection, unless another one that writes into the same
    /// workspace has it. One that has collections goes on whatever it finds: its rows are there.
    ///
    /// # Errors
    /// [`Error::SiteTaken`], or the queue's.
    pub(crate) async fn claim_site(&mut self) -> Result<(), Error> {
        let name = &self.config.name;
        let neighbours = self.claim.neighbours.borrow().get(name).cloned().unwrap_or_default();
        let site = self.memory.connection.site_code.clone();
        match &self.claim.standing {
            Standing::Ours => return Ok(()),
            Standing::Old => {
                self.tell_of_sharing(&neighbours, &site).await?;
                self.claim.standing = Standing::Ours;
                return Ok(());
            }
            Standing::Taken { by, until } if *until > Instant::now() && neighbours.contains(by) => {
                let by = by.clone();
                self.memory.connection.site_code.clear();
                return Err(Error::SiteTaken { site, by });
            }
            Standing::Taken { .. } | Standing::New => {}
        }
        let turn = Arc::clone(&self.claim.turn);
        let _turn = turn.lock().await;
        // Durable before the others' are read: of two copies that claim at once, one sees the other.
        self.publisher.commit_connection(&self.memory).await?;
        let Some(holder) = holder(&*self.queue, &neighbours, &site).await? else {
            self.claim.standing = Standing::Ours;
            return Ok(());
        };
        let by = holder.name;
        // Of two that claimed at once the first by name keeps its claim, and looks again.
        let gives_way = holder.has_collections || by < self.config.name;
        let until = if gives_way { Instant::now() + LOOK_AGAIN } else { Instant::now() };
        self.memory.connection.site_code.clear();
        if gives_way {
            self.publisher.commit_connection(&self.memory).await?;
        }
        self.claim.standing = Standing::Taken { by: by.clone(), until };
        Err(Error::SiteTaken { site, by })
    }

    /// Two connections that both have collections: nothing is stopped, and somebody must know. Its own
    /// code is durable since its collections are.
    async fn tell_of_sharing(
        &self,
        neighbours: &BTreeSet<String>,
        site: &str,
    ) -> Result<(), Error> {
        let holder = holder(&*self.queue, neighbours, site).await?;
        if let Some(holder) = holder.filter(|holder| holder.has_collections) {
            tracing::error!(
                other = holder.name,
                site,
                "two connections send rows of one site code to one workspace, which cannot tell them \
                 apart: give one of them a workspace of its own"
            );
        }
        Ok(())
    }
}

/// The neighbour that has a site code; of several one that has collections.
async fn holder(
    queue: &dyn Queue,
    neighbours: &BTreeSet<String>,
    site: &str,
) -> Result<Option<Holder>, Error> {
    if neighbours.is_empty() {
        return Ok(None);
    }
    let (mut holders, mut with_collections) = (BTreeSet::new(), BTreeSet::new());
    for entry in queue.scan(topics::STATE).await? {
        let (key, value) = entry?;
        let Some((connection, key)) = StateKey::decode(&key) else { continue };
        let Some(name) = neighbours.get(connection) else { continue };
        match key {
            StateKey::Connection => {
                let state = CONNECTION_STATE.decode(&value);
                holders.extend(state.is_ok_and(|s| s.site_code == site).then_some(name));
            }
            StateKey::Collection(_) => drop(with_collections.insert(name)),
            StateKey::Members(..) | StateKey::Devices(_) => {}
        }
    }
    let found = holders.iter().find(|name| with_collections.contains(**name)).or(holders.first());
    let holder = |name: &&String| Holder {
        has_collections: with_collections.contains(*name),
        name: (*name).clone(),
    };
    Ok(found.map(holder))
}
