//! The truth: a site whose devices, collections and names change, and what it ever had, so that every
//! removal can be held against it.

use std::collections::{BTreeMap, BTreeSet};

use cmsync_lab::workspace::Seen;
use rand::Rng as _;
use rand::rngs::SmallRng;
use rand::seq::IteratorRandom as _;

/// The collection that holds every device.
pub(crate) const ALL_SYSTEMS: &str = "SMS00001";
/// The site's code.
pub(crate) const CODE: &str = "PS1";

/// A device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    pub name: String,
    pub fqdn: Option<String>,
    pub assigned_site: Option<String>,
    pub is_retired: bool,
}

/// A collection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Collection {
    pub name: String,
    pub folder: String,
    pub members: BTreeSet<i64>,
    pub version: u64,
}

/// Microseconds since 1970, of the world's own time.
pub(crate) type Time = i64;

/// What the site has, and since when.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub devices: BTreeMap<i64, Device>,
    pub collections: BTreeMap<String, Collection>,
    /// Devices of which the workspace refuses every row.
    pub poison: BTreeSet<i64>,
    /// Every change of a membership: collection, device, whether it was added.
    pub track: Vec<(String, i64, bool)>,
    /// Since when a device has been a member without a break.
    member_since: BTreeMap<(String, i64), Time>,
    /// Since when a collection has been there without a break.
    there_since: BTreeMap<String, Time>,
    next_device: i64,
    next_collection: u32,
    next_name: u32,
}

impl Truth {
    /// A site with so many devices and collections.
    pub(crate) fn new(
        rng: &mut SmallRng,
        devices: usize,
        collections: usize,
        has_poison: bool,
    ) -> Self {
        let mut truth = Self { next_device: 16_777_220, ..Self::default() };
        truth.add_collection(ALL_SYSTEMS.to_owned(), 0);
        for _ in 0..devices {
            truth.add_device(rng, 0);
        }
        if has_poison {
            truth.poison.extend(truth.devices.keys().next());
        }
        for _ in 0..collections {
            let id = truth.next_id();
            truth.add_collection(id.clone(), 0);
            let share = rng.random_range(0.0..1.0);
            let ids: Vec<i64> = truth.devices.keys().copied().collect();
            for device in ids {
                if rng.random_bool(share) {
                    truth.join(&id, device, 0);
                }
            }
        }
        truth
    }

    fn next_id(&mut self) -> String {
        self.next_collection += 1;
        format!("{CODE}{:05X}", self.next_collection)
    }

    fn new_name(&mut self) -> String {
        self.next_name += 1;
        format!("PC{:03}", self.next_name)
    }

    fn add_collection(&mut self, id: String, now: Time) {
        let name = self.new_name().replace("PC", "Collection ");
        self.there_since.insert(id.clone(), now);
        let folder = "/".to_owned();
        self.collections.insert(id, Collection { name, folder, ..Collection::default() });
    }

    fn add_device(&mut self, rng: &mut SmallRng, now: Time) -> i64 {
        let name = self.new_name();
        let fqdn = rng.random_bool(0.7).then(|| format!("{}.contoso.com", name.to_lowercase()));
        let assigned_site = rng.random_bool(0.8).then(|| CODE.to_owned());
        self.put_device(Device { name, fqdn, assigned_site, is_retired: false }, now)
    }

    fn put_device(&mut self, device: Device, now: Time) -> i64 {
        self.next_device += 1;
        let id = self.next_device;
        self.devices.insert(id, device);
        self.join(ALL_SYSTEMS, id, now);
        id
    }

    fn join(&mut self, collection: &str, device: i64, now: Time) {
        let Some(found) = self.collections.get_mut(collection) else { return };
        if found.members.insert(device) {
            found.version += 1;
            self.member_since.insert((collection.to_owned(), device), now);
            self.track.push((collection.to_owned(), device, true));
        }
    }

    fn leave(&mut self, collection: &str, device: i64) {
        let Some(found) = self.collections.get_mut(collection) else { return };
        if found.members.remove(&device) {
            found.version += 1;
            self.member_since.remove(&(collection.to_owned(), device));
            self.track.push((collection.to_owned(), device, false));
        }
    }

    /// One thing changes.
    pub(crate) fn change(&mut self, rng: &mut SmallRng, now: Time, only_members: bool) {
        let device = self.devices.keys().copied().choose(rng);
        let own = |id: &&String| *id != ALL_SYSTEMS;
        let collection = self.collections.keys().filter(own).cloned().collect::<Vec<_>>();
        let (Some(device), Some(collection)) = (device, collection.into_iter().choose(rng)) else {
            return;
        };
        // Memberships first, then what is not seen by them alone.
        match rng.random_range(0..if only_members { 70 } else { 100 }) {
            0..=34 => self.join(&collection, device, now),
            35..=64 => self.leave(&collection, device),
            65..=69 => self.lose_many(rng, &collection),
            70..=73 => self.rename_collection(rng, &collection),
            74..=81 => self.rename_device(rng, device),
            82..=86 => self.replace_device(device, now),
            87..=90 => {
                let id = self.add_device(rng, now);
                self.join(&collection, id, now);
            }
            91..=93 => self.retire(device, now),
            94..=95 if self.devices.len() > 4 => self.delete_device(device),
            96..=97 if self.collections.len() < 9 => {
                let id = self.next_id();
                self.add_collection(id.clone(), now);
                self.join(&id, device, now);
            }
            98..=99 if self.collections.len() > 3 => {
                self.there_since.remove(&collection);
                self.member_since.retain(|(of, _), _| *of != collection);
                self.collections.remove(&collection);
            }
            _ => {}
        }
    }

    fn lose_many(&mut self, rng: &mut SmallRng, collection: &str) {
        let share = rng.random_range(0.2..1.0);
        let members = self.collections.get(collection).map(|c| c.members.clone());
        for device in members.unwrap_or_default() {
            if rng.random_bool(share) {
                self.leave(collection, device);
            }
        }
    }

    fn rename_collection(&mut self, rng: &mut SmallRng, id: &str) {
        let name = self.new_name().replace("PC", "Collection ");
        if let Some(found) = self.collections.get_mut(id) {
            match rng.random_bool(0.7) {
                true => found.name = name,
                false => found.folder = format!("/{name}"),
            }
            found.version += 1;
        }
    }

    fn rename_device(&mut self, rng: &mut SmallRng, id: i64) {
        let name = self.new_name();
        if let Some(found) = self.devices.get_mut(&id) {
            match rng.random_range(0..3) {
                0 => found.name = name,
                1 => found.fqdn = Some(format!("{}.fabrikam.com", name.to_lowercase())),
                _ => found.assigned_site = Some(format!("P{}", rng.random_range(10..15))),
            }
        }
    }

    /// The same computer with another id, in every collection.
    fn replace_device(&mut self, id: i64, now: Time) {
        let Some(device) = self.devices.get(&id).cloned() else { return };
        if self.poison.contains(&id) {
            return;
        }
        let new = self.put_device(device, now);
        let of: Vec<String> = self.collections.keys().cloned().collect();
        for collection in of {
            if self.collections[&collection].members.contains(&id) {
                self.join(&collection, new, now);
            }
        }
        self.delete_device(id);
    }

    fn delete_device(&mut self, id: i64) {
        let of: Vec<String> = self.collections.keys().cloned().collect();
        of.iter().for_each(|collection| self.leave(collection, id));
        self.devices.remove(&id);
    }

    /// A device becomes obsolete, or comes back.
    fn retire(&mut self, id: i64, now: Time) {
        let Some(device) = self.devices.get_mut(&id) else { return };
        device.is_retired = !device.is_retired;
        let is_back = !device.is_retired;
        for (name, collection) in &mut self.collections {
            if collection.members.contains(&id) {
                // A row of it reads otherwise; its collections are found dirty by it.
                collection.version += 1;
                self.track.push((name.clone(), id, true));
                if is_back {
                    self.member_since.insert((name.clone(), id), now);
                }
            }
        }
    }

    /// Whether a device was out of a collection at any moment since then.
    pub(crate) fn was_out_since(&self, collection: &str, device: i64, then: Time) -> bool {
        let is_in = self.is_computer_of(collection, device);
        let since = self.member_since.get(&(collection.to_owned(), device));
        !is_in || since.is_none_or(|since| *since > then)
    }

    /// Whether a collection was not there at any moment since then.
    pub(crate) fn was_gone_since(&self, collection: &str, then: Time) -> bool {
        self.there_since.get(collection).is_none_or(|since| *since > then)
    }

    fn is_computer_of(&self, collection: &str, device: i64) -> bool {
        let has = self.collections.get(collection).is_some_and(|c| c.members.contains(&device));
        has && self.devices.get(&device).is_some_and(|d| !d.is_retired)
    }

    /// What a reader of the workspace should see of a collection.
    pub(crate) fn expected(&self, collection: &Collection) -> BTreeMap<u32, Seen> {
        let mut expected = BTreeMap::new();
        for id in &collection.members {
            let Some(device) = self.devices.get(id).filter(|d| !d.is_retired) else { continue };
            if self.poison.contains(id) {
                continue;
            }
            let seen = Seen {
                computer: device.fqdn.clone().unwrap_or_else(|| device.name.clone()),
                netbios_name: device.name.clone(),
                assigned_site: device.assigned_site.clone(),
            };
            expected.insert(u32::try_from(*id).unwrap_or(0), seen);
        }
        expected
    }
}
