//! Azure Resource Manager, for what cmsync makes and keeps there.
//!
//! Source: the REST references of Microsoft.Resources, Microsoft.OperationalInsights,
//! Microsoft.Insights and Microsoft.Authorization.

mod diagnostics;
mod endpoint;
mod role;
mod rule;
mod saved_search;
mod subscription;
mod table;
mod workspace;

use std::sync::Arc;

use cmsync_http::{Answer, Client, Method};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

pub use diagnostics::DiagnosticSetting;
pub use endpoint::{CollectionEndpoint, EndpointWanted};
pub use role::{Role, RoleAssignment};
pub use rule::{CollectionRule, RuleWanted, Stream};
pub use saved_search::{SavedSearch, Tag};
pub use subscription::{Location, ResourceGroup, Subscription};
pub use table::{Column, Table};
pub use workspace::{Capping, Workspace, WorkspaceId, WorkspaceItem};

use crate::Credential;
use crate::api::{Api, AzureError, Needs, Place, Wish};

/// The least of Azure's own roles that may make tables and saved searches.
const LOG_ANALYTICS_CONTRIBUTOR: &str = "Log Analytics Contributor";
/// The least of Azure's own roles that may make rules and diagnostic settings.
const MONITORING_CONTRIBUTOR: &str = "Monitoring Contributor";

/// Asks and changes Azure's resources.
#[derive(Clone)]
pub struct ResourceManager {
    api: Api,
}

/// What a resource carries to say who made it.
pub type Tags = std::collections::BTreeMap<String, String>;

/// A wish that takes a role.
fn wish<'a>(what: &'a str, role: &'static str, scope: &'a str) -> Wish<'a> {
    Wish { what, needs: Needs::Role(role), scope }
}

impl ResourceManager {
    /// Asks at `endpoint`, for example `https://management.azure.com`.
    #[must_use]
    pub fn new(http: Client, endpoint: Url, credential: Arc<Credential>) -> Self {
        Self { api: Api::new(http, endpoint, credential) }
    }

    /// Whom the requests speak for.
    ///
    /// # Errors
    /// When there is no token.
    pub async fn principal(&self) -> Result<crate::Principal, AzureError> {
        Ok(self.api.credential().principal(&self.api.audience()).await?)
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        version: &str,
        wish: Wish<'_>,
    ) -> Result<Option<T>, AzureError> {
        self.api.get(Place { path, query: &[("api-version", version)] }, wish).await
    }

    async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        version: &str,
        wish: Wish<'_>,
    ) -> Result<Vec<T>, AzureError> {
        self.api.list(Place { path, query: &[("api-version", version)] }, wish).await
    }

    /// Makes or changes a resource, waits until that has ended, and gives it.
    async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        version: &str,
        body: &Value,
        wish: Wish<'_>,
    ) -> Result<T, AzureError> {
        self.api.put(Place { path, query: &[("api-version", version)] }, body, wish).await
    }

    /// Writes once and gives the answer, whatever it holds.
    async fn write(
        &self,
        path: &str,
        version: &str,
        body: &Value,
        wish: Wish<'_>,
    ) -> Result<Answer, AzureError> {
        let place = Place { path, query: &[("api-version", version)] };
        self.api.write(Method::PUT, place, Some(body), wish).await
    }

    async fn delete(&self, path: &str, version: &str, wish: Wish<'_>) -> Result<(), AzureError> {
        self.api.delete(Place { path, query: &[("api-version", version)] }, wish).await
    }
}
