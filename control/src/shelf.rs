//! What is kept between two questions: everything here can be made again from the queue.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use cmsync_queue::{Error, Queue};
use cmsync_schemas::kql::group_alias;
use cmsync_schemas::{GROUP, topics};
use roaring::RoaringBitmap;

use crate::backlog::Backlog;
use crate::kept::Kept;
use crate::names::Names;
use crate::state::{self, Collections};

const CHANGES: &str = "cmsync.changes.";

/// The computers of a connection.
pub(crate) struct Atlas {
    pub(crate) names: Names,
    /// Those that are in one collection or more.
    pub(crate) members: RoaringBitmap,
}

/// What the writer of computer groups was told of a collection.
pub(crate) struct Told {
    /// What queries call the group.
    pub(crate) alias: String,
    /// Whether its text holds the names.
    pub(crate) is_static: bool,
}

/// What is kept.
pub(crate) struct Shelf {
    queue: Arc<dyn Queue>,
    pub(crate) backlog: Backlog,
    /// Long answers to commands are made one at a time.
    pub(crate) heavy: tokio::sync::Semaphore,
    collections: Kept<Collections>,
    of: Mutex<HashMap<String, OfConnection>>,
}

/// What is kept of a connection.
#[derive(Clone)]
struct OfConnection {
    atlas: Kept<Atlas>,
    told: Kept<BTreeMap<String, Told>>,
    letters: Kept<u64>,
}

/// The connections that have topics.
pub(crate) async fn connections(queue: &dyn Queue) -> Result<Vec<String>, Error> {
    let topics = queue.topics().await?;
    Ok(topics.iter().filter_map(|t| t.name.strip_prefix(CHANGES).map(Into::into)).collect())
}

impl Shelf {
    pub(crate) fn new(queue: Arc<dyn Queue>) -> Self {
        Self {
            backlog: Backlog::new(Arc::clone(&queue)),
            heavy: tokio::sync::Semaphore::new(1),
            collections: Kept::new(&queue, topics::STATE.into(), "", collections),
            of: Mutex::default(),
            queue,
        }
    }

    /// All collections that are kept.
    pub(crate) async fn collections(&self) -> Result<Arc<Collections>, Error> {
        self.collections.get().await
    }

    /// The computers of a connection.
    pub(crate) async fn atlas(&self, connection: &str) -> Result<Arc<Atlas>, Error> {
        self.of(connection).atlas.get().await
    }

    /// The same, where they are known already.
    pub(crate) async fn atlas_if_made(
        &self,
        connection: &str,
    ) -> Result<Option<Arc<Atlas>>, Error> {
        self.of(connection).atlas.get_if_made().await
    }

    /// What the writer of computer groups was told, by collection.
    pub(crate) async fn told(
        &self,
        connection: &str,
    ) -> Result<Arc<BTreeMap<String, Told>>, Error> {
        self.of(connection).told.get().await
    }

    /// How many dead letters a connection has.
    pub(crate) async fn letters(&self, connection: &str) -> Result<u64, Error> {
        self.of(connection).letters.get().await.map(|count| *count)
    }

    fn of(&self, connection: &str) -> OfConnection {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = &self.queue;
        let made = || OfConnection {
            atlas: Kept::new(queue, topics::STATE.into(), connection, atlas),
            told: Kept::new(queue, topics::groups(connection), connection, told),
            letters: Kept::new(queue, topics::dead_letters(connection), connection, letters),
        };
        of.entry(connection.to_owned()).or_insert_with(made).clone()
    }
}

async fn collections(queue: Arc<dyn Queue>, _: String) -> Result<Collections, Error> {
    state::collections(&*queue, &connections(&*queue).await?).await
}

async fn atlas(queue: Arc<dyn Queue>, connection: String) -> Result<Atlas, Error> {
    let (mut names, mut members) = (Names::default(), RoaringBitmap::new());
    state::devices(&*queue, &connection, |device| names.push(&device)).await?;
    state::members_of_all(&*queue, &connection, |_, more| members |= more).await?;
    let sorted = move || {
        names.sort();
        names
    };
    Ok(Atlas { names: state::aside(sorted).await?, members })
}

async fn told(queue: Arc<dyn Queue>, connection: String) -> Result<BTreeMap<String, Told>, Error> {
    let mut told = BTreeMap::new();
    state::each(&*queue, (&topics::groups(&connection), ""), |_, value| {
        if let Ok(group) = GROUP.decode(value) {
            let alias = group_alias(&group.site_code, &group.collection_id);
            told.insert(group.collection_id, Told { alias, is_static: group.is_static });
        }
    })
    .await?;
    Ok(told)
}

async fn letters(queue: Arc<dyn Queue>, connection: String) -> Result<u64, Error> {
    let mut count = 0;
    state::each(&*queue, (&topics::dead_letters(&connection), ""), |_, _| count += 1).await?;
    Ok(count)
}
