//! Connections: a bounded number of them and of each peer, each of which must say soon what it wants and
//! take soon what it gets. None of it is the pipeline's business: these tasks wait, and hold little.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::network;

/// Connections at a time; more wait to be accepted. The pipeline needs file descriptors too.
const CONNECTIONS: usize = 256;
/// Connections of one machine, or one IPv6 network, at a time; others are closed at once.
const OF_ONE: usize = 32;
/// The same of the machine itself and of named proxies: each stands for many.
const OF_MANY: usize = 192;
/// How long a connection may take to ask for something, the first time and between two times; with TLS,
/// to shake hands.
const HEAD: Duration = Duration::from_secs(10);
/// How long a connection lasts: browsers and Prometheus open another.
const LIFE: Duration = Duration::from_secs(60);
/// How long one lasts that events are sent on.
const LIFE_OF_STREAM: Duration = Duration::from_secs(3_600);
/// How long an answer that was begun may take beyond that: a large file over a slow line.
const LAST_ANSWER: Duration = Duration::from_secs(300);
/// The same once the process stops.
const LAST_OF_ALL: Duration = Duration::from_secs(5);
/// After a failed accept: mostly file descriptors ran out, and more tries at once would not help.
const REST: Duration = Duration::from_secs(1);

/// Says of a connection that events are sent on it.
#[derive(Clone, Default)]
pub(crate) struct Lasting(Arc<AtomicBool>);

impl Lasting {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many connections each peer has.
#[derive(Clone, Default)]
struct Peers {
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
    /// Those that stand for many.
    proxies: Arc<[IpAddr]>,
}

/// A peer's place among them.
struct Place {
    peers: Peers,
    peer: IpAddr,
    _room: OwnedSemaphorePermit,
}

impl Peers {
    fn enter(&self, peer: IpAddr, room: OwnedSemaphorePermit) -> Option<Place> {
        let is_many = peer.is_loopback() || self.proxies.contains(&peer);
        let most = if is_many { OF_MANY } else { OF_ONE };
        let peer = if is_many { peer } else { network(peer) };
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(peer).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place { peers: self.clone(), peer, _room: room })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.peers.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
    }
}

/// Serves until `shutdown`, and then what was asked for before.
pub(crate) async fn run(
    listener: TcpListener,
    (tls, proxies): (Option<TlsAcceptor>, &[IpAddr]),
    router: Router,
    shutdown: CancellationToken,
) {
    let peers = Peers { counts: Arc::default(), proxies: proxies.into() };
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let tasks = TaskTracker::new();
    let next = async || {
        let room = Arc::clone(&room).acquire_owned().await.ok()?;
        match listener.accept().await {
            Ok((stream, peer)) => Some((room, stream, peer)),
            Err(error) => {
                tracing::debug!(%error, "failed to accept a connection");
                tokio::time::sleep(REST).await;
                None
            }
        }
    };
    loop {
        let (room, stream, peer) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = next() => match accepted {
                Some(accepted) => accepted,
                None => continue,
            },
        };
        let Some(place) = peers.enter(peer.ip().to_canonical(), room) else {
            tracing::debug!(%peer, "a peer has too many connections");
            continue;
        };
        let (router, tls, shutdown) = (router.clone(), tls.clone(), shutdown.clone());
        tasks.spawn(async move {
            greet(stream, tls, (router, peer), shutdown).await;
            drop(place);
        });
    }
    tasks.close();
    tasks.wait().await;
}

/// Shakes hands where that is wanted, and serves.
async fn greet(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    (router, peer): (Router, SocketAddr),
    shutdown: CancellationToken,
) {
    let Some(tls) = tls else {
        return serve(stream, (router, peer), shutdown).await;
    };
    let greeted = tokio::select! {
        () = shutdown.cancelled() => return,
        greeted = tokio::time::timeout(HEAD, tls.accept(stream)) => greeted,
    };
    match greeted {
        Ok(Ok(stream)) => serve(stream, (router, peer), shutdown).await,
        Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS"),
        Err(_) => tracing::debug!(%peer, "no TLS in time"),
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    (router, peer): (Router, SocketAddr),
    shutdown: CancellationToken,
) {
    let lasting = Lasting::default();
    let router = router.layer(Extension(ConnectInfo(peer))).layer(Extension(lasting.clone()));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let life = async {
        tokio::time::sleep(LIFE).await;
        if lasting.is_set() {
            tokio::time::sleep(LIFE_OF_STREAM).await;
        }
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = life => None,
        () = shutdown.cancelled() => None,
    };
    let ended = match ended {
        Some(ended) => Ok(ended),
        None => {
            // No further question is taken; the answer that was begun goes on.
            connection.as_mut().graceful_shutdown();
            let stops = async {
                shutdown.cancelled().await;
                tokio::time::sleep(LAST_OF_ALL).await;
            };
            tokio::select! {
                ended = tokio::time::timeout(LAST_ANSWER, connection) => ended.map_err(drop),
                () = stops => Err(()),
            }
        }
    };
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%peer, %error, "a connection ended"),
        Err(_) => tracing::debug!(%peer, "a connection did not take its answer in time"),
    }
}
