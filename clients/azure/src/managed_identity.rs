//! The identity that Azure keeps for a machine: a virtual machine, App Service, or a server that is
//! connected through Azure Arc, which is where Configuration Manager's servers mostly are.
//!
//! Sources: "How to use managed identities to get an access token", "App Service: REST endpoint
//! reference", "Authenticate against Azure resources with Azure Arc-enabled servers".

use std::env::consts::OS;
use std::path::{Path, PathBuf};

use cmsync_http::{Answer, Client, Method, RequestBuilder, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use crate::TokenError;
use crate::credential::Granted;

/// Bytes of Arc's key, at most.
const MAX_KEY: u64 = 4_096;
/// Where Arc's agent puts its keys, and which group may read them.
struct Agent {
    keys: PathBuf,
    group: &'static str,
}

/// Of the system with this name; `data` is Windows' `ProgramData`.
fn agent(system: &str, data: Option<String>) -> Agent {
    match system {
        "windows" => Agent {
            keys: PathBuf::from(data.unwrap_or_else(|| r"C:\ProgramData".into()))
                .join("AzureConnectedMachineAgent")
                .join("Tokens"),
            group: "Hybrid agent extension applications",
        },
        _ => Agent { keys: "/var/opt/azcmagent/tokens".into(), group: "himds" },
    }
}

/// The identity of a machine.
#[derive(Debug, Clone)]
pub struct ManagedIdentity {
    /// Client id of an identity that was assigned by a person; the machine's own without it.
    pub client: Option<String>,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    VirtualMachine(Url),
    AppService { endpoint: Url, key: SecretString },
    Arc { endpoint: Url, keys: PathBuf },
}

impl ManagedIdentity {
    /// The one that the environment names, as Azure's own clients find it: `IDENTITY_ENDPOINT` with
    /// `IDENTITY_HEADER` (App Service) or `IMDS_ENDPOINT` (Arc), else the virtual machine's endpoint,
    /// which `AZURE_POD_IDENTITY_AUTHORITY_HOST` replaces.
    ///
    /// # Errors
    /// The name of the variable that holds no URL.
    pub fn from_environment(
        client: Option<String>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let url = |name: &str, text: &str| {
            Url::parse(text).map_err(|e| format!("`{name}` in the environment is no URL: {e}"))
        };
        let endpoint = variable("IDENTITY_ENDPOINT")
            .map(|text| url("IDENTITY_ENDPOINT", &text))
            .transpose()?;
        let source = match (endpoint, variable("IDENTITY_HEADER"), variable("IMDS_ENDPOINT")) {
            (Some(endpoint), Some(key), _) => {
                Source::AppService { endpoint, key: SecretString::from(key) }
            }
            (Some(endpoint), None, Some(_)) => {
                let keys = agent(OS, variable("ProgramData")).keys;
                Source::Arc { endpoint, keys }
            }
            _ => {
                let name = "AZURE_POD_IDENTITY_AUTHORITY_HOST";
                let host = variable(name).unwrap_or_else(|| "http://169.254.169.254".into());
                Source::VirtualMachine(url(name, &host)?)
            }
        };
        Ok(Self { client, source })
    }

    /// Takes Arc's keys from another directory than its agent's own, for tests.
    #[must_use]
    pub fn with_arc_keys(mut self, directory: PathBuf) -> Self {
        if let Source::Arc { keys, .. } = &mut self.source {
            *keys = directory;
        }
        self
    }

    pub(crate) async fn ask(&self, http: &Client, audience: &str) -> Result<Granted, TokenError> {
        let answer = match &self.source {
            Source::VirtualMachine(host) => {
                let url = crate::cloud::join(host, "metadata/identity/oauth2/token");
                self.send(http, &url, ("2018-02-01", audience), &|r| r.header("Metadata", "true"))
                    .await?
            }
            Source::AppService { endpoint, key } => {
                let with = |r: RequestBuilder| r.header("X-IDENTITY-HEADER", key.expose_secret());
                self.send(http, endpoint, ("2019-08-01", audience), &with).await?
            }
            Source::Arc { endpoint, keys } => self.ask_arc(http, endpoint, keys, audience).await?,
        };
        match answer.status {
            StatusCode::OK => Granted::parse(&answer),
            // "Identity not found" and its kin.
            StatusCode::BAD_REQUEST => Err(TokenError::ManagedIdentity(format!(
                "{}; assign a managed identity to this machine, and with a user-assigned one name it as `client_id`",
                answer.excerpt()
            ))),
            // 410: it is being updated.
            status if answer.is_transient() || status == StatusCode::GONE => {
                let text = format!("the machine's identity endpoint answered {status}");
                Err(TokenError::Unavailable(text))
            }
            status => Err(TokenError::ManagedIdentity(format!("the endpoint answered {status}"))),
        }
    }

    async fn send(
        &self,
        http: &Client,
        endpoint: &Url,
        (version, audience): (&str, &str),
        with: &(dyn Fn(RequestBuilder) -> RequestBuilder + Sync),
    ) -> Result<Answer, TokenError> {
        let mut url = endpoint.clone();
        url.query_pairs_mut().append_pair("api-version", version).append_pair("resource", audience);
        if let Some(client) = &self.client {
            url.query_pairs_mut().append_pair("client_id", client);
        }
        let sent = http.send_repeating(|| Ok(with(http.request(Method::GET, url.clone()))));
        sent.await.map_err(|error| {
            use cmsync_http::Error::{Connect, Timeout};
            // Outside of Azure nobody answers at the address of a virtual machine's.
            let is_elsewhere = matches!(self.source, Source::VirtualMachine(_));
            let is_missing =
                matches!(error, Connect { .. }) || is_elsewhere && matches!(error, Timeout { .. });
            let text = format!(
                "{error}; is this machine an Azure virtual machine, or connected through Azure Arc?"
            );
            match is_missing {
                true => TokenError::ManagedIdentity(text),
                false => TokenError::Unavailable(text),
            }
        })
    }

    /// Arc shows who asks by a file that only its group may read.
    async fn ask_arc(
        &self,
        http: &Client,
        endpoint: &Url,
        keys: &Path,
        audience: &str,
    ) -> Result<Answer, TokenError> {
        let version = ("2020-06-01", audience);
        let challenge =
            self.send(http, endpoint, version, &|r| r.header("Metadata", "true")).await?;
        if challenge.status != StatusCode::UNAUTHORIZED {
            return Ok(challenge);
        }
        let realm = challenge.headers.get(header::WWW_AUTHENTICATE).and_then(|v| v.to_str().ok());
        let path = realm.and_then(|v| v.strip_prefix("Basic realm=")).map(PathBuf::from);
        let key = read_arc_key(path.as_deref(), keys).map_err(TokenError::ManagedIdentity)?;
        let with = |r: RequestBuilder| {
            let basic = format!("Basic {}", key.expose_secret());
            r.header("Metadata", "true").header(header::AUTHORIZATION, basic)
        };
        self.send(http, endpoint, version, &with).await
    }
}

/// Reads Arc's key; the endpoint may not send us to any other file.
fn read_arc_key(path: Option<&Path>, keys: &Path) -> Result<SecretString, String> {
    let path = path.ok_or("Azure Arc's endpoint named no key file")?;
    let shown = path.display();
    // Names of Windows differ in their letters' case and are the same.
    let is_same = |parent: &Path| match OS {
        "windows" => parent.as_os_str().eq_ignore_ascii_case(keys),
        _ => parent == keys,
    };
    let is_key = path.parent().is_some_and(is_same) && path.extension().is_some_and(|e| e == "key");
    if !is_key {
        return Err(format!(
            "Azure Arc's endpoint named `{shown}`, which is none of its key files"
        ));
    }
    let denied = |e: std::io::Error| {
        let group = agent(OS, None).group;
        format!("`{shown}`: {e}; add the account that runs cmsync to the group `{group}`")
    };
    if std::fs::metadata(path).map_err(denied)?.len() > MAX_KEY {
        return Err(format!("`{shown}` is larger than a key file may be"));
    }
    std::fs::read_to_string(path).map(SecretString::from).map_err(denied)
}

/// A number that some endpoints write as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Plain(u64),
    Text(String),
}

/// Reads a number that may be written as text.
pub(crate) fn number<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    Ok(match Number::deserialize(from)? {
        Number::Plain(number) => Some(number),
        Number::Text(text) => text.parse().ok(),
    })
}
