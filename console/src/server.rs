//! Connections: a bounded number of them, each of which must say soon what it wants.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Connections at a time; more wait to be accepted. The pipeline needs file descriptors too.
const CONNECTIONS: usize = 256;
/// How long a connection may take to ask for something, the first time and between two times.
const HEAD: Duration = Duration::from_secs(10);
/// After a failed accept: mostly file descriptors ran out, and more tries at once would not help.
const REST: Duration = Duration::from_secs(1);

/// Serves until `shutdown`, and then what was asked for before.
pub(crate) async fn run(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let open = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let next = async || {
        let place = Arc::clone(&room).acquire_owned().await.ok()?;
        match listener.accept().await {
            Ok((stream, peer)) => Some((place, stream, peer)),
            Err(error) => {
                tracing::debug!(%error, "failed to accept a connection");
                tokio::time::sleep(REST).await;
                None
            }
        }
    };
    loop {
        let (place, stream, peer) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = next() => match accepted {
                Some(accepted) => accepted,
                None => continue,
            },
        };
        let service = TowerToHyperService::new(router.clone().layer(Extension(ConnectInfo(peer))));
        let connection = http.serve_connection(TokioIo::new(stream), service);
        let connection = open.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%peer, %error, "a connection ended");
            }
            drop(place);
        });
    }
    open.shutdown().await;
}
