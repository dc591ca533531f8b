//! The lab as one server on loopback.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::arm::{GROUP, Resources, SUBSCRIPTION, WORKSPACE};
use crate::captures::Captures;
use crate::churn::{Churn, percentile};
use crate::directory::Directory;
use crate::faults::{Counts, Faults};
use crate::hosts::{Service, Shape, service_of};
use crate::options::{Options, Source};
use crate::workspace::{Report, Workspace};
use crate::world::World;

/// Object id of the person who sets things up; owner of the subscription.
pub const ADMINISTRATOR: &str = "ad319000-0000-4000-8000-00000000ada0";

/// What a token for the site is asked for.
pub const SITE_AUDIENCE: &str = "api://11111111-2222-3333-4444-555555555555/ConfigMgrService";

/// What stands in the key file of Azure Arc's agent.
pub const ARC_KEY: &str = "key-of-the-arc-agent";

/// A running lab. Dropping the last handle does not stop it; it ends with its runtime.
pub struct Lab {
    pub options: Options,
    pub address: SocketAddr,
    /// Of the site database.
    pub sql_address: SocketAddr,
    pub ca_pem: String,
    pub workspace: Workspace,
    pub(crate) captures: Option<Captures>,
    world: Mutex<World>,
    faults: Mutex<Faults>,
    counts: Mutex<Counts>,
    churn: Mutex<Churn>,
    churning: AtomicBool,
    resources: Mutex<Resources>,
    directory: Mutex<Directory>,
    proxy: SocketAddr,
    hung: tokio::sync::Notify,
    /// Connections to the database end with it once they are idle.
    pub(crate) closing: tokio::sync::watch::Sender<()>,
    pub(crate) tokens: Mutex<HashMap<String, (String, String)>>,
    pub(crate) next_token: AtomicU64,
}

/// Serves one connection. A client that goes away, or a fault that was asked for, is no news.
async fn serve(lab: Arc<Lab>, acceptor: TlsAcceptor, mut socket: TcpStream, is_proxied: bool) {
    drop(socket.set_nodelay(true));
    let mut host = None;
    if is_proxied {
        match crate::proxy::accept(&mut socket).await {
            Ok(asked) => host = Some(Arc::from(asked)),
            Err(_) => return,
        }
    }
    let Ok(stream) = acceptor.accept(socket).await else {
        return;
    };
    let service =
        service_fn(move |request| crate::routes::route(Arc::clone(&lab), host.clone(), request));
    let http = hyper::server::conn::http1::Builder::new();
    drop(http.serve_connection(TokioIo::new(stream), service).await);
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lab {
    /// Starts a lab inside the current runtime.
    ///
    /// # Errors
    /// When the port or the captures cannot be used.
    pub async fn start(options: Options) -> io::Result<Arc<Self>> {
        let listener = TcpListener::bind(("127.0.0.1", options.port)).await?;
        let proxy = TcpListener::bind(("127.0.0.1", 0)).await?;
        let database = TcpListener::bind(("127.0.0.1", 0)).await?;
        let (identity, ca_pem) = crate::tls::make();
        let lab = Arc::new(Self {
            address: listener.local_addr()?,
            sql_address: database.local_addr()?,
            ca_pem,
            workspace: Workspace::default(),
            captures: options.captures.as_deref().map(Captures::read).transpose()?,
            world: Mutex::new(World::generate(options.plan.clone())),
            faults: Mutex::default(),
            counts: Mutex::default(),
            churn: Mutex::default(),
            churning: AtomicBool::new(false),
            resources: Mutex::default(),
            directory: Mutex::new(Directory::new(&options)),
            proxy: proxy.local_addr()?,
            hung: tokio::sync::Notify::new(),
            closing: tokio::sync::watch::Sender::new(()),
            tokens: Mutex::default(),
            next_token: AtomicU64::new(1),
            options,
        });
        lab.faults().sql_port = lab.sql_address.port();
        if lab.options.source == Source::Tracked {
            lab.faults().sql.tracks_from = Some(0);
        }
        *lab.resources() = lab.furnish();
        let acceptor = TlsAcceptor::from(Arc::new(identity.server(rustls::ALL_VERSIONS)));
        tokio::spawn(crate::tds::serve(Arc::clone(&lab), database, identity));
        let serving = Arc::clone(&lab);
        tokio::spawn(async move {
            loop {
                let (socket, is_proxied) = tokio::select! {
                    Ok((socket, _)) = listener.accept() => (socket, false),
                    Ok((socket, _)) = proxy.accept() => (socket, true),
                    else => return,
                };
                let (lab, acceptor) = (Arc::clone(&serving), acceptor.clone());
                tokio::spawn(serve(lab, acceptor, socket, is_proxied));
            }
        });
        Ok(lab)
    }

    /// What there is in Azure at the beginning.
    fn furnish(&self) -> Resources {
        let Options { object_id, rules, is_bare, .. } = &self.options;
        let mut resources = if *is_bare {
            Resources::bare()
        } else {
            Resources::furnished(rules, &self.ingestion())
        };
        resources.grant(ADMINISTRATOR, "Owner", &format!("/subscriptions/{SUBSCRIPTION}"));
        if !is_bare {
            resources.grant(object_id, "Log Analytics Contributor", WORKSPACE);
            resources.grant(object_id, "Log Analytics Reader", WORKSPACE);
            resources.grant(object_id, "Monitoring Metrics Publisher", GROUP);
        }
        resources
    }

    /// The lab as a proxy, where its services have the names of a cloud.
    pub fn proxy(&self) -> String {
        format!("http://localhost:{}", self.proxy.port())
    }

    /// Whether what `path` belongs to is at `host`.
    pub(crate) fn serves(&self, host: Option<&str>, path: &str) -> bool {
        let service = service_of(path);
        match (host, service) {
            (Some(host), Some(service)) => self.options.shape.host(service) == Some(host),
            (Some(_), None) => false,
            (None, service) => self.options.shape == Shape::Alone || service.is_none(),
        }
    }

    fn address_of(&self, service: Service) -> String {
        self.options
            .shape
            .host(service)
            .map_or_else(|| self.url(), |host| format!("https://{host}"))
    }

    /// `https://localhost:<port>`.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// The site database's name.
    pub fn database(&self) -> String {
        format!("CM_{}", self.options.plan.site)
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    pub fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    pub fn counts(&self) -> MutexGuard<'_, Counts> {
        lock(&self.counts)
    }

    pub fn resources(&self) -> MutexGuard<'_, Resources> {
        lock(&self.resources)
    }

    /// Deploys an ARM template into a resource group, as an owner does; gives what was refused.
    pub fn deploy(&self, group: &str, template: &serde_json::Value) -> Vec<String> {
        crate::arm::deploy(self, group, template)
    }

    /// Whether the write that was just taken is never answered.
    pub(crate) fn hangs(&self) -> bool {
        let after = self.faults().hangs_after_write;
        let hangs = after.is_some_and(|n| self.resources().writes.len() == n);
        if hangs {
            self.hung.notify_one();
        }
        hangs
    }

    /// Waits until a write was taken that is never answered.
    pub async fn hung(&self) {
        self.hung.notified().await;
    }

    pub fn directory(&self) -> MutexGuard<'_, Directory> {
        lock(&self.directory)
    }

    pub(crate) fn authority(&self) -> String {
        self.address_of(Service::Authority)
    }

    /// Where resources are managed, which is the audience of its tokens too.
    pub(crate) fn resource_manager(&self) -> String {
        self.address_of(Service::Manager)
    }

    /// Where rows go.
    pub(crate) fn ingestion(&self) -> String {
        self.address_of(Service::Ingestion)
    }

    /// Where a workspace is asked, which is the audience of its tokens too.
    pub(crate) fn query(&self) -> String {
        self.address_of(Service::Query)
    }

    /// Where applications are looked up, which is the audience of its tokens too.
    pub(crate) fn graph(&self) -> String {
        self.address_of(Service::Graph)
    }

    pub(crate) fn ingestion_audience(&self) -> String {
        let shape = self.options.shape.ingestion_audience();
        shape.map_or_else(|| self.options.audience.clone(), Into::into)
    }

    pub fn churn(&self) -> MutexGuard<'_, Churn> {
        lock(&self.churn)
    }

    /// Makes every token that was issued invalid.
    pub fn expire_tokens(&self) {
        lock(&self.tokens).clear();
    }

    /// Sets faults from JSON, for clients in other languages; gives the status to answer.
    pub(crate) fn set_faults(&self, body: &[u8]) -> u16 {
        let Ok(wanted) = serde_json::from_slice::<serde_json::Value>(body) else {
            return 400;
        };
        if wanted["expire_tokens"] == true {
            self.expire_tokens();
        }
        self.faults().set(&wanted);
        200
    }

    /// What tokens are granted for.
    pub(crate) fn audiences(&self) -> Vec<String> {
        let mut all: Vec<String> =
            [Service::Manager, Service::Query, Service::Graph].map(|s| self.address_of(s)).into();
        all.extend([
            self.ingestion_audience(),
            SITE_AUDIENCE.into(),
            cmsync_broker::AUDIENCE.into(),
        ]);
        if self.options.shape == Shape::Alone {
            all.push("https://management.azure.com".into());
        }
        all
    }

    /// Changes memberships every `interval` until [`Lab::stop_churn`].
    pub fn start_churn(self: &Arc<Self>, interval: Duration, collections: usize) {
        self.churning.store(true, Ordering::Relaxed);
        let lab = Arc::clone(self);
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(interval);
            while lab.churning.load(Ordering::Relaxed) {
                ticks.tick().await;
                let (mut churn, mut world) = (lab.churn(), lab.world());
                // Looked at under the lock, so that nothing changes once `stop_churn` has returned.
                if lab.churning.load(Ordering::Relaxed) {
                    churn.step(&mut world, collections);
                }
            }
        });
    }

    /// Closes connections to the database as a firewall does that finds them idle.
    pub fn close_database(&self) {
        self.closing.send_replace(());
    }

    /// Changes memberships of so many collections once.
    pub fn churn_once(&self, collections: usize) {
        let (mut churn, mut world) = (self.churn(), self.world());
        churn.step(&mut world, collections);
    }

    pub fn stop_churn(&self) {
        let _steps = self.churn();
        self.churning.store(false, Ordering::Relaxed);
    }

    /// Device collections that the account may see.
    pub fn device_collections(&self) -> Vec<String> {
        Self::device_collections_of(&self.world())
    }

    /// Device collections of a world that the account may see.
    pub fn device_collections_of(world: &World) -> Vec<String> {
        let visible =
            world.collections.iter().filter(|(id, c)| c.kind == 2 && !world.hidden.contains(*id));
        visible.map(|(id, _)| id.clone()).collect()
    }

    /// Compares workspace and site over these collections.
    pub fn compare(&self, collections: &[String]) -> Report {
        self.workspace.compare(&self.world(), collections, 7)
    }

    pub(crate) fn report_json(&self) -> String {
        let report = self.compare(&self.device_collections());
        let delays = self.churn().delays(&self.workspace);
        let (counts, changes) = (self.counts().clone(), self.churn().changes.len());
        serde_json::json!({
            "report": report,
            "counts": counts,
            "changes": changes,
            "measured": delays.len(),
            "p50_ms": percentile(&delays, 0.5).as_millis(),
            "p99_ms": percentile(&delays, 0.99).as_millis(),
        })
        .to_string()
    }
}
