//! The administration service of an SMS Provider, over its WMI route.
//!
//! Facts that shape it (see docs/configmgr.md): a 404 does not mean "not found"; an answer may be
//! shorter than asked for; `$select` must name all key columns and no lazy one; pages go by key and
//! never by `$skip`, because rows move; a server that ignores the order is read in one piece.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cmsync_http::Client;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use url::Url;

use crate::authentication::Authenticate;
use crate::columns::Columns;
use crate::error::Error;
use crate::load::{Limits, Load};
use crate::members::One;
use crate::pass::Passes;
use crate::query::{Query, answer, host};
use crate::rows::{
    Admin, CollectionRow, Identification, LinkRow, SiteDefinition, SiteRow, System, SystemRole,
};
use crate::site::{
    Collection, CollectionsSink, ConnectionPoint, Database, DeviceRow, DeviceScope, Hierarchy, Site,
};
use crate::together::{Counts, any_of};

/// Most requests at one provider at once; the service is no high-throughput one.
const MAX_REQUESTS: usize = 8;
/// Collections of one read: as many as are worth a request that many share.
const TOGETHER: usize = 64;

/// How the administration service is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Providers, for example `https://cm01.contoso.com/AdminService`; more than one is failover.
    pub providers: Vec<Url>,
    /// Rows of one page.
    pub page_size: usize,
    /// The account's logon name, for example `CONTOSO\svc-cmsync`, to watch its rights.
    pub account: Option<String>,
    /// How much is asked for.
    pub limits: Limits,
}

/// A site read through its administration service.
pub struct AdminService {
    pub(crate) client: Client,
    pub(crate) authenticate: Box<dyn Authenticate>,
    settings: Settings,
    /// The provider that answered last.
    current: AtomicUsize,
    pub(crate) requests: Semaphore,
    pub(crate) load: Load,
    pub(crate) counts: Counts,
    /// When a pass over all members failed last.
    pub(crate) pass_failed: Mutex<Option<Instant>>,
    /// Those of 2010 and later.
    evaluation_times: Columns,
    /// A device's, by their names.
    resource_names: Columns,
}

impl AdminService {
    /// A reader of the site behind `settings.providers`.
    #[must_use]
    pub fn new(client: Client, authenticate: Box<dyn Authenticate>, settings: Settings) -> Self {
        Self {
            client,
            authenticate,
            load: Load::new(settings.limits),
            counts: Counts::default(),
            pass_failed: Mutex::default(),
            settings,
            current: AtomicUsize::new(0),
            requests: Semaphore::new(MAX_REQUESTS),
            evaluation_times: Columns::default(),
            resource_names: Columns::default(),
        }
    }

    pub(crate) fn page_size(&self) -> usize {
        self.settings.page_size
    }

    /// The provider to read from at the `attempt`th attempt of a read: the one that answered last,
    /// then the others.
    pub(crate) fn provider(&self, attempt: usize) -> Result<(usize, &Url), Error> {
        let count = self.settings.providers.len().max(1);
        let index = (self.current.load(Ordering::Relaxed) + attempt) % count;
        let provider = self.settings.providers.get(index);
        Ok((
            index,
            provider.ok_or_else(|| answer("site", "any class", "no provider is configured"))?,
        ))
    }

    /// Whether the next provider is to be tried after this failure.
    fn goes_on(&self, attempt: usize, error: &Error) -> bool {
        let goes_on =
            attempt + 1 < self.settings.providers.len() && !matches!(error, Error::Query { .. });
        if goes_on {
            tracing::warn!(%error, "provider failed; trying the next");
        }
        goes_on
    }

    /// Rows of one class, each turned into what `convert` makes of it.
    async fn collect<T: Send>(
        &self,
        provider: &Url,
        query: &Query<'_>,
        convert: impl Fn(&[u8]) -> Result<Option<T>, serde_json::Error> + Send + Sync,
    ) -> Result<Vec<T>, Error> {
        let mut found = Vec::new();
        self.rows(provider, query, &mut |row| {
            found.extend(convert(row)?);
            Ok(())
        })
        .await?;
        Ok(found)
    }

    async fn read_collections(
        &self,
        provider: &Url,
        filter: &str,
    ) -> Result<Vec<Collection>, Error> {
        let mut asking = self.evaluation_times.asking();
        loop {
            let select =
                if asking.with { CollectionRow::SELECT } else { CollectionRow::SELECT_OLD };
            let query = Query {
                class: "SMS_Collection",
                options: vec![
                    ("$filter", filter.to_owned()),
                    ("$select", select.to_owned()),
                    ("$orderby", "CollectionID".to_owned()),
                ],
            };
            let read = self.collect(provider, &query, |row| {
                serde_json::from_slice::<CollectionRow<'_>>(row).map(CollectionRow::into_collection)
            });
            if let Some(read) = asking.settle(read.await) {
                let mut found = read?;
                found.sort_by(|a, b| a.id.cmp(&b.id));
                found.dedup_by(|a, b| a.id == b.id);
                return Ok(found);
            }
        }
    }

    async fn read_identification(&self, provider: &Url) -> Result<String, Error> {
        let query = Query { class: "SMS_Identification", options: vec![] };
        let this = self
            .collect(provider, &query, |row| {
                serde_json::from_slice::<Identification<'_>>(row).map(|i| i.site.map(String::from))
            })
            .await?;
        let own = this.into_iter().next();
        own.ok_or_else(|| answer(&host(provider), "SMS_Identification", "no site code"))
    }

    async fn read_hierarchy(&self, provider: &Url) -> Result<Hierarchy, Error> {
        let this_site = self.read_identification(provider).await?;
        let query =
            Query { class: "SMS_Site", options: vec![("$select", SiteRow::SELECT.to_owned())] };
        let sites = self
            .collect(provider, &query, |row| {
                serde_json::from_slice::<SiteRow<'_>>(row).map(SiteRow::into_site)
            })
            .await?;
        let query = Query {
            class: "SMS_ReplicationLinkSummary",
            options: vec![("$select", LinkRow::SELECT.to_owned())],
        };
        let links = self
            .collect(provider, &query, |row| {
                serde_json::from_slice::<LinkRow<'_>>(row).map(LinkRow::into_link)
            })
            .await;
        let links = match links {
            // Links are a warning's source; an account that may not see them can still sync.
            Err(Error::Denied { .. } | Error::Query { .. } | Error::NoProvider { .. }) => {
                Vec::new()
            }
            other => other?,
        };
        Ok(Hierarchy { this_site, sites, links, notes: Vec::new() })
    }

    async fn read_devices(&self, provider: &Url, filter: &str) -> Result<Vec<DeviceRow>, Error> {
        let mut asking = self.resource_names.asking();
        loop {
            let mut options = vec![
                ("$filter", filter.to_owned()),
                ("$orderby", "ResourceId".to_owned()),
                ("$top", self.settings.page_size.to_string()),
            ];
            if asking.with {
                options.push(("$select", System::SELECT.to_owned()));
            }
            let query = Query { class: "SMS_R_System", options };
            let read = self.collect(provider, &query, |row| {
                serde_json::from_slice::<System<'_>>(row).map(|s| Some(s.into_device()))
            });
            if let Some(read) = asking.settle(read.await) {
                let mut found = read?;
                found.sort_by_key(|d| d.resource_id);
                found.dedup_by_key(|d| d.resource_id);
                return Ok(found);
            }
        }
    }

    /// Its properties are lazy: the rows are read whole.
    async fn read_connection_point(
        &self,
        provider: &Url,
    ) -> Result<Option<ConnectionPoint>, Error> {
        let filter = "RoleName eq 'SMS Dmp Connector'".to_owned();
        let query = Query { class: "SMS_SCI_SysResUse", options: vec![("$filter", filter)] };
        let rows = self.collect(provider, &query, |row| {
            serde_json::from_slice::<SystemRole>(row).map(|r| Some(r.into_connection_point()))
        });
        Ok(rows.await?.into_iter().next())
    }

    /// Its properties are lazy: the rows are read whole.
    async fn read_database(&self, provider: &Url) -> Result<Option<Database>, Error> {
        let own = self.read_identification(provider).await?;
        let query = Query { class: "SMS_SCI_SiteDefinition", options: vec![] };
        let rows = self.collect(provider, &query, |row| {
            let row: SiteDefinition = serde_json::from_slice(row)?;
            Ok(row.is_of(&own).then(|| row.into_database()).flatten())
        });
        Ok(rows.await?.into_iter().next())
    }

    async fn read_account(&self, provider: &Url, account: &str) -> Result<Option<String>, Error> {
        let filter = format!("LogonName eq '{}'", account.replace('\'', "''"));
        let query = Query { class: "SMS_Admin", options: vec![("$filter", filter)] };
        let rows = self.collect(provider, &query, |row| {
            let admin: Admin = serde_json::from_slice(row)?;
            let is_own = admin.logon.eq_ignore_ascii_case(account);
            is_own.then(|| serde_json::to_string(&admin)).transpose()
        });
        Ok(rows.await?.into_iter().next())
    }
}

/// Runs a whole read at one provider after the other until one gives it: failover is between reads,
/// never within one. A macro, because the read borrows its caller's sink.
macro_rules! failover {
    ($service:ident, $provider:ident => $read:expr) => {{
        let mut attempt = 0;
        loop {
            let (index, $provider) = $service.provider(attempt)?;
            match $read.await {
                Ok(result) => {
                    $service.current.store(index, Ordering::Relaxed);
                    break Ok(result);
                }
                Err(error) if $service.goes_on(attempt, &error) => attempt += 1,
                Err(error) => break Err(error),
            }
        }
    }};
}

#[async_trait]
impl Site for AdminService {
    async fn hierarchy(&self) -> Result<Hierarchy, Error> {
        failover!(self, provider => self.read_hierarchy(provider))
    }

    fn passes(&self) -> Option<&dyn Passes> {
        Some(self)
    }

    fn clock_skew(&self) -> Option<i64> {
        self.client.clock_skew()
    }

    fn waited(&self) -> Duration {
        self.load.waited()
    }

    async fn collections(&self) -> Result<Vec<Collection>, Error> {
        let all =
            failover!(self, provider => self.read_collections(provider, "CollectionType eq 2"))?;
        self.counts.note(&all);
        Ok(all)
    }

    fn together(&self) -> (usize, usize) {
        (TOGETHER, self.load.rows_at_once())
    }

    async fn members_of(
        &self,
        collections: &[String],
        sink: &mut dyn CollectionsSink,
    ) -> Result<(), Error> {
        for ids in self.counts.groups(collections, DeviceScope::MOST_IDS, self.page_size()) {
            // What goes wrong with a group goes wrong with one of it: each tells for itself.
            let group = match ids {
                [_] => Ok(None),
                ids => failover!(self, provider => self.group(provider, ids)),
            };
            if let Ok(Some(group)) = group {
                for (id, rows) in ids.iter().zip(group) {
                    sink.collection(id);
                    rows.iter().for_each(|row| sink.row(row));
                }
                continue;
            }
            for id in ids {
                let mut one = One { id, sink };
                failover!(self, provider => self.read_members(provider, id, &mut one))?;
            }
        }
        Ok(())
    }

    async fn collections_of(&self, ids: &[String]) -> Result<Vec<Collection>, Error> {
        let mut found = Vec::new();
        for some in ids.chunks(DeviceScope::MOST_IDS) {
            let filter = any_of(some);
            let read = failover!(self, provider => self.read_collections(provider, &filter))?;
            found.extend(read.into_iter().filter(|collection| some.contains(&collection.id)));
        }
        Ok(found)
    }

    async fn devices(&self, scope: &DeviceScope) -> Result<Vec<DeviceRow>, Error> {
        let filter = match scope {
            DeviceScope::After(id) => format!("ResourceId gt {id}"),
            DeviceScope::Ids(ids) => {
                let terms: Vec<_> = ids.iter().map(|id| format!("ResourceId eq {id}")).collect();
                terms.join(" or ")
            }
        };
        failover!(self, provider => self.read_devices(provider, &filter))
    }

    async fn connection_point(&self) -> Result<Option<ConnectionPoint>, Error> {
        match failover!(self, provider => self.read_connection_point(provider)) {
            Err(Error::Denied { .. } | Error::Query { .. } | Error::NoProvider { .. }) => Ok(None),
            other => other,
        }
    }

    async fn database(&self) -> Result<Option<Database>, Error> {
        failover!(self, provider => self.read_database(provider))
    }

    async fn account(&self) -> Result<Option<String>, Error> {
        let Some(account) = &self.settings.account else {
            return Ok(None);
        };
        match failover!(self, provider => self.read_account(provider, account)) {
            Err(Error::Denied { .. } | Error::Query { .. }) => Ok(None),
            other => other,
        }
    }
}
