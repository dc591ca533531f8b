//! What a provider says of itself: its endpoints and its keys.

use cmsync_http::{Client, Method, StatusCode};
use jsonwebtoken::jwk::Jwk;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

/// A provider's metadata, as far as sign-in needs it (Discovery 1.0, section 3).
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Metadata {
    issuer: String,
    pub(crate) authorization_endpoint: Url,
    pub(crate) token_endpoint: Url,
    jwks_uri: Url,
    /// How clients prove who they are; `client_secret_basic` where it is left out.
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
}

/// A provider as it was found.
#[derive(Debug, Clone)]
pub(crate) struct Provider {
    pub(crate) metadata: Metadata,
    pub(crate) keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Keys {
    /// One of a kind that is not known spoils no other.
    keys: Vec<serde_json::Value>,
}

impl Metadata {
    /// What it calls itself.
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Whether the secret goes into the form, and not into a header.
    pub(crate) fn wants_secret_in_form(&self) -> bool {
        let methods = &self.token_endpoint_auth_methods_supported;
        !methods.is_empty() && !methods.iter().any(|method| method == "client_secret_basic")
    }
}

/// Asks a provider for what it says of itself.
pub(crate) async fn discover(http: &Client, issuer: &Url) -> Result<Provider, String> {
    let base = issuer.as_str().trim_end_matches('/');
    let address = format!("{base}/.well-known/openid-configuration");
    let address = Url::parse(&address).map_err(|error| error.to_string())?;
    let metadata: Metadata = read(http, address).await?;
    // Another one's metadata would have its tokens believed (Discovery 1.0, section 4.3).
    if metadata.issuer.trim_end_matches('/') != base {
        let theirs = &metadata.issuer;
        return Err(format!("it calls itself `{theirs}`: `issuer` must be exactly that"));
    }
    for (name, endpoint) in [
        ("authorization_endpoint", &metadata.authorization_endpoint),
        ("token_endpoint", &metadata.token_endpoint),
        ("jwks_uri", &metadata.jwks_uri),
    ] {
        if endpoint.scheme() != "https" {
            return Err(format!("its `{name}` is not https"));
        }
    }
    let keys: Keys = read(http, metadata.jwks_uri.clone()).await?;
    let keys: Vec<Jwk> =
        keys.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).collect();
    if keys.is_empty() {
        return Err("it shows no key that can be used".into());
    }
    Ok(Provider { metadata, keys })
}

async fn read<T: DeserializeOwned>(http: &Client, url: Url) -> Result<T, String> {
    let answer = http.send(http.request(Method::GET, url.clone())).await;
    let answer = answer.map_err(|error| error.to_string())?;
    if answer.status != StatusCode::OK {
        return Err(format!("{url} answers {}: {}", answer.status, answer.excerpt()));
    }
    serde_json::from_slice(&answer.body).map_err(|error| format!("{url}: {error}"))
}
