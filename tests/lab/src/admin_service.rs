//! The administration service's WMI route over the [`crate::world::World`].

use std::collections::HashMap;

use serde_json::Value;

use crate::faults::Faults;
use crate::filter::{self, Filter, Literal};
use crate::world::World;

/// What a request asks for.
pub(crate) struct Ask<'a> {
    pub(crate) class: &'a str,
    pub(crate) options: HashMap<String, String>,
    pub(crate) base: &'a str,
}

/// An answer: status, whether it is JSON, body.
pub(crate) type Reply = (u16, bool, Vec<u8>);

#[derive(Clone, Copy)]
enum Cell<'a> {
    Text(&'a str),
    Maybe(Option<&'a str>),
    Number(i64),
    Bool(bool),
    List(&'a [String]),
}

/// Columns of a class in the order in which rows show them.
struct Class {
    columns: &'static [&'static str],
    keys: &'static [&'static str],
    lazy: &'static [&'static str],
}

const COLLECTION: Class = Class {
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
    lazy: &[
        "RefreshType",
        "RefreshSchedule",
        "CollectionRules",
        "ISVData",
    ],
};
const MEMBERSHIP: Class = Class {
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
const SYSTEM: Class = Class {
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
const SITE: Class = Class {
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
const LINK: Class = Class {
    columns: &["LinkStatus", "Site1", "Site2", "Site2ToSite1SiteSyncTime"],
    keys: &["Site1", "Site2"],
    lazy: &[],
};
const ADMIN: Class = Class {
    columns: &[
        "AdminID",
        "CategoryNames",
        "CollectionNames",
        "LogonName",
        "RoleNames",
    ],
    keys: &["AdminID"],
    lazy: &["CategoryNames", "CollectionNames", "LogonName", "RoleNames"],
};
const IDENTIFICATION: Class = Class {
    columns: &["SiteNumber", "ThisSiteCode"],
    keys: &["ThisSiteCode"],
    lazy: &[],
};

/// Rows being written.
struct Page<'a> {
    class: &'a Class,
    selected: Option<Vec<bool>>,
    filter: Option<&'a Filter>,
    top: usize,
    count: usize,
    body: Vec<u8>,
}

impl Page<'_> {
    fn is_full(&self) -> bool {
        self.count == self.top
    }

    /// Writes a row if it passes the filter.
    fn row(&mut self, cells: &[Cell<'_>]) {
        let literal = |name: &str| {
            let index = self
                .class
                .columns
                .iter()
                .position(|c| c.eq_ignore_ascii_case(name))?;
            match cells[index] {
                Cell::Text(text) => Some(Literal::Text(text.into())),
                Cell::Maybe(text) => text.map(|t| Literal::Text(t.into())),
                Cell::Number(number) => Some(Literal::Number(number)),
                Cell::Bool(b) => Some(Literal::Number(i64::from(b))),
                Cell::List(_) => None,
            }
        };
        if self.is_full() || self.filter.is_some_and(|f| !f.passes(&literal)) {
            return;
        }
        self.body
            .extend_from_slice(if self.count == 0 { b"{" } else { b",{" });
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
            };
            written.expect("writing to memory");
        }
        if self.selected.is_none() {
            self.body
                .extend_from_slice(b",\"__GENUS\":2,\"__NAMESPACE\":\"root\\\\sms\\\\site\"");
        }
        self.body.push(b'}');
    }
}

/// Answers a request for a class.
pub(crate) fn answer(world: &mut World, faults: &mut Faults, ask: &Ask<'_>) -> Reply {
    let class = match ask.class.to_ascii_lowercase().as_str() {
        "sms_collection" => &COLLECTION,
        "sms_fullcollectionmembership" => &MEMBERSHIP,
        "sms_r_system" => &SYSTEM,
        "sms_site" => &SITE,
        "sms_replicationlinksummary" => &LINK,
        "sms_admin" => &ADMIN,
        "sms_identification" => &IDENTIFICATION,
        _ => return error(404, "Access denied or unknown class"),
    };
    let filter = match ask
        .options
        .get("$filter")
        .map(|f| filter::parse(f))
        .transpose()
    {
        Ok(filter) => filter,
        Err(detail) => return error(400, &detail),
    };
    let selected = match ask
        .options
        .get("$select")
        .map(|s| select(class, s))
        .transpose()
    {
        Ok(selected) => selected,
        Err(detail) => return error(400, &detail),
    };
    let top = ask
        .options
        .get("$top")
        .and_then(|t| t.parse().ok())
        .unwrap_or(usize::MAX);
    let top = top.min(faults.link_pages.unwrap_or(usize::MAX));
    let body = format!(
        "{{\"@odata.context\":\"{}/wmi/$metadata#{}\",\"value\":[",
        ask.base, ask.class
    );
    let mut page = Page {
        class,
        selected,
        filter: filter.as_ref(),
        top,
        count: 0,
        body: body.into_bytes(),
    };
    let mut last = None;
    match class.columns[0] {
        "CollectionID" if class.keys.len() == 1 => collections(world, faults, &mut page),
        "CollectionID" => last = members(world, faults, &mut page, filter.as_ref()),
        "Client" => systems(world, &mut page, filter.as_ref()),
        "ReportingSiteCode" => sites(world, &mut page),
        "LinkStatus" => links(world, &mut page),
        "AdminID" => admins(faults, &mut page),
        _ => page.row(&[Cell::Number(1), Cell::Text(&world.plan.site)]),
    }
    page.body.push(b']');
    if let (Some(_), true, Some(last), Some(Literal::Text(collection))) = (
        faults.link_pages,
        page.is_full(),
        last,
        filter.as_ref().and_then(|f| f.equal_to("CollectionID")),
    ) {
        let select = ask.options.get("$select").cloned().unwrap_or_default();
        let next = format!(
            "{}/wmi/{}?$filter=CollectionID%20eq%20%27{collection}%27%20and%20ResourceID%20gt%20{last}&$select={select}&$orderby=ResourceID",
            ask.base, ask.class
        );
        page.body
            .extend_from_slice(format!(",\"@odata.nextLink\":\"{next}\"").as_bytes());
    }
    page.body.push(b'}');
    (200, true, page.body)
}

fn select(class: &Class, text: &str) -> Result<Vec<bool>, String> {
    let mut selected = vec![false; class.columns.len()];
    for name in text.split(',') {
        if class.lazy.iter().any(|l| l.eq_ignore_ascii_case(name)) {
            return Err("select on lazy columns not supported for GetAll requests".into());
        }
        let index = class
            .columns
            .iter()
            .position(|c| c.eq_ignore_ascii_case(name));
        selected[index.ok_or_else(|| format!("Could not find a property named '{name}'"))?] = true;
    }
    Ok(selected)
}

fn collections(world: &World, faults: &Faults, page: &mut Page<'_>) {
    for (id, collection) in &world.collections {
        if world.hidden.contains(id) {
            continue;
        }
        let (changed, evaluated) = World::times(collection.version, id);
        let mut count = collection.members.len();
        if faults.half_counts && faults.half_members.get(id).is_some_and(|n| *n > 0) {
            count /= 2;
        }
        page.row(&[
            Cell::Text(id),
            Cell::Number(i64::from(collection.kind)),
            Cell::Text(""),
            Cell::Number(1),
            Cell::Text(&evaluated),
            Cell::Text("1970-01-01T00:00:00Z"),
            Cell::Bool(id.starts_with("SMS")),
            Cell::Text(&changed),
            Cell::Number(i64::try_from(count).unwrap_or(0)),
            Cell::Text(&collection.name),
            Cell::Maybe((collection.folder != "/").then_some(&collection.folder)),
        ]);
    }
}

/// Writes membership rows; gives the last id written.
fn members(
    world: &World,
    faults: &mut Faults,
    page: &mut Page<'_>,
    filter: Option<&Filter>,
) -> Option<u32> {
    let Some(Literal::Text(id)) = filter.and_then(|f| f.equal_to("CollectionID")) else {
        return None;
    };
    let collection = world
        .collections
        .get(id)
        .filter(|_| !world.hidden.contains(id))?;
    let rows = collection
        .frozen_rows
        .as_ref()
        .unwrap_or(&collection.members);
    let after = filter.and_then(|f| f.above("ResourceID")).unwrap_or(-1);
    let from = u32::try_from(after + 1).ok()?;
    let half = faults.half_members.get_mut(id).is_some_and(Faults::take);
    let most = if half { rows.len() / 2 } else { rows.len() };
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut ids: Vec<u32> = rows
        .iter()
        .take(most)
        .skip_while(|id| *id < from)
        .take(page.top)
        .collect();
    let last = ids.last().copied();
    if faults.unordered {
        ids.reverse();
    }
    let checked = page.filter.take();
    for member in ids {
        let device = world.device(member);
        page.row(&[
            Cell::Text(id),
            Cell::Text(&device.domain),
            Cell::Bool(device.has_record && member < crate::world::DISCOVERED),
            Cell::Bool(false),
            Cell::Maybe(None),
            Cell::Bool(device.is_retired),
            Cell::Text(&device.name),
            Cell::Number(i64::from(member)),
            Cell::Number(i64::from(device.resource_type)),
            Cell::Maybe(device.site.as_deref()),
            Cell::Maybe(None),
        ]);
    }
    page.filter = checked;
    last
}

fn systems(world: &World, page: &mut Page<'_>, filter: Option<&Filter>) {
    let from = filter
        .and_then(|f| f.above("ResourceId"))
        .map_or(0, |id| u32::try_from(id + 1).unwrap_or(0));
    for id in world.devices.range(from..) {
        if page.is_full() {
            break;
        }
        let device = world.device(id);
        if !device.has_record {
            continue;
        }
        let names: Vec<String> = device.fqdn().into_iter().collect();
        let full_domain = device.dns_domain.as_ref().map(|d| d.to_ascii_uppercase());
        page.row(&[
            Cell::Number(1),
            Cell::Number(0),
            Cell::Maybe(full_domain.as_deref()),
            Cell::Text(&device.name),
            Cell::Text(&device.name),
            Cell::Number(i64::from(device.is_retired)),
            Cell::Text(&device.domain),
            Cell::Number(i64::from(id)),
            Cell::List(&names),
            Cell::Maybe(None),
        ]);
    }
}

fn sites(world: &World, page: &mut Page<'_>) {
    let top_kind = if world.plan.primaries.is_empty() {
        2
    } else {
        4
    };
    let top = (
        world.plan.site.as_str(),
        world.reports_to.as_str(),
        top_kind,
    );
    let below = world
        .plan
        .primaries
        .iter()
        .map(|code| (code.as_str(), world.plan.site.as_str(), 2));
    for (code, above, kind) in std::iter::once(top).chain(below) {
        let name = format!("Site {code}");
        page.row(&[
            Cell::Text(above),
            Cell::Text("localhost"),
            Cell::Text(code),
            Cell::Text(&name),
            Cell::Number(1),
            Cell::Number(kind),
            Cell::Text("5.00.9146.1000"),
        ]);
    }
}

fn links(world: &World, page: &mut Page<'_>) {
    for (child, state) in &world.link_states {
        page.row(&[
            Cell::Number(i64::from(*state)),
            Cell::Text(&world.plan.site),
            Cell::Text(child),
            Cell::Text("2026-11-22T08:00:00Z"),
        ]);
    }
}

fn admins(faults: &Faults, page: &mut Page<'_>) {
    if faults.hides_account {
        return;
    }
    let role = if faults.role.is_empty() {
        "Read-only Analyst"
    } else {
        &faults.role
    };
    let (all, roles) = (["All".to_owned()], [role.to_owned()]);
    page.row(&[
        Cell::Number(1),
        Cell::List(&all),
        Cell::List(&all),
        Cell::Text("CONTOSO\\svc-cmsync"),
        Cell::List(&roles),
    ]);
}

pub(crate) fn error(status: u16, message: &str) -> Reply {
    let body = serde_json::json!({"error": {"code": status.to_string(), "message": message}});
    (status, true, body.to_string().into_bytes())
}

pub(crate) fn web_page(status: u16) -> Reply {
    let body = "<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Strict//EN\"><html><body>Not here</body></html>";
    (status, false, body.into())
}
