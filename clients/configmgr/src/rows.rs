//! Rows as the WMI route writes them: columns in any casing of a class's own, numbers as numbers or
//! strings, booleans as booleans or 0 and 1, anything as null, unknown columns beside.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

use crate::selection::is_collection_id;
use crate::site::{
    Collection, ConnectionPoint, Database, DeviceRow, Link, MemberRow, SiteInfo, full_name,
};

/// A number, whatever it is written as; -1 for null.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    struct Number;
    impl Visitor<'_> for Number {
        type Value = i64;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number, a number as text, a boolean or null")
        }
        fn visit_i64<E>(self, v: i64) -> Result<i64, E> {
            Ok(v)
        }
        fn visit_u64<E: de::Error>(self, v: u64) -> Result<i64, E> {
            i64::try_from(v).map_err(|_| E::custom("number too large"))
        }
        fn visit_f64<E: de::Error>(self, v: f64) -> Result<i64, E> {
            let text = format!("{v:.0}");
            text.parse().map_err(|_| E::custom("not a whole number"))
        }
        fn visit_bool<E>(self, v: bool) -> Result<i64, E> {
            Ok(i64::from(v))
        }
        fn visit_str<E: de::Error>(self, v: &str) -> Result<i64, E> {
            match v.trim() {
                "" => Ok(-1),
                "true" => Ok(1),
                "false" => Ok(0),
                text => text.parse().map_err(|_| E::custom(format!("`{text}` is not a number"))),
            }
        }
        fn visit_unit<E>(self) -> Result<i64, E> {
            Ok(-1)
        }
    }
    deserializer.deserialize_any(Number)
}

/// A text, borrowed where it has no escapes; `None` for null and for an empty one.
fn text<'de: 'a, 'a, D: Deserializer<'de>>(d: D) -> Result<Option<Cow<'a, str>>, D::Error> {
    struct Text;
    impl<'de> Visitor<'de> for Text {
        type Value = Option<Cow<'de, str>>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text or null")
        }
        fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Self::Value, E> {
            Ok((!v.is_empty()).then_some(Cow::Borrowed(v)))
        }
        fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
            Ok((!v.is_empty()).then(|| Cow::Owned(v.to_owned())))
        }
        fn visit_i64<E>(self, v: i64) -> Result<Self::Value, E> {
            Ok(Some(Cow::Owned(v.to_string())))
        }
        fn visit_u64<E>(self, v: u64) -> Result<Self::Value, E> {
            Ok(Some(Cow::Owned(v.to_string())))
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }
    d.deserialize_any(Text)
}

fn none() -> i64 {
    -1
}

/// A row of `SMS_FullCollectionMembership`.
#[derive(Deserialize)]
pub(crate) struct Member<'a> {
    #[serde(rename = "CollectionID", borrow, default, deserialize_with = "text")]
    pub(crate) collection: Option<Cow<'a, str>>,
    #[serde(rename = "ResourceID", alias = "ResourceId", deserialize_with = "number")]
    resource_id: i64,
    #[serde(rename = "ResourceType", default = "none", deserialize_with = "number")]
    resource_type: i64,
    #[serde(rename = "Name", borrow, default, deserialize_with = "text")]
    name: Option<Cow<'a, str>>,
    #[serde(rename = "SiteCode", borrow, default, deserialize_with = "text")]
    site: Option<Cow<'a, str>>,
    #[serde(rename = "IsObsolete", default = "none", deserialize_with = "number")]
    obsolete: i64,
    #[serde(rename = "IsDecommissioned", default = "none", deserialize_with = "number")]
    decommissioned: i64,
}

impl<'a> Member<'a> {
    pub(crate) const SELECT: &'static str =
        "CollectionID,ResourceID,ResourceType,Name,SiteCode,IsObsolete,IsDecommissioned";

    pub(crate) fn into_row(self) -> MemberRow<'a> {
        MemberRow {
            resource_id: self.resource_id,
            resource_type: self.resource_type,
            name: self.name.unwrap_or_default(),
            assigned_site: self.site,
            is_retired: self.obsolete == 1 || self.decommissioned == 1,
        }
    }
}

/// A row of `SMS_Collection`.
#[derive(Deserialize)]
pub(crate) struct CollectionRow<'a> {
    #[serde(rename = "CollectionID", borrow, default, deserialize_with = "text")]
    id: Option<Cow<'a, str>>,
    #[serde(rename = "CollectionType", default = "none", deserialize_with = "number")]
    kind: i64,
    #[serde(rename = "Name", borrow, default, deserialize_with = "text")]
    name: Option<Cow<'a, str>>,
    #[serde(rename = "ObjectPath", borrow, default, deserialize_with = "text")]
    folder: Option<Cow<'a, str>>,
    #[serde(rename = "MemberCount", default = "none", deserialize_with = "number")]
    members: i64,
    #[serde(rename = "LastMemberChangeTime", borrow, default, deserialize_with = "text")]
    changed: Option<Cow<'a, str>>,
    #[serde(rename = "FullEvaluationMemberChangeTime", borrow, default, deserialize_with = "text")]
    full: Option<Cow<'a, str>>,
    #[serde(
        rename = "IncrementalEvaluationMemberChangeTime",
        borrow,
        default,
        deserialize_with = "text"
    )]
    incremental: Option<Cow<'a, str>>,
}

impl CollectionRow<'_> {
    pub(crate) const SELECT: &'static str = "CollectionID,CollectionType,FullEvaluationMemberChangeTime,IncrementalEvaluationMemberChangeTime,LastMemberChangeTime,MemberCount,Name,ObjectPath";
    /// For sites before version 2010, which lack the evaluation columns.
    pub(crate) const SELECT_OLD: &'static str =
        "CollectionID,CollectionType,LastMemberChangeTime,MemberCount,Name,ObjectPath";

    /// The collection; `None` for a user collection or a row without a usable id.
    pub(crate) fn into_collection(self) -> Option<Collection> {
        let id = self.id?;
        if self.kind != 2 || !is_collection_id(&id) {
            return None;
        }
        let part =
            |text: Option<Cow<'_, str>>| text.map_or_else(|| "-".to_owned(), Cow::into_owned);
        let token = [part(self.changed), part(self.full), part(self.incremental)].join("|");
        Some(Collection {
            name: self.name.map_or_else(|| id.to_string(), Cow::into_owned),
            id: id.into_owned(),
            folder: self.folder.map_or_else(|| "/".to_owned(), Cow::into_owned),
            member_count: self.members.max(0),
            token,
        })
    }
}

/// A row of `SMS_R_System`.
#[derive(Deserialize)]
pub(crate) struct System<'a> {
    #[serde(rename = "ResourceId", alias = "ResourceID", deserialize_with = "number")]
    id: i64,
    #[serde(rename = "Name", borrow, default, deserialize_with = "text")]
    name: Option<Cow<'a, str>>,
    #[serde(rename = "NetbiosName", borrow, default, deserialize_with = "text")]
    netbios: Option<Cow<'a, str>>,
    #[serde(rename = "ResourceNames", borrow, default)]
    names: Option<Vec<Cow<'a, str>>>,
    #[serde(rename = "FullDomainName", borrow, default, deserialize_with = "text")]
    full_domain: Option<Cow<'a, str>>,
    #[serde(rename = "ResourceDomainORWorkgroup", borrow, default, deserialize_with = "text")]
    domain: Option<Cow<'a, str>>,
    #[serde(rename = "Obsolete", default = "none", deserialize_with = "number")]
    obsolete: i64,
    #[serde(rename = "Decommissioned", default = "none", deserialize_with = "number")]
    decommissioned: i64,
}

impl System<'_> {
    pub(crate) const SELECT: &'static str = "Decommissioned,FullDomainName,Name,NetbiosName,Obsolete,ResourceDomainORWorkgroup,ResourceId,ResourceNames";

    pub(crate) fn into_device(self) -> DeviceRow {
        let name = self.netbios.or(self.name).unwrap_or_default().into_owned();
        let listed = self.names.iter().flatten().map(AsRef::as_ref);
        let fqdn = full_name(&name, listed, self.full_domain.as_deref());
        DeviceRow {
            resource_id: self.id,
            fqdn,
            netbios_name: name,
            domain: self.domain.map(Cow::into_owned),
            is_retired: self.obsolete == 1 || self.decommissioned == 1,
        }
    }
}

/// A row of `SMS_Site`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SiteRow<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    site_code: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    site_name: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    reporting_site_code: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    version: Option<Cow<'a, str>>,
    #[serde(rename = "Type", default = "none", deserialize_with = "number")]
    kind: i64,
    #[serde(default = "none", deserialize_with = "number")]
    status: i64,
}

impl SiteRow<'_> {
    pub(crate) const SELECT: &'static str =
        "ReportingSiteCode,SiteCode,SiteName,Status,Type,Version";

    pub(crate) fn into_site(self) -> Option<SiteInfo> {
        let owned = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned).unwrap_or_default();
        Some(SiteInfo {
            code: self.site_code?.into_owned(),
            name: owned(self.site_name),
            kind: self.kind,
            reports_to: owned(self.reporting_site_code),
            status: self.status,
            version: owned(self.version),
        })
    }
}

/// The row of `SMS_Identification`.
#[derive(Deserialize)]
pub(crate) struct Identification<'a> {
    #[serde(rename = "ThisSiteCode", borrow, default, deserialize_with = "text")]
    pub(crate) site: Option<Cow<'a, str>>,
}

/// A row of `SMS_ReplicationLinkSummary`.
#[derive(Deserialize)]
pub(crate) struct LinkRow<'a> {
    #[serde(rename = "Site1", borrow, default, deserialize_with = "text")]
    parent: Option<Cow<'a, str>>,
    #[serde(rename = "Site2", borrow, default, deserialize_with = "text")]
    child: Option<Cow<'a, str>>,
    #[serde(rename = "LinkStatus", default = "none", deserialize_with = "number")]
    status: i64,
    #[serde(rename = "Site2ToSite1SiteSyncTime", borrow, default, deserialize_with = "text")]
    at: Option<Cow<'a, str>>,
}

impl LinkRow<'_> {
    pub(crate) const SELECT: &'static str = "LinkStatus,Site1,Site2,Site2ToSite1SiteSyncTime";

    pub(crate) fn into_link(self) -> Option<Link> {
        Some(Link {
            parent: self.parent?.into_owned(),
            child: self.child?.into_owned(),
            status: self.status,
            site_data_at: self.at.map(Cow::into_owned).unwrap_or_default(),
        })
    }
}

/// The columns of `SMS_Admin` that decide what the account sees.
#[derive(Deserialize, Serialize)]
pub(crate) struct Admin {
    #[serde(rename = "LogonName", default)]
    pub(crate) logon: String,
    #[serde(rename = "RoleNames", default)]
    roles: serde_json::Value,
    #[serde(rename = "CategoryNames", default)]
    scopes: serde_json::Value,
    #[serde(rename = "CollectionNames", default)]
    collections: serde_json::Value,
}

/// A role of a site system (`SMS_SCI_SysResUse`).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SystemRole {
    #[serde(rename = "NetworkOSPath", default)]
    server: String,
    #[serde(default)]
    props: Option<Vec<Property>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Property {
    #[serde(default)]
    property_name: Option<String>,
    #[serde(default)]
    value: Option<i64>,
    #[serde(default)]
    value1: Option<String>,
}

impl Property {
    fn is_named(&self, name: &str) -> bool {
        self.property_name.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(name))
    }
}

/// A site's own definition (`SMS_SCI_SiteDefinition`).
#[derive(Deserialize)]
pub(crate) struct SiteDefinition {
    #[serde(rename = "SiteCode", default)]
    site: Option<String>,
    #[serde(rename = "SQLServerName", default)]
    server: Option<String>,
    #[serde(rename = "SQLDatabaseName", default)]
    database: Option<String>,
    #[serde(rename = "Props", default)]
    props: Option<Vec<Property>>,
}

impl SiteDefinition {
    pub(crate) fn is_of(&self, site: &str) -> bool {
        self.site.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(site))
    }

    /// The name of a named instance stands before that of the database.
    pub(crate) fn into_database(self) -> Option<Database> {
        let property = |name: &str| {
            let mut props = self.props.iter().flatten();
            props.find(|p| p.is_named(name))
        };
        let full = property("SQLServerFQDN").and_then(|p| p.value1.clone());
        let server = full.filter(|name| !name.is_empty()).or(self.server.clone());
        let port = property("SQLServicePort").and_then(|p| u16::try_from(p.value?).ok());
        let database = self.database.as_deref().filter(|name| !name.is_empty())?;
        let (instance, name) = match database.split_once('\\') {
            Some((instance, name)) => (Some(instance.to_owned()), name.to_owned()),
            None => (None, database.to_owned()),
        };
        let server = server.filter(|name| !name.is_empty())?;
        Some(Database { server, port: port.filter(|port| *port > 0), instance, name })
    }
}

impl SystemRole {
    /// `OfflineMode` 0 is online.
    pub(crate) fn into_connection_point(self) -> ConnectionPoint {
        let mut props = self.props.into_iter().flatten();
        let mode = props.find(|p| p.is_named("OfflineMode"));
        ConnectionPoint {
            server: self.server.trim_start_matches('\\').to_owned(),
            is_online: mode.and_then(|p| p.value).map(|value| value == 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_whatever_the_columns_are_written_as() {
        let row: Member<'_> = serde_json::from_str(
            r#"{"CollectionID":"PS100001","ResourceID":"16777219","ResourceType":5,"Name":"P\u00e9C",
               "SiteCode":"","IsObsolete":"true","IsDecommissioned":0,"Unknown":{"a":[1]}}"#,
        ).unwrap();
        let row = row.into_row();
        assert_eq!((row.resource_id, row.resource_type, row.name.as_ref()), (16_777_219, 5, "PéC"));
        assert_eq!((row.assigned_site, row.is_retired), (None, true));
        let bare: Member<'_> = serde_json::from_str(r#"{"ResourceId":1}"#).unwrap();
        assert_eq!(bare.into_row().resource_type, -1);
        assert!(serde_json::from_str::<Member<'_>>(r#"{"ResourceID":"x"}"#).is_err());
    }

    #[test]
    fn a_fully_qualified_name_is_never_made_from_the_netbios_domain() {
        let device =
            |json: &str| serde_json::from_str::<System<'_>>(json).unwrap().into_device().fqdn;
        let own = r#"{"ResourceId":1,"Name":"PC1","ResourceNames":["alias.x.y","pc1.contoso.com"],"FullDomainName":"OTHER.COM"}"#;
        assert_eq!(device(own).as_deref(), Some("pc1.contoso.com"));
        let made =
            r#"{"ResourceId":1,"Name":"PC1","ResourceNames":[],"FullDomainName":"CONTOSO.COM"}"#;
        assert_eq!(device(made).as_deref(), Some("PC1.contoso.com"));
        let none = r#"{"ResourceId":1,"Name":"PC1","ResourceNames":null,"ResourceDomainORWorkgroup":"CONTOSO"}"#;
        assert_eq!(device(none), None);
        let of = |domain: usize| {
            let domain = "x".repeat(domain);
            device(&format!(r#"{{"ResourceId":1,"Name":"PC1","FullDomainName":"{domain}"}}"#))
        };
        assert_eq!(of(251).map(|name| name.len()), Some(255));
        assert_eq!(of(252), None);
    }

    #[test]
    fn user_collections_and_ids_of_another_shape_are_passed_over() {
        let parse =
            |json: &str| serde_json::from_str::<CollectionRow<'_>>(json).unwrap().into_collection();
        assert!(parse(r#"{"CollectionID":"SMS00002","CollectionType":1}"#).is_none());
        assert!(parse(r#"{"CollectionID":"x' or 1","CollectionType":2}"#).is_none());
        let other = parse(
            r#"{"CollectionID":"SMSOTHER","CollectionType":2,"MemberCount":null,"Name":null,"ObjectPath":null}"#,
        );
        let other = other.unwrap();
        assert_eq!(
            (other.name.as_str(), other.folder.as_str(), other.member_count),
            ("SMSOTHER", "/", 0)
        );
    }
}
