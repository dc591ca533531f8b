//! Microsoft Graph: names of the tenant and the application, a secret's end, and an application of
//! one's own where there is none yet.
//!
//! Source: Graph v1.0 `application`, `servicePrincipal`, `organization` and `application-addpassword`.
//! Graph is asked where the identity may; everything that cmsync does works without it.

use std::sync::Arc;

use cmsync_http::{Client, Method};
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::Url;

use crate::api::{Api, AzureError, Needs, Place, Wish, parse};
use crate::{Credential, Principal};

/// Reads applications, secrets' ends included.
const READ: &str = "Application.Read.All";
/// Makes applications and keeps those that it made.
const OWN: &str = "Application.ReadWrite.OwnedBy";

/// A directory (tenant).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Organization {
    /// Its id.
    pub id: String,
    /// Its name.
    pub display_name: String,
}

/// An app registration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Application {
    /// Its object id.
    pub id: String,
    /// Application (client) id.
    pub app_id: String,
    /// Its name.
    #[serde(default)]
    pub display_name: String,
    /// Its secrets, without the secrets themselves.
    #[serde(default)]
    pub password_credentials: Vec<Password>,
}

/// A secret of an application, without the secret itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Password {
    /// Its id, which is not its value.
    pub key_id: String,
    /// What people call it.
    #[serde(default)]
    pub display_name: Option<String>,
    /// The first three characters of its value.
    #[serde(default)]
    pub hint: Option<String>,
    /// When it ends; ISO 8601.
    #[serde(default)]
    pub end_date_time: Option<jiff::Timestamp>,
}

/// An application in a tenant, which roles are assigned to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePrincipal {
    /// Its object id.
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub display_name: String,
}

/// A secret that was just made; shown this once.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewPassword {
    /// Its value.
    pub secret_text: SecretString,
    /// When it ends.
    #[serde(default)]
    pub end_date_time: Option<jiff::Timestamp>,
}

/// Asks Graph.
#[derive(Clone)]
pub struct Graph {
    api: Api,
}

#[derive(Deserialize)]
struct Many<T> {
    #[serde(default = "Vec::new")]
    value: Vec<T>,
}

fn wish<'a>(what: &'a str, permission: &'static str) -> Wish<'a> {
    Wish { what, needs: Needs::Permission(permission), scope: "Microsoft Graph" }
}

impl Graph {
    /// Asks at `endpoint`, for example `https://graph.microsoft.com`.
    #[must_use]
    pub fn new(http: Client, endpoint: Url, credential: Arc<Credential>) -> Self {
        Self { api: Api::new(http, endpoint, credential) }
    }

    /// Whom the requests speak for.
    ///
    /// # Errors
    /// When there is no token.
    pub async fn principal(&self) -> Result<Principal, AzureError> {
        Ok(self.api.credential().principal(&self.api.audience()).await?)
    }

    /// The directory of the identity.
    ///
    /// # Errors
    /// See [`AzureError`].
    pub async fn organization(&self) -> Result<Option<Organization>, AzureError> {
        let place = Place { path: "v1.0/organization", query: &[("$select", "id,displayName")] };
        let found: Option<Many<Organization>> =
            self.api.get(place, wish("read the directory's name", "Organization.Read.All")).await?;
        Ok(found.and_then(|many| many.value.into_iter().next()))
    }

    /// An application with its secrets' ends; `None` where the directory has none with this id.
    ///
    /// # Errors
    /// See [`AzureError`].
    pub async fn application(&self, client: &str) -> Result<Option<Application>, AzureError> {
        let path = format!("v1.0/applications(appId='{client}')");
        let place = Place {
            path: &path,
            query: &[("$select", "id,appId,displayName,passwordCredentials")],
        };
        self.api.get(place, wish("read the application", READ)).await
    }

    /// Makes an app registration for this directory alone.
    ///
    /// # Errors
    /// See [`AzureError`].
    pub async fn create_application(&self, name: &str) -> Result<Application, AzureError> {
        let body = json!({ "displayName": name, "signInAudience": "AzureADMyOrg" });
        self.post("v1.0/applications", &body, wish("make the app registration", OWN)).await
    }

    /// Makes the service principal of an application.
    ///
    /// # Errors
    /// See [`AzureError`].
    pub async fn create_service_principal(
        &self,
        client: &str,
    ) -> Result<ServicePrincipal, AzureError> {
        let body = json!({ "appId": client });
        self.post("v1.0/servicePrincipals", &body, wish("make the service principal", OWN)).await
    }

    /// Makes a secret of an application, by its object id.
    ///
    /// # Errors
    /// See [`AzureError`].
    pub async fn add_password(
        &self,
        object_id: &str,
        name: &str,
        end: jiff::Timestamp,
    ) -> Result<NewPassword, AzureError> {
        let body = json!({ "passwordCredential": { "displayName": name, "endDateTime": end } });
        let path = format!("v1.0/applications/{object_id}/addPassword");
        self.post(&path, &body, wish("make a client secret", OWN)).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
        wish: Wish<'_>,
    ) -> Result<T, AzureError> {
        let place = Place { path, query: &[] };
        parse(&self.api.write(Method::POST, place, Some(body), wish).await?, wish)
    }
}
