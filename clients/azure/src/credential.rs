//! Tokens from Microsoft Entra ID.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use cmsync_http::{Answer, Client};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

use crate::identity::Identity;
use crate::managed_identity::number;
use crate::metrics::{Asked, Metrics};
use crate::{azure_cli, entra};

/// A token is renewed this long before it ends.
const RENEW_BEFORE: Duration = Duration::from_secs(300);
/// A token whose end is not told is asked for again after this.
const UNTOLD: u64 = 600;

/// Why there is no token, and who must do what.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The endpoint did not answer, or with a failure of its own.
    #[error("failed to get a token: {0}")]
    Unavailable(String),
    /// The endpoint refused.
    #[error("token refused for application `{client}` in tenant `{tenant}` ({code}): {remedy}")]
    Refused {
        /// The application.
        client: String,
        /// The tenant.
        tenant: String,
        /// For example `AADSTS7000222`.
        code: String,
        /// What to do.
        remedy: String,
    },
    /// The certificate or its key cannot be used.
    #[error("certificate `{}`: {detail}", .path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The machine's identity gives no token.
    #[error("managed identity: {0}")]
    ManagedIdentity(String),
    /// The Azure CLI gives no token.
    #[error("Azure CLI: {0}")]
    AzureCli(String),
    /// The secret's file cannot be used.
    #[error(transparent)]
    Secret(#[from] cmsync_http::Error),
}

impl TokenError {
    /// Whether there may be a token later without anyone acting.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// Whom a token speaks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Principal {
    /// Object id of the user or the service principal, which roles are assigned to.
    #[serde(rename = "oid", default)]
    pub object_id: String,
    /// Directory (tenant) id.
    #[serde(rename = "tid", default)]
    pub tenant: String,
    /// Application (client) id.
    #[serde(rename = "appid", default)]
    pub client: String,
    /// What a person signs in as; empty for an application.
    #[serde(rename = "upn", default)]
    pub name: String,
}

/// Gives tokens, keeping each until shortly before it ends.
pub struct Credential {
    client: Client,
    identity: Identity,
    authority: Url,
    tokens: Mutex<HashMap<String, Kept>>,
    metrics: Metrics,
}

/// A token, and until when it is used.
#[derive(Clone)]
struct Kept {
    token: SecretString,
    until: Instant,
    end: Timestamp,
}

/// A token as an endpoint grants it.
#[derive(Deserialize)]
pub(crate) struct Granted {
    access_token: SecretString,
    #[serde(default, deserialize_with = "number")]
    expires_in: Option<u64>,
    #[serde(default, deserialize_with = "number")]
    expires_on: Option<u64>,
}

impl Granted {
    /// Reads a token endpoint's answer, which is never shown.
    pub(crate) fn parse(answer: &Answer) -> Result<Self, TokenError> {
        serde_json::from_slice(&answer.body).map_err(|_| {
            TokenError::Unavailable(format!("not a token answer: {}", no_secret(answer)))
        })
    }

    pub(crate) fn until(access_token: SecretString, expires_on: Option<u64>) -> Self {
        Self { access_token, expires_in: None, expires_on }
    }

    fn kept(self) -> Kept {
        let now = u64::try_from(Timestamp::now().as_second()).unwrap_or(0);
        let left = self.expires_on.map(|end| end.saturating_sub(now));
        let seconds = self.expires_in.or(left).unwrap_or(UNTOLD);
        let lasts = Duration::from_secs(seconds);
        // A token that lasts less than the margin is used for half its time.
        let used = lasts.saturating_sub(RENEW_BEFORE).max(lasts / 2);
        let end = after(lasts);
        Kept { token: self.access_token, until: Instant::now() + used, end }
    }
}

impl Credential {
    /// A credential at an authority, for example `https://login.microsoftonline.com`.
    #[must_use]
    pub fn new(client: Client, authority: Url, identity: Identity) -> Self {
        Self { client, identity, authority, tokens: Mutex::default(), metrics: Metrics::new() }
    }

    /// A token for an audience, for example `https://monitor.azure.com`.
    ///
    /// # Errors
    /// [`TokenError`] says whether waiting helps.
    pub async fn token(&self, audience: &str) -> Result<SecretString, TokenError> {
        self.lasting(audience).await.map(|(token, _)| token)
    }

    /// The same with the token's end. Of one whose end nobody tells, that is when it is to be asked
    /// for again.
    ///
    /// # Errors
    /// [`TokenError`] says whether waiting helps.
    pub async fn lasting(&self, audience: &str) -> Result<(SecretString, Timestamp), TokenError> {
        let kept =
            self.tokens.lock().unwrap_or_else(PoisonError::into_inner).get(audience).cloned();
        if let Some(kept) = kept.filter(|kept| Instant::now() < kept.until) {
            return Ok((kept.token, kept.end));
        }
        let granted = self.ask(audience).await;
        let asked = match &granted {
            Ok(_) => Asked::Granted,
            Err(error) if error.is_transient() => Asked::Unavailable,
            Err(_) => Asked::Refused,
        };
        self.metrics.tokens.of(asked).increment(1);
        let kept = granted?.kept();
        let told = (kept.token.clone(), kept.end);
        if matches!(self.identity, Identity::FixedToken(_)) {
            // Its file is read at each use.
            return Ok(told);
        }
        self.tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(audience.to_owned(), kept);
        Ok(told)
    }

    async fn ask(&self, audience: &str) -> Result<Granted, TokenError> {
        match &self.identity {
            Identity::FixedToken(token) => Ok(Granted::until(token.read()?, None)),
            Identity::Managed(identity) => identity.ask(&self.client, audience).await,
            Identity::AzureCli { tenant } => azure_cli::ask(tenant.as_deref(), audience).await,
            Identity::Application { tenant, client, proof } => {
                let url =
                    crate::cloud::join(&self.authority, &format!("{tenant}/oauth2/v2.0/token"));
                let application = entra::Application { tenant, client, proof };
                let answer = application.ask(&self.client, &url, audience).await?;
                application.granted(&answer)
            }
        }
    }

    /// Whom tokens speak for, read from one for `audience`.
    ///
    /// # Errors
    /// When there is no token; one that cannot be read gives an empty principal.
    pub async fn principal(&self, audience: &str) -> Result<Principal, TokenError> {
        let token = self.token(audience).await?;
        let claims = token.expose_secret().split('.').nth(1).unwrap_or_default();
        let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap_or_default();
        Ok(serde_json::from_slice(&claims).unwrap_or_default())
    }

    /// Forgets the token of an audience: the service refused it.
    pub fn forget(&self, audience: &str) {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).remove(audience);
    }

    /// Seconds that this machine's clock is ahead of the token endpoint's, from its last answer.
    #[must_use]
    pub fn clock_skew(&self) -> Option<i64> {
        self.client.clock_skew()
    }
}

/// A moment from now.
fn after(time: Duration) -> Timestamp {
    Timestamp::now().saturating_add(time).unwrap_or(Timestamp::MAX)
}

/// A body that should have held a token is never shown.
pub(crate) fn no_secret(answer: &Answer) -> String {
    format!("{} with {} bytes", answer.status, answer.body.len())
}
