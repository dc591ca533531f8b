//! All devices of a hierarchy, in little memory.
//!
//! A device costs about 30 bytes: its names lie in one arena per chunk of 4,096 ids, and what many
//! share (domains, DNS suffixes, sites) is written once. What is a device's own goes with it: a chunk
//! is rebuilt when one of its devices changes, and is what the state holds.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cmsync_schemas::{Device, DeviceChunk};
use roaring::RoaringBitmap;

use crate::reading::BySite;

/// Ids of one chunk: those that share all but these low bits.
const CHUNK_BITS: u32 = 12;

/// How a fully qualified name is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fqdn {
    None,
    /// The NetBIOS name in lower case, and this suffix.
    Lower(u32),
    /// The NetBIOS name as it is, and this suffix.
    Same(u32),
    /// A text of its own, of so many bytes, behind the NetBIOS name.
    Whole(u16),
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    low: u16,
    name_length: u16,
    name_at: u32,
    fqdn: Fqdn,
    domain: u32,
    site: u32,
}

#[derive(Debug, Default)]
struct Chunk {
    entries: Vec<Entry>,
    names: String,
}

/// Texts that many devices share. 0 stands for none.
#[derive(Debug, Default)]
struct Texts {
    list: Vec<Box<str>>,
    numbers: HashMap<Box<str>, u32>,
}

impl Texts {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        self.list.push(text.into());
        let number = u32::try_from(self.list.len()).unwrap_or(0);
        self.numbers.insert(text.into(), number);
        number
    }

    fn optional(&mut self, text: Option<&str>) -> u32 {
        text.map_or(0, |text| self.number(text))
    }

    fn get(&self, number: u32) -> Option<&str> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.list.get(index).map(AsRef::as_ref)
    }
}

/// Where the device before was found.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Near {
    id: u32,
    from: usize,
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct DeviceTable {
    chunks: BTreeMap<u32, Chunk>,
    texts: Texts,
    dirty: BTreeSet<u32>,
    len: usize,
}

impl DeviceTable {
    /// How many devices there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn entry(&self, id: u32) -> Option<(&Chunk, &Entry)> {
        let chunk = self.chunks.get(&(id >> CHUNK_BITS))?;
        let low = low_bits(id);
        let index = chunk.entries.binary_search_by_key(&low, |e| e.low).ok()?;
        Some((chunk, chunk.entries.get(index)?))
    }

    /// Whether a device is known.
    pub(crate) fn has(&self, id: u32) -> bool {
        self.entry(id).is_some()
    }

    /// A device's NetBIOS name and assigned site; the site is `None` before a membership row told it.
    /// Who asks in order of id, and gives the same `near` each time, is answered faster.
    pub(crate) fn name_and_site(&self, id: u32, near: &mut Near) -> Option<(&str, Option<&str>)> {
        let chunk = self.chunks.get(&(id >> CHUNK_BITS))?;
        let is_behind = id > near.id && id >> CHUNK_BITS == near.id >> CHUNK_BITS;
        near.from = if is_behind { near.from } else { 0 };
        near.id = id;
        let low = low_bits(id);
        let entry = chunk.next_from(&mut near.from, low).or_else(|| {
            // The table may have changed since the last time.
            near.from = 0;
            chunk.next_from(&mut near.from, low)
        })?;
        Some((chunk.name(entry), self.texts.get(entry.site)))
    }

    /// A device.
    pub(crate) fn get(&self, id: u32) -> Option<Device> {
        let (chunk, entry) = self.entry(id)?;
        Some(self.device(id >> CHUNK_BITS, chunk, entry))
    }

    /// Devices of a set, in order of id; `None` for those that are not known.
    pub(crate) fn get_all(&self, ids: &RoaringBitmap) -> Vec<(u32, Option<Device>)> {
        let mut found = Vec::with_capacity(usize::try_from(ids.len()).unwrap_or(0));
        let mut chunk: Option<(u32, Option<&Chunk>)> = None;
        let mut from = 0;
        for id in ids {
            let number = id >> CHUNK_BITS;
            if chunk.is_none_or(|(of, _)| of != number) {
                (chunk, from) = (Some((number, self.chunks.get(&number))), 0);
            }
            let device = chunk.and_then(|(_, chunk)| chunk).and_then(|chunk| {
                let entry = chunk.next_from(&mut from, low_bits(id))?;
                Some(self.device(number, chunk, entry))
            });
            found.push((id, device));
        }
        found
    }

    fn device(&self, number: u32, chunk: &Chunk, entry: &Entry) -> Device {
        let name = chunk.name(entry);
        let suffix = |n| self.texts.get(n).unwrap_or_default();
        let fqdn = match entry.fqdn {
            Fqdn::None => None,
            Fqdn::Lower(n) => Some(format!("{}.{}", name.to_ascii_lowercase(), suffix(n))),
            Fqdn::Same(n) => Some(format!("{name}.{}", suffix(n))),
            Fqdn::Whole(_) => Some(chunk.whole(entry).to_owned()),
        };
        Device {
            resource_id: i64::from(number << CHUNK_BITS | u32::from(entry.low)),
            netbios_name: name.to_owned(),
            fqdn,
            domain: self.texts.get(entry.domain).map(Into::into),
            // An empty site is one that is known to be none.
            assigned_site: self.texts.get(entry.site).filter(|s| !s.is_empty()).map(Into::into),
        }
    }

    /// Writes devices, in order of id. A device without a site keeps the one that is known.
    pub(crate) fn put(&mut self, devices: Vec<Device>) {
        let mut rest = devices
            .into_iter()
            .filter_map(|d| Some((u32::try_from(d.resource_id).ok()?, d)))
            .peekable();
        while let Some((id, first)) = rest.next() {
            let number = id >> CHUNK_BITS;
            let mut changed = BTreeMap::from([(low_bits(id), Some(first))]);
            while let Some((id, device)) = rest.next_if(|(id, _)| id >> CHUNK_BITS == number) {
                changed.insert(low_bits(id), Some(device));
            }
            self.rebuild(number, changed);
        }
    }

    /// Forgets devices.
    pub(crate) fn forget(&mut self, ids: &[u32]) {
        for id in ids {
            self.rebuild(id >> CHUNK_BITS, BTreeMap::from([(low_bits(*id), None)]));
        }
    }

    /// Notes the assigned site of devices; empty for none.
    pub(crate) fn put_sites(&mut self, sites: &BySite) {
        for (site, ids) in sites {
            let number = self.texts.number(site);
            for id in ids {
                let Some(chunk) = self.chunks.get_mut(&(id >> CHUNK_BITS)) else {
                    continue;
                };
                if let Ok(index) = chunk.entries.binary_search_by_key(&low_bits(id), |e| e.low)
                    && let Some(entry) = chunk.entries.get_mut(index)
                    && entry.site != number
                {
                    entry.site = number;
                    self.dirty.insert(id >> CHUNK_BITS);
                }
            }
        }
    }

    fn rebuild(&mut self, number: u32, mut changed: BTreeMap<u16, Option<Device>>) {
        let old = self.chunks.remove(&number).unwrap_or_default();
        self.len -= old.entries.len();
        let mut new = Chunk::default();
        let mut kept = old.entries.iter().peekable();
        loop {
            let next_changed = changed.first_key_value().map(|(low, _)| *low);
            let entry = kept.next_if(|e| next_changed.is_none_or(|low| e.low < low));
            if let Some(entry) = entry {
                new.push(*entry, old.name(entry), old.whole(entry));
                continue;
            }
            let Some((low, device)) = changed.pop_first() else {
                break;
            };
            let before = kept.next_if(|e| e.low == low);
            if let Some(device) = device {
                let entry = self.pack(low, &device, before.map_or(0, |e| e.site));
                new.push(entry, &device.netbios_name, device.fqdn.as_deref().unwrap_or_default());
            }
        }
        self.len += new.entries.len();
        self.dirty.insert(number);
        if !new.entries.is_empty() {
            new.entries.shrink_to_fit();
            new.names.shrink_to_fit();
            self.chunks.insert(number, new);
        }
    }

    fn pack(&mut self, low: u16, device: &Device, site: u32) -> Entry {
        let name = &device.netbios_name;
        let split = device.fqdn.as_deref().map(|f| (f, f.split_once('.')));
        let fqdn = match split {
            None => Fqdn::None,
            Some((_, Some((first, rest)))) if *first == name.to_ascii_lowercase() => {
                Fqdn::Lower(self.texts.number(rest))
            }
            Some((_, Some((first, rest)))) if first == name => Fqdn::Same(self.texts.number(rest)),
            Some((whole, _)) => Fqdn::Whole(length(whole)),
        };
        let site = match &device.assigned_site {
            Some(site) => self.texts.number(site),
            None => site,
        };
        let domain = self.texts.optional(device.domain.as_deref());
        Entry { low, name_length: 0, name_at: 0, fqdn, domain, site }
    }

    /// Takes the chunks that changed since the last call, encoded for the state: `None` where all
    /// their devices are gone.
    pub(crate) fn take_dirty(&mut self) -> Vec<(u32, Option<DeviceChunk>)> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty.into_iter().map(|number| (number, self.chunk(number))).collect()
    }

    fn chunk(&self, number: u32) -> Option<DeviceChunk> {
        let chunk = self.chunks.get(&number)?;
        let devices = chunk.entries.iter().map(|entry| Device {
            // Kept apart from none: a site that is known to be none is an empty text.
            assigned_site: self.texts.get(entry.site).map(Into::into),
            ..self.device(number, chunk, entry)
        });
        Some(DeviceChunk { devices: devices.collect() })
    }

    /// Takes over a chunk of the state.
    pub(crate) fn load(&mut self, chunk: DeviceChunk) {
        self.put(chunk.devices);
        self.dirty.clear();
    }

    /// Ids in a range, in order.
    pub(crate) fn ids(&self, from: u32, to: u32) -> impl Iterator<Item = u32> {
        let chunks = self.chunks.range(from >> CHUNK_BITS..=to >> CHUNK_BITS);
        let ids = chunks.flat_map(|(number, chunk)| {
            chunk.entries.iter().map(move |e| number << CHUNK_BITS | u32::from(e.low))
        });
        ids.filter(move |id| (from..=to).contains(id))
    }
}

impl Chunk {
    /// Adds an entry; `whole` is written where its FQDN is a text of its own.
    fn push(&mut self, entry: Entry, name: &str, whole: &str) {
        let name_at = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push_str(name);
        if matches!(entry.fqdn, Fqdn::Whole(_)) {
            self.names.push_str(whole);
        }
        self.entries.push(Entry { name_at, name_length: length(name), ..entry });
    }

    /// The entry with this low part, at or after `from`, which moves there. Where ids are dense, it
    /// is found at once: no more entries lie between than ids do.
    fn next_from(&self, from: &mut usize, low: u16) -> Option<&Entry> {
        let rest = self.entries.get(*from..)?;
        let most = rest.first().map_or(0, |e| usize::from(low.saturating_sub(e.low)));
        let index = match rest.get(most) {
            Some(entry) if entry.low == low => most,
            _ => rest.get(..rest.len().min(most)).unwrap_or(rest).partition_point(|e| e.low < low),
        };
        *from += index;
        rest.get(index).filter(|entry| entry.low == low)
    }

    fn name(&self, entry: &Entry) -> &str {
        let from = entry.name_at as usize;
        self.names.get(from..from + usize::from(entry.name_length)).unwrap_or_default()
    }

    /// The FQDN of an entry whose FQDN is a text of its own.
    fn whole(&self, entry: &Entry) -> &str {
        let Fqdn::Whole(length) = entry.fqdn else {
            return "";
        };
        let from = entry.name_at as usize + usize::from(entry.name_length);
        self.names.get(from..from + usize::from(length)).unwrap_or_default()
    }
}

fn length(text: &str) -> u16 {
    u16::try_from(text.len()).unwrap_or(u16::MAX)
}

fn low_bits(id: u32) -> u16 {
    u16::try_from(id & ((1 << CHUNK_BITS) - 1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn device() -> impl Strategy<Value = Device> {
        let id = prop_oneof![0..40_u32, 4_090..4_110_u32, Just(u32::MAX)];
        let fqdn = prop_oneof![
            Just(None),
            Just(Some("a.contoso.com".to_owned())),
            Just(Some("A.contoso.com".to_owned())),
            "[a-zA-Z.]{0,12}".prop_map(Some)
        ];
        let text = || proptest::option::of(prop_oneof![Just("X".to_owned()), Just("Y".to_owned())]);
        (id, "[aAbÄ]{0,2}", fqdn, text(), text()).prop_map(|(id, name, fqdn, domain, site)| {
            Device {
                resource_id: i64::from(id),
                netbios_name: name,
                fqdn,
                domain,
                assigned_site: site,
            }
        })
    }

    proptest! {
        #[test]
        fn the_table_holds_what_was_put_and_so_does_a_table_loaded_from_its_chunks(
            rounds in proptest::collection::vec((proptest::collection::vec(device(), 0..12), proptest::collection::vec(0..40_u32, 0..4)), 1..6),
            asked in proptest::collection::vec(prop_oneof![0..50_u32, 4_080..4_120_u32], 0..9),
        ) {
            let mut table = DeviceTable::default();
            let mut model: BTreeMap<u32, Device> = BTreeMap::new();
            let mut saved: BTreeMap<u32, DeviceChunk> = BTreeMap::new();
            for (put, forget) in rounds {
                let put: BTreeMap<u32, Device> = put.into_iter().map(|d| (d.resource_id as u32, d)).collect();
                table.put(put.values().cloned().collect());
                for (id, mut device) in put {
                    if device.assigned_site.is_none() {
                        device.assigned_site = model.get(&id).and_then(|d| d.assigned_site.clone());
                    }
                    model.insert(id, device);
                }
                table.forget(&forget);
                forget.iter().for_each(|id| { model.remove(id); });
                for (number, chunk) in table.take_dirty() {
                    match chunk {
                        Some(chunk) => saved.insert(number, chunk),
                        None => saved.remove(&number),
                    };
                }
            }
            let mut loaded = DeviceTable::default();
            saved.into_values().for_each(|chunk| loaded.load(chunk));
            for table in [&table, &loaded] {
                prop_assert_eq!(table.len(), model.len());
                prop_assert_eq!(table.ids(0, u32::MAX).collect::<Vec<_>>(), model.keys().copied().collect::<Vec<_>>());
                for (id, device) in &model {
                    let found = table.get(*id);
                    prop_assert_eq!(found.as_ref(), Some(device));
                }
                let asked: RoaringBitmap = model.keys().copied().chain(asked.clone()).collect();
                let wanted: Vec<_> = asked.iter().map(|id| (id, model.get(&id).cloned())).collect();
                prop_assert_eq!(table.get_all(&asked), wanted);
            }
        }
    }

    #[test]
    fn a_device_that_is_renamed_again_and_again_takes_no_more_room() {
        let mut table = DeviceTable::default();
        for round in 0..1_000 {
            table.put(vec![Device {
                resource_id: 1,
                netbios_name: format!("A{round}"),
                fqdn: Some(format!("other{round}.contoso.com")),
                ..Device::default()
            }]);
        }
        assert!(table.texts.list.is_empty());
        assert_eq!(table.chunks[&0].names, "A999other999.contoso.com");
    }

    #[test]
    fn a_site_that_is_known_to_be_none_is_told_from_one_not_known() {
        let mut table = DeviceTable::default();
        table.put(vec![Device { resource_id: 1, netbios_name: "A".into(), ..Device::default() }]);
        assert_eq!(table.name_and_site(1, &mut Near::default()), Some(("A", None)));
        table.put_sites(&BySite::from([(String::new(), RoaringBitmap::from([1]))]));
        assert_eq!(table.name_and_site(1, &mut Near::default()), Some(("A", Some(""))));
        assert_eq!(table.get(1).and_then(|d| d.assigned_site), None);
    }
}
