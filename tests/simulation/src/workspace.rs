//! Azure as it is asked: tokens, Logs Ingestion and saved searches, each with the answers that a seed
//! wants.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cmsync_azure::{AzureError, SavedSearch};
use cmsync_http::{Error, Request, Response, Transport};
use cmsync_lab::workspace::{MarkerRow, MemberRow, Workspace};
use cmsync_schemas::tables::MEMBER_STREAM;
use cmsync_uploader::groups::SavedSearches;
use flate2::read::GzDecoder;

use crate::bugs::Bug;
use crate::world::{Inner, Late, World};

/// A request that is given up.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Seconds that a token is good for.
const TOKEN_LASTS: i64 = 3_599;

/// Azure.
pub(crate) struct Azure {
    pub world: Arc<World>,
    pub workspace: Arc<Workspace>,
}

fn answer(status: u16, after: Option<u64>, body: String) -> Response {
    let mut answer = http::Response::builder().status(status);
    if let Some(after) = after {
        answer = answer.header("retry-after", after);
    }
    answer.body(body).map_or_else(|_| http::Response::new(String::new()).into(), Into::into)
}

fn refusal(status: u16, code: &str) -> Response {
    answer(status, None, format!(r#"{{"error":{{"code":"{code}","message":"as drawn"}}}}"#))
}

fn cut() -> Error {
    Error::Cut { host: "azure".into(), detail: "as drawn".into() }
}

impl Azure {
    /// Rows are there from now on; false where one of them is refused, and none is there then.
    fn take(&self, inner: &mut Inner, stream: &str, body: &Bytes) -> bool {
        let mut text = Vec::new();
        let read = std::io::Read::read_to_end(&mut GzDecoder::new(&body[..]), &mut text);
        if read.is_err() {
            inner.ledger.find(format!("a body of {stream} is no gzip"));
        } else if stream == MEMBER_STREAM {
            match serde_json::from_slice::<Vec<MemberRow<'_>>>(&text) {
                Ok(rows) => {
                    let poison = &inner.truth.poison;
                    if rows.iter().any(|row| poison.contains(&i64::from(row.resource_id))) {
                        return false;
                    }
                    rows.iter().for_each(|row| inner.ledger.row(row));
                }
                Err(error) => inner.ledger.find(format!("member rows: {error}")),
            }
        } else {
            match serde_json::from_slice::<Vec<MarkerRow>>(&text) {
                Ok(rows) => rows.iter().for_each(|row| inner.ledger.marker(row)),
                Err(error) => inner.ledger.find(format!("marker rows: {error}")),
            }
        }
        self.workspace.take(stream, body.clone(), true);
        true
    }

    /// What was given up long ago takes effect where its time has come.
    pub(crate) fn take_late(&self) {
        let mut inner = self.world.lock();
        let now = inner.now();
        let due: Vec<Late> = inner.late.extract_if(.., |late| late.at <= now).collect();
        for late in due {
            self.take(&mut inner, &late.stream, &late.body);
        }
    }

    async fn token(&self) -> Result<Response, Error> {
        self.world.note("token");
        tokio::time::sleep(self.world.draw(Duration::from_millis(1), Duration::from_secs(2))).await;
        let is_away = {
            let inner = self.world.lock();
            inner.now() < inner.tokens_back
        };
        if is_away || self.world.strikes(self.world.plan.rates.token_fails) {
            return match self.world.lock().rng_draw(3) {
                0 => Ok(answer(503, None, "busy".into())),
                1 => Err(cut()),
                _ => {
                    let body = r#"{"error":"invalid_client","error_codes":[7000222]}"#;
                    Ok(answer(401, None, body.into()))
                }
            };
        }
        let mut inner = self.world.lock();
        let until = inner.now() / 1_000_000 + TOKEN_LASTS;
        let number = inner.grant();
        let token = format!(r#"{{"access_token":"{number}-{until}","expires_in":{TOKEN_LASTS}}}"#);
        Ok(answer(200, None, token))
    }

    async fn post(&self, stream: &str, token: &str, body: Bytes) -> Result<Response, Error> {
        let (plan, world) = (&self.world.plan, &self.world);
        let rates = plan.rates;
        world.note(&format!("post: {stream} {} bytes", body.len()));
        let is_slow = world.lock().rng_draw(20) == 0;
        let most = Duration::from_millis(if is_slow { 50_000 } else { 300 });
        let takes = world.draw(Duration::from_millis(5), most);
        tokio::time::sleep(takes).await;
        if world.strikes(rates.post_late) {
            {
                let mut inner = world.lock();
                if inner.rng_draw(3) > 0 {
                    inner.postpone(stream, body);
                }
            }
            tokio::time::sleep(TIMEOUT).await;
            return Err(Error::Timeout { host: "azure".into() });
        }
        let (now, back) = {
            let inner = world.lock();
            (inner.now(), inner.workspace_back)
        };
        let until: i64 = token.rsplit('-').next().and_then(|t| t.parse().ok()).unwrap_or(0);
        if until * 1_000_000 < now || world.strikes(rates.token_refused) {
            return Ok(refusal(401, "TokenExpired"));
        }
        if let Some(refused) = self.refuses(now < back) {
            return refused;
        }
        if body.len() > plan.largest_body {
            let is_dropped = world.bug == Some(Bug::DropOn413);
            let status = if is_dropped { 204 } else { 413 };
            return Ok(answer(status, None, String::new()));
        }
        let is_lost_before = world.strikes(rates.answer_lost) && world.lock().rng_draw(2) == 0;
        if is_lost_before {
            return Err(cut());
        }
        if !self.take(&mut world.lock(), stream, &body) {
            return Ok(refusal(400, "InvalidRequest"));
        }
        world.note(&format!("taken: {stream}"));
        if world.strikes(rates.answer_lost) {
            return Err(cut());
        }
        Ok(answer(204, None, String::new()))
    }

    /// An answer that is none of the body's business.
    fn refuses(&self, is_away: bool) -> Option<Result<Response, Error>> {
        let (world, rates) = (&self.world, self.world.plan.rates);
        if is_away || world.strikes(rates.post_fails) {
            let status = [500, 502, 503, 504, 408][world.lock().rng_draw(5)];
            return Some(Ok(answer(status, None, "busy".into())));
        }
        if world.strikes(rates.throttled) {
            let mut inner = world.lock();
            let most = if inner.rng_draw(10) == 0 { 2_000 } else { 40 };
            let after = inner.rng_draw(most) as u64;
            let after = (inner.rng_draw(3) > 0).then_some(after);
            return Some(Ok(answer(429, after, String::new())));
        }
        if world.strikes(rates.aborted) {
            return Some(Ok(refusal(408, "ReadyBody_ClientConnectionAbort")));
        }
        if world.strikes(rates.rule_refused) {
            return Some(Ok(match world.lock().rng_draw(4) {
                0 => refusal(403, "OperationFailed"),
                1 => refusal(404, "NotFound"),
                2 => answer(403, None, "<html>proxy</html>".into()),
                _ => answer(301, None, String::new()),
            }));
        }
        None
    }
}

#[async_trait]
impl Transport for Azure {
    async fn carry(&self, request: Request) -> Result<Response, Error> {
        self.take_late();
        let path = request.url().path().to_owned();
        if path.ends_with("/token") {
            return self.token().await;
        }
        let stream = path.rsplit('/').next().unwrap_or_default();
        let token = request.headers().get("authorization").and_then(|t| t.to_str().ok());
        let token = token.and_then(|t| t.strip_prefix("Bearer ")).unwrap_or_default();
        let body = request.body().and_then(|body| body.as_bytes()).unwrap_or_default();
        self.post(stream, token, Bytes::copy_from_slice(body)).await
    }
}

#[async_trait]
impl SavedSearches for Azure {
    async fn list(&self) -> Result<Vec<SavedSearch>, AzureError> {
        self.search_call("list").await?;
        Ok(self.world.lock().searches.values().cloned().collect())
    }

    async fn put(&self, search: &SavedSearch) -> Result<(), AzureError> {
        self.search_call(&search.id).await?;
        self.world.lock().searches.insert(search.id.clone(), search.clone());
        self.search_answer()
    }

    async fn delete(&self, id: &str) -> Result<(), AzureError> {
        self.search_call(id).await?;
        self.world.lock().searches.remove(id);
        self.search_answer()
    }
}

impl Azure {
    /// The answer to a write that took effect may be lost.
    fn search_answer(&self) -> Result<(), AzureError> {
        match self.world.strikes(self.world.plan.rates.search_fails) {
            true => Err(AzureError::Http(cut())),
            false => Ok(()),
        }
    }

    async fn search_call(&self, what: &str) -> Result<(), AzureError> {
        self.world.note(&format!("saved search: {what}"));
        let takes = self.world.draw(Duration::from_millis(5), Duration::from_millis(300));
        tokio::time::sleep(takes).await;
        if self.world.strikes(self.world.plan.rates.search_fails) {
            return Err(match self.world.lock().rng_draw(2) {
                0 => AzureError::Throttled(Duration::from_secs(7)),
                _ => AzureError::Http(cut()),
            });
        }
        Ok(())
    }
}
