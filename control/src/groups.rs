//! Computer groups as people ask for them.

use cmsync_queue::{Error, Queue};
use cmsync_schemas::searches::{Search, Show, all_groups};
use cmsync_schemas::{GROUP, Subject, topics};

use crate::desk::Desk;
use crate::lists::{Asked, Groups};
use crate::state;
use crate::views::{Answer, GroupsView, MembershipView, SearchView};

impl Desk {
    /// Every group, and how many computers are in one or more.
    pub(crate) async fn groups(&self) -> Result<Answer, Error> {
        let Groups { collections, found, .. } = self.list_groups(&Asked::default()).await?;
        let computers = state::computers(&*self.queue, &self.connections().await?).await?;
        Ok(Answer::Groups(GroupsView { collections, computers, groups: found }))
    }

    /// The groups of the computers with this name.
    pub(crate) async fn groups_of(
        &self,
        connection: &str,
        computer: &str,
    ) -> Result<Answer, Error> {
        let queue = &*self.queue;
        // What came a moment ago is among all devices, and not among the names yet.
        let mut devices = self.named(connection, computer).await?;
        if devices.is_empty() {
            let found = state::devices_named(queue, connection, computer).await?;
            devices = found.into_iter().map(|d| (d.resource_id, d.computer().to_owned())).collect();
        }
        if devices.is_empty() {
            return Ok(Answer::Refused(format!(
                "connection `{connection}` knows no computer `{computer}`; give its FQDN or NetBIOS name"
            )));
        }
        let collections = self.shelf.collections().await?;
        let told = self.shelf.told(connection).await?;
        let mut views = Vec::new();
        let ids = devices.keys().copied().collect();
        for (collection, resource_id) in state::memberships(queue, connection, ids).await? {
            let key = (connection.to_owned(), collection);
            views.push(MembershipView {
                name: collections.get(&key).map(|s| s.name.clone()).unwrap_or_default(),
                alias: told.get(&key.1).map(|told| told.alias.clone()).unwrap_or_default(),
                computer: devices.get(&resource_id).cloned().unwrap_or_default(),
                collection: key.1,
                resource_id,
            });
        }
        Ok(Answer::GroupsOf(views))
    }
}

/// The saved searches that the workspace should have.
pub(crate) async fn searches(
    queue: &dyn Queue,
    connection: &str,
    show: Show,
) -> Result<Answer, Error> {
    let key = topics::control_key(connection, Subject::Groups, topics::GROUPS_OFF);
    let mut is_off = false;
    state::each(queue, (topics::CONTROL, &key), |found, _| is_off |= found == key.as_bytes())
        .await?;
    if is_off {
        return Ok(Answer::Searches(Vec::new()));
    }
    let view = |search: Search, changed_at: i64| SearchView {
        print: SearchView::print(&search.query, &search.display_name),
        id: search.id,
        alias: search.function_alias,
        changed_at,
    };
    let mut wanted = Vec::new();
    state::each(queue, (&topics::groups(connection), ""), |_, value| {
        if let Ok(group) = GROUP.decode(value) {
            let searches = cmsync_schemas::searches::searches(&group, show);
            wanted.extend(searches.into_iter().map(|search| view(search, group.seq)));
        }
    })
    .await?;
    if let Some(last) = wanted.iter().map(|w| w.changed_at).min() {
        wanted.push(view(all_groups(show), last));
    }
    Ok(Answer::Searches(wanted))
}
