//! Saved searches of a workspace: functions and computer groups.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{LOG_ANALYTICS_CONTRIBUTOR, ResourceManager, WorkspaceId, wish};
use crate::AzureError;

const VERSION: &str = "2020-08-01";

/// A saved search. Tagged `Group` = `Computer`, it is a computer group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct SavedSearch {
    /// Its name within the workspace.
    pub id: String,
    /// What the portal lists it under.
    pub category: String,
    /// What people read.
    pub display_name: String,
    /// KQL.
    pub query: String,
    /// What queries call it by; empty for none.
    pub function_alias: String,
    /// Tags.
    pub tags: Vec<Tag>,
}

/// A tag of a saved search.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tag {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl SavedSearch {
    /// The value of a tag.
    #[must_use]
    pub fn tag(&self, name: &str) -> Option<&str> {
        self.tags.iter().find(|t| t.name == name).map(|t| t.value.as_str())
    }
}

#[derive(Deserialize)]
struct Resource {
    id: String,
    properties: Properties,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Properties {
    category: String,
    display_name: String,
    query: String,
    function_alias: Option<String>,
    tags: Option<Vec<Tag>>,
}

impl From<Resource> for SavedSearch {
    fn from(Resource { id, properties: p }: Resource) -> Self {
        Self {
            id: id.rsplit('/').next().unwrap_or_default().to_owned(),
            category: p.category,
            display_name: p.display_name,
            query: p.query,
            function_alias: p.function_alias.unwrap_or_default(),
            tags: p.tags.unwrap_or_default(),
        }
    }
}

impl ResourceManager {
    /// Every saved search of a workspace, whoever made it.
    ///
    /// # Errors
    /// See [`AzureError`].
    pub async fn saved_searches(&self, at: &WorkspaceId) -> Result<Vec<SavedSearch>, AzureError> {
        let scope = at.to_string();
        let wish = wish("list the saved searches", LOG_ANALYTICS_CONTRIBUTOR, &scope);
        let found: Vec<Resource> =
            self.list(&format!("{scope}/savedSearches"), VERSION, wish).await?;
        Ok(found.into_iter().map(Into::into).collect())
    }

    /// Makes a saved search, or replaces the one with its id.
    ///
    /// # Errors
    /// See [`AzureError`].
    pub async fn put_saved_search(
        &self,
        at: &WorkspaceId,
        search: &SavedSearch,
    ) -> Result<(), AzureError> {
        let scope = at.to_string();
        let what = format!("write the saved search `{}`", search.id);
        let wish = wish(&what, LOG_ANALYTICS_CONTRIBUTOR, &scope);
        let body = json!({
            // Whatever version is there.
            "etag": "*",
            "properties": {
                "category": search.category,
                "displayName": search.display_name,
                "query": search.query,
                "functionAlias": search.function_alias,
                "functionParameters": "",
                "version": 2,
                "tags": search.tags,
            },
        });
        let path = format!("{scope}/savedSearches/{}", search.id);
        self.write(&path, VERSION, &body, wish).await.map(drop)
    }

    /// Deletes a saved search; one that is not there is deleted.
    ///
    /// # Errors
    /// See [`AzureError`].
    pub async fn delete_saved_search(&self, at: &WorkspaceId, id: &str) -> Result<(), AzureError> {
        let scope = at.to_string();
        let what = format!("delete the saved search `{id}`");
        let wish = wish(&what, LOG_ANALYTICS_CONTRIBUTOR, &scope);
        self.delete(&format!("{scope}/savedSearches/{id}"), VERSION, wish).await
    }
}
