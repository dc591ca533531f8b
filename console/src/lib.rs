//! The web endpoint: `/metrics`, `/live` and `/ready`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

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

#[derive(Clone)]
struct Shared {
    metrics: MetricsPage,
    readiness: Readiness,
}

/// Serves until `shutdown`.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    metrics: MetricsPage,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics_page))
        .route("/live", get(async || "alive\n"))
        .route("/ready", get(ready))
        .with_state(Shared { metrics, readiness });
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

/// The text format of Prometheus, of which the content type says so ("Exposition formats").
async fn metrics_page(State(shared): State<Shared>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (shared.metrics)())
}

async fn ready(State(shared): State<Shared>) -> (StatusCode, String) {
    let Ready { missing, owned } = (shared.readiness)();
    let (status, mut lines) = match missing.is_empty() {
        true => (StatusCode::OK, vec!["ready".to_owned()]),
        false => (StatusCode::SERVICE_UNAVAILABLE, missing),
    };
    lines.extend(owned);
    (status, lines.join("\n") + "\n")
}
