//! One change, its records.

use cmsync_schemas::tables::MAX_FIELD_BYTES;
use cmsync_schemas::{Change, ChangeKind, Device, Marker, MarkerStatus, MemberRecord, RecordBatch};

/// A device that cannot become a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Its place among the devices of the change.
    pub index: usize,
    /// Whether it is among the removed.
    pub is_removed: bool,
    /// The device.
    pub device: Device,
    /// Why, as one of the reasons of [`cmsync_schemas::DeadLetter`].
    pub reason: &'static str,
    /// Why, in words.
    pub error: String,
}

/// Maps a change at `position` (partition, offset). Devices that cannot be mapped come apart, their
/// neighbours go on.
#[must_use]
pub fn map(change: Change, position: (u32, u64)) -> (RecordBatch, Vec<SetAside>) {
    let marker = marker(&change);
    let mut aside = Vec::new();
    let mut index = 0;
    let mut records = |devices: Vec<Device>, is_removed| {
        let mut mapped = Vec::with_capacity(devices.len());
        for device in devices {
            match oversized(&device) {
                None => mapped.push(record(device)),
                Some(error) => {
                    aside.push(SetAside {
                        index,
                        is_removed,
                        device,
                        reason: "field_too_large",
                        error,
                    });
                }
            }
            index += 1;
        }
        mapped
    };
    let batch = RecordBatch {
        change_partition: i64::from(position.0),
        change_offset: i64::try_from(position.1).unwrap_or(i64::MAX),
        is_snapshot: change.kind == ChangeKind::Snapshot,
        present: records(change.present, false),
        removed: records(change.removed, true),
        site_code: change.site_code,
        group_id: change.collection_id,
        run_id: change.run_id,
        seq: change.seq,
        time_generated: change.observed_at,
        marker,
    };
    (batch, aside)
}

/// `Computer` is the FQDN, or the NetBIOS name where there is none.
#[must_use]
pub fn record(device: Device) -> MemberRecord {
    MemberRecord {
        resource_id: device.resource_id,
        computer: device.fqdn.unwrap_or_else(|| device.netbios_name.clone()),
        netbios_name: device.netbios_name,
        assigned_site: device.assigned_site,
    }
}

/// The service cuts longer fields without a word: such a row would be a wrong one.
fn oversized(device: &Device) -> Option<String> {
    // The domain makes names alone.
    let Device { resource_id: _, netbios_name, fqdn, domain: _, assigned_site } = device;
    let fields = [
        ("Computer", fqdn.as_deref()),
        ("NetbiosName", Some(netbios_name.as_str())),
        ("AssignedSite", assigned_site.as_deref()),
    ];
    fields.into_iter().find_map(|(name, text)| {
        let bytes = text.map_or(0, str::len);
        (bytes > MAX_FIELD_BYTES)
            .then(|| format!("{name} has {bytes} bytes, at most {MAX_FIELD_BYTES}"))
    })
}

fn marker(change: &Change) -> Option<Marker> {
    let status = match change.kind {
        ChangeKind::Snapshot if change.is_last => MarkerStatus::Complete,
        ChangeKind::Renamed => MarkerStatus::Complete,
        ChangeKind::Removed => MarkerStatus::Removed,
        ChangeKind::Snapshot | ChangeKind::Delta => return None,
    };
    Some(Marker {
        group: change.name.clone(),
        group_full_name: full_name(&change.folder, &change.name, &change.collection_id),
        member_count: change.total_members,
        start_seq: change.start_seq,
        seq: change.seq,
        instance: change.instance.clone(),
        status,
    })
}

/// Folder path, name and id: names alone are not unique.
#[must_use]
pub fn full_name(folder: &str, name: &str, id: &str) -> String {
    format!("{}/{name} ({id})", folder.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn device(id: i64, name: &str, fqdn: Option<String>) -> Device {
        Device {
            resource_id: id,
            netbios_name: name.into(),
            fqdn,
            domain: None,
            assigned_site: None,
        }
    }

    fn change(
        kind: ChangeKind,
        is_last: bool,
        present: Vec<Device>,
        removed: Vec<Device>,
    ) -> Change {
        Change {
            connection: "c".into(),
            site_code: "CAS".into(),
            collection_id: "PS100001".into(),
            name: "Servers".into(),
            folder: "/A/B".into(),
            kind,
            instance: "i".into(),
            run_id: "r".into(),
            start_seq: 10,
            seq: 11,
            chunk: 0,
            is_last,
            total_members: 5,
            observed_at: 12,
            present,
            removed,
        }
    }

    proptest! {
        #[test]
        fn every_device_becomes_one_record_or_is_set_aside_alone(
            sizes in proptest::collection::vec(prop_oneof![4 => 1..20_usize, 1 => 65_530..65_545_usize], 0..8),
            split in 0..8_usize,
        ) {
            let devices: Vec<_> = sizes.iter().zip(0..).map(|(size, id)| device(id, "PC", Some("f".repeat(*size)))).collect();
            let (present, removed) = devices.split_at(split.min(devices.len()));
            let (batch, aside) = map(change(ChangeKind::Delta, false, present.to_vec(), removed.to_vec()), (1, 2));
            let mut ids: Vec<_> = batch.present.iter().chain(&batch.removed).map(|r| r.resource_id).collect();
            prop_assert_eq!(aside.len(), sizes.iter().filter(|s| **s > 65_536).count());
            for one in &aside {
                prop_assert_eq!(one.index as i64, one.device.resource_id);
                ids.push(one.device.resource_id);
            }
            ids.sort_unstable();
            prop_assert_eq!(ids, (0..devices.len() as i64).collect::<Vec<_>>());
        }
    }

    #[test]
    fn computer_is_the_fqdn_or_else_the_netbios_name() {
        assert_eq!(
            record(device(1, "PC1", Some("pc1.contoso.com".into()))).computer,
            "pc1.contoso.com"
        );
        assert_eq!(record(device(1, "PC1", None)).computer, "PC1");
    }

    #[test]
    fn a_marker_closes_snapshots_renames_and_removals_and_nothing_else() {
        let marker = |kind, is_last| map(change(kind, is_last, vec![], vec![]), (0, 0)).0.marker;
        assert_eq!(marker(ChangeKind::Snapshot, false), None);
        assert_eq!(marker(ChangeKind::Delta, true), None);
        let complete = marker(ChangeKind::Snapshot, true)
            .map(|m| (m.status, m.member_count, m.group_full_name));
        assert_eq!(complete, Some((MarkerStatus::Complete, 5, "/A/B/Servers (PS100001)".into())));
        assert_eq!(
            marker(ChangeKind::Renamed, false).map(|m| m.status),
            Some(MarkerStatus::Complete)
        );
        assert_eq!(
            marker(ChangeKind::Removed, false).map(|m| m.status),
            Some(MarkerStatus::Removed)
        );
        assert_eq!(full_name("/", "n", "i"), "/n (i)");
    }
}
