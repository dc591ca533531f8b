//! What a site can be asked, whatever it is read through.

use std::borrow::Cow;
use std::time::Duration;

use async_trait::async_trait;

use crate::Error;
use crate::pass::Passes;
use crate::track::Tracked;

/// A site of the hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteInfo {
    /// Three characters.
    pub code: String,
    /// Its display name.
    pub name: String,
    /// 1 secondary, 2 primary, 4 central administration site.
    pub kind: i64,
    /// Code of the site above; empty for the top tier.
    pub reports_to: String,
    /// 1 active, 2 pending, 3 failed, 4 deleted, 5 upgrade.
    pub status: i64,
    /// For example `5.00.9106.1000`.
    pub version: String,
}

impl SiteInfo {
    /// Whether the site itself says that it has failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.status == 3
    }
}

/// Replication between two sites (`SMS_ReplicationLinkSummary`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Parent site.
    pub parent: String,
    /// Child site.
    pub child: String,
    /// 2 is active; 6 error, 8 degraded, 9 failed.
    pub status: i64,
    /// When site data, which is what memberships are, last came from the child; as the site says.
    pub site_data_at: String,
}

impl Link {
    /// Whether what comes from the child may be old.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        matches!(self.status, 6 | 8 | 9)
    }
}

/// Where a site's database is, as the site says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// The server's full name.
    pub server: String,
    /// Its port, where the site knows it.
    pub port: Option<u16>,
    /// The instance, where it is a named one.
    pub instance: Option<String>,
    /// The database's name.
    pub name: String,
}

/// The hierarchy as one of its sites shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Code of the site that answered.
    pub this_site: String,
    /// All sites that it knows.
    pub sites: Vec<SiteInfo>,
    /// Replication links; empty where they cannot be read.
    pub links: Vec<Link>,
    /// What an administrator should know of how the site is read.
    pub notes: Vec<String>,
}

impl Hierarchy {
    /// The site that answered, if it is in the list.
    #[must_use]
    pub fn answering(&self) -> Option<&SiteInfo> {
        self.sites.iter().find(|s| s.code == self.this_site)
    }

    /// The code of the top-tier site above the one that answered; `None` when that is it.
    #[must_use]
    pub fn above(&self) -> Option<&str> {
        let above = self.answering()?.reports_to.as_str();
        (!above.is_empty()).then_some(above)
    }
}

/// What to do about a site that reports to the one above.
#[must_use]
pub fn wrong_tier(site: &str, above: &str) -> String {
    format!(
        "site `{site}` reports to `{above}`: name the administration service, or the site database, of `{above}`"
    )
}

/// The site's service connection point (`SMS_SCI_SysResUse`, role `SMS Dmp Connector`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionPoint {
    /// The server that it is on.
    pub server: String,
    /// Whether it is in online mode; `None` where the site does not say.
    pub is_online: Option<bool>,
}

/// A device collection as a poll shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection {
    /// Eight characters.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its folder, `/` for the root.
    pub folder: String,
    /// The site's count of members, of every type.
    pub member_count: i64,
    /// Its change times as the site writes them. Mixed time bases: compared for equality only.
    pub token: String,
}

/// A member as a membership row shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRow<'a> {
    /// `ResourceID`.
    pub resource_id: i64,
    /// 5 is a system.
    pub resource_type: i64,
    /// NetBIOS name.
    pub name: Cow<'a, str>,
    /// Code of the site that the device is assigned to.
    pub assigned_site: Option<Cow<'a, str>>,
    /// Obsolete or decommissioned.
    pub is_retired: bool,
}

impl MemberRow<'_> {
    /// The row for itself.
    pub(crate) fn into_owned(self) -> MemberRow<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        MemberRow {
            resource_id: self.resource_id,
            resource_type: self.resource_type,
            name: owned(self.name),
            assigned_site: self.assigned_site.map(owned),
            is_retired: self.is_retired,
        }
    }
}

/// A device's own record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceRow {
    /// `ResourceId`.
    pub resource_id: i64,
    /// NetBIOS name.
    pub netbios_name: String,
    /// Fully qualified name, where one can be told.
    pub fqdn: Option<String>,
    /// NetBIOS name of the domain or the workgroup.
    pub domain: Option<String>,
    /// Obsolete or decommissioned.
    pub is_retired: bool,
}

/// Which devices to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceScope {
    /// One page of those above an id, in order.
    After(i64),
    /// Those with these ids; at most [`DeviceScope::MOST_IDS`].
    Ids(Vec<i64>),
}

impl DeviceScope {
    /// Most ids of one request: longer `or` chains may be refused by the server.
    pub const MOST_IDS: usize = 15;
}

/// Bytes of a name, RFC 1035.
const MOST_OF_DNS: usize = 255;

/// A device's fully qualified name: a listed name counts when it is this computer's own; then its name
/// and its DNS domain; else there is none. What is longer than DNS has names is none.
pub(crate) fn full_name<'a>(
    name: &str,
    mut listed: impl Iterator<Item = &'a str>,
    full_domain: Option<&str>,
) -> Option<String> {
    let is_own =
        |n: &&str| n.split_once('.').is_some_and(|(own, _)| own.eq_ignore_ascii_case(name));
    let made = || {
        let domain = full_domain?;
        (!name.is_empty()).then(|| format!("{name}.{}", domain.to_ascii_lowercase()))
    };
    let found = listed.find(is_own).map(ToOwned::to_owned).or_else(made);
    found.filter(|name| name.len() <= MOST_OF_DNS)
}

/// Takes the rows of one read.
pub trait MemberSink: Send {
    /// A row. Rows may come in any order and more than once.
    fn row(&mut self, row: &MemberRow<'_>);

    /// Forget everything: the read starts again, at another provider or in another way.
    fn restart(&mut self);
}

/// Takes the rows of one read of several collections.
pub trait CollectionsSink: Send {
    /// Rows of this collection follow, from its first; what came of it before counts no more. Those of
    /// the collection before it, where it is another, are complete: a read that failed there must not
    /// go on with another.
    fn collection(&mut self, id: &str);

    /// A row. Rows of a collection may come in any order and more than once.
    fn row(&mut self, row: &MemberRow<'_>);

    /// Some rows, for who takes them faster together.
    fn rows(&mut self, rows: &[MemberRow<'_>]) {
        rows.iter().for_each(|row| self.row(row));
    }
}

/// Takes the rows of the one collection that was asked for.
struct Alone<'a>(&'a mut dyn MemberSink);

impl CollectionsSink for Alone<'_> {
    fn collection(&mut self, _: &str) {
        self.0.restart();
    }

    fn row(&mut self, row: &MemberRow<'_>) {
        self.0.row(row);
    }
}

/// A Configuration Manager site.
#[async_trait]
pub trait Site: Send + Sync {
    /// Which site this is and what it knows of its hierarchy.
    ///
    /// # Errors
    /// When the site does not answer or refuses.
    async fn hierarchy(&self) -> Result<Hierarchy, Error>;

    /// All device collections that the account may see, in order of id.
    ///
    /// # Errors
    /// When the list did not come whole.
    async fn collections(&self) -> Result<Vec<Collection>, Error>;

    /// Every member row of a collection.
    ///
    /// # Errors
    /// When the rows did not come whole; what the sink holds is then worthless.
    async fn members(&self, collection: &str, sink: &mut dyn MemberSink) -> Result<(), Error> {
        sink.restart();
        self.members_of(&[collection.to_owned()], &mut Alone(sink)).await
    }

    /// How many collections one read is best of, and how many members they have together at most; 1
    /// where each is a read of its own.
    fn together(&self) -> (usize, usize) {
        (1, usize::MAX)
    }

    /// Every member row of some collections, one collection after the other, in any order, and those of
    /// each from one provider; those without members may be passed over.
    ///
    /// # Errors
    /// When the rows did not come whole: those of collections that others followed are complete.
    async fn members_of(
        &self,
        collections: &[String],
        sink: &mut dyn CollectionsSink,
    ) -> Result<(), Error>;

    /// Some collections anew; those that are not there are missing.
    ///
    /// # Errors
    /// When the site does not answer or refuses.
    async fn collections_of(&self, ids: &[String]) -> Result<Vec<Collection>, Error>;

    /// Devices, in order of id. An empty answer to [`DeviceScope::After`] is the end.
    ///
    /// # Errors
    /// When the rows did not come whole.
    async fn devices(&self, scope: &DeviceScope) -> Result<Vec<DeviceRow>, Error>;

    /// The same site where it can be read in one pass.
    fn passes(&self) -> Option<&dyn Passes> {
        None
    }

    /// The same site where it keeps track of what changes, and that is to be used.
    fn tracked(&self) -> Option<&dyn Tracked> {
        None
    }

    /// Seconds that this machine's clock is ahead of the site's, where its answers tell.
    fn clock_skew(&self) -> Option<i64> {
        None
    }

    /// Time that was spent waiting for the bounds on what the site is asked for.
    fn waited(&self) -> Duration {
        Duration::ZERO
    }

    /// The service connection point; `None` where there is none or it cannot be read.
    ///
    /// # Errors
    /// When the site does not answer.
    async fn connection_point(&self) -> Result<Option<ConnectionPoint>, Error> {
        Ok(None)
    }

    /// Where the site's database is; `None` where the site does not say it.
    ///
    /// # Errors
    /// When the site does not answer.
    async fn database(&self) -> Result<Option<Database>, Error> {
        Ok(None)
    }

    /// The account's own administrative user as one text to compare; `None` where it cannot be read.
    ///
    /// # Errors
    /// When the site does not answer.
    async fn account(&self) -> Result<Option<String>, Error>;
}
