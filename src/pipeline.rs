//! `cmsync run`: the one place where all parts meet.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use cmsync_console::{AllConfigured, Console, Probes, Ready};
use cmsync_control::{Desk, local_api};
use cmsync_producer::Job;
use cmsync_queue::{Queue, TopicKind, TopicSpec, embedded};
use cmsync_schemas::{Clock, topics};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cli::StageName;
use crate::config::Config;
use crate::host::Host;
use crate::journal::Journal;
use crate::logging::Logging;
use crate::metrics::Page;
use crate::queue::{self, Opened};
use crate::reload::Reload;
use crate::revision::Revisions;
use crate::set_up::SetUp;
use crate::status_board::StatusBoard;
use crate::supervisor::{self, Supervisor};
use crate::{
    connections, console, delivered, kerberos, meter, platform, progress, settings, traces,
};

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
        compacted(topics::ACTIVITY, 1),
    ]
}

/// Runs until a signal, or with `once` until everything is delivered; true when all was well.
pub(crate) async fn run(
    config: Config,
    path: PathBuf,
    (once, stages): (bool, Vec<StageName>),
    (logging, host): (&Logging, Host),
) -> anyhow::Result<bool> {
    // From here on, SIGHUP ends nothing.
    let mut reload = Reload::new(path.clone(), stages.clone())?;
    let (names, shown) = watch::channel(config.connections.keys().cloned().collect());
    let metrics = Page::start(shown)?;
    let opened = queue::open(&config).await?;
    let (queue, kafka) = (Arc::clone(&opened.queue), opened.kafka.clone());
    let state_partitions = crate::topics::declare_shared(&config, &*queue).await?;
    let sending = config.traces.as_ref().map(traces::start).transpose();
    let sending = sending.context("`traces`")?;
    let shutdown = CancellationToken::new();
    let asked = stop_when_asked(shutdown.clone(), &host)?;
    let journal = Journal::start(Arc::clone(&queue), clock());
    let (board, desk) = tell(&queue, (config.kafka.is_some(), &journal), logging, &shutdown);
    let (told, configured) = watch::channel(console::configured(&config));
    measure(&config, &opened, logging, &shutdown);
    let settings = Arc::new(settings::File::new(path.clone(), stages.clone(), desk.clone()));
    let connect = Arc::new(SetUp::new(path));
    let set_up = Arc::clone(&connect);
    let told_of = (&metrics, &desk, configured, (settings, connect));
    let serving = serve(&config, opened, told_of, &board, &shutdown).await?;
    let (jobs, wanted) = watch::channel(BTreeMap::new());
    let mut supervisor = Supervisor::new(
        &config,
        (desk.clone(), board.clone(), names),
        stages.clone(),
        jobs,
        shutdown.clone(),
    );
    supervisor.apply(&config).await?;
    let before = supervisor.dead_letters().await?;
    progress::show(metrics.clone(), shutdown.clone(), !once);
    let (own, revision) = watch::channel(config.revision);
    let context = supervisor.producer_context(state_partitions);
    let mut producer = tokio::spawn(produce(&supervisor, context, (wanted, revision), once));
    say_what_runs(&config, &stages);
    supervisor.note_process(concat!("cmsync ", env!("CARGO_PKG_VERSION"), " started"));
    (host.running)();
    let follow = Follow { reload: &mut reload, told, own, set_up, once };
    let outcome = until_ended(&mut producer, &mut supervisor, follow).await?;
    let outcome = outcome.inspect_err(|_| supervisor.shutdown.cancel())?;
    let is_well = !once || delivered::is_delivered(&supervisor, &outcome, before).await?;
    supervisor.shutdown.cancel();
    let is_drained = supervisor.drain(config.drain_deadline).await?;
    console::end(serving).await;
    supervisor.note_process(concat!("cmsync ", env!("CARGO_PKG_VERSION"), " stopped"));
    journal.end().await;
    if let Some(kafka) = kafka {
        kafka.leave().await;
    }
    if let Some(sending) = sending {
        sending.end().await;
    }
    // Whoever asks for a stop meanwhile gets one.
    if let Some(config) = supervisor.anew.take().filter(|_| !asked.is_cancelled()) {
        kerberos::enter(&config, supervisor.has(StageName::Producer))?;
    }
    Ok(is_well && (is_drained || !once))
}

fn say_what_runs(config: &Config, stages: &[StageName]) {
    tracing::info!(connections = config.connections.len(), queue = config.queue(), "running");
    if config.kafka.is_none() && !stages.is_empty() {
        tracing::warn!(
            ?stages,
            "the other stages run nowhere: one process alone holds a queue in a file"
        );
    }
}

/// Where stages say how they are and what happens, and where questions are answered.
fn tell(
    queue: &Arc<dyn Queue>,
    (is_shared, journal): (bool, &Journal),
    logging: &Logging,
    shutdown: &CancellationToken,
) -> (StatusBoard, Desk) {
    let note = Arc::clone(&journal.note);
    let own = (Arc::clone(queue), Arc::clone(&note), shutdown.clone());
    let board = StatusBoard::new(own, clock(), is_shared);
    let recent = logging.recent.clone();
    let desk = Desk::new(Arc::clone(queue), clock())
        .with_log(Arc::new(move || recent.lines()))
        .with_note(note);
    (board, desk)
}

/// How the producer ended.
type Produced = Result<cmsync_producer::Outcome, cmsync_producer::Error>;

/// What is told of a configuration that changed.
struct Follow<'a> {
    reload: &'a mut Reload,
    told: watch::Sender<AllConfigured>,
    own: watch::Sender<u64>,
    set_up: Arc<SetUp>,
    once: bool,
}

/// Waits for the producer's end, and follows the configuration meanwhile.
async fn until_ended(
    producer: &mut tokio::task::JoinHandle<
        Result<cmsync_producer::Outcome, cmsync_producer::Error>,
    >,
    supervisor: &mut Supervisor,
    follow: Follow<'_>,
) -> anyhow::Result<Produced> {
    let Follow { reload, told, own, set_up, once } = follow;
    loop {
        let is_anew = supervisor.anew.is_some();
        tokio::select! {
            outcome = &mut *producer => return outcome.context("the producer panicked"),
            Some(ended) = supervisor.tasks.join_next() => supervisor::ended(ended)?,
            config = reload.changed(), if !once && !is_anew => {
                let has_keys = supervisor.has_keys(&config);
                let takes = supervisor.takes(&config) && has_keys.is_some();
                reload.accepted(takes);
                if takes && has_keys == Some(false) {
                    tracing::warn!("a connection signs in by other keys: to be started anew with them");
                    supervisor.anew = Some(config);
                } else if takes {
                    supervisor.apply(&config).await?;
                    supervisor.note_process("the configuration was read");
                    told.send_replace(console::configured(&config));
                    own.send_replace(config.revision);
                }
            }
            // Whoever is setting it up is heard to the end.
            () = set_up.idle(), if is_anew && !supervisor.shutdown.is_cancelled() => {
                supervisor.shutdown.cancel();
            }
        }
    }
}

/// The producer, where it runs here: on brokers, while no other copy has a newer configuration.
fn produce(
    supervisor: &Supervisor,
    context: cmsync_producer::Context,
    (wanted, own): (watch::Receiver<BTreeMap<String, Job>>, watch::Receiver<u64>),
    once: bool,
) -> impl Future<Output = Produced> + use<> {
    let runs = once || supervisor.has(StageName::Producer);
    let is_shared = supervisor.config.kafka.is_some();
    let shutdown = supervisor.shutdown.clone();
    let (queue, board) = (Arc::clone(&supervisor.queue), supervisor.board.clone());
    async move {
        let work = |stop| cmsync_producer::run(context.clone(), wanted.clone(), once, stop);
        match (runs, is_shared) {
            (true, true) => {
                let revisions = Revisions { queue, clock: clock(), board, own };
                revisions.while_newest(shutdown, work).await
            }
            (true, false) => work(shutdown).await,
            (false, _) => {
                shutdown.cancelled().await;
                Ok(cmsync_producer::Outcome::default())
            }
        }
    }
}

/// From here on, the system's signals and the host stop the process in good order; whether one did.
fn stop_when_asked(shutdown: CancellationToken, host: &Host) -> anyhow::Result<CancellationToken> {
    let signals = platform::stop_asked()?;
    let (asked, stop) = (CancellationToken::new(), host.stop.clone());
    let own = asked.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = signals => {}
            () = stop.cancelled() => {}
        }
        tracing::info!("stopping");
        own.cancel();
        shutdown.cancel();
    });
    Ok(asked)
}

/// Measures the queue itself and the log.
fn measure(config: &Config, opened: &Opened, logging: &Logging, shutdown: &CancellationToken) {
    let file = config.kafka.is_none().then(|| embedded::path_in(&config.queue_directory));
    let max_backlog =
        connections::backlog_within(config.share(), config.producer.max_backlog.as_u64());
    let sources = meter::Sources {
        file,
        trouble: opened.trouble.clone(),
        dropped: logging.dropped.clone(),
        intervals: [
            config.producer.poll_interval,
            config.producer.snapshot_interval,
            config.verify_interval,
        ],
    };
    tokio::spawn(meter::keep_process(sources, max_backlog, shutdown.clone()));
}

/// What pages show and change.
type Told<'a> =
    (&'a Page, &'a Desk, watch::Receiver<AllConfigured>, (Arc<settings::File>, Arc<SetUp>));

/// Starts the web endpoint and the local API; gives the former, which ends with its last answer.
async fn serve(
    config: &Config,
    opened: Opened,
    (metrics, desk, configured, (settings, connect)): Told<'_>,
    board: &StatusBoard,
    shutdown: &CancellationToken,
) -> anyhow::Result<tokio::task::JoinHandle<()>> {
    let listener = match config.listen {
        Some(address) => {
            let bound = tokio::net::TcpListener::bind(address).await;
            Some(bound.with_context(|| format!("failed to listen on {address} (`http.listen`)"))?)
        }
        None => None,
    };
    let (board, page) = (board.clone(), metrics.clone());
    let readiness = Arc::new(move || {
        let mut missing = board.not_ready();
        missing.extend(opened.trouble());
        Ready { missing, owned: opened.owned() }
    });
    let console = Console {
        probes: Probes { metrics: Arc::new(move || page.render()), readiness },
        desk: desk.clone(),
        clock: clock(),
        configured,
        history: settings.clone(),
        settings,
        connect,
        passwords: config.console.passwords.clone(),
        openid: console::openid(config)?,
        loopback: config.console.loopback,
    };
    let elsewhere = console::elsewhere(config).await?;
    let serving =
        tokio::spawn(cmsync_console::serve(listener, elsewhere, console, shutdown.clone()));
    if config.kafka.is_some() {
        // Commands go to the brokers themselves.
        return Ok(serving);
    }
    let (directory, desk, shutdown) =
        (config.queue_directory.clone(), desk.clone(), shutdown.clone());
    tokio::spawn(async move {
        if let Err(error) = local_api::serve(&directory, desk, shutdown).await {
            tracing::error!(%error, "the local API ended; commands cannot reach this process");
        }
    });
    Ok(serving)
}
