//! The client.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::{self, HeaderMap};
use reqwest::{Method, Request, RequestBuilder, Response, StatusCode};
use url::Url;

use crate::backoff::{Policy, retry_after};
use crate::error::{Error, innermost};
use crate::metrics::{Metrics, Status};

/// Attempts of [`Client::send_repeating`]; with its delays, about half a minute.
const ATTEMPTS: u32 = 5;
/// Longest `Retry-After` that a repeated read waits for; a longer one is the caller's to schedule.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Bytes of an error's body that are kept.
const EXCERPT: usize = 600;
/// Most bytes of an answer that is read whole.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// How requests are made. Every field has a default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// PEM file of authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Proxy, for example `http://proxy.contoso.com:3128`. Without it the usual environment
    /// variables count.
    pub proxy: Option<String>,
    /// Never through a proxy, whatever the environment says: for addresses of the machine itself.
    pub direct: bool,
    /// Time to connect.
    pub connect_timeout: Duration,
    /// Longest silence while an answer is read.
    pub read_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ca_file: None,
            proxy: None,
            direct: false,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(60),
        }
    }
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// The body's beginning as text, for messages.
    #[must_use]
    pub fn excerpt(&self) -> String {
        excerpt(&self.body)
    }

    /// Whether it says that the same request may succeed later without anyone acting.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.status == StatusCode::TOO_MANY_REQUESTS
            || self.status == StatusCode::REQUEST_TIMEOUT
            || self.status.is_server_error()
    }

    /// What `Retry-After` asks for.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.headers, Timestamp::now())
    }
}

/// What carries a request to whoever answers it.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Gives the answer, its body perhaps still to come.
    ///
    /// # Errors
    /// When there is none.
    async fn carry(&self, request: Request) -> Result<Response, Error>;
}

/// The network.
#[async_trait]
impl Transport for reqwest::Client {
    async fn carry(&self, request: Request) -> Result<Response, Error> {
        let host = host_of(request.url());
        self.execute(request).await.map_err(|e| Error::from_reqwest(&host, &e))
    }
}

/// Makes requests to one kind of target, which names its metrics.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    carrier: Arc<dyn Transport>,
    metrics: Arc<Metrics>,
    /// Seconds that this machine's clock is ahead of the server's, from its last answer.
    skew: Arc<Mutex<Option<i64>>>,
}

/// The certificates of a PEM file.
fn authorities(path: &Path) -> Result<Vec<reqwest::Certificate>, Error> {
    let name = path.display();
    let fail = |detail: String| Error::Settings { key: "ca_file", detail };
    let pem = std::fs::read(path).map_err(|e| fail(format!("`{name}`: {e}")))?;
    let found = reqwest::Certificate::from_pem_bundle(&pem).ok().filter(|found| !found.is_empty());
    found.ok_or_else(|| fail(format!("`{name}` holds no PEM certificate")))
}

impl Client {
    /// A client. `target` is a short word for metrics: `site`, `ingestion`, `token`, `query`.
    ///
    /// # Errors
    /// [`Error::Settings`] naming the setting that cannot be used.
    pub fn new(target: &'static str, settings: &Settings) -> Result<Self, Error> {
        let fail = |key, detail: String| Error::Settings { key, detail };
        let authorities = settings.ca_file.as_deref().map(authorities).transpose()?;
        let proxy = settings.proxy.as_ref().filter(|_| !settings.direct);
        let proxy = proxy.map(reqwest::Proxy::all).transpose();
        let proxy = proxy.map_err(|e| fail("proxy", e.to_string()))?;
        let builder = || {
            let builder = reqwest::Client::builder()
                .connect_timeout(settings.connect_timeout)
                .read_timeout(settings.read_timeout)
                .redirect(reqwest::redirect::Policy::none())
                .user_agent(concat!("cmsync/", env!("CARGO_PKG_VERSION")))
                .pool_max_idle_per_host(16)
                .http1_only();
            match &proxy {
                Some(proxy) => builder.proxy(proxy.clone()),
                None if settings.direct => builder.no_proxy(),
                None => builder,
            }
        };
        let built = match authorities {
            // Where the system lets nothing be added to its own authorities (Wine), these alone count.
            Some(own) => builder()
                .tls_certs_merge(own.clone())
                .build()
                .or_else(|error| builder().tls_certs_only(own).build().map_err(|_| error)),
            None => builder().build(),
        };
        // A system without authorities of its own is refused here (a container from scratch, for one).
        let http = built.map_err(|e| fail("ca_file", innermost(&e)))?;
        let (carrier, metrics) = (Arc::new(http.clone()), Arc::new(Metrics::new(target)));
        Ok(Self { http, carrier, metrics, skew: Arc::default() })
    }

    /// The same over something else than the network, for simulations.
    #[must_use]
    pub fn over(self, carrier: Arc<dyn Transport>) -> Self {
        Self { carrier, skew: Arc::default(), ..self }
    }

    /// Starts a request.
    pub fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.http.request(method, url)
    }

    /// Sends once and gives the answer with its body still to come, whatever its status.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn open(&self, request: RequestBuilder) -> Result<Response, Error> {
        let request = request.build().map_err(|e| Error::from_reqwest("request", &e))?;
        let started = Instant::now();
        let outcome = self.carrier.carry(request).await;
        self.metrics.seconds.record(started.elapsed());
        let status = outcome.as_ref().map_or(Status::None, |answer| answer.status().into());
        self.metrics.requests.of(status).increment(1);
        let response = outcome?;
        self.note_time(response.headers());
        Ok(response)
    }

    /// Seconds that this machine's clock is ahead of the server's, by the `Date` of its last answer.
    #[must_use]
    pub fn clock_skew(&self) -> Option<i64> {
        *self.skew.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_time(&self, headers: &HeaderMap) {
        let date = headers.get(header::DATE).and_then(|date| date.to_str().ok());
        if let Some(theirs) = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()) {
            let ahead = Timestamp::now().as_second() - theirs.timestamp().as_second();
            *self.skew.lock().unwrap_or_else(PoisonError::into_inner) = Some(ahead);
        }
    }

    /// The next piece of a body; `None` at its end.
    ///
    /// # Errors
    /// [`Error::Cut`] or [`Error::Timeout`].
    pub async fn chunk(response: &mut Response) -> Result<Option<Bytes>, Error> {
        let host = host_of(response.url());
        response.chunk().await.map_err(|e| Error::from_reqwest(&host, &e))
    }

    /// Sends once and reads the answer whole, whatever its status.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub async fn send(&self, request: RequestBuilder) -> Result<Answer, Error> {
        let mut response = self.open(request).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(piece) = Self::chunk(&mut response).await? {
            if body.len() + piece.len() > MAX_ANSWER {
                let detail = format!("answer above {MAX_ANSWER} bytes");
                return Err(Error::Cut { host: host_of(response.url()), detail });
            }
            body.extend_from_slice(&piece);
        }
        Ok(Answer { status, headers, body: body.into() })
    }

    /// Sends until there is a success or an answer that repeating cannot change, at most five times, and
    /// gives the last answer, whatever its status. For requests that change nothing.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send_repeating<B>(&self, mut build: B) -> Result<Answer, Error>
    where
        B: FnMut() -> Result<RequestBuilder, Error>,
    {
        let mut policy = Policy::new(Duration::from_millis(200), Duration::from_secs(15));
        let mut attempt = 1;
        loop {
            let outcome = self.send(build()?).await;
            let (is_passing, wait) = match &outcome {
                Ok(answer) => (answer.is_transient(), answer.retry_after()),
                Err(error) => (error.is_transient(), None),
            };
            let is_long = wait.is_some_and(|wait| wait > LONGEST_WAIT);
            if !is_passing || is_long || attempt == ATTEMPTS {
                return outcome;
            }
            attempt += 1;
            tokio::time::sleep(wait.unwrap_or_else(|| policy.next_delay())).await;
        }
    }
}

fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or("server");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The beginning of a body as one line of text, for messages.
#[must_use]
pub fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..EXCERPT).unwrap_or(body));
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
