//! Long operations: what is made is waited for.
//!
//! Source: "Track asynchronous Azure operations" of the Resource Manager documentation. A write may
//! name an operation to ask (`Azure-AsyncOperation`), a place to look at until it answers other than
//! 202 (`Location`), or give the resource with a `provisioningState` that is not final.

use std::time::Duration;

use cmsync_http::{Answer, Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use url::Url;

use super::error::{AzureError, Fault, failed};
use super::{Api, Place, Wish, parse, succeeded};

/// How long an operation is waited for. A workspace takes about a minute, a table some seconds.
const PATIENCE: Duration = Duration::from_secs(600);
/// Wait between two looks, where the service names none.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Shortest wait between two looks, whatever the service names: one that has passed is none.
const SHORTEST: Duration = Duration::from_millis(100);
/// Longest wait between two looks.
const LONGEST: Duration = Duration::from_secs(30);

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Progress {
    status: String,
    error: Option<Fault>,
    properties: State,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct State {
    provisioning_state: String,
}

/// Where an operation can be followed.
enum Follow {
    /// An operation with a status of its own.
    Operation(Url),
    /// A place that answers 202 until it is done.
    Location(Url),
    /// The resource itself.
    Resource,
}

impl Api {
    /// Makes or changes a resource and waits until that has ended; gives the resource.
    pub(crate) async fn put<T: DeserializeOwned>(
        &self,
        place: Place<'_>,
        body: &Value,
        wish: Wish<'_>,
    ) -> Result<T, AzureError> {
        let answer = self.write(Method::PUT, place, Some(body), wish).await?;
        let last = self.await_end(answer, false, place, wish).await?;
        match last {
            Some(answer) => parse(&answer, wish),
            None => match self.get(place, wish).await? {
                Some(resource) => Ok(resource),
                None => {
                    let detail = "it is not there after it was made".into();
                    Err(AzureError::Unreadable { what: wish.what.into(), detail })
                }
            },
        }
    }

    /// Deletes a resource and waits until it is gone.
    pub(crate) async fn delete(&self, place: Place<'_>, wish: Wish<'_>) -> Result<(), AzureError> {
        let answer = self.write(Method::DELETE, place, None, wish).await?;
        if answer.status == StatusCode::ACCEPTED {
            self.await_end(answer, true, place, wish).await?;
        }
        Ok(())
    }

    /// Waits for the end of what `answer` began; the answer that holds the resource, where one does.
    async fn await_end(
        &self,
        mut answer: Answer,
        is_delete: bool,
        place: Place<'_>,
        wish: Wish<'_>,
    ) -> Result<Option<Answer>, AzureError> {
        let follow = self.follow(&answer, wish)?;
        let started = Instant::now();
        let mut is_first = true;
        loop {
            let progress: Progress = serde_json::from_slice(&answer.body).unwrap_or_default();
            let state = if matches!(follow, Follow::Operation(_)) && !is_first {
                &progress.status
            } else {
                &progress.properties.provisioning_state
            };
            let has_ended = match &follow {
                Follow::Operation(_) => !is_first && state == "Succeeded",
                Follow::Location(_) => answer.status != StatusCode::ACCEPTED,
                Follow::Resource => state.is_empty() || state == "Succeeded",
            };
            if has_ended {
                return Ok(matches!(follow, Follow::Resource).then_some(answer));
            }
            if matches!(state.as_str(), "Failed" | "Canceled") {
                let fault = progress.error.unwrap_or_else(|| Fault::of(state));
                return Err(failed(&answer, fault, wish));
            }
            if started.elapsed() > PATIENCE {
                let detail = format!("it did not end within {} minutes", PATIENCE.as_secs() / 60);
                return Err(AzureError::Unreadable { what: wish.what.into(), detail });
            }
            sleep(answer.retry_after().unwrap_or(LOOK_AGAIN).clamp(SHORTEST, LONGEST)).await;
            let url = match &follow {
                Follow::Operation(url) | Follow::Location(url) => url.clone(),
                Follow::Resource => self.url(place),
            };
            answer = self.read(&url).await?;
            if is_delete && answer.status == StatusCode::NOT_FOUND {
                return Ok(None);
            }
            answer = succeeded(answer, wish)?;
            is_first = false;
        }
    }

    fn follow(&self, answer: &Answer, wish: Wish<'_>) -> Result<Follow, AzureError> {
        let header = |name: &str| answer.headers.get(name).and_then(|v| v.to_str().ok());
        if let Some(link) = header("azure-asyncoperation") {
            return Ok(Follow::Operation(self.ours(link, wish)?));
        }
        match header("location") {
            Some(link) if answer.status == StatusCode::ACCEPTED => {
                Ok(Follow::Location(self.ours(link, wish)?))
            }
            _ => Ok(Follow::Resource),
        }
    }
}
