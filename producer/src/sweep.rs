//! Devices: names and fully qualified names change without any collection's token moving, so each
//! device is read once in an interval, page by page; those that nobody knows are read at once.

use std::sync::PoisonError;
use std::time::Duration;

use cmsync_configmgr::{DeviceRow, DeviceScope, Site as _};
use cmsync_schemas::Device;
use roaring::RoaringBitmap;
use tokio::time::Instant;

use crate::connection::Connection;
use crate::devices::Near;
use crate::error::Error;
use crate::metrics::Skip;
use crate::reading::{Reading, is_computer_name};

/// Unknown ids up to which each is asked for; more are read by ranges.
const FEW_UNKNOWN: u64 = 500;

/// How far the sweep has come.
pub(crate) struct Sweep {
    after: i64,
    next: Instant,
    interval: Duration,
}

impl Sweep {
    pub(crate) fn new(interval: Duration) -> Self {
        Self { after: -1, next: Instant::now() + interval, interval }
    }

    pub(crate) fn is_due(&self) -> bool {
        Instant::now() >= self.next
    }

    /// When the next page is read; far away while the connection rests.
    pub(crate) fn next_at(&self, is_resting: bool) -> Instant {
        if is_resting { Instant::now() + Duration::from_secs(3600) } else { self.next }
    }
}

/// Whether a device's own record says another thing than is known; its site comes from elsewhere.
fn is_other(known: &Device, device: &Device) -> bool {
    // All of it is named here, so that a new field is decided on.
    let Device { resource_id: _, netbios_name, fqdn, domain, assigned_site: _ } = known;
    (netbios_name, fqdn, domain) != (&device.netbios_name, &device.fqdn, &device.domain)
}

impl Connection {
    /// Reads all devices, where none is known yet.
    pub(crate) async fn first_sweep(&mut self) -> Result<(), Error> {
        if !self.devices_mut().is_empty() {
            return Ok(());
        }
        while !self.sweep_page().await? {}
        Ok(())
    }

    /// Reads the next page of devices; true at the end of a sweep.
    pub(crate) async fn sweep_page(&mut self) -> Result<bool, Error> {
        let known = self.devices.read().unwrap_or_else(PoisonError::into_inner).len();
        let pages = u32::try_from(known / self.options.page_size.max(1) + 2).unwrap_or(u32::MAX);
        // Before the request: a page that fails has its next turn like any other.
        self.sweep.next = Instant::now() + self.sweep.interval / pages;
        let rows = self.site.devices(&DeviceScope::After(self.sweep.after)).await?;
        let from = u32::try_from(self.sweep.after + 1).unwrap_or(0);
        let last = rows.last().map(|row| row.resource_id);
        let is_end = last.is_none_or(|last| last <= self.sweep.after);
        let to = if is_end {
            u32::MAX
        } else {
            last.and_then(|l| u32::try_from(l).ok()).unwrap_or(u32::MAX)
        };
        let found = self.take_devices(rows);
        self.forget_gone(from, to, &found);
        self.sweep.after = last.unwrap_or(-1);
        if is_end {
            self.sweep.after = -1;
            self.recheck_without_record();
        }
        self.publisher.commit_devices(&self.memory).await?;
        if !self.memory.owed.is_empty() {
            self.resend_owed().await?;
        }
        Ok(is_end)
    }

    /// Takes over device rows; gives their ids. What changed is owed to whoever holds it.
    fn take_devices(&mut self, rows: Vec<DeviceRow>) -> RoaringBitmap {
        let mut found = RoaringBitmap::new();
        let mut changed = Vec::new();
        let mut appeared = RoaringBitmap::new();
        {
            let devices = self.devices.read().unwrap_or_else(PoisonError::into_inner);
            for row in rows {
                let Ok(id) = u32::try_from(row.resource_id) else {
                    continue;
                };
                if row.is_retired || !is_computer_name(&row.netbios_name) {
                    continue;
                }
                found.insert(id);
                let known = devices.get(id);
                let device = Device {
                    resource_id: row.resource_id,
                    netbios_name: row.netbios_name,
                    fqdn: row.fqdn,
                    domain: row.domain,
                    assigned_site: None,
                };
                match known {
                    None => {
                        appeared.insert(id);
                        changed.push(device);
                    }
                    Some(known) if is_other(&known, &device) => {
                        self.memory.owed.insert(id);
                        changed.push(device);
                    }
                    Some(_) => {}
                }
            }
        }
        self.devices_mut().put(changed);
        if !(&appeared & &self.no_record).is_empty() {
            self.no_record -= &appeared;
            self.recheck_without_record();
        }
        found
    }

    /// Forgets devices of a swept range that the site has no longer and no collection holds.
    fn forget_gone(&mut self, from: u32, to: u32, found: &RoaringBitmap) {
        let gone: RoaringBitmap = {
            let devices = self.devices.read().unwrap_or_else(PoisonError::into_inner);
            devices.ids(from, to).filter(|id| !found.contains(*id)).collect()
        };
        if gone.is_empty() {
            return;
        }
        let held = self
            .memory
            .collections
            .values()
            .fold(RoaringBitmap::new(), |held, kept| held | &kept.members);
        let free: Vec<u32> = (gone - held).iter().collect();
        self.devices_mut().forget(&free);
    }

    /// Collections with rows that became no members may have members now.
    pub(crate) fn recheck_without_record(&mut self) {
        self.no_record.clear();
        for kept in self.memory.collections.values_mut() {
            let members = i64::try_from(kept.members.len()).unwrap_or(i64::MAX);
            kept.run.recheck |= kept.state.rows_read > members;
        }
    }

    /// Learns what a read told about devices; gives the rows that are computers with a record.
    pub(crate) async fn learn(&mut self, reading: &Reading) -> Result<RoaringBitmap, Error> {
        let unknown = &reading.unknown - &self.no_record;
        let wanted: RoaringBitmap = {
            // What another collection's read told meanwhile is not asked for again.
            let devices = self.devices.read().unwrap_or_else(PoisonError::into_inner);
            let is_told = |(id, name): &&(u32, String)| {
                devices.get(*id).is_some_and(|device| device.netbios_name == *name)
            };
            let renamed = reading.renamed.iter().filter(|told| !is_told(told)).map(|(id, _)| *id);
            unknown.iter().filter(|id| !devices.has(*id)).chain(renamed).collect()
        };
        self.fetch(&wanted).await?;
        // A name that the device's own record does not show yet is taken from the row.
        let mut late = Vec::new();
        let mut without = RoaringBitmap::new();
        let moved: RoaringBitmap = {
            let devices = self.devices.read().unwrap_or_else(PoisonError::into_inner);
            for (id, name) in &reading.renamed {
                if let Some(device) = devices.get(*id).filter(|d| d.netbios_name != *name) {
                    late.push(Device { netbios_name: name.clone(), fqdn: None, ..device });
                }
            }
            without.extend(reading.unknown.iter().filter(|id| !devices.has(*id)));
            let has_other = |id: u32, site: &str| {
                devices
                    .name_and_site(id, &mut Near::default())
                    .and_then(|(_, s)| s)
                    .is_some_and(|s| s != site)
            };
            let moved = |(site, ids): (&String, &RoaringBitmap)| {
                ids.iter().filter(|id| has_other(*id, site)).collect::<RoaringBitmap>()
            };
            reading.sites.iter().map(moved).fold(RoaringBitmap::new(), |all, some| all | some)
        };
        self.memory.owed.extend(late.iter().filter_map(|d| u32::try_from(d.resource_id).ok()));
        self.memory.owed |= moved;
        late.sort_by_key(|d| d.resource_id);
        {
            let mut devices = self.devices_mut();
            devices.put(late);
            devices.put_sites(&reading.sites);
        }
        if !(reading.sites.is_empty() && reading.renamed.is_empty() && unknown.is_empty()) {
            self.publisher.commit_devices(&self.memory).await?;
        }
        self.no_record |= &without;
        if reading.is_whole {
            let skipped = &self.metrics.skipped;
            let others = reading.rows - reading.computers.len() - reading.retired;
            skipped.of(Skip::NotASystem).increment(others);
            skipped.of(Skip::Retired).increment(reading.retired);
            skipped.of(Skip::NoRecord).increment(without.len());
        }
        Ok(&reading.computers - &without)
    }

    /// Reads devices by id, many of them by ranges.
    async fn fetch(&mut self, ids: &RoaringBitmap) -> Result<(), Error> {
        self.publisher.flush().await?;
        if ids.len() <= FEW_UNKNOWN {
            let ids: Vec<i64> = ids.iter().map(i64::from).collect();
            for part in ids.chunks(DeviceScope::MOST_IDS) {
                let rows = self.site.devices(&DeviceScope::Ids(part.to_vec())).await?;
                self.take_devices(rows);
            }
            return Ok(());
        }
        let mut after = ids.min().map_or(-1, |id| i64::from(id) - 1);
        let end = ids.max().map_or(-1, i64::from);
        while after < end {
            let rows = self.site.devices(&DeviceScope::After(after)).await?;
            let Some(last) = rows.last().map(|row| row.resource_id).filter(|last| *last > after)
            else {
                break;
            };
            self.take_devices(rows);
            after = last;
        }
        Ok(())
    }
}
