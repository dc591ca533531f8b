//! Rows as the workspace keeps them: declared columns only.

use std::borrow::Cow;

use serde::Deserialize;

/// A member row as it is kept: declared columns only.
#[derive(Debug, Clone, Deserialize)]
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
#[derive(Debug, Clone, Deserialize)]
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
