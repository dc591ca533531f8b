//! The site as it is asked: the truth behind pages that come late, short, twice or not at all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cmsync_configmgr::{
    Changed, Collection, CollectionsSink, DeviceRow, DeviceScope, Error, Hierarchy, MemberRow,
    PassSink, Passes, Site, SiteInfo, Track, Tracked,
};
use rand::Rng as _;

use crate::bugs::Bug;
use crate::plan::Way;
use crate::site::{ALL_SYSTEMS, CODE, Device};
use crate::world::{Inner, World};

/// A list lacks a collection by chance once in this time; microseconds.
const ONCE_IN: i64 = 300 * 1_000_000;
/// A call that is given up.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The site as one copy of the producer asks it.
pub(crate) struct Service {
    pub world: Arc<World>,
}

fn failed(class: &str) -> Error {
    let (host, class) = ("site".to_owned(), class.to_owned());
    Error::Answer { host, class, detail: "as the seed wants it".to_owned() }
}

impl Service {
    /// A call: time passes, the site changes meanwhile, and may not answer.
    async fn call(&self, class: &str) -> Result<(), Error> {
        let (rates, is_away) = {
            let inner = self.world.lock();
            (self.world.plan.rates, inner.now() < inner.site_back)
        };
        self.world.note(&format!("site: {class}"));
        tokio::task::yield_now().await;
        if self.world.strikes(rates.site_freezes) {
            let frozen = self.world.draw(Duration::from_millis(1), TIMEOUT * 2);
            tokio::time::sleep(frozen.min(TIMEOUT)).await;
            if frozen >= TIMEOUT {
                let host = "site".to_owned();
                return Err(Error::Http(cmsync_http::Error::Timeout { host }));
            }
        } else if self.world.lock().rng.random_bool(0.5) {
            let takes = self.world.draw(Duration::from_millis(1), Duration::from_millis(500));
            tokio::time::sleep(takes).await;
        }
        if is_away || self.world.strikes(rates.site_fails) {
            return Err(failed(class));
        }
        Ok(())
    }

    /// Members as the account sees them from one id up to another, with their devices.
    fn members(&self, inner: &mut Inner, collection: &str, (from, to): (i64, i64)) -> Vec<i64> {
        let Some(found) = inner.truth.collections.get(collection) else { return Vec::new() };
        let hidden = inner.lost.as_ref().map(|lost| lost.devices.clone()).unwrap_or_default();
        let all = found.members.range(from..to).copied();
        let mut shown: Vec<i64> = all.filter(|id| !hidden.contains(id)).collect();
        let rates = self.world.plan.rates;
        if !inner.is_quiet {
            shown.retain(|_| rates.row_missing == 0.0 || !inner.rng.random_bool(rates.row_missing));
            if rates.row_twice > 0.0 && inner.rng.random_bool(rates.row_twice) {
                shown.extend(shown.first().copied());
            }
        }
        shown
    }

    fn listed(&self, inner: &mut Inner) -> Vec<Collection> {
        let lost = inner.lost.clone().unwrap_or_default();
        let hides_all_systems = inner.lost.is_some() && !lost.is_told_by_account;
        let is_hidden =
            |id: &String| lost.collections.contains(id) || (hides_all_systems && id == ALL_SYSTEMS);
        let listed = inner.truth.collections.iter().filter(|(id, _)| !is_hidden(id));
        let count = |members: &BTreeSet<i64>| {
            members.iter().filter(|id| !lost.devices.contains(id)).count()
        };
        let listed = listed.map(|(id, collection)| Collection {
            id: id.clone(),
            name: collection.name.clone(),
            folder: collection.folder.clone(),
            member_count: i64::try_from(count(&collection.members)).unwrap_or(0),
            token: collection.version.to_string(),
        });
        listed.collect()
    }

    /// Two rows of a read come apart: the site may change in between.
    async fn rows(&self, id: &str, mut row: impl FnMut(&MemberRow<'_>)) -> Result<(), Error> {
        let middle = 16_777_220 + 12;
        for range in [(i64::MIN, middle), (middle, i64::MAX)] {
            {
                let mut inner = self.world.lock();
                for device in self.members(&mut inner, id, range) {
                    if let Some(found) = inner.truth.devices.get(&device) {
                        row(&member(device, found));
                    }
                }
            }
            if range.1 == middle {
                self.call("next page").await?;
            }
        }
        Ok(())
    }
}

fn member(id: i64, device: &Device) -> MemberRow<'static> {
    MemberRow {
        resource_id: id,
        resource_type: 5,
        name: device.name.clone().into(),
        assigned_site: device.assigned_site.clone().map(Into::into),
        is_retired: device.is_retired,
    }
}

#[async_trait]
impl Site for Service {
    async fn hierarchy(&self) -> Result<Hierarchy, Error> {
        self.call("hierarchy").await?;
        let (code, name, reports_to) = (CODE.to_owned(), "Site".to_owned(), String::new());
        let version = "5.00".to_owned();
        let site = SiteInfo { code, name, kind: 2, reports_to, status: 1, version };
        Ok(Hierarchy { this_site: CODE.into(), sites: vec![site], links: vec![], notes: vec![] })
    }

    async fn collections(&self) -> Result<Vec<Collection>, Error> {
        self.call("collections").await?;
        let rate = self.world.plan.rates.collection_missing;
        let mut inner = self.world.lock();
        let mut listed = self.listed(&mut inner);
        let now = inner.now();
        let inner = &mut *inner;
        for id in inner.lost.iter().flat_map(|lost| &lost.collections) {
            inner.lacked.insert(id.clone(), now);
        }
        if rate > 0.0 && !inner.is_quiet {
            let (lacked, rng) = (&mut inner.lacked, &mut inner.rng);
            listed.retain(|Collection { id, .. }| {
                let may_lack = lacked.get(id).is_none_or(|at| now - at > ONCE_IN);
                let is_missing = id != ALL_SYSTEMS && may_lack && rng.random_bool(rate);
                if is_missing {
                    lacked.insert(id.clone(), now);
                }
                !is_missing
            });
        }
        if self.world.bug == Some(Bug::SkipTheGuard) {
            let all_systems = inner.truth.collections.get(ALL_SYSTEMS).cloned();
            if let Some(found) = all_systems.filter(|_| listed.iter().all(|c| c.id != ALL_SYSTEMS))
            {
                listed.push(Collection {
                    id: ALL_SYSTEMS.into(),
                    name: found.name,
                    folder: found.folder,
                    member_count: 0,
                    token: found.version.to_string(),
                });
            }
        }
        Ok(listed)
    }

    fn together(&self) -> (usize, usize) {
        if self.world.plan.way == Way::Together { (4, 100_000) } else { (1, usize::MAX) }
    }

    async fn members_of(
        &self,
        collections: &[String],
        sink: &mut dyn CollectionsSink,
    ) -> Result<(), Error> {
        for id in collections {
            self.call("members").await?;
            sink.collection(id);
            self.rows(id, |row| sink.row(row)).await?;
        }
        Ok(())
    }

    async fn collections_of(&self, ids: &[String]) -> Result<Vec<Collection>, Error> {
        self.call("collections anew").await?;
        let listed = self.listed(&mut self.world.lock());
        Ok(listed.into_iter().filter(|c| ids.contains(&c.id)).collect())
    }

    async fn devices(&self, scope: &DeviceScope) -> Result<Vec<DeviceRow>, Error> {
        self.call("devices").await?;
        let inner = self.world.lock();
        let hidden = inner.lost.as_ref().map(|lost| lost.devices.clone()).unwrap_or_default();
        let wanted = |id: &i64| match scope {
            DeviceScope::After(after) => id > after,
            DeviceScope::Ids(ids) => ids.contains(id),
        };
        let shown = inner.truth.devices.iter().filter(|(id, _)| wanted(id) && !hidden.contains(id));
        let row = |(id, device): (&i64, &Device)| DeviceRow {
            resource_id: *id,
            netbios_name: device.name.clone(),
            fqdn: device.fqdn.clone(),
            domain: None,
            is_retired: device.is_retired,
        };
        let page = match scope {
            DeviceScope::After(_) => self.world.plan.options.page_size,
            DeviceScope::Ids(_) => usize::MAX,
        };
        Ok(shown.map(row).take(page).collect())
    }

    fn tracked(&self) -> Option<&dyn Tracked> {
        (self.world.plan.way == Way::Tracked).then_some(self)
    }

    fn passes(&self) -> Option<&dyn Passes> {
        (self.world.plan.way == Way::Pass).then_some(self)
    }

    fn clock_skew(&self) -> Option<i64> {
        Some(self.world.lock().clock_off / 1_000_000)
    }

    async fn account(&self) -> Result<Option<String>, Error> {
        self.call("account").await?;
        let mut inner = self.world.lock();
        inner.saw_rights |= inner.lost.is_none();
        let shows = inner.lost.as_ref().is_some_and(|lost| lost.is_told_by_account);
        let shows = shows && self.world.bug != Some(Bug::SkipTheGuard);
        Ok(Some(if shows { "some scopes" } else { "all scopes" }.to_owned()))
    }
}

#[async_trait]
impl Tracked for Service {
    async fn track(&self, since: Option<i64>) -> Result<Track, Error> {
        self.call("track").await?;
        let inner = self.world.lock();
        let track = &inner.truth.track;
        let since =
            since.and_then(|since| track.get(usize::try_from(since).ok()?..)).map(|since| {
                let mut changed: BTreeMap<(&str, i64), (bool, bool)> = BTreeMap::new();
                for (collection, id, is_added) in since {
                    changed.entry((collection, *id)).or_insert((!is_added, false)).1 = *is_added;
                }
                let mut by_collection: HashMap<String, Vec<(i64, Changed)>> = HashMap::new();
                for ((collection, id), change) in changed {
                    let change = match change {
                        (false, true) => Changed::Added,
                        (true, true) => Changed::Otherwise,
                        (_, false) => Changed::Removed,
                    };
                    by_collection.entry(collection.to_owned()).or_default().push((id, change));
                }
                by_collection
            });
        Ok(Track { version: i64::try_from(track.len()).unwrap_or(0), since })
    }

    async fn some_members(
        &self,
        collection: &str,
        ids: &[i64],
        sink: &mut dyn CollectionsSink,
    ) -> Result<(), Error> {
        self.call("some members").await?;
        sink.collection(collection);
        let mut inner = self.world.lock();
        for device in self.members(&mut inner, collection, (i64::MIN, i64::MAX)) {
            if let Some(found) = inner.truth.devices.get(&device).filter(|_| ids.contains(&device))
            {
                sink.row(&member(device, found));
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Passes for Service {
    fn pays(&self, wanted: &[String]) -> Option<usize> {
        (wanted.len() > 2).then_some(3)
    }

    async fn members_between(
        &self,
        (from, to): (i64, i64),
        sink: &mut dyn PassSink,
    ) -> Result<(), Error> {
        self.call("members of all").await?;
        let mut inner = self.world.lock();
        let ids: Vec<String> = inner.truth.collections.keys().cloned().collect();
        for id in ids {
            for device in self.members(&mut inner, &id, (from + 1, to + 1)) {
                if let Some(found) = inner.truth.devices.get(&device) {
                    sink.row(&id, &member(device, found));
                }
            }
        }
        Ok(())
    }
}
