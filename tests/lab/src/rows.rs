//! Rows as the workspace keeps them: declared columns only.

use std::borrow::Cow;

use serde::Deserialize;

/// Bytes of a field that are kept.
const MAX_FIELD: usize = 64 * 1024;

/// A member row as it is kept: declared columns only.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "PascalCase")]
pub struct MemberRow<'a> {
    #[serde(borrow)]
    pub time_generated: Cow<'a, str>,
    #[serde(borrow)]
    pub site_code: Cow<'a, str>,
    #[serde(borrow)]
    pub group_id: Cow<'a, str>,
    pub resource_id: u32,
    #[serde(borrow)]
    pub computer: Cow<'a, str>,
    #[serde(borrow)]
    pub netbios_name: Cow<'a, str>,
    #[serde(borrow)]
    pub assigned_site: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub action: Cow<'a, str>,
    pub seq: i64,
}

/// A marker row as it is kept.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "PascalCase")]
pub struct MarkerRow {
    pub time_generated: String,
    pub site_code: String,
    pub group_id: String,
    pub group: String,
    pub group_full_name: String,
    pub member_count: u64,
    pub run_id: String,
    pub start_seq: i64,
    pub seq: i64,
    pub instance: String,
    pub status: String,
}

/// A row as it is kept: fields above 64 KB are cut silently, and a time more than two days back or
/// one ahead is replaced by that of the arrival.
pub(crate) fn stored(mut row: MemberRow<'_>, received: jiff::Timestamp) -> MemberRow<'_> {
    let MemberRow {
        time_generated: _,
        site_code,
        group_id,
        resource_id: _,
        computer,
        netbios_name,
        assigned_site,
        action,
        seq: _,
    } = &mut row;
    let texts = [site_code, group_id, computer, netbios_name, action];
    for field in texts.into_iter().chain(assigned_site) {
        if field.len() > MAX_FIELD {
            *field = field.chars().take(MAX_FIELD).collect::<String>().into();
        }
    }
    let age = |time: jiff::Timestamp| received.duration_since(time).as_secs();
    let kept = -24 * 3_600..=48 * 3_600;
    let is_kept = row.time_generated.parse().is_ok_and(|time| kept.contains(&age(time)));
    if !is_kept {
        row.time_generated = received.to_string().into();
    }
    row
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn long_fields_are_cut_and_wild_times_replaced_as_the_service_does() {
        let received: jiff::Timestamp = "2026-11-22T10:00:00Z".parse().expect("a time");
        let kept = |time: &str| {
            let long = "x".repeat(MAX_FIELD + 5);
            let json = serde_json::json!({"TimeGenerated": time, "SiteCode": "CAS", "GroupId": "G",
                "ResourceId": 1, "Computer": long, "NetbiosName": "A", "AssignedSite": null,
                "Action": "Present", "Seq": 1, "Undeclared": 5});
            let text = json.to_string();
            let row = stored(serde_json::from_str(&text).expect("a row"), received);
            (row.computer.len(), row.time_generated.into_owned())
        };
        for (time, is_kept) in [
            ("2026-11-22T09:59:00.000001Z", true),
            ("2026-11-20T10:30:00.000000Z", true),
            ("2026-11-20T09:30:00.000000Z", false),
            ("2026-11-23T10:30:00.000000Z", false),
            ("yesterday", false),
        ] {
            let expected = if is_kept { time } else { "2026-11-22T10:00:00Z" };
            assert_eq!(kept(time), (MAX_FIELD, expected.to_owned()), "{time}");
        }
    }

    #[test]
    fn every_column_of_the_tables_is_kept_and_so_can_be_compared() {
        let json = serde_json::json!({"TimeGenerated": "", "SiteCode": "", "GroupId": "", "ResourceId": 1,
            "Computer": "", "NetbiosName": "", "AssignedSite": null, "Action": "", "Seq": 1});
        let text = json.to_string();
        let member: MemberRow<'_> = serde_json::from_str(&text).expect("a row");
        let rows = [serde_json::to_value(member), serde_json::to_value(MarkerRow::default())];
        for ((table, columns), row) in crate::arm::OURS.iter().zip(rows) {
            let row = row.expect("a row");
            let kept: BTreeSet<&str> =
                row.as_object().expect("fields").keys().map(|key| &**key).collect();
            assert_eq!(kept, columns.iter().map(|(name, _)| *name).collect(), "{table}");
        }
    }
}
