//! The rows of the site database's views, over the [`World`].

use std::cell::OnceCell;
use std::collections::BTreeSet;

use super::schema::{COLLECTIONS, RESOURCE_NAMES, View};
use super::value::Value;
use crate::world::{Collection, Device, World};

/// What a query's condition says of the columns that rows are ordered by.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    /// These collections alone.
    pub(super) collections: Option<BTreeSet<String>>,
    /// These resources, both included.
    pub(super) resources: Option<(i64, i64)>,
    /// Changes after this version.
    pub(super) since: i64,
}

impl Bounds {
    /// Ids within, the second not included. None is as high as the last there could be.
    fn range(&self) -> std::ops::Range<u32> {
        let (from, to) = self.resources.unwrap_or((0, i64::MAX));
        let within = |n: i64| u32::try_from(n.clamp(0, i64::from(u32::MAX))).expect("clamped");
        within(from)..within(to.saturating_add(1)).max(within(from))
    }
}

/// A row, whose cells are made when they are asked for.
pub(super) enum Row<'w> {
    Collection(&'w str, &'w Collection, i64),
    Member { collection: &'w str, id: u32, world: &'w World, device: OnceCell<Device> },
    System(u32, Device),
    Cells(Vec<Value<'w>>),
}

pub(super) type Rows<'w> = Box<dyn Iterator<Item = Row<'w>> + Send + 'w>;

/// How many of a collection's members are shown, or counted.
pub(super) type Shown<'w> = Box<dyn Fn(&str, u64) -> u64 + Send + 'w>;

/// The rows of one of the site's own views. `count` gives what a collection's count is shown as.
pub(super) fn rows<'w>(
    view: &View,
    world: &'w World,
    bounds: Bounds,
    (shown, count): (Shown<'w>, Shown<'w>),
) -> Rows<'w> {
    match view.name {
        "v_Collection" | "v_Collections" => {
            let visible = collections(world, &bounds);
            Box::new(visible.map(move |(id, collection)| {
                let count = count(id, collection.members.len());
                Row::Collection(id, collection, i64::try_from(count).unwrap_or(i64::MAX))
            }))
        }
        "v_FullCollectionMembership" => {
            let range = bounds.range();
            Box::new(collections(world, &bounds).flat_map(move |(id, collection)| {
                let members = collection.frozen_rows.as_ref().unwrap_or(&collection.members);
                let most = usize::try_from(shown(id, members.len())).unwrap_or(usize::MAX);
                let range = range.clone();
                // What comes before the range counts as shown.
                let before = match range.start.checked_sub(1) {
                    None => 0,
                    Some(below) => usize::try_from(members.rank(below)).unwrap_or(usize::MAX),
                };
                let ids = members.range(range).take(most.saturating_sub(before));
                ids.map(move |member| Row::Member {
                    collection: id,
                    id: member,
                    world,
                    device: OnceCell::new(),
                })
            }))
        }
        "v_R_System" | "v_RA_System_ResourceNames" => {
            let is_names = view.name == RESOURCE_NAMES.name;
            let all = world.devices.range(bounds.range()).map(|id| (id, world.device(id)));
            let known = all.filter(move |(_, device)| {
                device.has_record && !(is_names && device.fqdn().is_none())
            });
            Box::new(known.map(|(id, device)| Row::System(id, device)))
        }
        "CHANGETABLE" => Box::new(changes(world, bounds.since)),
        "v_Site" => Box::new(sites(world)),
        "v_Identification" => {
            let code = world.plan.site.as_str();
            Box::new(std::iter::once(Row::Cells(vec![
                Value::text(code),
                Value::text(format!("Site {code}")),
            ])))
        }
        _ => Box::new(world.link_states.iter().map(|(child, state)| {
            let at = Value::time(1_753_000_000, 0);
            let (sending, receiving) = (Value::text(child), Value::text(&world.plan.site));
            Row::Cells(vec![sending, receiving, Value::Number(i64::from(*state)), at])
        })),
    }
}

fn collections<'w>(
    world: &'w World,
    bounds: &Bounds,
) -> Box<dyn Iterator<Item = (&'w str, &'w Collection)> + Send + 'w> {
    let visible = |(id, collection): (&'w String, &'w Collection)| {
        (!world.hidden.contains(id)).then_some((id.as_str(), collection))
    };
    match &bounds.collections {
        None => Box::new(world.collections.iter().filter_map(visible)),
        Some(wanted) => {
            let found = wanted.iter().filter_map(|id| world.collections.get_key_value(id));
            Box::new(found.filter_map(visible).collect::<Vec<_>>().into_iter())
        }
    }
}

/// One row for each membership that changed, all its changes taken together. One that came and went is
/// shown as gone, as the server does.
fn changes(world: &World, since: i64) -> impl Iterator<Item = Row<'_>> + Send {
    let version = i64::try_from(world.changes.len()).unwrap_or(i64::MAX);
    world.changes_since(since).into_iter().map(move |((collection, id), (was, is))| {
        let operation = match (was, is) {
            (false, true) => "I",
            (true, true) => "U",
            (_, false) => "D",
        };
        let (collection, operation) = (Value::text(collection), Value::text(operation));
        Row::Cells(vec![Value::Number(version), operation, collection, Value::Number(id.into())])
    })
}

fn sites(world: &World) -> impl Iterator<Item = Row<'_>> + Send {
    world.sites().map(|(code, above, kind)| {
        Row::Cells(vec![
            Value::text(code),
            Value::text(format!("Site {code}")),
            Value::text(above),
            Value::text("localhost"),
            Value::Number(kind),
            Value::Number(1),
            Value::text("5.00.9146.1000"),
        ])
    })
}

impl Row<'_> {
    /// The cell of a column.
    pub(super) fn cell(&self, view: &View, index: usize) -> Value<'_> {
        match self {
            Row::Cells(cells) => cells[index].clone(),
            Row::Collection(id, collection, count) if view.name == COLLECTIONS.name => {
                in_collections(index, id, collection, *count)
            }
            Row::Collection(id, collection, count) => in_collection(index, id, collection, *count),
            Row::Member { collection, id, world, device } => {
                let device = || device.get_or_init(|| world.device(*id));
                match index {
                    0 => Value::text(*collection),
                    1 => Value::Number(i64::from(*id)),
                    2 => Value::Number(i64::from(device().resource_type)),
                    3 => Value::text(device().name.as_str()),
                    5 => Value::text(device().domain.as_str()),
                    6 => Value::maybe(device().site.as_deref()),
                    7 => Value::bit(false),
                    8 => Value::bit(device().has_record && *id < crate::world::DISCOVERED),
                    9 => Value::bit(device().is_retired),
                    _ => Value::Null,
                }
            }
            Row::System(id, device) if view.name == RESOURCE_NAMES.name => match index {
                0 => Value::Number(i64::from(*id)),
                _ => Value::maybe(device.fqdn()),
            },
            Row::System(id, device) => match index {
                0 => Value::Number(i64::from(*id)),
                1 => Value::Number(i64::from(device.resource_type)),
                2 | 3 => Value::text(device.name.as_str()),
                4 => Value::maybe(device.dns_domain.as_ref().map(|d| d.to_ascii_uppercase())),
                5 => Value::text(device.domain.as_str()),
                6 => Value::Number(1),
                7 => Value::bit(device.is_retired),
                _ => Value::Number(0),
            },
        }
    }
}

fn in_collection<'a>(
    index: usize,
    id: &'a str,
    collection: &'a Collection,
    count: i64,
) -> Value<'a> {
    let (changed, evaluated) = World::seconds(id, collection);
    match index {
        0 => Value::text(id),
        1 => Value::text(collection.name.as_str()),
        3 => Value::Number(i64::from(collection.kind)),
        4 => Value::Number(count),
        5 => Value::Number(1),
        6 => Value::time(changed, 870),
        7 => Value::time(evaluated, 0),
        8 => Value::text("SMS_R_System"),
        _ => Value::Null,
    }
}

fn in_collections<'a>(
    index: usize,
    id: &'a str,
    collection: &'a Collection,
    count: i64,
) -> Value<'a> {
    let (_, evaluated) = World::seconds(id, collection);
    match index {
        // Some number of its own: nothing may join it to the eight characters.
        0 => Value::Number(16_777_216 + i64::from(crc(id))),
        1 => Value::text(id),
        2 => Value::text(collection.name.as_str()),
        3 => Value::Number(i64::from(collection.kind)),
        4 => Value::Number(count),
        5 => Value::maybe((collection.folder != "/").then_some(collection.folder.as_str())),
        6 => Value::time(evaluated, 0),
        _ => Value::time(0, 0),
    }
}

fn crc(id: &str) -> u16 {
    id.bytes().fold(0, |sum: u16, b| sum.wrapping_mul(31).wrapping_add(u16::from(b)))
}
