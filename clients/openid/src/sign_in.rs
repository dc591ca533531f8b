//! A sign-in: there and back.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cmsync_http::{Answer, Client, Method, Secret, StatusCode};
use rand::RngCore as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::{Url, form_urlencoded};

use crate::Error;
use crate::provider::{Provider, discover};
use crate::token::{self, Claims, Unread, Wanted};

/// What a provider says of itself is asked for again after this.
const GOOD_FOR: Duration = Duration::from_secs(3_600);
/// For the sake of a key that is not known, and after a failure, after this.
const AT_LEAST: Duration = Duration::from_secs(60);
/// What is known is used for as long, where the provider does not answer.
const USABLE_FOR: Duration = Duration::from_secs(24 * 3_600);
/// A provider of which nothing is known is asked again after this.
const REST: Duration = Duration::from_secs(5);
/// How long a provider may take to say what it is: somebody waits.
const PATIENCE: Duration = Duration::from_secs(10);
/// Characters of a provider's reason that are shown.
const SHOWN: usize = 300;

/// How people sign in.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The provider, as it calls itself: `https://login.microsoftonline.com/<tenant id>/v2.0`.
    pub issuer: Url,
    /// This application's id there.
    pub client_id: String,
    /// What proves that it is this application; `None` for one without a secret.
    pub secret: Option<Secret>,
    /// How the provider is reached.
    pub http: cmsync_http::Settings,
}

/// Signs people in.
pub struct OpenId {
    settings: Settings,
    http: Client,
    known: Mutex<Known>,
}

/// What is known of the provider.
#[derive(Default)]
struct Known {
    provider: Option<(Arc<Provider>, Instant)>,
    /// The last failure, while nobody is to wait for another.
    failure: Option<(String, Instant)>,
}

/// What a browser that went to the provider brings back besides the provider's answer. Each is a secret of
/// that browser.
#[derive(Clone, Serialize, Deserialize)]
pub struct Pending {
    /// Tells its answer from another's.
    pub state: String,
    /// Tells its token from another's.
    nonce: String,
    /// Proves that the code was asked for here (RFC 7636).
    verifier: String,
}

/// A sign-in that was begun.
pub struct Begun {
    /// Where the browser goes.
    pub to: Url,
    /// What it must bring back.
    pub pending: Pending,
}

/// What the provider sent the browser back with.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct Returned {
    /// For which the provider tells who signed in.
    pub code: String,
    /// Of which sign-in it is the answer.
    pub state: String,
    /// Who answers; empty where the provider does not say so.
    pub iss: String,
    /// Why nobody signed in.
    pub error: String,
    /// The same in a sentence.
    pub error_description: String,
}

/// Who signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The provider's own name of whoever it is, which never changes: in Entra ID the object's id, which
    /// its administrators know, elsewhere the subject.
    pub subject: String,
    /// What people call them.
    pub name: String,
    /// Roles of this application that they were given.
    pub roles: Vec<String>,
}

#[derive(Deserialize)]
struct Granted {
    id_token: SecretString,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Denied {
    error: String,
    error_description: String,
}

/// 256 bits that nobody can guess.
fn random() -> String {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A provider's own words, as one line that is not too long.
fn words(error: &str, description: &str) -> String {
    let text = format!("{error} {description}");
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}

impl OpenId {
    /// Asks nobody yet.
    ///
    /// # Errors
    /// Where the provider cannot be asked as the settings say.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let http = Client::new("openid", &settings.http)?;
        Ok(Self { settings, http, known: Mutex::default() })
    }

    /// The provider's host, for people.
    #[must_use]
    pub fn host(&self) -> &str {
        self.settings.issuer.host_str().unwrap_or_default()
    }

    /// Whether the provider answers as one.
    ///
    /// # Errors
    /// [`Error::Provider`] with what is wrong.
    pub async fn check(&self) -> Result<(), Error> {
        self.provider(Duration::ZERO).await.map(drop)
    }

    /// The provider, asked again where what is known is older than `age`.
    async fn provider(&self, age: Duration) -> Result<Arc<Provider>, Error> {
        let mut known = self.known.lock().await;
        if let Some((provider, at)) = &known.provider
            && at.elapsed() < age
        {
            return Ok(Arc::clone(provider));
        }
        let rest = if known.provider.is_some() { AT_LEAST } else { REST };
        let failure = match &known.failure {
            Some((detail, at)) if at.elapsed() < rest && !age.is_zero() => detail.clone(),
            _ => match self.discovered().await {
                Ok(found) => {
                    let found = Arc::new(found);
                    *known = Known {
                        provider: Some((Arc::clone(&found), Instant::now())),
                        failure: None,
                    };
                    return Ok(found);
                }
                Err(detail) => detail,
            },
        };
        if known.failure.as_ref().is_none_or(|(_, at)| at.elapsed() >= rest) {
            known.failure = Some((failure.clone(), Instant::now()));
        }
        match &known.provider {
            Some((provider, at)) if at.elapsed() < USABLE_FOR && !age.is_zero() => {
                Ok(Arc::clone(provider))
            }
            _ => Err(self.unavailable(failure)),
        }
    }

    async fn discovered(&self) -> Result<Provider, String> {
        let found = tokio::time::timeout(PATIENCE, discover(&self.http, &self.settings.issuer));
        found.await.unwrap_or_else(|_| Err("it does not answer in time".into()))
    }

    /// Begins a sign-in whose browser comes back to `redirect`; where somebody is to sign in as another,
    /// the provider asks who, though it knows somebody.
    ///
    /// # Errors
    /// [`Error::Provider`].
    pub async fn begin(&self, redirect: &Url, as_another: bool) -> Result<Begun, Error> {
        let provider = self.provider(GOOD_FOR).await?;
        let pending = Pending { state: random(), nonce: random(), verifier: random() };
        let challenge =
            URL_SAFE_NO_PAD.encode(digest(&SHA256, pending.verifier.as_bytes()).as_ref());
        let mut to = provider.metadata.authorization_endpoint.clone();
        to.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("response_mode", "query")
            .append_pair("scope", "openid profile")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", redirect.as_str())
            .append_pair("state", &pending.state)
            .append_pair("nonce", &pending.nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        if as_another {
            to.query_pairs_mut().append_pair("prompt", "login");
        }
        Ok(Begun { to, pending })
    }

    /// Who signed in.
    ///
    /// # Errors
    /// [`Error::Foreign`] where the answer is of another sign-in; the others where nobody did.
    pub async fn finish(
        &self,
        redirect: &Url,
        pending: &Pending,
        returned: &Returned,
    ) -> Result<Identity, Error> {
        let issuer = self.settings.issuer.as_str().trim_end_matches('/');
        let is_of_provider =
            returned.iss.is_empty() || returned.iss.trim_end_matches('/') == issuer;
        if returned.state != pending.state || !is_of_provider {
            return Err(Error::Foreign);
        }
        if !returned.error.is_empty() {
            return Err(Error::Declined(words(&returned.error, &returned.error_description)));
        }
        let provider = self.provider(GOOD_FOR).await?;
        let token = self.redeem(&provider, redirect, pending, &returned.code).await?;
        let claims = match self.read(&provider, &token, pending) {
            Err(Unread::UnknownKey) => {
                // Keys change: one that signed a moment ago may be newer than what is known.
                let newer = self.provider(AT_LEAST).await?;
                self.read(&newer, &token, pending)
            }
            read => read,
        };
        claims.map(identity).map_err(|unread| match unread {
            Unread::UnknownKey => Error::Token("no key of the provider signed it".into()),
            Unread::Refused(error) => error,
        })
    }

    fn read(
        &self,
        provider: &Provider,
        token: &SecretString,
        pending: &Pending,
    ) -> Result<Claims, Unread> {
        let wanted = Wanted {
            issuer: provider.metadata.issuer(),
            client_id: &self.settings.client_id,
            nonce: &pending.nonce,
        };
        token::read(token.expose_secret(), &provider.keys, &wanted)
    }

    /// The token for a code, which is good once.
    async fn redeem(
        &self,
        provider: &Provider,
        redirect: &Url,
        pending: &Pending,
        code: &str,
    ) -> Result<SecretString, Error> {
        let secret = self.settings.secret.as_ref().map(Secret::read).transpose()?;
        let client = &self.settings.client_id;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect.as_str()),
            ("client_id", client),
            ("code_verifier", &pending.verifier),
        ];
        let metadata = &provider.metadata;
        let in_form = metadata.wants_secret_in_form();
        if let Some(secret) = secret.as_ref().filter(|_| in_form) {
            form.push(("client_secret", secret.expose_secret()));
        }
        let mut request =
            self.http.request(Method::POST, metadata.token_endpoint.clone()).form(&form);
        if let Some(secret) = secret.as_ref().filter(|_| !in_form) {
            // Each encoded first (RFC 6749, section 2.3.1).
            let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect();
            let (name, word): (String, String) = (encoded(client), encoded(secret.expose_secret()));
            request = request.basic_auth(name, Some(word));
        }
        let answer = self.http.send(request).await;
        self.granted(&answer.map_err(|error| self.unavailable(error.to_string()))?)
    }

    fn granted(&self, answer: &Answer) -> Result<SecretString, Error> {
        if answer.status == StatusCode::OK {
            // What it holds otherwise is secret too: nothing of it is said.
            let granted: Result<Granted, _> = serde_json::from_slice(&answer.body);
            return match granted {
                Ok(granted) => Ok(granted.id_token),
                Err(_) => Err(self.unavailable("its answer holds no ID token".into())),
            };
        }
        let denied: Denied = serde_json::from_slice(&answer.body).unwrap_or_default();
        if denied.error.is_empty() {
            return Err(self.unavailable(format!("its token endpoint answers {}", answer.status)));
        }
        let words = words(&denied.error, &denied.error_description);
        match denied.error.as_str() {
            // Of the code, which a browser brought.
            "invalid_grant" => Err(Error::Refused(words)),
            _ => Err(self.unavailable(format!("it refuses this application: {words}"))),
        }
    }

    fn unavailable(&self, detail: String) -> Error {
        Error::Provider { issuer: self.settings.issuer.to_string(), detail }
    }
}

fn identity(claims: Claims) -> Identity {
    let Claims { sub, oid, preferred_username, name, roles, .. } = claims;
    let named = [preferred_username, name].into_iter().flatten().find(|n| !n.is_empty());
    let roles = roles.all().to_vec();
    let subject = oid.filter(|oid| !oid.is_empty()).unwrap_or(sub);
    Identity { name: named.unwrap_or_else(|| subject.clone()), subject, roles }
}
