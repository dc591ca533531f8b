//! What fuzz targets share: answers made of foreign bytes, and a runtime whose time does not pass.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use cmsync_http::{Client, Error, Request, Response, Settings, Transport};

/// Statuses that an answer may have.
const STATUSES: [u16; 16] =
    [200, 200, 200, 200, 200, 201, 204, 301, 400, 401, 403, 404, 413, 429, 500, 503];
/// What bodies are cut into.
const PIECES: [usize; 4] = [usize::MAX, 1, 7, 64];

/// Gives answers made of foreign bytes, one after another; when they end, connections are cut.
pub struct Answers {
    answers: Mutex<VecDeque<(u8, Bytes)>>,
}

impl Answers {
    /// Of each answer the first byte says its status, and how its body is cut; `----` ends it.
    pub fn of(data: &[u8]) -> Self {
        let answer = |part: &[u8]| Some((*part.first()?, Bytes::copy_from_slice(part.get(1..)?)));
        Self { answers: Mutex::new(parts(data).filter_map(answer).collect()) }
    }
}

/// What foreign bytes are several of: `----` ends each.
pub fn parts(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let end = rest.windows(4).position(|four| four == b"----").unwrap_or(rest.len());
        let part = (!rest.is_empty()).then(|| &rest[..end]);
        rest = rest.get(end + 4..).unwrap_or_default();
        part
    })
}

#[async_trait]
impl Transport for Answers {
    async fn carry(&self, _: Request) -> Result<Response, Error> {
        let next = self.answers.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some((head, body)) = next else {
            return Err(Error::Cut { host: "fuzz".into(), detail: "no more answers".into() });
        };
        let piece = PIECES[usize::from(head >> 6)].min(body.len().max(1));
        let pieces: Vec<_> = body
            .chunks(piece)
            .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
            .collect();
        let body = reqwest::Body::wrap_stream(tokio_stream::iter(pieces));
        let status = STATUSES[usize::from(head & 15)];
        let answer = http::Response::builder().status(status).header("retry-after", "1").body(body);
        Ok(answer.expect("a status and a header").into())
    }
}

/// A client whose answers are foreign bytes.
pub fn client(data: &[u8]) -> Client {
    static TEMPLATE: OnceLock<Client> = OnceLock::new();
    let make = || Client::new("fuzz", &Settings::default()).expect("a client");
    TEMPLATE.get_or_init(make).clone().over(Arc::new(Answers::of(data)))
}

/// Runs to the end; sleeps take no time.
pub fn run<F: Future>(future: F) -> F::Output {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(future)
}
