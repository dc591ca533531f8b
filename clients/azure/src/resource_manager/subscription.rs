//! Subscriptions, their regions and their resource groups.

use serde::Deserialize;
use serde_json::json;

use super::{ResourceManager, Tags, wish};
use crate::AzureError;

const SUBSCRIPTIONS: &str = "2022-12-01";
const GROUPS: &str = "2021-04-01";

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// Its id, a GUID.
    #[serde(rename = "subscriptionId")]
    pub id: String,
    /// What people call it.
    #[serde(rename = "displayName", default)]
    pub name: String,
    /// `Enabled`, `Warned`, `PastDue`, `Disabled` or `Deleted`.
    #[serde(default)]
    pub state: String,
}

/// A region.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Location {
    /// For example `westeurope`.
    pub name: String,
    /// For example `West Europe`.
    #[serde(default)]
    pub display_name: String,
}

/// A resource group.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ResourceGroup {
    /// Its name.
    pub name: String,
    /// Its region.
    pub location: String,
    /// Its tags.
    #[serde(default)]
    pub tags: Option<Tags>,
}

impl ResourceManager {
    /// Every subscription that the identity sees.
    ///
    /// # Errors
    /// See [`AzureError`].
    pub async fn subscriptions(&self) -> Result<Vec<Subscription>, AzureError> {
        let wish = wish("list the subscriptions", "Reader", "/subscriptions");
        self.list("/subscriptions", SUBSCRIPTIONS, wish).await
    }

    /// The regions that a subscription may use.
    ///
    /// # Errors
    /// See [`AzureError`].
    pub async fn locations(&self, subscription: &str) -> Result<Vec<Location>, AzureError> {
        let scope = format!("/subscriptions/{subscription}");
        let wish = wish("list the regions", "Reader", &scope);
        self.list(&format!("{scope}/locations"), SUBSCRIPTIONS, wish).await
    }

    /// The resource groups of a subscription.
    ///
    /// # Errors
    /// See [`AzureError`].
    pub async fn resource_groups(
        &self,
        subscription: &str,
    ) -> Result<Vec<ResourceGroup>, AzureError> {
        let scope = format!("/subscriptions/{subscription}");
        let wish = wish("list the resource groups", "Reader", &scope);
        self.list(&format!("{scope}/resourcegroups"), GROUPS, wish).await
    }

    /// A resource group; `None` when it is not there.
    ///
    /// # Errors
    /// See [`AzureError`].
    pub async fn resource_group(
        &self,
        subscription: &str,
        name: &str,
    ) -> Result<Option<ResourceGroup>, AzureError> {
        let scope = format!("/subscriptions/{subscription}/resourcegroups/{name}");
        self.get(&scope, GROUPS, wish("read the resource group", "Reader", &scope)).await
    }

    /// Makes a resource group.
    ///
    /// # Errors
    /// See [`AzureError`].
    pub async fn put_resource_group(
        &self,
        subscription: &str,
        group: &ResourceGroup,
    ) -> Result<ResourceGroup, AzureError> {
        let scope = format!("/subscriptions/{subscription}");
        let what = format!("make the resource group `{}`", group.name);
        let body = json!({ "location": group.location, "tags": group.tags });
        let path = format!("{scope}/resourcegroups/{}", group.name);
        self.put(&path, GROUPS, &body, wish(&what, "Contributor", &scope)).await
    }
}
