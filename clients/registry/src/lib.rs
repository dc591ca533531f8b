//! A schema registry that speaks Confluent's API: Confluent's own, Apicurio's `/apis/ccompat/v7`,
//! Karapace, Redpanda.
//!
//! Source: "Schema Registry API Reference" of Confluent Platform. A schema has one id for ever, so
//! what was learned is never asked for again.

use cmsync_http::{Answer, Client, Method, RequestBuilder, Secret, StatusCode};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

/// What the API's bodies are.
const CONTENT: &str = "application/vnd.schemaregistry.v1+json";

/// Error code of a subject that is not there.
const NO_SUBJECT: u64 = 40_401;

/// Why a schema could not be registered or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The subject's older schemas do not allow it.
    #[error(
        "the schema of `{subject}` is incompatible with what the registry holds: {detail}; upgrade \
         the other copies first, or use another `prefix`"
    )]
    Incompatible {
        /// The subject.
        subject: String,
        /// What the registry says.
        detail: String,
    },
    /// The registry refused.
    #[error("the schema registry refused to {action} ({status}): {detail}")]
    Refused {
        /// What was asked.
        action: String,
        /// The status.
        status: StatusCode,
        /// What it says.
        detail: String,
    },
    /// There was no answer that could be used.
    #[error("the schema registry cannot be asked: {0}")]
    Http(#[from] cmsync_http::Error),
    /// The answer is not what the API gives.
    #[error("the schema registry answered what cannot be read: {0}; is the URL that of its API?")]
    Unreadable(String),
}

/// Who signs in, if anybody has to.
pub type Account = Option<(String, Secret)>;

/// A registry.
pub struct Registry {
    client: Client,
    base: Url,
    account: Account,
}

#[derive(Deserialize)]
struct Id {
    id: u32,
}

#[derive(Deserialize)]
struct Compatible {
    is_compatible: bool,
    #[serde(default)]
    messages: Vec<String>,
}

#[derive(Deserialize)]
struct Text {
    schema: String,
}

impl Registry {
    /// A registry whose API is at `base`, for example `https://registry.contoso.com/apis/ccompat/v7`.
    #[must_use]
    pub fn new(client: Client, base: Url, account: Account) -> Self {
        Self { client, base, account }
    }

    /// The id of a subject's schema, registered where it is new. A subject that is new gets the rule
    /// `BACKWARD`: readers of the new schema understand the old messages.
    ///
    /// # Errors
    /// [`Error::Incompatible`] before anything is changed, or what keeps the registry from answering.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<u32, Error> {
        let body = json!({ "schema": schema });
        let found = self.send(Method::POST, &["subjects", subject], Some(&body)).await?;
        if found.status.is_success() {
            return Ok(parse::<Id>(&found)?.id);
        }
        match found.status {
            StatusCode::NOT_FOUND if is_new_subject(&found) => {
                let rule = json!({ "compatibility": "BACKWARD" });
                // Who may not set it has an administrator who did.
                let told = self.send(Method::PUT, &["config", subject], Some(&rule)).await?;
                if told.is_transient() {
                    return Err(refused(format!("set the rule of `{subject}`"), &told));
                }
            }
            StatusCode::NOT_FOUND => self.check(subject, &body).await?,
            _ => return Err(refused(format!("look for the schema of `{subject}`"), &found)),
        }
        let made = self.send(Method::POST, &["subjects", subject, "versions"], Some(&body)).await?;
        match made.status {
            status if status.is_success() => Ok(parse::<Id>(&made)?.id),
            StatusCode::CONFLICT => {
                let (subject, detail) = (subject.to_owned(), made.excerpt());
                Err(Error::Incompatible { subject, detail })
            }
            _ => Err(refused(format!("register the schema of `{subject}`"), &made)),
        }
    }

    async fn check(&self, subject: &str, body: &Value) -> Result<(), Error> {
        let path = ["compatibility", "subjects", subject, "versions", "latest"];
        let told = self.send(Method::POST, &path, Some(body)).await?;
        if !told.status.is_success() {
            return Err(refused(format!("compare the schema of `{subject}`"), &told));
        }
        let told: Compatible = parse(&told)?;
        match told.is_compatible {
            true => Ok(()),
            false => {
                let detail = told.messages.join("; ");
                Err(Error::Incompatible { subject: subject.to_owned(), detail })
            }
        }
    }

    /// The schema with an id; `None` where there is none.
    ///
    /// # Errors
    /// What keeps the registry from answering.
    pub async fn schema(&self, id: u32) -> Result<Option<String>, Error> {
        let told = self.send(Method::GET, &["schemas", "ids", &id.to_string()], None).await?;
        match told.status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => Ok(Some(parse::<Text>(&told)?.schema)),
            _ => Err(refused(format!("give the schema {id}"), &told)),
        }
    }

    /// Every question may be asked twice: registering the same schema again gives the same id.
    async fn send(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
    ) -> Result<Answer, Error> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let build = || {
            let request = self.client.request(method.clone(), url.clone());
            let request = self.signed(request.header("Accept", CONTENT))?;
            Ok(match body {
                Some(body) => request.header("Content-Type", CONTENT).body(body.to_string()),
                None => request,
            })
        };
        Ok(self.client.send_repeating(build).await?)
    }

    fn signed(&self, request: RequestBuilder) -> Result<RequestBuilder, cmsync_http::Error> {
        Ok(match &self.account {
            Some((user, secret)) => request.basic_auth(user, Some(secret.read()?.expose_secret())),
            None => request,
        })
    }
}

/// Whether it is the subject that is not there, rather than the schema, or the API.
fn is_new_subject(answer: &Answer) -> bool {
    let code = serde_json::from_slice(&answer.body)
        .ok()
        .and_then(|told: Value| told.get("error_code")?.as_u64());
    code == Some(NO_SUBJECT)
}

fn parse<T: serde::de::DeserializeOwned>(answer: &Answer) -> Result<T, Error> {
    serde_json::from_slice(&answer.body)
        .map_err(|error| Error::Unreadable(format!("{error}: {}", answer.excerpt())))
}

fn refused(action: String, answer: &Answer) -> Error {
    Error::Refused { action, status: answer.status, detail: answer.excerpt() }
}
