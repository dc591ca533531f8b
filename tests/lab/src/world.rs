//! The hierarchy: sites, devices, collections, and everything that can happen to them.
//!
//! A device that nothing happened to is derived from its number and never stored, so that 825,000
//! of them cost nothing. A copy of the whole costs little: it shares what does not change after it, so
//! that a reader can keep one moment of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use roaring::RoaringBitmap;

/// First id of devices with a client.
pub const CLIENTS: u32 = 0x0100_0000;
/// First id of devices that were only discovered.
pub const DISCOVERED: u32 = 0x7D00_0000;
/// The unknown computers and the provisioning device of every hierarchy.
const UNKNOWN: [u32; 2] = [2_046_820_352, 2_046_820_353];
const PROVISIONING: u32 = 2_030_043_136;

/// What to generate.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Decides everything that is drawn.
    pub seed: u64,
    /// Devices with or without a client.
    pub devices: u32,
    /// Device collections besides the built-in ones.
    pub collections: u32,
    /// Members of these collections together, about.
    pub memberships: u64,
    /// Code of the top-tier site.
    pub site: String,
    /// Primary sites below it; none for a stand-alone primary.
    pub primaries: Vec<String>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            seed: 1,
            devices: 5_000,
            collections: 120,
            memberships: 60_000,
            site: "CAS".into(),
            primaries: ["PS1", "PS2", "PS3", "PS4"].map(Into::into).into(),
        }
    }
}

/// A device as the site knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Device {
    pub name: String,
    pub dns_domain: Option<String>,
    pub domain: String,
    pub site: Option<String>,
    pub is_retired: bool,
    /// Whether it has a system record; unknown computers have none.
    pub has_record: bool,
    pub resource_type: u32,
}

impl Device {
    pub fn fqdn(&self) -> Option<String> {
        let domain = self.dns_domain.as_deref()?;
        Some(format!("{}.{domain}", self.name.to_ascii_lowercase()))
    }
}

/// A collection as the site knows it.
#[derive(Debug, Clone)]
pub struct Collection {
    pub name: String,
    pub folder: String,
    pub kind: u32,
    pub members: Arc<RoaringBitmap>,
    /// Counts changes; the change times are made from it.
    pub version: u64,
    /// The change that `LastMemberChangeTime` stays at, whatever the evaluations' own times say.
    pub last_change: Option<u64>,
    /// Rows that the site still shows while count and times have moved on (replication lag).
    pub frozen_rows: Option<Arc<RoaringBitmap>>,
}

/// The hierarchy.
#[derive(Clone)]
pub struct World {
    pub plan: Plan,
    changed: Arc<HashMap<u32, Device>>,
    pub devices: RoaringBitmap,
    pub collections: BTreeMap<String, Collection>,
    /// Collections that the account may not see.
    pub hidden: BTreeSet<String>,
    /// Replication links by child site, with their state.
    pub link_states: BTreeMap<String, u32>,
    /// The site above, once there is one.
    pub reports_to: String,
    pub rng: SmallRng,
    /// Every change of a membership: collection, resource, whether it was added. Its version is its place.
    pub(crate) changes: Arc<Vec<(Arc<str>, u32, bool)>>,
}

impl Collection {
    fn new(name: &str, folder: &str, members: RoaringBitmap) -> Self {
        let (name, folder) = (name.to_owned(), folder.to_owned());
        let members = Arc::new(members);
        Self { name, folder, kind: 2, members, version: 0, last_change: None, frozen_rows: None }
    }
}

/// Draws collections of very different sizes.
fn draw_collections(plan: &Plan, rng: &mut SmallRng) -> BTreeMap<String, Collection> {
    let weights: Vec<f64> =
        (0..plan.collections).map(|_| rng.random_range(0.05_f64..1.0).powi(2)).collect();
    let total: f64 = weights.iter().sum();
    let prefix = plan.primaries.first().unwrap_or(&plan.site);
    let mut collections = BTreeMap::new();
    for (number, weight) in (0_u32..).zip(&weights) {
        let wanted = plan.memberships as f64 * weight / total;
        let share = (wanted / f64::from(plan.devices.max(1))).min(1.0);
        let all = CLIENTS..CLIENTS + plan.devices;
        let members = all.filter(|_| rng.random_bool(share)).collect();
        let folder = ["/", "/Servers", "/Servers/Web", "/Clients"][number as usize % 4];
        let what = if number % 2 == 0 { "Servers" } else { "Clients" };
        let collection = Collection::new(&format!("{what} - group {number}"), folder, members);
        collections.insert(format!("{prefix}{number:05X}"), collection);
    }
    collections
}

impl World {
    pub fn generate(plan: Plan) -> Self {
        let mut rng = SmallRng::seed_from_u64(plan.seed);
        let mut collections = draw_collections(&plan, &mut rng);
        let mut devices: RoaringBitmap = (CLIENTS..CLIENTS + plan.devices).collect();
        devices.extend(UNKNOWN.into_iter().chain([PROVISIONING]));
        for (id, name, kind, members) in [
            ("SMS00001", "All Systems", 2, devices.clone()),
            ("SMS000US", "All Unknown Computers", 2, RoaringBitmap::from(UNKNOWN)),
            ("SMS000PS", "All Provisioning Devices", 2, RoaringBitmap::from([PROVISIONING])),
            ("SMS00002", "All Users", 1, RoaringBitmap::new()),
        ] {
            collections
                .insert(id.into(), Collection { kind, ..Collection::new(name, "/", members) });
        }
        let link_states = plan.primaries.iter().map(|site| (site.clone(), 2)).collect();
        Self {
            plan,
            changed: Arc::default(),
            devices,
            collections,
            hidden: BTreeSet::new(),
            link_states,
            reports_to: String::new(),
            rng,
            changes: Arc::default(),
        }
    }

    /// Sites with the one above each and their kinds: 4 central, 2 primary.
    pub(crate) fn sites(&self) -> impl Iterator<Item = (&str, &str, i64)> {
        let Plan { site, primaries, .. } = &self.plan;
        let top_kind = if primaries.is_empty() { 2 } else { 4 };
        let top = (site.as_str(), self.reports_to.as_str(), top_kind);
        let below = primaries.iter().map(|code| (code.as_str(), site.as_str(), 2));
        std::iter::once(top).chain(below)
    }

    /// A device as the site knows it now.
    pub fn device(&self, id: u32) -> Device {
        if let Some(device) = self.changed.get(&id) {
            return device.clone();
        }
        let is_special = UNKNOWN.contains(&id) || id == PROVISIONING;
        if is_special {
            return Device {
                name: format!("Unknown Computer {}", id % 10),
                domain: String::new(),
                resource_type: if UNKNOWN.contains(&id) { 2 } else { 5 },
                ..Device::default()
            };
        }
        let number = id.wrapping_sub(CLIENTS);
        let sites = &self.plan.primaries;
        let site =
            if sites.is_empty() { &self.plan.site } else { &sites[number as usize % sites.len()] };
        // Every 500th shares its neighbour's name, every 20th is in a workgroup, every 200th retired.
        let named = if number % 500 == 77 { number - 1 } else { number };
        let (domain, dns) = if number % 4 == 3 {
            ("FABRIKAM", "fabrikam.example")
        } else {
            ("CONTOSO", "contoso.com")
        };
        let in_workgroup = number % 20 == 7;
        Device {
            name: format!("PC{named:06}"),
            dns_domain: (!in_workgroup).then(|| dns.into()),
            domain: if in_workgroup { "WORKGROUP" } else { domain }.into(),
            site: (number % 50 != 9).then(|| site.clone()),
            is_retired: number % 200 == 13,
            has_record: true,
            resource_type: 5,
        }
    }

    /// Whether a workspace should hold it.
    pub fn is_computer(&self, id: u32) -> bool {
        let device = self.device(id);
        device.has_record
            && device.resource_type == 5
            && !device.is_retired
            && !device.name.is_empty()
    }

    /// Computers of a collection, by id.
    pub fn computers(&self, collection: &str) -> BTreeMap<u32, Device> {
        let Some(found) = self.collections.get(collection) else {
            return BTreeMap::new();
        };
        found
            .members
            .iter()
            .filter(|id| self.is_computer(*id))
            .map(|id| (id, self.device(id)))
            .collect()
    }

    /// Names under which agents send heartbeats: two of three computers, by FQDN or NetBIOS name.
    pub fn reporting(&self) -> Vec<String> {
        let reports = self.devices.iter().filter(|id| !id.is_multiple_of(3));
        let name = |id: u32| {
            let device = self.device(id);
            device.fqdn().filter(|_| id.is_multiple_of(2)).unwrap_or(device.name)
        };
        reports.map(name).collect()
    }

    pub fn collection_mut(&mut self, id: &str) -> &mut Collection {
        self.collections.get_mut(id).expect("collection exists")
    }

    /// Adds or takes away members; the change times move.
    pub fn change_members(&mut self, collection: &str, add: &[u32], remove: &[u32]) {
        let found = self.collections.get_mut(collection).expect("collection exists");
        let members = Arc::make_mut(&mut found.members);
        let changes = Arc::make_mut(&mut self.changes);
        let collection: Arc<str> = collection.into();
        let added = add.iter().filter(|id| members.insert(**id));
        changes.extend(added.map(|id| (Arc::clone(&collection), *id, true)));
        let removed = remove.iter().filter(|id| members.remove(**id));
        changes.extend(removed.map(|id| (Arc::clone(&collection), *id, false)));
        found.version += 1;
    }

    /// Members that changed since a version, and whether each was and is one.
    pub(crate) fn changes_since(&self, version: i64) -> BTreeMap<(&str, u32), (bool, bool)> {
        let from = usize::try_from(version).unwrap_or(0).min(self.changes.len());
        let mut changed = BTreeMap::new();
        for (collection, id, is_added) in &self.changes[from..] {
            let entry = changed.entry((collection.as_ref(), *id)).or_insert((!is_added, false));
            entry.1 = *is_added;
        }
        changed
    }

    /// Shows the rows of now from here on whatever happens, until [`World::thaw`].
    pub fn freeze_rows(&mut self, collection: &str) {
        let found = self.collection_mut(collection);
        found.frozen_rows = Some(Arc::clone(&found.members));
    }

    pub fn thaw(&mut self, collection: &str) {
        self.collection_mut(collection).frozen_rows = None;
    }

    /// Makes a device another one. No collection's times move.
    pub fn set_device(&mut self, id: u32, device: Device) {
        Arc::make_mut(&mut self.changed).insert(id, device);
    }

    /// Gives a device another name. No collection's times move.
    pub fn rename_device(&mut self, id: u32, name: &str) {
        let device = Device { name: name.into(), ..self.device(id) };
        self.set_device(id, device);
    }

    /// Moves a device to another domain. No collection's times move.
    pub fn move_device(&mut self, id: u32, domain: &str, dns_domain: &str) {
        let device = Device {
            domain: domain.into(),
            dns_domain: Some(dns_domain.into()),
            ..self.device(id)
        };
        self.set_device(id, device);
    }

    /// A device registers anew: the same computer under another id, in all its collections.
    pub fn replace_id(&mut self, old: u32, new: u32) {
        let device = self.device(old);
        self.set_device(new, device);
        self.devices.remove(old);
        self.devices.insert(new);
        let holds = |(id, c): (&String, &Collection)| c.members.contains(old).then(|| id.clone());
        let holders: Vec<String> = self.collections.iter().filter_map(holds).collect();
        for collection in holders {
            self.change_members(&collection, &[new], &[old]);
        }
    }

    pub fn add_collection(&mut self, id: &str, name: &str, folder: &str, members: RoaringBitmap) {
        let collection = Collection { version: 1, ..Collection::new(name, folder, members) };
        self.collections.insert(id.into(), collection);
    }

    /// The change times of a collection: of its members, and of its full evaluation. They mix time bases
    /// as a real site's do: a reader may compare them for equality only.
    pub fn times(id: &str, collection: &Collection) -> (String, String) {
        let (shifted, base) = Self::seconds(id, collection);
        let text = |seconds: i64, fraction: &str| {
            let time = jiff::Timestamp::from_second(seconds).expect("in range");
            format!("{}{fraction}Z", time.strftime("%Y-%m-%dT%H:%M:%S"))
        };
        (text(shifted, ".87"), text(base, ""))
    }

    /// The same as seconds since 1970.
    pub(crate) fn seconds(id: &str, collection: &Collection) -> (i64, i64) {
        let at = |version: u64| 1_753_000_000_i64 + i64::try_from(version).unwrap_or(0) * 60;
        let shift = if id.ends_with(['1', '3', '5', '7']) { 5 * 3600 } else { 0 };
        (at(collection.last_change.unwrap_or(collection.version)) + shift, at(collection.version))
    }
}
