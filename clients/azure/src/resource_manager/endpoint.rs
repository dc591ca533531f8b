//! Data collection endpoints: the way in where a workspace takes nothing from public addresses.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{MONITORING_CONTRIBUTOR, ResourceManager, Tags, wish};
use crate::AzureError;

const VERSION: &str = "2023-03-11";

/// An endpoint as it is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct CollectionEndpoint {
    /// Its region.
    pub location: String,
    /// Its tags.
    #[serde(default)]
    pub tags: Option<Tags>,
    /// The rest.
    pub properties: Properties,
}

/// What an endpoint says of itself.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Properties {
    logs_ingestion: Ingestion,
    /// Private links through which it is reached.
    pub private_link_scoped_resources: Option<Vec<Value>>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Ingestion {
    endpoint: Option<String>,
}

impl CollectionEndpoint {
    /// Where rows go.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        self.properties.logs_ingestion.endpoint.as_deref()
    }

    /// Whether a private link leads to it.
    #[must_use]
    pub fn is_linked(&self) -> bool {
        self.properties.private_link_scoped_resources.as_ref().is_some_and(|all| !all.is_empty())
    }
}

/// An endpoint as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointWanted {
    /// Its resource id.
    pub id: String,
    /// The workspace's region.
    pub location: String,
    /// Who made it.
    pub tags: Tags,
}

impl EndpointWanted {
    /// As Resource Manager takes it, also inside of a template.
    #[must_use]
    pub fn body(&self) -> Value {
        json!({
            "location": self.location,
            "tags": self.tags,
            "properties": { "networkAcls": { "publicNetworkAccess": "Disabled" } },
        })
    }
}

impl ResourceManager {
    /// An endpoint by its resource id; `None` when it is not there.
    ///
    /// # Errors
    /// See [`AzureError`].
    pub async fn collection_endpoint(
        &self,
        id: &str,
    ) -> Result<Option<CollectionEndpoint>, AzureError> {
        self.get(id, VERSION, wish("read the data collection endpoint", "Reader", id)).await
    }

    /// Makes an endpoint.
    ///
    /// # Errors
    /// See [`AzureError`].
    pub async fn put_collection_endpoint(
        &self,
        wanted: &EndpointWanted,
    ) -> Result<CollectionEndpoint, AzureError> {
        let wish = wish("make the data collection endpoint", MONITORING_CONTRIBUTOR, &wanted.id);
        self.put(&wanted.id, VERSION, &wanted.body(), wish).await
    }

    /// Deletes an endpoint.
    ///
    /// # Errors
    /// See [`AzureError`].
    pub async fn delete_collection_endpoint(&self, id: &str) -> Result<(), AzureError> {
        let wish = wish("delete the data collection endpoint", MONITORING_CONTRIBUTOR, id);
        self.delete(id, VERSION, wish).await
    }
}
