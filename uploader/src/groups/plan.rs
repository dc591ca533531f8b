//! What is to be written next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use cmsync_azure::SavedSearch;

use cmsync_schemas::searches::{OWNER_TAG, SHARED};

/// Texts that are held at once: the others are looked up when these are written.
const MOST_HELD: usize = 50;

/// What a search says, in one number.
fn fingerprint(search: &SavedSearch) -> u64 {
    let mut hasher = DefaultHasher::new();
    search.hash(&mut hasher);
    hasher.finish()
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Write {
    Put(SavedSearch),
    Delete(String),
}

impl Write {
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Put(search) => &search.id,
            Self::Delete(id) => id,
        }
    }
}

/// What the workspace has.
#[derive(Debug, Default)]
pub(super) struct Present {
    /// This connection's, with what each says.
    ours: BTreeMap<String, u64>,
    /// Ids and aliases of everyone else's.
    taken: BTreeSet<String>,
    /// Whether another hierarchy has groups there.
    pub(super) has_other_site: bool,
}

impl Present {
    pub(super) fn new(found: &[SavedSearch], site: &str) -> Self {
        let mut present = Self::default();
        for search in found {
            match search.tag(OWNER_TAG) {
                Some(owner) if owner == site || owner == SHARED => {
                    present.ours.insert(search.id.clone(), fingerprint(search));
                }
                owner => {
                    present.has_other_site |= owner.is_some();
                    present.taken.insert(search.id.to_ascii_lowercase());
                    present.taken.insert(search.function_alias.to_ascii_lowercase());
                }
            }
        }
        present
    }

    /// Notes that a write was done.
    pub(super) fn did(&mut self, write: &Write) {
        match write {
            Write::Put(search) => self.ours.insert(search.id.clone(), fingerprint(search)),
            Write::Delete(id) => self.ours.remove(id),
        };
    }
}

/// Gathers what differs, while wanted searches are shown to it one by one.
pub(super) struct Planner<'a> {
    present: &'a Present,
    unwanted: BTreeSet<&'a str>,
    new: VecDeque<Write>,
    changed: VecDeque<Write>,
    /// Aliases that others have: what cmsync did not make is never touched.
    pub(super) foreign: Vec<String>,
    pub(super) differing: usize,
}

impl<'a> Planner<'a> {
    pub(super) fn new(present: &'a Present) -> Self {
        let unwanted = present.ours.keys().map(String::as_str).collect();
        let (new, changed, foreign) = (VecDeque::new(), VecDeque::new(), Vec::new());
        Self { present, unwanted, new, changed, foreign, differing: 0 }
    }

    pub(super) fn want(&mut self, search: SavedSearch, may_go: impl Fn(&str) -> bool) {
        self.unwanted.remove(search.id.as_str());
        let is_taken = |name: &str| self.present.taken.contains(&name.to_ascii_lowercase());
        if is_taken(&search.id) || is_taken(&search.function_alias) {
            self.foreign.push(search.function_alias);
            return;
        }
        let known = self.present.ours.get(&search.id).copied();
        if known == Some(fingerprint(&search)) {
            return;
        }
        self.differing += 1;
        let queue = if known.is_none() { &mut self.new } else { &mut self.changed };
        if queue.len() < MOST_HELD && may_go(&search.id) {
            queue.push_back(Write::Put(search));
        }
    }

    /// What to write, in order: groups that are not there, groups that changed, groups that went.
    pub(super) fn finish(mut self) -> (VecDeque<Write>, usize, Vec<String>) {
        let mut writes = self.new;
        writes.append(&mut self.changed);
        let differing = self.differing + self.unwanted.len();
        let gone = self.unwanted.into_iter().map(|id| Write::Delete(id.to_owned()));
        writes.extend(gone);
        (writes, differing, self.foreign)
    }
}
