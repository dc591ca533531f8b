//! One way to ask Azure's control services: a token with each request, pages followed, long
//! operations awaited, refusals turned into who must do what.
//!
//! Reads are repeated here; a write is tried once, and its caller decides.

mod error;
mod operation;

use std::sync::Arc;

use cmsync_http::{Answer, Client, Method, RequestBuilder, StatusCode};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

pub use error::{AzureError, Refusal};
pub(crate) use error::{UNTOLD_WAIT, refusal};

use crate::Credential;
use crate::cloud::{audience, join};

/// Pages of a list that are followed, at most: a list that never ends is told.
const MAX_PAGES: usize = 1_000;

/// What is wanted, for a refusal's text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'a> {
    /// For example `list the saved searches`.
    pub(crate) what: &'a str,
    /// What it takes.
    pub(crate) needs: Needs,
    /// The resource that it is needed on.
    pub(crate) scope: &'a str,
}

/// What a request takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Needs {
    /// The least of Azure's own roles that may do it.
    Role(&'static str),
    /// A permission of Microsoft Graph.
    Permission(&'static str),
}

/// An address that is asked with a query string.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The path after the endpoint.
    pub(crate) path: &'a str,
    /// Names and values of the query string.
    pub(crate) query: &'a [(&'a str, &'a str)],
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<T> {
    #[serde(default = "Vec::new")]
    value: Vec<T>,
    #[serde(default)]
    next_link: Option<String>,
}

/// A control service, as one identity may use it.
#[derive(Clone)]
pub(crate) struct Api {
    http: Client,
    endpoint: Url,
    credential: Arc<Credential>,
}

impl Api {
    pub(crate) fn new(http: Client, endpoint: Url, credential: Arc<Credential>) -> Self {
        Self { http, endpoint, credential }
    }

    /// The audience of a token for it.
    pub(crate) fn audience(&self) -> String {
        audience(&self.endpoint)
    }

    pub(crate) fn credential(&self) -> &Credential {
        &self.credential
    }

    fn url(&self, place: Place<'_>) -> Url {
        let mut url = join(&self.endpoint, place.path);
        if !place.query.is_empty() {
            url.query_pairs_mut().extend_pairs(place.query);
        }
        url
    }

    /// A resource; `None` when it is not there.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        place: Place<'_>,
        wish: Wish<'_>,
    ) -> Result<Option<T>, AzureError> {
        let answer = self.read(&self.url(place)).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        parse(&succeeded(answer, wish)?, wish).map(Some)
    }

    /// Every item of a list, page by page.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        place: Place<'_>,
        wish: Wish<'_>,
    ) -> Result<Vec<T>, AzureError> {
        let mut url = self.url(place);
        let mut items = Vec::new();
        for _ in 0..MAX_PAGES {
            let page: Page<T> = parse(&succeeded(self.read(&url).await?, wish)?, wish)?;
            items.extend(page.value);
            let Some(next) = page.next_link.filter(|link| !link.is_empty()) else {
                return Ok(items);
            };
            url = self.ours(&next, wish)?;
        }
        let detail = "the list never ends".into();
        Err(AzureError::Unreadable { what: wish.what.into(), detail })
    }

    /// Writes once. What is deleted already counts as deleted.
    pub(crate) async fn write(
        &self,
        method: Method,
        place: Place<'_>,
        body: Option<&Value>,
        wish: Wish<'_>,
    ) -> Result<Answer, AzureError> {
        let url = self.url(place);
        let request = || {
            let request = self.http.request(method.clone(), url.clone());
            if let Some(body) = body { request.json(body) } else { request }
        };
        let answer = self.send(request, false).await?;
        let is_gone = method == Method::DELETE && answer.status == StatusCode::NOT_FOUND;
        if is_gone { Ok(answer) } else { succeeded(answer, wish) }
    }

    async fn read(&self, url: &Url) -> Result<Answer, AzureError> {
        self.send(|| self.http.request(Method::GET, url.clone()), true).await
    }

    /// Sends with a token. One that was taken back is noticed by the first 401; the second answer
    /// counts.
    pub(crate) async fn send(
        &self,
        request: impl Fn() -> RequestBuilder,
        is_repeated: bool,
    ) -> Result<Answer, AzureError> {
        let audience = self.audience();
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

    /// A request at a path, to be sent with [`Api::send`].
    pub(crate) fn request(&self, method: Method, place: Place<'_>) -> RequestBuilder {
        self.http.request(method, self.url(place))
    }

    /// A link of an answer, which must lead to where the token belongs.
    fn ours(&self, link: &str, wish: Wish<'_>) -> Result<Url, AzureError> {
        let url = Url::parse(link).ok().filter(|url| url.origin() == self.endpoint.origin());
        url.ok_or_else(|| {
            let detail = "a link of the answer leads to another host".into();
            AzureError::Unreadable { what: wish.what.into(), detail }
        })
    }
}

pub(crate) fn parse<T: DeserializeOwned>(answer: &Answer, wish: Wish<'_>) -> Result<T, AzureError> {
    serde_json::from_slice(&answer.body)
        .map_err(|e| AzureError::Unreadable { what: wish.what.into(), detail: e.to_string() })
}

fn succeeded(answer: Answer, wish: Wish<'_>) -> Result<Answer, AzureError> {
    if answer.status.is_success() { Ok(answer) } else { Err(refusal(&answer, wish)) }
}
