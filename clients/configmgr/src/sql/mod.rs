//! The site database, read by the views that Microsoft documents ([`queries`]).
//!
//! A read sees one moment where the database keeps row versions: read committed snapshot, which costs
//! nothing to use, or snapshot isolation, for which a transaction is opened. Where it keeps none, a read
//! takes the locks that any query takes, and what it found counts only when the collection's count and
//! change time say the same before and after it, as with every source.

mod browser;
mod connect;
mod failure;
mod members;
mod pool;
pub mod queries;
mod rows;
mod settings;
mod track;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tiberius::ToSql;
use tokio::time::Instant;

use self::pool::{Isolation, Pool};
pub use self::settings::{Encryption, Port, SqlLogin, SqlSettings};
use crate::error::{Error, Nature};
use crate::site::{
    Collection, CollectionsSink, DeviceRow, DeviceScope, Hierarchy, Site, full_name,
};
use crate::together::Counts;
use crate::track::Tracked;

/// Views that every read needs, with the columns of each.
const NEEDED: [(&str, &[&str]); 6] = [
    (
        "v_Collection",
        &["CollectionID", "Name", "MemberCount", "LastMemberChangeTime", "CollectionType"],
    ),
    (
        "v_Collections",
        &[
            "SiteID",
            "ObjectPath",
            "FullEvaluationMemberChangeTime",
            "IncrementalEvaluationMemberChangeTime",
        ],
    ),
    (
        "v_FullCollectionMembership",
        &[
            "CollectionID",
            "ResourceID",
            "ResourceType",
            "Name",
            "SiteCode",
            "IsObsolete",
            "IsDecommissioned",
        ],
    ),
    (
        "v_R_System",
        &[
            "ResourceID",
            "Name0",
            "Netbios_Name0",
            "Full_Domain_Name0",
            "Resource_Domain_OR_Workgr0",
            "Obsolete0",
            "Decommissioned0",
        ],
    ),
    ("v_RA_System_ResourceNames", &["ResourceID", "Resource_Names0"]),
    ("v_Site", &["SiteCode", "SiteName", "ReportingSiteCode", "Type", "Status", "Version"]),
];

/// Seconds that a replica may be behind without a word.
const LITTLE_LAG: i64 = 60;
/// Collections of one read: enough that what comes before its first row is of no account.
const TOGETHER: usize = 64;

/// A site read through its database.
pub struct SqlSite {
    pool: Pool,
    page_size: usize,
    counts: Counts,
    /// Moves to another replica, as of the last list of collections.
    listed_at: AtomicU64,
    /// Seconds that this machine's clock is ahead of the server's.
    clock_skew: Mutex<Option<i64>>,
}

impl SqlSite {
    /// A reader of the database behind `settings`, with so many devices in one page. What the settings do
    /// not say of where it is, `finder` is asked for.
    #[must_use]
    pub fn new(settings: SqlSettings, page_size: usize, finder: Option<Arc<dyn Site>>) -> Self {
        Self {
            pool: Pool::new(settings, finder),
            page_size,
            counts: Counts::default(),
            listed_at: AtomicU64::new(0),
            clock_skew: Mutex::new(None),
        }
    }

    /// Fails where another replica answers than the one that gave the list: rows of one are not judged by
    /// counts of the other.
    fn check_replica(&self) -> Result<(), Error> {
        if self.pool.moves() == self.listed_at.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(self
            .pool
            .error("another replica answers now: it is read again".to_owned(), Nature::Transient))
    }

    fn answer(&self, detail: impl Into<String>) -> Error {
        self.pool.error(detail.into(), Nature::Lasting)
    }

    /// Every row of a query, each turned into what `convert` makes of it.
    async fn all<T: Send>(
        &self,
        query: &str,
        parameters: &[&dyn ToSql],
        mut convert: impl FnMut(tiberius::Row) -> Option<T> + Send,
    ) -> Result<Vec<T>, Error> {
        let mut found = Vec::new();
        let mut on_row = |row| found.extend(convert(row));
        self.pool.each(query, parameters, &mut on_row).await?;
        Ok(found)
    }

    /// What the database is, and how it is read from here on.
    async fn look(&self) -> Result<(), Error> {
        let before = Instant::now();
        let session = self.all(queries::SESSION, &[], |row| {
            let mut cells = rows::Cells::of(row);
            // The account's own columns come first.
            cells.text();
            cells.number();
            cells.number()
        });
        let session = session.await?.into_iter().next();
        let own = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        if let (Some(theirs), Ok(own)) = (session, own)
            // An answer that was long on its way says little of a clock.
            && before.elapsed().as_secs() < 10
        {
            let own = i64::try_from(own.as_secs()).unwrap_or(i64::MAX);
            *self.clock_skew.lock().unwrap_or_else(PoisonError::into_inner) = Some(own - theirs);
        }
        let read = self.all(queries::DATABASE, &[], |row| {
            let mut cells = rows::Cells::of(row);
            let (versions, snapshots) = (cells.number() == Some(1), cells.number() == Some(1));
            // A read-only database does not change under a reader.
            Some(if versions || cells.number() == Some(1) {
                Isolation::Versions
            } else if snapshots {
                Isolation::Snapshot
            } else {
                Isolation::Locks
            })
        });
        self.pool.set_isolation(read.await?.into_iter().next().unwrap_or(Isolation::Locks));
        self.check_columns().await
    }

    /// What is to be said of how far a replica is behind.
    async fn lag(&self) -> Result<Option<String>, Error> {
        if !self.pool.settings().read_only {
            return Ok(None);
        }
        let lag = self.all(queries::LAG, &[], |row| rows::Cells::of(row).number()).await;
        Ok(match lag.as_deref() {
            Ok([seconds]) if *seconds > LITTLE_LAG => Some(format!(
                "the replica that is read is {seconds} s behind: its last transaction is so old"
            )),
            Ok(_) => None,
            Err(error) if error.is_transient() => return lag.map(|_| None),
            Err(_) => Some(
                "how far the replica that is read is behind cannot be seen: GRANT VIEW SERVER STATE \
                 TO [the account] on each replica"
                    .to_owned(),
            ),
        })
    }

    /// Names the first view or column that is not there, or that the account may not read.
    async fn check_columns(&self) -> Result<(), Error> {
        let mut found: HashMap<String, HashSet<String>> = HashMap::new();
        let columns = self.all(queries::COLUMNS, &[], |row| {
            let mut cells = rows::Cells::of(row);
            Some((cells.text()?.into_owned(), cells.text()?.into_owned()))
        });
        for (view, column) in columns.await? {
            found.entry(view).or_default().insert(column);
        }
        for (view, needed) in NEEDED {
            let Some(columns) = found.get(view) else {
                // The information schema shows neither; a query tells which it is.
                let query = queries::probe(view, needed.first().unwrap_or(&""));
                self.pool.each(&query, &[], &mut |_| {}).await?;
                continue;
            };
            if let Some(missing) = needed.iter().find(|column| !columns.contains(**column)) {
                return Err(self.answer(format!("dbo.{view} has no column `{missing}`")));
            }
        }
        Ok(())
    }

    async fn this_site(&self, codes: &HashSet<&str>) -> Result<String, Error> {
        let own = self.all(queries::IDENTIFICATION, &[], |row| {
            rows::Cells::of(row).text().map(std::borrow::Cow::into_owned)
        });
        // The view is a convenience: where it is missing or tells all sites, the database's name says it.
        let own = match own.await {
            Ok(own) => own,
            Err(error) if error.is_transient() => return Err(error),
            Err(_) => Vec::new(),
        };
        if let [own] = own.as_slice() {
            return Ok(own.clone());
        }
        let settings = self.pool.settings();
        let database = &settings.database;
        let named = database.get(..3).filter(|start| start.eq_ignore_ascii_case("CM_"));
        let code = named.and_then(|_| database.get(3..)).map(str::to_ascii_uppercase);
        code.filter(|code| codes.contains(code.as_str())).ok_or_else(|| {
            self.answer("neither v_Identification nor the database's name tells which site's it is")
        })
    }

    /// Devices with their full names, which another view has.
    async fn with_names(
        &self,
        devices: Vec<(DeviceRow, Option<String>)>,
        is_page: bool,
    ) -> Result<Vec<DeviceRow>, Error> {
        if devices.is_empty() {
            return Ok(Vec::new());
        }
        let mut names: HashMap<i64, Vec<String>> = HashMap::new();
        let mut on_row = |row| {
            if let Some((id, name)) = rows::name(row) {
                names.entry(id).or_default().push(name);
            }
        };
        let ids: Vec<i64> = devices.iter().map(|(device, _)| device.resource_id).collect();
        if is_page && let (Some(first), Some(last)) = (ids.iter().min(), ids.iter().max()) {
            self.pool.each(queries::NAMES_BETWEEN, &[first, last], &mut on_row).await?;
        } else {
            let (query, parameters) = queries::with_list(queries::NAMES, &ids);
            self.pool.each(&query, &parameters, &mut on_row).await?;
        }
        let mut found: Vec<DeviceRow> = devices
            .into_iter()
            .map(|(mut device, full_domain)| {
                let listed = names.get(&device.resource_id).into_iter().flatten();
                let listed = listed.map(String::as_str);
                device.fqdn = full_name(&device.netbios_name, listed, full_domain.as_deref());
                device
            })
            .collect();
        found.sort_by_key(|device| device.resource_id);
        found.dedup_by_key(|device| device.resource_id);
        Ok(found)
    }
}

/// Adds what the other view has of these collections. Both views are read one after the other: what
/// changes in between shows as another token, which costs one more read.
fn complete(found: &mut [Collection], evaluations: Vec<(String, rows::Evaluation)>) {
    let evaluations: HashMap<String, rows::Evaluation> = evaluations.into_iter().collect();
    for collection in found {
        if let Some(evaluation) = evaluations.get(&collection.id) {
            evaluation.complete(collection);
        }
    }
}

#[async_trait]
impl Site for SqlSite {
    async fn hierarchy(&self) -> Result<Hierarchy, Error> {
        self.look().await?;
        let sites = self.all(queries::SITES, &[], rows::site).await?;
        let this_site = self.this_site(&sites.iter().map(|s| s.code.as_str()).collect()).await?;
        let mut links = match self.all(queries::LINKS, &[], rows::link).await {
            // Links are a warning's source; an account that may not see them can still sync.
            Err(error) if !error.is_transient() => Vec::new(),
            other => other?,
        };
        links.retain(|link| link.parent == this_site);
        links.sort_by(|a, b| a.child.cmp(&b.child));
        links.dedup_by(|a, b| a.child == b.child);
        let notes = self.lag().await?.into_iter().collect();
        Ok(Hierarchy { this_site, sites, links, notes })
    }

    fn tracked(&self) -> Option<&dyn Tracked> {
        self.pool.settings().change_tracking.then_some(self)
    }

    fn clock_skew(&self) -> Option<i64> {
        *self.clock_skew.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waited(&self) -> Duration {
        self.pool.waited()
    }

    async fn collections(&self) -> Result<Vec<Collection>, Error> {
        let rows = self.all(queries::COLLECTIONS, &[], |row| Some(rows::collection(row))).await?;
        self.listed_at.store(self.pool.moves(), Ordering::Relaxed);
        if !rows.is_empty() && rows.iter().all(Option::is_none) {
            let text = "CollectionID of dbo.v_Collection is not the text of eight characters that it \
                        should be";
            return Err(self.answer(text));
        }
        let mut found: Vec<Collection> = rows.into_iter().flatten().collect();
        complete(&mut found, self.all(queries::EVALUATIONS, &[], rows::evaluation).await?);
        self.check_replica()?;
        found.sort_by(|a, b| a.id.cmp(&b.id));
        found.dedup_by(|a, b| a.id == b.id);
        self.counts.note(&found);
        Ok(found)
    }

    async fn collections_of(&self, ids: &[String]) -> Result<Vec<Collection>, Error> {
        let (query, parameters) = queries::with_list(queries::SOME_COLLECTIONS, ids);
        let mut found = self.all(&query, &parameters, rows::collection).await?;
        found.retain(|collection| ids.contains(&collection.id));
        let (query, parameters) = queries::with_list(queries::SOME_EVALUATIONS, ids);
        complete(&mut found, self.all(&query, &parameters, rows::evaluation).await?);
        self.check_replica()?;
        Ok(found)
    }

    fn together(&self) -> (usize, usize) {
        (TOGETHER, self.pool.rows_at_once())
    }

    async fn members_of(
        &self,
        collections: &[String],
        sink: &mut dyn CollectionsSink,
    ) -> Result<(), Error> {
        self.read_members(collections, sink).await?;
        self.check_replica()
    }

    async fn devices(&self, scope: &DeviceScope) -> Result<Vec<DeviceRow>, Error> {
        let devices = match scope {
            DeviceScope::After(id) => {
                let page = i64::try_from(self.page_size).unwrap_or(i64::MAX);
                self.all(queries::DEVICES_AFTER, &[id, &page], rows::device).await?
            }
            DeviceScope::Ids(ids) => {
                let (query, parameters) = queries::with_list(queries::DEVICES, ids);
                self.all(&query, &parameters, rows::device).await?
            }
        };
        self.with_names(devices, matches!(scope, DeviceScope::After(_))).await
    }

    /// The login and whether it still has the role that it is to have.
    async fn account(&self) -> Result<Option<String>, Error> {
        let found = self.all(queries::SESSION, &[], |row| {
            let mut cells = rows::Cells::of(row);
            let login = cells.text()?.into_owned();
            Some(format!("{login} db_datareader={:?}", cells.number()))
        });
        Ok(found.await?.into_iter().next())
    }
}
