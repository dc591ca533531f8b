//! Azure Resource Manager, for what cmsync makes and keeps there.
//!
//! Source: the REST references of Microsoft.OperationalInsights, Microsoft.Insights and
//! Microsoft.Authorization. Reads are repeated here; a write is tried once, and its caller decides.

mod error;
mod saved_search;
mod workspace;

use std::sync::Arc;

use cmsync_http::{Answer, Client, Method, RequestBuilder, StatusCode};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

pub use error::{ArmError, Refusal};
pub use saved_search::{SavedSearch, Tag};
pub use workspace::{Workspace, WorkspaceId};

use crate::Credential;
use crate::cloud::{audience, join};

/// Pages of a list that are followed, at most: a list that never ends is told.
const MAX_PAGES: usize = 1_000;

/// Asks and changes Azure's resources.
#[derive(Clone)]
pub struct ResourceManager {
    http: Client,
    endpoint: Url,
    credential: Arc<Credential>,
}

/// What is wanted, for a refusal's text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'a> {
    /// For example `list the saved searches`.
    pub(crate) what: &'a str,
    /// The least of Azure's own roles that may do it.
    pub(crate) role: &'static str,
    /// The resource that the role is needed on.
    pub(crate) scope: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<T> {
    #[serde(default = "Vec::new")]
    value: Vec<T>,
    #[serde(default)]
    next_link: Option<String>,
}

impl ResourceManager {
    /// Asks at `endpoint`, for example `https://management.azure.com`.
    #[must_use]
    pub fn new(http: Client, endpoint: Url, credential: Arc<Credential>) -> Self {
        Self { http, endpoint, credential }
    }

    fn url(&self, path: &str, version: &str) -> Url {
        let mut url = join(&self.endpoint, path);
        url.query_pairs_mut().append_pair("api-version", version);
        url
    }

    /// A resource; `None` when it is not there.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        version: &str,
        wish: Wish<'_>,
    ) -> Result<Option<T>, ArmError> {
        let answer = self.read(&self.url(path, version)).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        parse(&succeeded(answer, wish)?, wish).map(Some)
    }

    /// Every item of a list, page by page.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        version: &str,
        wish: Wish<'_>,
    ) -> Result<Vec<T>, ArmError> {
        let mut url = self.url(path, version);
        let mut items = Vec::new();
        for _ in 0..MAX_PAGES {
            let page: Page<T> = parse(&succeeded(self.read(&url).await?, wish)?, wish)?;
            items.extend(page.value);
            let Some(next) = page.next_link.filter(|link| !link.is_empty()) else {
                return Ok(items);
            };
            url = self.ours(&next, wish)?;
        }
        Err(ArmError::Unreadable { what: wish.what.into(), detail: "the list never ends".into() })
    }

    /// Writes once: `PUT` with a body, `DELETE` without one.
    pub(crate) async fn write(
        &self,
        path: &str,
        version: &str,
        body: Option<&Value>,
        wish: Wish<'_>,
    ) -> Result<Answer, ArmError> {
        let url = self.url(path, version);
        let request = || match body {
            Some(body) => self.http.request(Method::PUT, url.clone()).json(body),
            None => self.http.request(Method::DELETE, url.clone()),
        };
        let answer = self.send(request, false).await?;
        let is_gone = body.is_none() && answer.status == StatusCode::NOT_FOUND;
        if is_gone { Ok(answer) } else { succeeded(answer, wish) }
    }

    async fn read(&self, url: &Url) -> Result<Answer, ArmError> {
        self.send(|| self.http.request(Method::GET, url.clone()), true).await
    }

    /// Sends with a token. One that was taken back is noticed by the first 401; the second answer
    /// counts.
    async fn send(
        &self,
        request: impl Fn() -> RequestBuilder,
        is_repeated: bool,
    ) -> Result<Answer, ArmError> {
        let audience = audience(&self.endpoint);
        let mut is_second = false;
        loop {
            let token = self.credential.token(&audience).await?;
            let authorized = || request().bearer_auth(token.expose_secret());
            let answer = if is_repeated {
                self.http.send_repeating(|| Ok(authorized())).await?
            } else {
                self.http.send(authorized()).await?
            };
            if answer.status != StatusCode::UNAUTHORIZED || is_second {
                return Ok(answer);
            }
            self.credential.forget(&audience);
            is_second = true;
        }
    }

    /// A link of an answer, which must lead to where the token belongs.
    fn ours(&self, link: &str, wish: Wish<'_>) -> Result<Url, ArmError> {
        Url::parse(link).ok().filter(|url| url.origin() == self.endpoint.origin()).ok_or_else(
            || {
                let detail = "a link to the next page leads to another host".into();
                ArmError::Unreadable { what: wish.what.into(), detail }
            },
        )
    }
}

fn parse<T: DeserializeOwned>(answer: &Answer, wish: Wish<'_>) -> Result<T, ArmError> {
    serde_json::from_slice(&answer.body)
        .map_err(|e| ArmError::Unreadable { what: wish.what.into(), detail: e.to_string() })
}

fn succeeded(answer: Answer, wish: Wish<'_>) -> Result<Answer, ArmError> {
    if answer.status.is_success() { Ok(answer) } else { Err(error::refusal(&answer, wish)) }
}
