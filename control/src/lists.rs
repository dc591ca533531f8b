//! Lists of groups and computers, searched, sorted and cut into pages here, so that nobody holds them
//! whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use cmsync_queue::Error;
use cmsync_schemas::CollectionState;

use crate::desk::Desk;
use crate::names::Wanted;
use crate::shelf::{Atlas, Told};
use crate::state;
use crate::views::{GroupView, MemberView};

/// What a person looks for in a list.
#[derive(Debug, Clone, Default)]
pub struct Asked<S> {
    /// A part of a name, in any case.
    pub q: String,
    /// What it is sorted by.
    pub sort: S,
    /// Whether the largest or last comes first.
    pub down: bool,
}

/// Where a page begins: that of a page beyond the last is the last one's.
pub(crate) fn first_of(first: usize, limit: usize, all: usize) -> usize {
    let limit = limit.max(1);
    if first < all { first } else { all.saturating_sub(1) / limit * limit }
}

/// What groups are sorted by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupSort {
    /// Their names.
    #[default]
    Name,
    /// The ids of their collections.
    Collection,
    /// Their folders.
    Folder,
    /// How many computers are in them.
    Members,
    /// When they were last read.
    Read,
}

/// What computers are sorted by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ComputerSort {
    /// Their names.
    #[default]
    Computer,
    /// Their ResourceIDs.
    ResourceId,
}

/// Groups that were found, all of them in order; what is shown of them is for the page to cut out.
pub struct Groups {
    /// Computers that are in one collection or more; `None` while they are counted.
    pub computers: Option<u64>,
    /// Collections that are kept.
    pub collections: u64,
    /// What was found.
    pub found: Vec<GroupView>,
}

/// Computers that were found, in order.
pub struct Computers {
    atlas: Arc<Atlas>,
    found: Vec<u32>,
    /// How many there are, found or not.
    pub all: u64,
}

impl Computers {
    /// How many were found.
    #[must_use]
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Whether none was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Some of them, from one on.
    pub fn from(&self, first: usize) -> impl Iterator<Item = MemberView> {
        self.found.iter().skip(first).filter_map(|at| self.atlas.names.view(*at))
    }
}

impl Desk {
    /// Groups with `q` in a name, an id, a folder, an alias or a connection.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn list_groups(&self, asked: &Asked<GroupSort>) -> Result<Groups, Error> {
        let (mut told, mut computers) = (Vec::new(), Some(0));
        for connection in self.connections().await? {
            let atlas = self.shelf.atlas_if_made(&connection).await?;
            computers = computers.zip(atlas).map(|(sum, atlas)| sum + atlas.members.len());
            told.push((connection.clone(), self.shelf.told(&connection).await?));
        }
        let collections = self.shelf.collections().await?;
        let q = asked.q.trim().to_lowercase();
        let view = |((connection, id), state): (&(String, String), &CollectionState)| {
            let of = told.iter().find(|(name, _)| name == connection);
            group(connection, id, state, of.and_then(|(_, told)| told.get(id)))
        };
        let mut found: Vec<GroupView> =
            collections.iter().map(view).filter(|g| fits(g, &q)).collect();
        sort_groups(&mut found, asked);
        Ok(Groups { computers, collections: collections.len() as u64, found })
    }

    /// One group; `None` where it is not kept.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn group(&self, connection: &str, id: &str) -> Result<Option<GroupView>, Error> {
        if !self.has(connection).await? {
            return Ok(None);
        }
        let collections = self.shelf.collections().await?;
        let Some(state) = collections.get(&(connection.to_owned(), id.to_owned())) else {
            return Ok(None);
        };
        let told = self.shelf.told(connection).await?;
        Ok(Some(group(connection, id, state, told.get(id))))
    }

    /// Members of a collection, or with none all computers with memberships of a connection; `None`
    /// where that is not kept.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn list_computers(
        &self,
        connection: &str,
        collection: Option<&str>,
        asked: &Asked<ComputerSort>,
    ) -> Result<Option<Computers>, Error> {
        if !self.has(connection).await? {
            return Ok(None);
        }
        let ids = match collection {
            None => None,
            Some(collection) => {
                match state::member_ids(&*self.queue, connection, collection).await? {
                    Some(ids) => Some(ids),
                    None => return Ok(None),
                }
            }
        };
        let atlas = self.shelf.atlas(connection).await?;
        let asked = asked.clone();
        // Among a million names, a search takes some tens of milliseconds.
        let find = move || {
            let ids = ids.as_ref().unwrap_or(&atlas.members);
            let by_id = asked.sort == ComputerSort::ResourceId;
            let wanted = Wanted { q: &asked.q, ids: Some(ids), by_id, down: asked.down };
            let found = atlas.names.find(&wanted);
            let all = ids.len();
            Computers { found, all, atlas }
        };
        state::aside(find).await.map(Some)
    }

    /// The computers whose FQDN or NetBIOS name is this, in any case, as far as their names are known: by
    /// ResourceID.
    pub(crate) async fn named(
        &self,
        connection: &str,
        name: &str,
    ) -> Result<BTreeMap<i64, String>, Error> {
        let atlas = self.shelf.atlas(connection).await?;
        let name = name.to_owned();
        let find = move || {
            let wanted = Wanted { q: &name, ..Wanted::default() };
            let found = atlas.names.find(&wanted);
            let is_it = |view: &MemberView| {
                view.computer.eq_ignore_ascii_case(&name)
                    || view.netbios_name.eq_ignore_ascii_case(&name)
            };
            let views = found.into_iter().filter_map(|at| atlas.names.view(at)).filter(is_it);
            views.map(|view| (view.resource_id, view.computer)).collect()
        };
        state::aside(find).await
    }

    /// When the collection that was sent whole longest ago was; microseconds since 1970, `None` where none
    /// was. Each is sent again an interval later.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn oldest_snapshot(&self, connection: &str) -> Result<Option<i64>, Error> {
        let collections = self.shelf.collections().await?;
        let own = collections.iter().filter(|((of, _), s)| of == connection && s.start_seq > 0);
        Ok(own.map(|(_, state)| state.started_at).min())
    }

    /// How many computers of a connection are in one collection or more; `None` while they are counted.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn computers_if_known(&self, connection: &str) -> Result<Option<u64>, Error> {
        Ok(self.shelf.atlas_if_made(connection).await?.map(|atlas| atlas.members.len()))
    }
}

/// A group as it is shown.
pub(crate) fn group(
    connection: &str,
    id: &str,
    state: &CollectionState,
    told: Option<&Told>,
) -> GroupView {
    GroupView {
        connection: connection.to_owned(),
        collection: id.to_owned(),
        alias: told.map(|told| told.alias.clone()).unwrap_or_default(),
        is_static: told.is_some_and(|told| told.is_static),
        name: state.name.clone(),
        folder: state.folder.clone(),
        members: state.members,
        last_read: state.last_read,
        last_snapshot: state.started_at,
        snapshot: match (state.sending, state.start_seq) {
            (true, _) => "on its way",
            (false, 0) => "never sent",
            (false, _) => "sent",
        }
        .to_owned(),
    }
}

fn fits(group: &GroupView, q: &str) -> bool {
    let fields = [&group.name, &group.collection, &group.folder, &group.alias, &group.connection];
    q.is_empty() || fields.iter().any(|field| field.to_lowercase().contains(q))
}

fn sort_groups(groups: &mut [GroupView], asked: &Asked<GroupSort>) {
    match asked.sort {
        GroupSort::Name => {
            groups.sort_by_cached_key(|g| (g.name.to_lowercase(), g.collection.clone()));
        }
        GroupSort::Collection => groups.sort_by_cached_key(|g| g.collection.clone()),
        GroupSort::Folder => {
            groups.sort_by_cached_key(|g| (g.folder.to_lowercase(), g.name.to_lowercase()));
        }
        GroupSort::Members => groups.sort_by_key(|g| g.members),
        GroupSort::Read => groups.sort_by_key(|g| g.last_read),
    }
    if asked.down {
        groups.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_begins_where_it_was_asked_to_and_beyond_the_end_is_the_last_page() {
        let of = |first| first_of(first, 2, 5);
        assert_eq!([0, 2, 3, 4, 5, 9].map(of), [0, 2, 3, 4, 4, 4]);
        assert_eq!((first_of(7, 2, 0), first_of(3, 0, 2), first_of(0, usize::MAX, 9)), (0, 1, 0));
    }
}
