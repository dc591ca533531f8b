//! The in-memory store, seen by the ledger: whatever becomes durable is held against the promises.

use std::sync::Arc;

use bytes::Bytes;
use cmsync_queue::local::{Batch, Extent, Store, Stored};
use cmsync_queue::memory::MemoryStore;
use cmsync_queue::{Error, Message, State};

use crate::world::World;

/// A store whose batches are observed. It outlives the processes.
pub(crate) struct Observed {
    store: Arc<MemoryStore>,
    world: Arc<World>,
}

impl Observed {
    /// An empty one.
    pub(crate) fn new(world: Arc<World>) -> Arc<Self> {
        Arc::new(Self { store: MemoryStore::new(), world })
    }
}

impl Observed {
    /// A fault, as of a disk that is full for a moment.
    fn may_fail(&self, action: &'static str) -> Result<(), Error> {
        match self.world.strikes(self.world.plan.rates.store_fails) {
            true => Err(Error::Storage { action, source: "the store fails".into() }),
            false => Ok(()),
        }
    }
}

impl Store for Observed {
    const WAITS: bool = false;

    fn load(&self) -> Result<Stored, Error> {
        self.store.load()
    }

    fn apply(&self, batch: &Batch) -> Result<Vec<((u32, u32), Extent)>, Error> {
        self.may_fail("write")?;
        let applied = self.store.apply(batch)?;
        let words = {
            let mut inner = self.world.lock();
            let now = inner.now();
            let inner = &mut *inner;
            inner.ledger.observe(batch, &inner.truth, now)
        };
        self.world.note(&format!("durable: {words}"));
        Ok(applied)
    }

    fn recover(&self) -> Result<(), Error> {
        self.store.recover()
    }

    fn read(&self, at: (u32, u32), from: u64, max_bytes: usize) -> Result<Vec<Message>, Error> {
        self.world.note_read();
        self.may_fail("read")?;
        self.store.read(at, from, max_bytes)
    }

    fn scan_within(&self, at: (u32, u32), prefix: &Bytes) -> Result<State, Error> {
        self.world.note_read();
        self.may_fail("scan")?;
        self.store.scan_within(at, prefix)
    }
}
