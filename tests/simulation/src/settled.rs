//! Whether workspace and site are equal, and nothing waits.

use std::collections::BTreeSet;

use cmsync_azure::{SavedSearch, Tag};
use cmsync_queue::{Error, Queue};
use cmsync_schemas::searches::{Show, all_groups, searches};
use cmsync_schemas::topics::{self, StateKey};
use cmsync_schemas::{COLLECTION_STATE, GROUP, Group};

use crate::CONNECTION;
use crate::copy::group_options;
use crate::site::{CODE, Truth};
use crate::workspace::Azure;
use crate::world::World;

/// What is not as it should be, in words.
///
/// # Errors
/// When the queue is closed.
pub(crate) async fn differences(
    world: &World,
    azure: &Azure,
    queue: &dyn Queue,
) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    let pairs = [
        (topics::changes(CONNECTION), topics::TRANSFORMER),
        (topics::records(CONNECTION), topics::UPLOADER),
    ];
    for (topic, group) in pairs {
        let waiting: u64 = queue.log(&topic, group).await?.iter().map(|log| log.waiting).sum();
        if waiting > 0 {
            found.push(format!("{waiting} messages of {topic} wait"));
        }
    }
    for entry in queue.scan(topics::STATE).await? {
        let (key, value) = entry?;
        if let Some((_, StateKey::Collection(id))) = StateKey::decode(&key)
            && let Ok(state) = COLLECTION_STATE.decode(&value)
            && !state.held_reason.is_empty()
        {
            found.push(format!("a removal of {id} is held: {}", state.held_reason));
        }
    }
    if !found.is_empty() {
        return Ok(found);
    }
    let mut groups = Vec::new();
    for entry in queue.scan(&topics::groups(CONNECTION)).await? {
        groups.extend(GROUP.decode(&entry?.1).ok());
    }
    let inner = world.lock();
    in_the_tables(&inner.truth, azure, &mut found);
    in_the_groups(&inner.truth, &groups, &mut found);
    let present: Vec<&SavedSearch> = inner.searches.values().collect();
    in_the_searches(&groups, &present, &mut found);
    Ok(found)
}

fn in_the_tables(truth: &Truth, azure: &Azure, found: &mut Vec<String>) {
    let view = azure.workspace.view(CODE, 0);
    let seen: BTreeSet<&String> = view.groups.keys().collect();
    let there: BTreeSet<&String> = truth.collections.keys().collect();
    if seen != there {
        found.push(format!("the workspace has groups {seen:?}, the site has {there:?}"));
    }
    for (id, collection) in &truth.collections {
        if view.names.get(id) != Some(&collection.name) {
            found.push(format!(
                "{id} is named {:?}, not {:?}",
                view.names.get(id),
                collection.name
            ));
        }
        let expected = truth.expected(collection);
        let seen = view.groups.get(id).cloned().unwrap_or_default();
        for (device, member) in &expected {
            if seen.get(device) != Some(member) {
                found.push(format!("{id}/{device} is {:?}, not {member:?}", seen.get(device)));
            }
        }
        for device in seen.keys().filter(|device| !expected.contains_key(device)) {
            found.push(format!("{id}/{device} is no member"));
        }
    }
}

/// Groups have all members, also those whose rows the workspace refuses.
fn in_the_groups(truth: &Truth, groups: &[Group], found: &mut Vec<String>) {
    let told: BTreeSet<&str> = groups.iter().map(|group| group.collection_id.as_str()).collect();
    let there: BTreeSet<&str> = truth.collections.keys().map(String::as_str).collect();
    if told != there {
        found.push(format!("there are groups {told:?}, the site has {there:?}"));
    }
    for group in groups {
        let Some(collection) = truth.collections.get(&group.collection_id) else { continue };
        let names: BTreeSet<&String> = group.computers.iter().collect();
        let members = collection.members.iter().filter_map(|id| truth.devices.get(id));
        let members = members.filter(|device| !device.is_retired);
        let wanted: BTreeSet<&String> =
            members.map(|device| device.fqdn.as_ref().unwrap_or(&device.name)).collect();
        if names != wanted || group.name != collection.name || group.folder != collection.folder {
            found.push(format!(
                "group {} is {:?} {names:?}, not {:?} {wanted:?}",
                group.collection_id, group.name, collection.name
            ));
        }
    }
}

fn in_the_searches(groups: &[Group], present: &[&SavedSearch], found: &mut Vec<String>) {
    let options = group_options();
    let show = Show { names: options.names, days: options.days, is_alone: true };
    let wanted = groups.iter().flat_map(|group| searches(group, show)).chain([all_groups(show)]);
    let mut ids = BTreeSet::new();
    for search in wanted {
        ids.insert(search.id.clone());
        let tags = search.tags.iter();
        let tags = tags.map(|(name, value)| Tag { name: name.clone(), value: value.clone() });
        let tags: Vec<Tag> = tags.collect();
        let is_there = present.iter().any(|is| {
            is.id == search.id
                && is.query == search.query
                && is.display_name == search.display_name
                && is.tags == tags
        });
        if !is_there && !groups.is_empty() {
            found.push(format!("saved search {} is not as it should be", search.id));
        }
    }
    for search in present.iter().filter(|search| !ids.contains(&search.id)) {
        found.push(format!("saved search {} should not be there", search.id));
    }
}
