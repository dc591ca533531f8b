//! Computer groups in the workspace: one saved search for each collection, kept equal to what the
//! producer says, within what Azure lets one write.

mod budget;
mod plan;
mod writer;

use std::sync::Arc;

use async_trait::async_trait;
use cmsync_azure::{AzureError, ResourceManager, SavedSearch, Tag, WorkspaceId};
use cmsync_schemas::kql::Names;
use cmsync_schemas::searches::{Search, Show};

pub use budget::WRITES_PER_HOUR;
pub use writer::{GroupsWriter, Progress, run};

/// How the groups of one connection are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupOptions {
    /// Which names a group gives.
    pub names: Names,
    /// How far back a group that is read from the tables looks, in days.
    pub days: u32,
    /// Writes within an hour, at most.
    pub writes_per_hour: u32,
}

impl GroupOptions {
    fn show(&self, is_alone: bool) -> Show {
        Show { names: self.names, days: self.days, is_alone }
    }
}

impl Default for GroupOptions {
    fn default() -> Self {
        Self { names: Names::Both, days: 7, writes_per_hour: WRITES_PER_HOUR }
    }
}

/// As Azure has it.
fn saved(search: Search) -> SavedSearch {
    let Search { id, category, display_name, query, function_alias, tags } = search;
    let tags = tags.into_iter().map(|(name, value)| Tag { name, value }).collect();
    SavedSearch { id, category, display_name, query, function_alias, tags }
}

/// A workspace's saved searches.
#[async_trait]
pub trait SavedSearches: Send + Sync {
    /// All of them, whoever made them.
    ///
    /// # Errors
    /// See [`AzureError`].
    async fn list(&self) -> Result<Vec<SavedSearch>, AzureError>;

    /// Makes or replaces one.
    ///
    /// # Errors
    /// See [`AzureError`].
    async fn put(&self, search: &SavedSearch) -> Result<(), AzureError>;

    /// Deletes one.
    ///
    /// # Errors
    /// See [`AzureError`].
    async fn delete(&self, id: &str) -> Result<(), AzureError>;
}

/// Those of a workspace in Azure.
pub struct InAzure {
    /// Resource Manager.
    pub manager: ResourceManager,
    /// The workspace.
    pub workspace: WorkspaceId,
}

#[async_trait]
impl SavedSearches for InAzure {
    async fn list(&self) -> Result<Vec<SavedSearch>, AzureError> {
        self.manager.saved_searches(&self.workspace).await
    }

    async fn put(&self, search: &SavedSearch) -> Result<(), AzureError> {
        self.manager.put_saved_search(&self.workspace, search).await
    }

    async fn delete(&self, id: &str) -> Result<(), AzureError> {
        self.manager.delete_saved_search(&self.workspace, id).await
    }
}

/// What the writer is given besides its options.
pub type Target = Arc<dyn SavedSearches>;
