//! Rows as the database gives them.

use std::borrow::Cow;

use tiberius::{ColumnData, Row};

use crate::selection::is_collection_id;
use crate::site::{Collection, DeviceRow, Link, MemberRow, SiteInfo};
use crate::track::Changed;

/// A row's cells, in order.
pub(super) struct Cells(<Row as IntoIterator>::IntoIter);

impl Cells {
    pub(super) fn of(row: Row) -> Self {
        Self(row.into_iter())
    }

    fn next(&mut self) -> ColumnData<'static> {
        self.0.next().unwrap_or(ColumnData::I32(None))
    }

    /// A number, of whatever width; booleans are numbers in these views.
    pub(super) fn number(&mut self) -> Option<i64> {
        match self.next() {
            ColumnData::U8(n) => n.map(i64::from),
            ColumnData::I16(n) => n.map(i64::from),
            ColumnData::I32(n) => n.map(i64::from),
            ColumnData::I64(n) => n,
            ColumnData::Bit(b) => b.map(i64::from),
            _ => None,
        }
    }

    /// A text; `None` for null and for an empty one.
    pub(super) fn text(&mut self) -> Option<Cow<'static, str>> {
        match self.next() {
            ColumnData::String(text) => text.filter(|t| !t.is_empty()),
            _ => None,
        }
    }

    fn owned(&mut self) -> String {
        self.text().map(Cow::into_owned).unwrap_or_default()
    }

    /// What a row of `v_FullCollectionMembership` has behind its collection.
    pub(super) fn member(mut self) -> Option<MemberRow<'static>> {
        let resource_id = self.number()?;
        let resource_type = self.number().unwrap_or(-1);
        let name = self.text().unwrap_or_default();
        let assigned_site = self.text();
        let (obsolete, decommissioned) = (self.number(), self.number());
        let is_retired = obsolete == Some(1) || decommissioned == Some(1);
        Some(MemberRow { resource_id, resource_type, name, assigned_site, is_retired })
    }

    /// A moment as one text to compare: in whatever base the site wrote it.
    fn moment(&mut self) -> String {
        match self.next() {
            ColumnData::DateTime(Some(at)) => format!("{}:{}", at.days(), at.seconds_fragments()),
            ColumnData::DateTime(None) => "-".into(),
            other => format!("{other:?}"),
        }
    }
}

/// A row of `v_Collection`: what `v_Collections` has of it is not in it yet.
pub(super) fn collection(row: Row) -> Option<Collection> {
    let mut cells = Cells::of(row);
    let id = cells.text().filter(|id| is_collection_id(id))?.into_owned();
    let name = cells.text().map_or_else(|| id.clone(), Cow::into_owned);
    let member_count = cells.number().unwrap_or(0).max(0);
    Some(Collection { id, name, folder: "/".into(), member_count, token: cells.moment() })
}

/// What `v_Collections` has of a collection.
pub(super) struct Evaluation {
    folder: Option<String>,
    times: String,
}

impl Evaluation {
    /// Completes a collection.
    pub(super) fn complete(&self, collection: &mut Collection) {
        if let Some(folder) = &self.folder {
            collection.folder.clone_from(folder);
        }
        collection.token.push_str(&self.times);
    }
}

/// A row of `v_Collections`: the id of eight characters, and what else it has.
pub(super) fn evaluation(row: Row) -> Option<(String, Evaluation)> {
    let mut cells = Cells::of(row);
    let id = cells.text()?.into_owned();
    let folder = cells.text().map(Cow::into_owned);
    let times = format!("|{}|{}", cells.moment(), cells.moment());
    Some((id, Evaluation { folder, times }))
}

/// A row of `CHANGETABLE`: collection, resource, and how its membership changed.
pub(super) fn change(row: Row) -> Option<(String, i64, Changed)> {
    let mut cells = Cells::of(row);
    let collection = cells.text()?.into_owned();
    let id = cells.number()?;
    let changed = match cells.text()?.trim_end() {
        "I" => Changed::Added,
        "D" => Changed::Removed,
        _ => Changed::Otherwise,
    };
    Some((collection, id, changed))
}

/// A row of `v_R_System`, with its DNS domain; its full name comes from another view.
pub(super) fn device(row: Row) -> Option<(DeviceRow, Option<String>)> {
    let mut cells = Cells::of(row);
    let resource_id = cells.number()?;
    let name = cells.text();
    let netbios_name = cells.text().or(name).unwrap_or_default().into_owned();
    let full_domain = cells.text().map(Cow::into_owned);
    let domain = cells.text().map(Cow::into_owned);
    let (obsolete, decommissioned) = (cells.number(), cells.number());
    let is_retired = obsolete == Some(1) || decommissioned == Some(1);
    Some((DeviceRow { resource_id, netbios_name, fqdn: None, domain, is_retired }, full_domain))
}

/// A row of `v_RA_System_ResourceNames`.
pub(super) fn name(row: Row) -> Option<(i64, String)> {
    let mut cells = Cells::of(row);
    Some((cells.number()?, cells.text()?.into_owned()))
}

/// A row of `v_Site`.
pub(super) fn site(row: Row) -> Option<SiteInfo> {
    let mut cells = Cells::of(row);
    let code = cells.text()?.into_owned();
    let (name, reports_to) = (cells.owned(), cells.owned());
    let (kind, status) = (cells.number().unwrap_or(-1), cells.number().unwrap_or(-1));
    Some(SiteInfo { code, name, kind, reports_to, status, version: cells.owned() })
}

/// A row of `RCM_ReplicationLinkStatus`, from a child to its parent.
pub(super) fn link(row: Row) -> Option<Link> {
    let mut cells = Cells::of(row);
    let child = cells.text()?.into_owned();
    let parent = cells.text()?.into_owned();
    let status = cells.number()?;
    Some(Link { parent, child, status, site_data_at: "an unknown time".into() })
}
