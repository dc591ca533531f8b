//! The web endpoint: `/metrics`, `/live` and `/ready`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
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

#[derive(Clone)]
struct Shared {
    metrics: PrometheusHandle,
    readiness: Readiness,
}

/// Serves until `shutdown`.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    metrics: PrometheusHandle,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(async |State(shared): State<Shared>| shared.metrics.render()))
        .route("/live", get(async || "alive\n"))
        .route("/ready", get(ready))
        .with_state(Shared { metrics, readiness });
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
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
