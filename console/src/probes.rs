//! `/metrics`, `/live` and `/ready`: for machines, without sign-in.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

/// How ready the process is.
#[derive(Debug, Default)]
pub struct Ready {
    /// What is not ready; empty when all is.
    pub missing: Vec<String>,
    /// What this copy owns, where copies share the work.
    pub owned: Vec<String>,
}

/// Says how ready the process is.
pub type Readiness = Arc<dyn Fn() -> Ready + Send + Sync>;

/// Writes the page of `/metrics`.
pub type MetricsPage = Arc<dyn Fn() -> String + Send + Sync>;

/// What the probes tell.
#[derive(Clone)]
pub struct Probes {
    /// The page of `/metrics`.
    pub metrics: MetricsPage,
    /// What `/ready` says.
    pub readiness: Readiness,
}

pub(crate) fn router(probes: Probes) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/live", get(async || "alive\n"))
        .route("/ready", get(ready))
        .with_state(probes)
}

/// The text format of Prometheus, of which the content type says so ("Exposition formats").
async fn metrics(State(probes): State<Probes>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (probes.metrics)())
}

async fn ready(State(probes): State<Probes>) -> (StatusCode, String) {
    let Ready { missing, owned } = (probes.readiness)();
    let (status, mut lines) = match missing.is_empty() {
        true => (StatusCode::OK, vec!["ready".to_owned()]),
        false => (StatusCode::SERVICE_UNAVAILABLE, missing),
    };
    lines.extend(owned);
    (status, lines.join("\n") + "\n")
}
