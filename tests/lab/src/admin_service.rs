//! The administration service's WMI route over the [`crate::world::World`].

use std::collections::HashMap;

use roaring::RoaringBitmap;

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
    // A query that names no collection reads all of them.
    let fails = match asked.as_slice() {
        [] => !faults.unreadable.is_empty(),
        asked => asked.iter().any(|id| faults.unreadable.contains(*id)),
    };
    if class.keys.len() == 2 && fails {
        return error(500, "The query failed.");
    }
    let selected = match ask.options.get("$select").map(|s| select(class, s)).transpose() {
        Ok(selected) => selected,
        Err(detail) => return error(400, &detail),
    };
    let number = |name: &str| ask.options.get(name).and_then(|n| n.parse::<usize>().ok());
    let (wanted, skip) = (number("$top").unwrap_or(usize::MAX), number("$skip").unwrap_or(0));
    let top = wanted.min(faults.link_pages.unwrap_or(usize::MAX));
    let body =
        format!("{{\"@odata.context\":\"{}/wmi/$metadata#{class_name}\",\"value\":[", ask.base);
    let (filtered, body) = (filter.as_ref(), body.into_bytes());
    let mut page = Page { class, selected, filter: filtered, top, count: 0, skip, body };
    fill(world, faults, &mut page, filter.as_ref());
    page.body.push(b']');
    if page.is_full() && top < wanted {
        page.body.extend(next_link(ask, wanted - top, skip + top));
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

/// Writes the rows of a page.
fn fill(world: &World, faults: &mut Faults, page: &mut Page<'_>, filter: Option<&Filter>) {
    match page.class.columns[0] {
        "CollectionID" if page.class.keys.len() == 1 => collections(world, faults, page),
        "CollectionID" => members(world, faults, page, filter),
        "Client" => systems(world, page, filter),
        "ReportingSiteCode" => sites(world, page),
        "LinkStatus" => links(world, page),
        "AdminID" => admins(faults, page),
        "Props" => definition(world, faults, page),
        "NetworkOSPath" => system_roles(world, faults, page),
        _ => page.row(&[Cell::Number(1), Cell::Text(&world.plan.site)]),
    }
}

/// Where the rest of an answer is: so many rows behind as many.
fn next_link(ask: &Ask<'_>, left: usize, skip: usize) -> Vec<u8> {
    let mut next = format!("{}/wmi/{}?$skip={skip}", ask.base, ask.class);
    for (name, value) in &ask.options {
        let value = value.replace(' ', "%20").replace('\'', "%27");
        match name.as_str() {
            "$top" => next.push_str(&format!("&$top={left}")),
            "$skip" => {}
            _ => next.push_str(&format!("&{name}={value}")),
        }
    }
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

/// Writes membership rows: those of the collections that are named, one after the other, or of all in
/// order of the resource.
fn members(world: &World, faults: &mut Faults, page: &mut Page<'_>, filter: Option<&Filter>) {
    let Some(filter) = filter else { return };
    let above = filter.above("ResourceID").unwrap_or(-1) + 1;
    let up_to = filter.up_to("ResourceID").unwrap_or(i64::from(u32::MAX));
    let within = |n: i64| u32::try_from(n.clamp(0, i64::from(u32::MAX))).unwrap_or(0);
    let (named, range) = (filter.one_of("CollectionID"), (within(above), within(up_to)));
    let room = page.top.saturating_add(page.skip);
    let mut rows = if named.is_empty() {
        by_resource(world, faults, range, room)
    } else {
        let mut rows = Vec::new();
        for id in named {
            let left = room.saturating_sub(rows.len());
            rows.extend(members_of(world, faults, (id, range), left));
        }
        rows
    };
    rows.drain(..page.skip.min(rows.len()));
    page.skip = 0;
    if faults.unordered {
        rows.reverse();
    }
    // They are those that the filter lets through.
    let checked = page.filter.take();
    for (collection, member) in rows {
        member_row(world, page, collection, member);
    }
    page.filter = checked;
}

/// A collection's rows, as far as they are shown.
fn shown<'w>(
    world: &'w World,
    faults: &mut Faults,
    id: &str,
) -> Option<(&'w str, &'w RoaringBitmap, u64)> {
    let (id, collection) =
        world.collections.get_key_value(id).filter(|(id, _)| !world.hidden.contains(*id))?;
    let rows = collection.frozen_rows.as_ref().unwrap_or(&collection.members);
    Some((id, rows, faults.shown(id, rows.len())))
}

fn members_of<'w>(
    world: &'w World,
    faults: &mut Faults,
    (id, (from, to)): (&str, (u32, u32)),
    room: usize,
) -> Vec<(&'w str, u32)> {
    let Some((id, rows, most)) = shown(world, faults, id) else {
        return Vec::new();
    };
    let before = from.checked_sub(1).map_or(0, |below| rows.rank(below));
    let most = usize::try_from(most.saturating_sub(before)).unwrap_or(usize::MAX);
    rows.range(from..=to).take(most.min(room)).map(|member| (id, member)).collect()
}

fn by_resource<'w>(
    world: &'w World,
    faults: &mut Faults,
    (from, to): (u32, u32),
    room: usize,
) -> Vec<(&'w str, u32)> {
    let shown: Vec<_> =
        world.collections.keys().filter_map(|id| shown(world, faults, id)).collect();
    let all = shown.iter().fold(RoaringBitmap::new(), |all, (_, rows, _)| all | *rows);
    let of = |member: u32| {
        let holds = move |(_, rows, most): &&(&str, &RoaringBitmap, u64)| {
            rows.contains(member) && rows.rank(member) <= *most
        };
        shown.iter().filter(holds).map(move |(id, _, _)| (*id, member))
    };
    let found: Vec<_> = all.range(from..=to).flat_map(of).take(room).collect();
    found
}

fn member_row(world: &World, page: &mut Page<'_>, collection: &str, member: u32) {
    let device = world.device(member);
    page.row(&[
        Cell::Text(collection),
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
