//! A site whose time is taken: what it was asked costs it something, and an administrator asks how much.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cmsync_configmgr::{
    Collection, CollectionsSink, ConnectionPoint, DeviceRow, DeviceScope, Error, Hierarchy,
    PassSink, Passes, Site, Track, Tracked,
};
use tokio::time::Instant;

/// A site, and how long its answers took together.
pub(crate) struct Measured {
    site: Arc<dyn Site>,
    micros: AtomicU64,
    /// Whole seconds of answers and of waits that were told.
    told: (AtomicU64, AtomicU64),
}

impl Measured {
    pub(crate) fn new(site: Arc<dyn Site>) -> Self {
        let waited = AtomicU64::new(site.waited().as_secs());
        Self { site, micros: AtomicU64::new(0), told: (AtomicU64::new(0), waited) }
    }

    /// Whole seconds of answers (of two at once, those of both) and of waits since the last call.
    pub(crate) fn newly_spent(&self) -> (u64, u64) {
        let spent = self.micros.load(Ordering::Relaxed) / 1_000_000;
        let waited = self.site.waited().as_secs();
        let news = |now: u64, told: &AtomicU64| now - told.swap(now, Ordering::Relaxed);
        (news(spent, &self.told.0), news(waited, &self.told.1))
    }

    /// The site's track, of which only one that has one is asked.
    fn asked(&self) -> Result<&dyn Tracked, Error> {
        self.site.tracked().ok_or_else(|| cannot("changes"))
    }

    async fn during<T>(&self, answer: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let answer = answer.await;
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        answer
    }
}

#[async_trait]
impl Site for Measured {
    async fn hierarchy(&self) -> Result<Hierarchy, Error> {
        self.during(self.site.hierarchy()).await
    }

    async fn collections(&self) -> Result<Vec<Collection>, Error> {
        self.during(self.site.collections()).await
    }

    async fn collections_of(&self, ids: &[String]) -> Result<Vec<Collection>, Error> {
        self.during(self.site.collections_of(ids)).await
    }

    fn together(&self) -> (usize, usize) {
        self.site.together()
    }

    async fn members_of(
        &self,
        collections: &[String],
        sink: &mut dyn CollectionsSink,
    ) -> Result<(), Error> {
        self.during(self.site.members_of(collections, sink)).await
    }

    async fn devices(&self, scope: &DeviceScope) -> Result<Vec<DeviceRow>, Error> {
        self.during(self.site.devices(scope)).await
    }

    fn passes(&self) -> Option<&dyn Passes> {
        self.site.passes().map(|_| self as &dyn Passes)
    }

    fn tracked(&self) -> Option<&dyn Tracked> {
        self.site.tracked().map(|_| self as &dyn Tracked)
    }

    fn clock_skew(&self) -> Option<i64> {
        self.site.clock_skew()
    }

    fn waited(&self) -> Duration {
        self.site.waited()
    }

    async fn connection_point(&self) -> Result<Option<ConnectionPoint>, Error> {
        self.during(self.site.connection_point()).await
    }

    async fn account(&self) -> Result<Option<String>, Error> {
        self.during(self.site.account()).await
    }
}

#[async_trait]
impl Passes for Measured {
    fn pays(&self, wanted: &[String]) -> Option<usize> {
        self.site.passes().and_then(|passes| passes.pays(wanted))
    }

    async fn members_between(
        &self,
        range: (i64, i64),
        sink: &mut dyn PassSink,
    ) -> Result<(), Error> {
        let passes = self.site.passes().ok_or_else(|| cannot("passes"))?;
        self.during(passes.members_between(range, sink)).await
    }
}

/// Of a site that was asked for what it said that it cannot do.
fn cannot(what: &str) -> Error {
    let (host, class) = ("site".to_owned(), what.to_owned());
    Error::Answer { host, class, detail: "it has none".to_owned() }
}

#[async_trait]
impl Tracked for Measured {
    async fn track(&self, since: Option<i64>) -> Result<Track, Error> {
        self.during(self.asked()?.track(since)).await
    }

    async fn some_members(
        &self,
        collection: &str,
        ids: &[i64],
        sink: &mut dyn CollectionsSink,
    ) -> Result<(), Error> {
        self.during(self.asked()?.some_members(collection, ids, sink)).await
    }
}
