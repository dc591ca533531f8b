//! Computer groups as people ask for them.

use std::collections::BTreeMap;

use cmsync_queue::{Error, Queue};
use cmsync_schemas::kql::group_alias;
use cmsync_schemas::searches::{Search, Show, all_groups};
use cmsync_schemas::{CollectionState, GROUP, Group, Subject, topics};

use crate::state;
use crate::views::{Answer, GroupView, GroupsView, MembershipView, SearchView};

/// What the writer was told of each group, by connection and collection.
async fn told(
    queue: &dyn Queue,
    connections: &[String],
) -> Result<BTreeMap<(String, String), Group>, Error> {
    let mut told = BTreeMap::new();
    for connection in connections {
        for entry in queue.scan(&topics::groups(connection)).await? {
            if let Ok(mut group) = GROUP.decode(&entry?.1) {
                // The names are not what is asked for, and they are the most of it.
                (group.computers, group.netbios_names) = (Vec::new(), Vec::new());
                told.insert((connection.clone(), group.collection_id.clone()), group);
            }
        }
    }
    Ok(told)
}

/// Every group, and how many computers are in one or more.
pub(crate) async fn all(queue: &dyn Queue, connections: &[String]) -> Result<Answer, Error> {
    let collections = state::collections(queue).await?;
    let told = told(queue, connections).await?;
    let view = |((connection, collection), s): ((String, String), CollectionState)| {
        let group = told.get(&(connection.clone(), collection.clone()));
        GroupView {
            alias: group.map(|g| group_alias(&g.site_code, &collection)).unwrap_or_default(),
            is_static: group.is_some_and(|g| g.is_static),
            connection,
            collection,
            name: s.name,
            folder: s.folder,
            members: s.members,
            last_read: s.last_read,
            last_snapshot: s.started_at,
            snapshot: match (s.sending, s.start_seq) {
                (true, _) => "on its way",
                (false, 0) => "never sent",
                (false, _) => "sent",
            }
            .to_owned(),
        }
    };
    let groups: Vec<GroupView> = collections.into_iter().map(view).collect();
    let computers = state::computers(queue).await?;
    Ok(Answer::Groups(GroupsView { collections: groups.len() as u64, computers, groups }))
}

/// The groups of the computers with this name.
pub(crate) async fn of(
    queue: &dyn Queue,
    connection: &str,
    computer: &str,
) -> Result<Answer, Error> {
    let devices = state::devices_named(queue, connection, computer).await?;
    if devices.is_empty() {
        return Ok(Answer::Refused(format!(
            "connection `{connection}` knows no computer `{computer}`; give its FQDN or NetBIOS name"
        )));
    }
    let collections = state::collections(queue).await?;
    let told = told(queue, &[connection.to_owned()]).await?;
    let mut views = Vec::new();
    for (collection, resource_id) in state::memberships(queue, connection, &devices).await? {
        let key = (connection.to_owned(), collection.clone());
        let device = devices.iter().find(|d| d.resource_id == resource_id);
        views.push(MembershipView {
            name: collections.get(&key).map(|s| s.name.clone()).unwrap_or_default(),
            alias: told
                .get(&key)
                .map(|g| group_alias(&g.site_code, &collection))
                .unwrap_or_default(),
            computer: device
                .map(|d| d.fqdn.clone().unwrap_or_else(|| d.netbios_name.clone()))
                .unwrap_or_default(),
            collection,
            resource_id,
        });
    }
    Ok(Answer::GroupsOf(views))
}

/// The saved searches that the workspace should have.
pub(crate) async fn searches(
    queue: &dyn Queue,
    connection: &str,
    show: Show,
) -> Result<Answer, Error> {
    let key = topics::control_key(connection, Subject::Groups, topics::GROUPS_OFF);
    let mut orders = queue.scan(topics::CONTROL).await?;
    if orders.any(|entry| entry.is_ok_and(|(found, _)| found.as_ref() == key.as_bytes())) {
        return Ok(Answer::Searches(Vec::new()));
    }
    let view = |search: Search, changed_at: i64| SearchView {
        print: SearchView::print(&search.query, &search.display_name),
        id: search.id,
        alias: search.function_alias,
        changed_at,
    };
    let mut wanted = Vec::new();
    for entry in queue.scan(&topics::groups(connection)).await? {
        if let Ok(group) = GROUP.decode(&entry?.1) {
            wanted.extend(
                cmsync_schemas::searches::searches(&group, show)
                    .into_iter()
                    .map(|s| view(s, group.seq)),
            );
        }
    }
    if let Some(last) = wanted.iter().map(|w| w.changed_at).min() {
        wanted.push(view(all_groups(show), last));
    }
    Ok(Answer::Searches(wanted))
}
