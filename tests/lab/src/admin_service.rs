//! The administration service's WMI route over the [`crate::world::World`].

use std::collections::HashMap;

use crate::classes::{Cell, Class, Page};
use crate::faults::Faults;
use crate::filter::{self, Filter};
use crate::world::World;

/// What a request asks for.
pub(crate) struct Ask<'a> {
    pub(crate) class: &'a str,
    pub(crate) options: HashMap<String, String>,
    pub(crate) base: &'a str,
}

/// An answer: status, whether it is JSON, body.
pub(crate) type Reply = (u16, bool, Vec<u8>);

/// Answers a request for a class.
pub(crate) fn answer(world: &mut World, faults: &mut Faults, ask: &Ask<'_>) -> Reply {
    if let Some(raw) = faults.raw_answers.get(ask.class) {
        return (200, true, raw.clone().into_bytes());
    }
    let (class_name, key) = by_key(ask.class);
    let Some(class) = Class::find(class_name) else {
        return error(404, "Access denied or unknown class");
    };
    let asked = ask.options.get("$filter").map(|f| filter::parse(f)).transpose();
    let filter = match asked {
        // By key, the answer is an array of one row.
        Ok(filter) => key.map(|k| Filter::key(class.keys[0], k)).or(filter),
        Err(detail) => return error(400, &detail),
    };
    let asked = filter.as_ref().map(|f| f.one_of("CollectionID")).unwrap_or_default();
    if class.keys.len() == 2 && asked.iter().any(|id| faults.unreadable.contains(*id)) {
        return error(500, "The query failed.");
    }
    let selected = match ask.options.get("$select").map(|s| select(class, s)).transpose() {
        Ok(selected) => selected,
        Err(detail) => return error(400, &detail),
    };
    let top = ask.options.get("$top").and_then(|t| t.parse().ok()).unwrap_or(usize::MAX);
    let top = top.min(faults.link_pages.unwrap_or(usize::MAX));
    let body =
        format!("{{\"@odata.context\":\"{}/wmi/$metadata#{class_name}\",\"value\":[", ask.base);
    let mut page =
        Page { class, selected, filter: filter.as_ref(), top, count: 0, body: body.into_bytes() };
    let last = fill(world, faults, &mut page, filter.as_ref());
    page.body.push(b']');
    if faults.link_pages.is_some() && page.is_full() {
        page.body.extend(next_link(ask, filter.as_ref(), last));
    }
    page.body.push(b'}');
    (200, true, page.body)
}

/// The class and the key of `SMS_Class('key')`.
fn by_key(asked: &str) -> (&str, Option<&str>) {
    match asked.split_once('(').and_then(|(class, rest)| Some((class, rest.strip_suffix(')')?))) {
        Some((class, key)) => (class, Some(key)),
        None => (asked, None),
    }
}

/// Writes the rows of a page; gives the last member's id.
fn fill(
    world: &World,
    faults: &mut Faults,
    page: &mut Page<'_>,
    filter: Option<&Filter>,
) -> Option<u32> {
    match page.class.columns[0] {
        "CollectionID" if page.class.keys.len() == 1 => collections(world, faults, page),
        "CollectionID" => return members(world, faults, page, filter),
        "Client" => systems(world, page, filter),
        "ReportingSiteCode" => sites(world, page),
        "LinkStatus" => links(world, page),
        "AdminID" => admins(faults, page),
        "Props" => definition(world, faults, page),
        "NetworkOSPath" => system_roles(world, faults, page),
        _ => page.row(&[Cell::Number(1), Cell::Text(&world.plan.site)]),
    }
    None
}

/// Where the rest of a collection's members is.
fn next_link(ask: &Ask<'_>, filter: Option<&Filter>, last: Option<u32>) -> Vec<u8> {
    let asked = filter.map(|f| f.one_of("CollectionID")).unwrap_or_default();
    let (Some(last), [collection]) = (last, asked.as_slice()) else {
        return Vec::new();
    };
    let select = ask.options.get("$select").cloned().unwrap_or_default();
    let next = format!(
        "{}/wmi/{}?$filter=CollectionID%20eq%20%27{collection}%27%20and%20ResourceID%20gt%20{last}&$select={select}&$orderby=ResourceID",
        ask.base, ask.class
    );
    format!(",\"@odata.nextLink\":\"{next}\"").into_bytes()
}

fn select(class: &Class, text: &str) -> Result<Vec<bool>, String> {
    let mut selected = vec![false; class.columns.len()];
    for name in text.split(',') {
        if class.lazy.iter().any(|l| l.eq_ignore_ascii_case(name)) {
            return Err("select on lazy columns not supported for GetAll requests".into());
        }
        let index = class.columns.iter().position(|c| c.eq_ignore_ascii_case(name));
        selected[index.ok_or_else(|| format!("Could not find a property named '{name}'"))?] = true;
    }
    Ok(selected)
}

fn collections(world: &World, faults: &Faults, page: &mut Page<'_>) {
    for (id, collection) in &world.collections {
        if world.hidden.contains(id) {
            continue;
        }
        let (changed, evaluated) = World::times(id, collection);
        let count = faults.counted(id, collection.members.len());
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

/// Writes membership rows, collection by collection; gives the last id written.
fn members(
    world: &World,
    faults: &mut Faults,
    page: &mut Page<'_>,
    filter: Option<&Filter>,
) -> Option<u32> {
    let filter = filter?;
    let from = u32::try_from(filter.above("ResourceID").unwrap_or(-1) + 1).ok()?;
    let checked = page.filter.take();
    let mut last = None;
    for id in filter.one_of("CollectionID") {
        last = members_of(world, faults, page, (id, from)).or(last);
    }
    page.filter = checked;
    last
}

fn members_of(
    world: &World,
    faults: &mut Faults,
    page: &mut Page<'_>,
    (id, from): (&str, u32),
) -> Option<u32> {
    let collection = world.collections.get(id).filter(|_| !world.hidden.contains(id))?;
    let rows = collection.frozen_rows.as_ref().unwrap_or(&collection.members);
    let most = usize::try_from(faults.shown(id, rows.len())).unwrap_or(usize::MAX);
    let room = page.top - page.count;
    let mut ids: Vec<u32> = rows.iter().take(most).skip_while(|id| *id < from).take(room).collect();
    let last = ids.last().copied();
    if faults.unordered {
        ids.reverse();
    }
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
    for (code, above, kind) in world.sites() {
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
    let role = if faults.role.is_empty() { "Read-only Analyst" } else { &faults.role };
    let (all, roles) = (["All".to_owned()], [role.to_owned()]);
    page.row(&[
        Cell::Number(1),
        Cell::List(&all),
        Cell::List(&all),
        Cell::Text("CONTOSO\\svc-cmsync"),
        Cell::List(&roles),
    ]);
}

fn system_roles(world: &World, faults: &Faults, page: &mut Page<'_>) {
    let offline = i64::from(faults.is_offline);
    let props = serde_json::json!([{"PropertyName": "OfflineMode", "Value": offline, "Value1": "", "Value2": ""}]);
    page.row(&[
        Cell::Text("\\\\CM01"),
        Cell::Json(&props),
        Cell::Text("SMS Dmp Connector"),
        Cell::Text(&world.plan.site),
    ]);
}

/// Where the site database is. As on a real server, its port is among the embedded properties.
fn definition(world: &World, faults: &Faults, page: &mut Page<'_>) {
    let (site, port) = (&world.plan.site, faults.sql_port);
    let props = serde_json::json!([
        {"PropertyName": "SQLServicePort", "Value": port, "Value1": "", "Value2": ""},
        {"PropertyName": "SQLServerFQDN", "Value": 0, "Value1": "localhost", "Value2": ""},
    ]);
    let database = format!("CM_{site}");
    page.row(&[Cell::Json(&props), Cell::Text(site), Cell::Text(&database), Cell::Text("SQL01")]);
}

pub(crate) fn error(status: u16, message: &str) -> Reply {
    let body = serde_json::json!({"error": {"code": status.to_string(), "message": message}});
    (status, true, body.to_string().into_bytes())
}

pub(crate) fn web_page(status: u16) -> Reply {
    let body = "<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Strict//EN\"><html><body>Not here</body></html>";
    (status, false, body.into())
}
