//! Tokens from Microsoft Entra ID.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cmsync_http::{Client, Method, Secret, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

/// A token is renewed this long before it ends.
const RENEW_BEFORE: Duration = Duration::from_secs(300);

/// Who asks for tokens.
#[derive(Debug, Clone)]
pub enum Identity {
    /// An application with a secret.
    ClientSecret {
        /// Directory (tenant) id.
        tenant: String,
        /// Application (client) id.
        client: String,
        /// Its secret.
        secret: Secret,
    },
    /// A token that somebody else renews.
    FixedToken(Secret),
}

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
    /// The secret's file cannot be used.
    #[error(transparent)]
    Secret(#[from] cmsync_http::Error),
}

/// Gives tokens, keeping each until shortly before it ends.
pub struct Credential {
    client: Client,
    identity: Identity,
    authority: Url,
    tokens: Mutex<HashMap<String, (SecretString, Instant)>>,
    skew: Mutex<Option<i64>>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: SecretString,
    expires_in: u64,
}

#[derive(Deserialize, Default)]
struct Denied {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_codes: Vec<u64>,
}

impl Credential {
    /// A credential at an authority, for example `https://login.microsoftonline.com`.
    #[must_use]
    pub fn new(client: Client, authority: Url, identity: Identity) -> Self {
        Self { client, identity, authority, tokens: Mutex::default(), skew: Mutex::default() }
    }

    /// A token for an audience, for example `https://monitor.azure.com`.
    ///
    /// # Errors
    /// [`TokenError`] says whether waiting helps.
    pub async fn token(&self, audience: &str) -> Result<SecretString, TokenError> {
        let (tenant, client, secret) = match &self.identity {
            Identity::FixedToken(token) => return Ok(token.read()?),
            Identity::ClientSecret { tenant, client, secret } => (tenant, client, secret),
        };
        let kept =
            self.tokens.lock().unwrap_or_else(PoisonError::into_inner).get(audience).cloned();
        if let Some((token, until)) = kept
            && Instant::now() < until
        {
            return Ok(token);
        }
        let secret = secret.read()?;
        let mut url = self.authority.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{tenant}/oauth2/v2.0/token"));
        let scope = format!("{audience}/.default");
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", client),
            ("client_secret", secret.expose_secret()),
            ("scope", &scope),
        ];
        let sent = self
            .client
            .send_repeating(|| Ok(self.client.request(Method::POST, url.clone()).form(&form)));
        let answer = sent.await.map_err(|e| TokenError::Unavailable(e.to_string()))?;
        self.note_time(&answer);
        if answer.status != StatusCode::OK {
            return Err(refusal(tenant, client, &answer));
        }
        let granted: Granted = serde_json::from_slice(&answer.body).map_err(|_| {
            TokenError::Unavailable(format!("not a token answer: {}", no_secret(&answer)))
        })?;
        let lasts = Duration::from_secs(granted.expires_in).saturating_sub(RENEW_BEFORE);
        // A token that lasts less than the margin is used for half its time.
        let lasts = lasts.max(Duration::from_secs(granted.expires_in) / 2);
        let kept = (granted.access_token.clone(), Instant::now() + lasts);
        self.tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(audience.to_owned(), kept);
        Ok(granted.access_token)
    }

    /// Forgets the token of an audience: the service refused it.
    pub fn forget(&self, audience: &str) {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).remove(audience);
    }

    /// Seconds that this machine's clock is ahead of the token endpoint's, from its last answer.
    #[must_use]
    pub fn clock_skew(&self) -> Option<i64> {
        *self.skew.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_time(&self, answer: &cmsync_http::Answer) {
        let date = answer.headers.get(header::DATE).and_then(|d| d.to_str().ok());
        if let Some(theirs) = date.and_then(|d| jiff::fmt::rfc2822::parse(d).ok()) {
            let ahead = jiff::Timestamp::now().as_second() - theirs.timestamp().as_second();
            *self.skew.lock().unwrap_or_else(PoisonError::into_inner) = Some(ahead);
        }
    }
}

/// A body that should have held a token is never shown.
fn no_secret(answer: &cmsync_http::Answer) -> String {
    format!("{} with {} bytes", answer.status, answer.body.len())
}

fn refusal(tenant: &str, client: &str, answer: &cmsync_http::Answer) -> TokenError {
    let denied: Denied = serde_json::from_slice(&answer.body).unwrap_or_default();
    let Some(number) = denied.error_codes.first() else {
        let what = if denied.error.is_empty() { no_secret(answer) } else { denied.error };
        return TokenError::Unavailable(format!("unexpected answer of the token endpoint: {what}"));
    };
    let remedy = match number {
        7_000_222 => {
            "the client secret has expired: make a new one and write it to `client_secret_file`"
        }
        7_000_215 => {
            "the client secret is wrong: write the secret's value, not its id, to `client_secret_file`"
        }
        700_016 => "the application is unknown in this tenant: check `client_id` and `tenant_id`",
        90_002 => "the tenant is unknown: check `tenant_id` and `cloud`",
        _ => "see the code in Microsoft Entra's sign-in logs",
    };
    TokenError::Refused {
        client: client.to_owned(),
        tenant: tenant.to_owned(),
        code: format!("AADSTS{number}"),
        remedy: remedy.to_owned(),
    }
}
