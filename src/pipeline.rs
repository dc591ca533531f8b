//! `cmsync run`: the one place where all parts meet.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use cmsync_control::{Desk, local_api};
use cmsync_producer::Job;
use cmsync_queue::embedded::EmbeddedQueue;
use cmsync_queue::{Queue, TopicKind, TopicSpec};
use cmsync_schemas::{Clock, Health, topics};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cli::StageName;
use crate::commands;
use crate::config::{self, Config, Connection};
use crate::connections::{self, WorkspaceSeq};
use crate::progress;
use crate::status_board::StatusBoard;

/// The clock may be this far from Azure's: seqs order rows, and the service replaces wild times.
const MAX_CLOCK_SKEW: i64 = 300;
/// How often the configuration file is looked at.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);
/// How long `--once` waits for a workspace that takes nothing.
const ONCE_PATIENCE: Duration = Duration::from_secs(120);

/// Bounds of every histogram, in seconds or attempts.
const BUCKETS: [f64; 14] = [
    0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3_600.0,
];

/// Wall time.
pub(crate) fn clock() -> Clock {
    Arc::new(|| jiff::Timestamp::now().as_microsecond())
}

/// Topics that all connections share.
pub(crate) fn shared_topics(partitions: u32) -> Vec<TopicSpec> {
    let compacted = |name: &str, partitions| TopicSpec {
        name: name.to_owned(),
        partitions,
        kind: TopicKind::Compacted,
        max_bytes: u64::MAX,
    };
    vec![
        compacted(topics::STATE, partitions),
        compacted(topics::CONTROL, 1),
        compacted(topics::STATUS, 1),
    ]
}

/// Runs until a signal, or with `once` until everything is delivered; true when all was well.
pub(crate) async fn run(
    config: Config,
    path: PathBuf,
    once: bool,
    stage: Option<StageName>,
) -> anyhow::Result<bool> {
    let metrics = install_metrics()?;
    let queue = Arc::new(commands::open_queue(&config).await?);
    queue.declare(&shared_topics(config.partitions)).await?;
    let shutdown = CancellationToken::new();
    stop_on_signal(shutdown.clone())?;
    let board = StatusBoard::new(
        Arc::clone(&queue) as Arc<dyn Queue>,
        clock(),
        shutdown.clone(),
    );
    serve(&config, &queue, &metrics, &board, &shutdown).await?;
    let (jobs, wanted) = watch::channel(BTreeMap::new());
    let mut supervisor = Supervisor {
        queue: Arc::clone(&queue),
        board: board.clone(),
        stage,
        jobs,
        workers: HashMap::new(),
        tasks: JoinSet::new(),
        shutdown: shutdown.clone(),
        config: config.clone(),
    };
    supervisor.apply(&config).await?;
    if once {
        progress::show(metrics.clone(), shutdown.clone());
    }
    let context = supervisor.producer_context();
    let producer_runs = stage.is_none_or(|s| s == StageName::Producer);
    let mut producer = tokio::spawn(async move {
        if producer_runs || once {
            cmsync_producer::run(context, wanted, once, shutdown.clone()).await
        } else {
            shutdown.cancelled().await;
            Ok(cmsync_producer::Outcome::default())
        }
    });
    tracing::info!(connections = config.connections.len(), directory = %config.queue_directory.display(), "running");
    let mut reload = Reload::new(path);
    let outcome = loop {
        tokio::select! {
            outcome = &mut producer => break outcome.context("the producer panicked")?,
            Some(ended) = supervisor.tasks.join_next() => supervisor.ended(ended)?,
            config = reload.changed(), if !once => supervisor.apply(&config).await?,
        }
    };
    let outcome = outcome.inspect_err(|_| supervisor.shutdown.cancel())?;
    let mut is_well = outcome.failed.is_empty() && outcome.held == 0;
    if once && !supervisor.shutdown.is_cancelled() {
        for (connection, reason) in &outcome.failed {
            eprintln!("cmsync: {connection}: {reason}");
        }
        if outcome.held > 0 {
            eprintln!(
                "cmsync: {} removals are held: see `cmsync removals list`",
                outcome.held
            );
        }
        is_well &= supervisor.wait_delivered().await?;
    }
    supervisor.shutdown.cancel();
    is_well &= supervisor.drain(config.drain_deadline).await?;
    Ok(is_well || !once)
}

fn install_metrics() -> anyhow::Result<PrometheusHandle> {
    let recorder = PrometheusBuilder::new()
        .set_buckets(&BUCKETS)?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).context("metrics are installed already")?;
    let upkeep = handle.clone();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_secs(5));
        loop {
            ticks.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

/// From here on, SIGTERM and SIGINT stop the process in good order.
fn stop_on_signal(shutdown: CancellationToken) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping");
        shutdown.cancel();
    });
    Ok(())
}

/// Starts the web endpoint and the local API.
async fn serve(
    config: &Config,
    queue: &Arc<EmbeddedQueue>,
    metrics: &PrometheusHandle,
    board: &StatusBoard,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    if let Some(address) = config.listen {
        let listener = tokio::net::TcpListener::bind(address).await;
        let listener =
            listener.with_context(|| format!("failed to listen on {address} (`http.listen`)"))?;
        let (board, trouble) = (board.clone(), queue.trouble());
        let readiness = Arc::new(move || {
            let mut missing = board.not_ready();
            missing.extend(trouble.borrow().clone());
            missing
        });
        let serving = cmsync_console::serve(listener, metrics.clone(), readiness, shutdown.clone());
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the web endpoint ended");
            }
        });
    }
    let desk = Desk::new(Arc::clone(queue) as Arc<dyn Queue>, clock());
    let (directory, shutdown) = (config.queue_directory.clone(), shutdown.clone());
    tokio::spawn(async move {
        if let Err(error) = local_api::serve(&directory, desk, shutdown).await {
            tracing::error!(%error, "the local API ended; commands cannot reach this process");
        }
    });
    Ok(())
}

/// A connection's transformer and uploader.
struct Worker {
    connection: Connection,
    stop: CancellationToken,
}

/// Starts and stops connections as the configuration says.
struct Supervisor {
    queue: Arc<EmbeddedQueue>,
    board: StatusBoard,
    stage: Option<StageName>,
    jobs: watch::Sender<BTreeMap<String, Job>>,
    workers: HashMap<String, Worker>,
    tasks: JoinSet<(String, Result<(), cmsync_queue::Error>)>,
    shutdown: CancellationToken,
    config: Config,
}

impl Supervisor {
    fn share(&self, connections: usize) -> u64 {
        self.config.max_size / u64::try_from(connections.max(1)).unwrap_or(1)
    }

    fn producer_context(&self) -> cmsync_producer::Context {
        let share = self.share(self.config.connections.len());
        let mut options = self.config.producer.clone();
        let backlog = connections::backlog_within(share, options.max_backlog.as_u64());
        options.max_backlog = bytesize::ByteSize::b(backlog);
        cmsync_producer::Context {
            queue: Arc::clone(&self.queue) as Arc<dyn Queue>,
            clock: clock(),
            state_partitions: self.config.partitions,
            partitions: self.config.partitions,
            options,
            new_instance: Arc::new(|| format!("{:016x}", rand::random::<u64>())),
        }
    }

    /// Makes what runs what the configuration says.
    async fn apply(&mut self, config: &Config) -> anyhow::Result<()> {
        let gone = self
            .workers
            .keys()
            .filter(|name| !config.connections.contains_key(*name));
        for name in gone.cloned().collect::<Vec<_>>() {
            tracing::warn!(
                connection = name,
                "no longer in the configuration: stopped; its rows stay in the workspace"
            );
            self.stop(&name);
            self.board.forget(&name).await?;
        }
        let share = self.share(config.connections.len());
        for (name, connection) in &config.connections {
            if self
                .workers
                .get(name)
                .is_some_and(|w| w.connection == *connection)
            {
                continue;
            }
            self.stop(name);
            self.queue
                .declare(&connections::topics_of(name, config.partitions, share))
                .await?;
            self.start(name, connection).await?;
        }
        self.config.connections.clone_from(&config.connections);
        Ok(())
    }

    fn stop(&mut self, name: &str) {
        if let Some(worker) = self.workers.remove(name) {
            worker.stop.cancel();
            self.jobs.send_modify(|jobs| drop(jobs.remove(name)));
        }
    }

    fn has(&self, stage: StageName) -> bool {
        self.stage.is_none_or(|s| s == stage)
    }

    async fn start(&mut self, name: &str, connection: &Connection) -> anyhow::Result<()> {
        let credential = connections::credential(&connection.workspace)?;
        let stop = self.shutdown.child_token();
        self.workers.insert(
            name.to_owned(),
            Worker {
                connection: connection.clone(),
                stop: stop.clone(),
            },
        );
        if let Err(reason) = check_clock(
            &credential,
            &connection.workspace.endpoints.ingestion_audience,
        )
        .await
        {
            tracing::error!(connection = name, reason, "connection is not started");
            self.board.stage(name, "producer").send_modify(|status| {
                (status.state, status.reason) = (Health::Stopped, reason);
            });
            return Ok(());
        }
        let queue = Arc::clone(&self.queue) as Arc<dyn Queue>;
        if self.has(StageName::Transformer) {
            let status = self.board.stage(name, "transformer");
            let transformer = cmsync_transformer::Transformer::new(name, clock(), status);
            let (queue, stop, name) = (Arc::clone(&queue), stop.clone(), name.to_owned());
            self.tasks.spawn(async move {
                (
                    name,
                    cmsync_transformer::run(&*queue, transformer, &stop).await,
                )
            });
        }
        if self.has(StageName::Uploader) {
            let uploader = cmsync_uploader::Uploader {
                connection: name.to_owned(),
                queue,
                target: connections::target(&connection.workspace, Arc::clone(&credential))?,
                options: self.config.uploader.clone(),
                clock: clock(),
                status: self.board.stage(name, "uploader"),
                drain: self.config.drain_deadline,
            };
            let name = name.to_owned();
            self.tasks
                .spawn(async move { (name, cmsync_uploader::run(uploader, stop).await) });
        }
        if self.has(StageName::Producer) {
            let job = Job {
                config: connection.producer.clone(),
                site: Arc::new(connections::site(&connection.site)?),
                status: self.board.stage(name, "producer"),
                highest_seq: Arc::new(WorkspaceSeq::new(connection, credential)?),
            };
            self.jobs
                .send_modify(|jobs| drop(jobs.insert(name.to_owned(), job)));
        }
        Ok(())
    }

    /// A transformer or uploader ended: by order, or for a reason that ends the process.
    fn ended(
        &self,
        ended: Result<(String, Result<(), cmsync_queue::Error>), tokio::task::JoinError>,
    ) -> anyhow::Result<()> {
        let (name, outcome) = ended.context("a stage panicked")?;
        outcome.with_context(|| format!("a stage of connection `{name}` ended"))
    }

    /// Waits until nothing waits for any workspace; false when one takes nothing for too long.
    async fn wait_delivered(&self) -> anyhow::Result<bool> {
        let mut waited = Duration::ZERO;
        let tick = Duration::from_millis(100);
        let mut before = u64::MAX;
        loop {
            let mut open = 0;
            for name in self.config.connections.keys() {
                for (topic, group) in [
                    (topics::changes(name), topics::TRANSFORMER),
                    (topics::records(name), topics::UPLOADER),
                ] {
                    for log in self.queue.log(&topic, group).await? {
                        open += log.end - log.position.map_or(log.start, |p| p.offset);
                    }
                }
            }
            if open == 0 {
                return Ok(true);
            }
            waited = if open < before {
                Duration::ZERO
            } else {
                waited + tick
            };
            before = open;
            if waited > ONCE_PATIENCE || self.shutdown.is_cancelled() {
                for name in self.config.connections.keys() {
                    if let Some(status) = self
                        .board
                        .get(name, "uploader")
                        .filter(|s| !s.reason.is_empty())
                    {
                        eprintln!("cmsync: {name}: {}", status.reason);
                    }
                }
                eprintln!("cmsync: {open} messages were not delivered; they stay in the queue");
                return Ok(false);
            }
            tokio::time::sleep(tick).await;
        }
    }

    /// Waits for every stage to end; false when the deadline came first.
    async fn drain(&mut self, deadline: Duration) -> anyhow::Result<bool> {
        let ending = async {
            while let Some(ended) = self.tasks.join_next().await {
                let (name, outcome) = ended.context("a stage panicked")?;
                outcome.with_context(|| format!("a stage of connection `{name}` ended"))?;
            }
            anyhow::Ok(())
        };
        match tokio::time::timeout(deadline + Duration::from_secs(1), ending).await {
            Ok(ended) => ended.map(|()| true),
            Err(_) => {
                tracing::warn!("not everything ended before the deadline");
                Ok(false)
            }
        }
    }
}

/// Refuses to start with a clock that is wildly wrong. A token endpoint that is down says nothing.
async fn check_clock(credential: &cmsync_azure::Credential, audience: &str) -> Result<(), String> {
    let asked = tokio::time::timeout(Duration::from_secs(10), credential.token(audience)).await;
    if let Ok(Err(error)) = asked {
        tracing::warn!(%error, "no token yet");
    }
    match credential.clock_skew() {
        Some(ahead) if ahead.abs() > MAX_CLOCK_SKEW => Err(format!(
            "this machine's clock is {ahead} s ahead of the token endpoint's: set it right, then restart"
        )),
        _ => Ok(()),
    }
}

/// Follows the configuration file.
struct Reload {
    path: PathBuf,
    seen: Option<(SystemTime, u64)>,
}

impl Reload {
    fn new(path: PathBuf) -> Self {
        let seen = stamp(&path);
        Self { path, seen }
    }

    /// The next version of the file that can be used.
    async fn changed(&mut self) -> Config {
        loop {
            tokio::time::sleep(RELOAD_INTERVAL).await;
            let now = stamp(&self.path);
            if now == self.seen || now.is_none() {
                continue;
            }
            self.seen = now;
            match config::load(&self.path) {
                Ok(config) => {
                    tracing::info!("configuration changed");
                    return config;
                }
                Err(mistakes) => {
                    tracing::error!(%mistakes, "the changed configuration is not used")
                }
            }
        }
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
