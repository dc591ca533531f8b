//! The classes of the WMI route, and how their rows are written.

use serde_json::Value;

use crate::filter::{Filter, Literal};

#[derive(Clone, Copy)]
pub(crate) enum Cell<'a> {
    Text(&'a str),
    Maybe(Option<&'a str>),
    Number(i64),
    Bool(bool),
    List(&'a [String]),
    Json(&'a Value),
}

/// Columns of a class in the order in which rows show them.
pub(crate) struct Class {
    pub(crate) columns: &'static [&'static str],
    pub(crate) keys: &'static [&'static str],
    pub(crate) lazy: &'static [&'static str],
}

pub(crate) const COLLECTION: Class = Class {
    columns: &[
        "CollectionID",
        "CollectionType",
        "Comment",
        "CurrentStatus",
        "FullEvaluationMemberChangeTime",
        "IncrementalEvaluationMemberChangeTime",
        "IsBuiltIn",
        "LastMemberChangeTime",
        "MemberCount",
        "Name",
        "ObjectPath",
    ],
    keys: &["CollectionID"],
    lazy: &["RefreshType", "RefreshSchedule", "CollectionRules", "ISVData"],
};
pub(crate) const MEMBERSHIP: Class = Class {
    columns: &[
        "CollectionID",
        "Domain",
        "IsClient",
        "IsDecommissioned",
        "IsDirect",
        "IsObsolete",
        "Name",
        "ResourceID",
        "ResourceType",
        "SiteCode",
        "SMSID",
    ],
    keys: &["CollectionID", "ResourceID"],
    lazy: &[],
};
pub(crate) const SYSTEM: Class = Class {
    columns: &[
        "Client",
        "Decommissioned",
        "FullDomainName",
        "Name",
        "NetbiosName",
        "Obsolete",
        "ResourceDomainORWorkgroup",
        "ResourceId",
        "ResourceNames",
        "SMSUniqueIdentifier",
    ],
    keys: &["ResourceId"],
    lazy: &[],
};
pub(crate) const SITE: Class = Class {
    columns: &[
        "ReportingSiteCode",
        "ServerName",
        "SiteCode",
        "SiteName",
        "Status",
        "Type",
        "Version",
    ],
    keys: &["SiteCode"],
    lazy: &[],
};
pub(crate) const LINK: Class = Class {
    columns: &["LinkStatus", "Site1", "Site2", "Site2ToSite1SiteSyncTime"],
    keys: &["Site1", "Site2"],
    lazy: &[],
};
pub(crate) const ADMIN: Class = Class {
    columns: &["AdminID", "CategoryNames", "CollectionNames", "LogonName", "RoleNames"],
    keys: &["AdminID"],
    lazy: &["CategoryNames", "CollectionNames", "LogonName", "RoleNames"],
};
pub(crate) const IDENTIFICATION: Class =
    Class { columns: &["SiteNumber", "ThisSiteCode"], keys: &["ThisSiteCode"], lazy: &[] };

pub(crate) const SYSTEM_ROLE: Class = Class {
    columns: &["NetworkOSPath", "Props", "RoleName", "SiteCode"],
    keys: &["NetworkOSPath"],
    lazy: &["Props"],
};

pub(crate) const DEFINITION: Class = Class {
    columns: &["Props", "SiteCode", "SQLDatabaseName", "SQLServerName"],
    keys: &["SiteCode"],
    lazy: &["Props"],
};

impl Class {
    /// The class of a name, in any casing.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "sms_collection" => &COLLECTION,
            "sms_fullcollectionmembership" => &MEMBERSHIP,
            "sms_r_system" => &SYSTEM,
            "sms_site" => &SITE,
            "sms_replicationlinksummary" => &LINK,
            "sms_admin" => &ADMIN,
            "sms_sci_sysresuse" => &SYSTEM_ROLE,
            "sms_sci_sitedefinition" => &DEFINITION,
            "sms_identification" => &IDENTIFICATION,
            _ => return None,
        })
    }
}

/// Rows being written.
pub(crate) struct Page<'a> {
    pub(crate) class: &'a Class,
    pub(crate) selected: Option<Vec<bool>>,
    pub(crate) filter: Option<&'a Filter>,
    pub(crate) top: usize,
    pub(crate) count: usize,
    /// Rows that a former page showed.
    pub(crate) skip: usize,
    pub(crate) body: Vec<u8>,
}

impl Page<'_> {
    pub(crate) fn is_full(&self) -> bool {
        self.count == self.top
    }

    /// Writes a row if it passes the filter.
    pub(crate) fn row(&mut self, cells: &[Cell<'_>]) {
        let literal = |name: &str| {
            let index = self.class.columns.iter().position(|c| c.eq_ignore_ascii_case(name))?;
            match cells[index] {
                Cell::Text(text) => Some(Literal::Text(text.into())),
                Cell::Maybe(text) => text.map(|t| Literal::Text(t.into())),
                Cell::Number(number) => Some(Literal::Number(number)),
                Cell::Bool(b) => Some(Literal::Number(i64::from(b))),
                Cell::List(_) | Cell::Json(_) => None,
            }
        };
        if self.is_full() || self.filter.is_some_and(|f| !f.passes(&literal)) {
            return;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        self.body.extend_from_slice(if self.count == 0 { b"{" } else { b",{" });
        self.count += 1;
        if self.selected.is_none() {
            let key: Vec<_> = self
                .class
                .keys
                .iter()
                .filter_map(|k| literal(k))
                .map(|l| match l {
                    Literal::Text(text) => text,
                    Literal::Number(number) => number.to_string(),
                })
                .collect();
            let etag = Value::from(key.join(";"));
            self.body.extend_from_slice(format!("\"@odata.etag\":{etag},\"__LAZYPROPERTIES\":[\"__QUALIFIER_SECURITYVERBS\"],\"__QUALIFIER_SECURITYVERBS\":-1,").as_bytes());
        }
        let mut is_first = true;
        for (index, (name, cell)) in self.class.columns.iter().zip(cells).enumerate() {
            if self.selected.as_ref().is_some_and(|s| !s[index]) {
                continue;
            }
            if !std::mem::take(&mut is_first) {
                self.body.push(b',');
            }
            self.body.push(b'"');
            self.body.extend_from_slice(name.as_bytes());
            self.body.extend_from_slice(b"\":");
            let body = &mut self.body;
            let written = match cell {
                Cell::Text(text) | Cell::Maybe(Some(text)) => serde_json::to_writer(body, text),
                Cell::Maybe(None) => serde_json::to_writer(body, &()),
                Cell::Number(number) => serde_json::to_writer(body, number),
                Cell::Bool(b) => serde_json::to_writer(body, b),
                Cell::List(list) => serde_json::to_writer(body, list),
                Cell::Json(value) => serde_json::to_writer(body, value),
            };
            written.expect("writing to memory");
        }
        if self.selected.is_none() {
            self.body.extend_from_slice(b",\"__GENUS\":2,\"__NAMESPACE\":\"root\\\\sms\\\\site\"");
        }
        self.body.push(b'}');
    }
}
