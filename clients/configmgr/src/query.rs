//! One query to one class at one provider: the request, its pages and its refusals.

use cmsync_http::{Client, Method, StatusCode, header};
use serde::Deserialize;
use url::Url;

use crate::admin_service::AdminService;
use crate::error::Error;
use crate::split::{SplitError, Splitter};

/// Most pages that a `nextLink` chain may have.
const MAX_LINKS: usize = 100_000;

/// A query to one class.
pub(crate) struct Query<'a> {
    pub(crate) class: &'a str,
    pub(crate) options: Vec<(&'static str, String)>,
}

/// What an answer holds besides its rows.
#[derive(Deserialize, Default)]
struct Envelope {
    #[serde(rename = "@odata.context", default)]
    context: Option<String>,
    #[serde(rename = "@odata.nextLink", default)]
    next_link: Option<String>,
    #[serde(default)]
    value: Option<serde_json::Value>,
}

/// What stops a page.
enum Stop {
    Split(SplitError),
    Row(serde_json::Error),
}

impl From<SplitError> for Stop {
    fn from(error: SplitError) -> Self {
        Self::Split(error)
    }
}

pub(crate) type OnRow<'a> = &'a mut (dyn FnMut(&[u8]) -> Result<(), serde_json::Error> + Send);

impl AdminService {
    /// One query at one provider, following links; gives the number of rows.
    pub(crate) async fn rows(
        &self,
        provider: &Url,
        query: &Query<'_>,
        on_row: OnRow<'_>,
    ) -> Result<usize, Error> {
        let mut url = class_url(provider, query)?;
        let mut rows = 0;
        for _ in 0..MAX_LINKS {
            let (count, next) = self.page(&url, query.class, on_row).await?;
            rows += count;
            let Some(next) = next else { return Ok(rows) };
            let next = provider.join(&next).ok().filter(|n| {
                n.origin() == provider.origin()
                    && n.path().starts_with(provider.path())
                    && *n != url
            });
            let host = host(provider);
            url = next.ok_or_else(|| answer(&host, query.class, "its nextLink leads elsewhere"))?;
        }
        Err(answer(&host(provider), query.class, "its nextLink never ends"))
    }

    async fn page(
        &self,
        url: &Url,
        class: &str,
        on_row: OnRow<'_>,
    ) -> Result<(usize, Option<String>), Error> {
        let host = host(url);
        let _permit = self.requests.acquire().await.map_err(|_| answer(&host, class, "stopped"))?;
        self.load.request().await;
        let authorization =
            self.authenticate.authorization(url.host_str().unwrap_or_default()).await?;
        let request = self
            .client
            .request(Method::GET, url.clone())
            .header(header::AUTHORIZATION, authorization)
            .header(header::ACCEPT, "application/json");
        let mut response = self.client.open(request).await?;
        if response.status() != StatusCode::OK {
            return Err(self.refused(response, &host, class).await);
        }
        let mut splitter = Splitter::default();
        let mut rows = 0;
        let mut counted = 0;
        while let Some(piece) = Client::chunk(&mut response).await? {
            let fed = splitter.feed(&piece, |row| {
                rows += 1;
                on_row(row).map_err(Stop::Row)
            });
            match fed {
                Ok(()) => {}
                Err(Stop::Split(error)) => return Err(answer(&host, class, &error.to_string())),
                Err(Stop::Row(error)) => {
                    return Err(answer(&host, class, &format!("row {rows}: {error}")));
                }
            }
            self.load.rows(rows - std::mem::replace(&mut counted, rows)).await;
        }
        let whole = splitter.finish().map_err(|e| answer(&host, class, &e.to_string()))?;
        let envelope: Envelope =
            serde_json::from_slice(&whole).map_err(|e| answer(&host, class, &e.to_string()))?;
        let context = envelope.context.as_deref().unwrap_or_default();
        let named = context.rsplit('#').next().unwrap_or_default();
        let named = named.split(['/', '(']).next().unwrap_or_default();
        if !context.is_empty() && !named.eq_ignore_ascii_case(class) {
            return Err(answer(&host, class, &format!("it speaks of `{named}`")));
        }
        match envelope.value {
            Some(serde_json::Value::Array(_)) => Ok((rows, envelope.next_link)),
            // By key, some versions answer the bare object.
            None if !context.is_empty() => {
                on_row(&whole).map_err(|e| answer(&host, class, &e.to_string()))?;
                Ok((1, None))
            }
            _ => Err(answer(&host, class, "it has no `value` array")),
        }
    }

    /// Turns an answer that is no success into who must do what.
    async fn refused(&self, mut response: cmsync_http::Response, host: &str, class: &str) -> Error {
        let status = response.status();
        let header_of =
            |name| response.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let content_type = header_of(header::CONTENT_TYPE).to_owned();
        let offers = |scheme: &str| {
            let all = response.headers().get_all(header::WWW_AUTHENTICATE).into_iter();
            all.filter_map(|v| v.to_str().ok()).any(|v| v.contains(scheme))
        };
        let (offers_negotiate, offers_ntlm) = (offers("Negotiate"), offers("NTLM"));
        let mut body = Vec::new();
        while let Ok(Some(piece)) = Client::chunk(&mut response).await {
            body.extend_from_slice(&piece);
            if body.len() > 4096 {
                break;
            }
        }
        let is_page = content_type.contains("html") || body.trim_ascii().starts_with(b"<");
        let excerpt = if is_page { "a web page".to_owned() } else { cmsync_http::excerpt(&body) };
        let (host, class) = (host.to_owned(), class.to_owned());
        match status.as_u16() {
            401 => {
                let hint = if self.authenticate.is_negotiated() && offers_ntlm && !offers_negotiate
                {
                    "; it offers NTLM alone, which cmsync does not speak: sites since version 2509 \
                     reject it; name the server by its full name, for which HTTP/<server> is registered"
                } else if !self.authenticate.is_negotiated() && offers_negotiate {
                    "; it asks for Kerberos: a token is taken at `AdminService_TokenAuth` only"
                } else {
                    ""
                };
                Error::Credentials {
                    host,
                    detail: format!("{}{hint}", self.authenticate.refusal()),
                }
            }
            404 if is_page => Error::NoProvider { host },
            403 | 404 => Error::Denied { host, class, status, excerpt },
            400 => Error::Query { host, class, excerpt },
            _ => Error::Failed { host, class, status, excerpt },
        }
    }
}

fn class_url(provider: &Url, query: &Query<'_>) -> Result<Url, Error> {
    let mut url = provider.clone();
    let base = provider.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{base}/wmi/{}", query.class));
    if !query.options.is_empty() {
        // `form_urlencoded` writes a blank as `+`, which OData does not read as one.
        let encoded = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&query.options)
            .finish()
            .replace('+', "%20");
        url.set_query(Some(&encoded));
    }
    Ok(url)
}

pub(crate) fn host(url: &Url) -> String {
    url.host_str().unwrap_or("site").to_owned()
}

pub(crate) fn answer(host: &str, class: &str, detail: &str) -> Error {
    Error::Answer { host: host.to_owned(), class: class.to_owned(), detail: detail.to_owned() }
}
