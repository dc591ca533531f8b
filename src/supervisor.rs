//! Starts and stops connections as the configuration says, and waits for their end.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use cmsync_azure::Credential;
use cmsync_control::Desk;
use cmsync_producer::{Job, Neighbours};
use cmsync_queue::Queue;
use cmsync_queue::worker::while_owner;
use cmsync_schemas::{Cause, Health, topics};
use cmsync_uploader::groups::{GroupsWriter, Progress};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::check::clock_is_wrong;
use crate::cli::StageName;
use crate::config::{Config, Connection};
use crate::connections::{self, WorkspaceSeq};
use crate::meter::Meter;
use crate::pipeline::clock;
use crate::status_board::StatusBoard;
use crate::verify;
use crate::{expiry, kerberos};

/// A connection that was started, and what stops it.
struct Worker {
    connection: Connection,
    stop: CancellationToken,
}

/// Starts and stops connections as the configuration says.
pub(crate) struct Supervisor {
    pub(crate) queue: Arc<dyn Queue>,
    desk: Desk,
    pub(crate) board: StatusBoard,
    stages: Vec<StageName>,
    jobs: watch::Sender<BTreeMap<String, Job>>,
    workers: HashMap<String, Worker>,
    /// How far the writers of computer groups are.
    pub(crate) groups: HashMap<String, watch::Receiver<Option<Progress>>>,
    pub(crate) tasks: JoinSet<(String, Result<(), cmsync_queue::Error>)>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) config: Config,
    /// The connections of the configuration.
    names: watch::Sender<BTreeSet<String>>,
    /// Who shares a workspace with whom.
    neighbours: watch::Sender<Neighbours>,
    /// Connections that were not started, with the reason.
    pub(crate) refused: Vec<(String, String)>,
    /// The configuration that takes a new start, once all has ended.
    pub(crate) anew: Option<Config>,
}

impl Supervisor {
    pub(crate) fn new(
        config: &Config,
        (desk, board, names): (Desk, StatusBoard, watch::Sender<BTreeSet<String>>),
        stages: Vec<StageName>,
        jobs: watch::Sender<BTreeMap<String, Job>>,
        shutdown: CancellationToken,
    ) -> Self {
        let (workers, groups, tasks) = (HashMap::new(), HashMap::new(), JoinSet::new());
        let (config, refused) = (config.clone(), Vec::new());
        let neighbours = watch::Sender::new(config.neighbours());
        Self {
            queue: desk.queue(),
            desk,
            board,
            stages,
            jobs,
            workers,
            groups,
            tasks,
            shutdown,
            config,
            names,
            neighbours,
            refused,
            anew: None,
        }
    }

    pub(crate) fn producer_context(&self, state_partitions: u32) -> cmsync_producer::Context {
        let share = self.config.share();
        let mut options = self.config.producer.clone();
        let backlog = connections::backlog_within(share, options.max_backlog.as_u64());
        options.max_backlog = bytesize::ByteSize::b(backlog);
        cmsync_producer::Context {
            queue: Arc::clone(&self.queue),
            clock: clock(),
            state_partitions,
            partitions: self.config.partitions,
            options,
            cuts: cmsync_producer::Cuts::default(),
            neighbours: self.neighbours.subscribe(),
            new_instance: Arc::new(|| format!("{:016x}", rand::random::<u64>())),
            note: self.desk.noting(),
        }
    }

    /// Tells what this process did, with the configuration that it follows.
    pub(crate) fn note_process(&self, what: &str) {
        let (revision, count) = (self.config.revision, self.config.connections.len());
        let text = format!("{what}: revision {revision}, {count} connections");
        self.desk.note("", cmsync_control::Kind::Configuration, ("", text), "");
    }

    /// Whether a configuration can be followed without a new start.
    pub(crate) fn takes(&self, config: &Config) -> bool {
        let is_same = config.partitions == self.config.partitions;
        if !is_same {
            tracing::error!(
                before = self.config.partitions,
                now = config.partitions,
                "`queue.partitions` changed: nothing of this file is followed until this copy is \
                 started anew"
            );
        }
        is_same
    }

    /// Whether this process finds the keys that the sites of a configuration are signed in to with; `None`
    /// where no process could.
    pub(crate) fn has_keys(&self, config: &Config) -> Option<bool> {
        let found = kerberos::is_entered(config, self.has(StageName::Producer));
        found
            .inspect_err(|error| tracing::error!(%error, "the changed configuration is not used"))
            .ok()
    }

    /// Makes what runs what the configuration says.
    pub(crate) async fn apply(&mut self, config: &Config) -> anyhow::Result<()> {
        let gone = self.workers.keys().filter(|name| !config.connections.contains_key(*name));
        for name in gone.cloned().collect::<Vec<_>>() {
            tracing::warn!(
                connection = name,
                "no longer in the configuration: stopped; its rows stay in the workspace"
            );
            self.stop(&name);
            self.board.forget(&name).await?;
        }
        // Known before any of them begins.
        self.neighbours.send_replace(config.neighbours());
        let share = config.share();
        let is_as_before = |name: &String, wanted: &Connection| {
            self.workers.get(name).is_some_and(|w| w.connection == *wanted)
        };
        let changed: Vec<_> = config
            .connections
            .iter()
            .filter(|(name, connection)| !is_as_before(name, connection))
            .map(|(name, connection)| (name.clone(), connection.clone()))
            .collect();
        let mut prepared =
            prepare(changed, (self.has(StageName::Uploader), self.has(StageName::Producer)))?;
        while let Some(next) = prepared.join_next().await {
            let (name, connection, credential, clock) = next.context("a clock check panicked")?;
            self.stop(&name);
            self.queue.declare(&connections::topics_of(&name, config.partitions, share)).await?;
            self.start(&name, &connection, credential, clock)?;
            if connection.groups.is_none() {
                self.board.forget_stage(&name, "groups").await?;
            }
            if !self.is_verified(&connection) {
                self.board.forget_stage(&name, "verify").await?;
            }
        }
        self.config.connections.clone_from(&config.connections);
        self.config.revision = config.revision;
        self.names.send_replace(config.connections.keys().cloned().collect());
        Ok(())
    }

    fn stop(&mut self, name: &str) {
        if let Some(worker) = self.workers.remove(name) {
            worker.stop.cancel();
            self.groups.remove(name);
            self.jobs.send_modify(|jobs| drop(jobs.remove(name)));
        }
    }

    pub(crate) fn has(&self, stage: StageName) -> bool {
        self.stages.is_empty() || self.stages.contains(&stage)
    }

    fn start(
        &mut self,
        name: &str,
        connection: &Connection,
        credential: Arc<Credential>,
        clock_is_right: Result<(), String>,
    ) -> anyhow::Result<()> {
        let stop = self.shutdown.child_token();
        self.workers
            .insert(name.to_owned(), Worker { connection: connection.clone(), stop: stop.clone() });
        if let Err(reason) = clock_is_right {
            tracing::error!(connection = name, reason, "connection is not started");
            self.refused.push((name.to_owned(), reason.clone()));
            let now = clock()();
            self.board.stage(name, "producer").send_modify(|status| {
                status.turn(Health::Stopped, (Cause::Other, &reason), now);
            });
            return Ok(());
        }
        self.watch(name, connection, &stop);
        let queue = Arc::clone(&self.queue);
        if self.has(StageName::Transformer) {
            let status = self.board.stage(name, "transformer");
            let transformer = cmsync_transformer::Transformer::new(name, clock(), status);
            let (queue, stop, name) = (Arc::clone(&queue), stop.clone(), name.to_owned());
            let span = tracing::info_span!("transformer", connection = name);
            let run =
                async move { (name, cmsync_transformer::run(&*queue, transformer, &stop).await) };
            self.tasks.spawn(run.instrument(span));
        }
        if self.has(StageName::Uploader) {
            self.start_groups(name, connection, &credential, &stop)?;
            let (workspace, status) =
                (connection.workspace.clone(), self.board.stage(name, "uploader"));
            tokio::spawn(expiry::keep(name.to_owned(), workspace, status, stop.clone()));
            self.start_verification(name, connection, &stop);
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
            let span = tracing::info_span!("uploader", connection = name);
            let run = async move { (name, cmsync_uploader::run(uploader, stop).await) };
            self.tasks.spawn(run.instrument(span));
        }
        if self.has(StageName::Producer) {
            let job = Job {
                config: connection.producer.clone(),
                site: connections::site(&connection.site)?,
                status: self.board.stage(name, "producer"),
                highest_seq: Arc::new(WorkspaceSeq::new(connection, credential)?),
            };
            self.jobs.send_modify(|jobs| drop(jobs.insert(name.to_owned(), job)));
        }
        Ok(())
    }

    /// Watches what waits of a connection, and its ticket where nothing renews it.
    fn watch(&self, name: &str, connection: &Connection, stop: &CancellationToken) {
        let meter = Meter::new(&self.desk, clock(), name, self.has(StageName::Uploader));
        tokio::spawn(meter.keep(stop.clone()));
        if let Some(account) = connection.site.account().filter(|a| a.keytab.is_none())
            && self.has(StageName::Producer)
        {
            let (name, principal) = (name.to_owned(), account.principal.clone());
            tokio::spawn(expiry::keep_ticket(name, principal, stop.clone()));
        }
    }

    fn is_verified(&self, connection: &Connection) -> bool {
        !self.config.verify_interval.is_zero() && connection.workspace.workspace_id.is_some()
    }

    /// Verifies the workspace now and then, where it can be asked.
    fn start_verification(&self, name: &str, connection: &Connection, stop: &CancellationToken) {
        let times = (self.config.verify_interval, self.config.verify_settle);
        if !self.is_verified(connection) {
            verify::is_off(name);
            return;
        }
        let (desk, status) = (self.desk.clone(), self.board.stage(name, "verify"));
        let span = tracing::info_span!("verify", connection = name);
        let (name, connection) = (name.to_owned(), connection.clone());
        let (queue, stop) = (Arc::clone(&self.queue), stop.clone());
        let run = async move {
            let keep = |stop| {
                let (name, connection) = (name.clone(), connection.clone());
                let told = (desk.clone(), status.clone());
                async move {
                    verify::keep(name, connection, times, told, stop).await;
                    Ok(())
                }
            };
            let place = (topics::VERIFIER, &*topics::groups(&name));
            if let Err(error) = while_owner(&*queue, place, &stop, keep).await {
                tracing::warn!(%error, "the workspace is not verified any longer");
            }
        };
        tokio::spawn(run.instrument(span));
    }

    /// Starts the writer of computer groups, where they are kept.
    fn start_groups(
        &mut self,
        name: &str,
        connection: &Connection,
        credential: &Arc<Credential>,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let Some((id, options)) = &connection.groups else {
            return Ok(());
        };
        let uploader = &self.config.uploader;
        let writer = GroupsWriter {
            connection: name.to_owned(),
            queue: Arc::clone(&self.queue),
            target: connections::searches(&connection.workspace, id, Arc::clone(credential))?,
            options: options.clone(),
            rests: (uploader.probe_first, uploader.probe_max),
            clock: clock(),
            status: self.board.stage(name, "groups"),
            progress: watch::Sender::new(None),
        };
        self.groups.insert(name.to_owned(), writer.progress.subscribe());
        let (name, stop) = (name.to_owned(), stop.clone());
        let span = tracing::info_span!("groups", connection = name);
        let run = async move { (name, cmsync_uploader::groups::run(writer, stop).await) };
        self.tasks.spawn(run.instrument(span));
        Ok(())
    }

    /// Waits for every stage to end; false when the deadline came first.
    pub(crate) async fn drain(&mut self, deadline: Duration) -> anyhow::Result<bool> {
        let ending = async {
            while let Some(ended) = self.tasks.join_next().await {
                self::ended(ended)?;
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

type Prepared = (String, Connection, Arc<Credential>, Result<(), String>);

/// Makes the credentials of connections and looks at the clock, all at once: a token endpoint that is
/// down holds up its own connection alone, and that one for ten seconds. A producer that has no
/// secret of the workspace looks at its site's clock; a transformer tells no time.
fn prepare(
    changed: Vec<(String, Connection)>,
    (uploads, reads): (bool, bool),
) -> anyhow::Result<JoinSet<Prepared>> {
    let mut prepared = JoinSet::new();
    for (name, connection) in changed {
        let credential = connections::credential(&connection.workspace)?;
        prepared.spawn(async move {
            let audience = &connection.workspace.endpoints.ingestion_audience;
            let clock = match uploads || reads {
                true => check_clock(&credential, audience, uploads).await,
                false => Ok(()),
            };
            (name, connection, credential, clock)
        });
    }
    Ok(prepared)
}

/// Refuses to start with a clock that is wildly wrong. A token endpoint that is down says nothing.
async fn check_clock(credential: &Credential, audience: &str, uploads: bool) -> Result<(), String> {
    let asked = tokio::time::timeout(Duration::from_secs(10), credential.token(audience)).await;
    if let (Ok(Err(error)), true) = (asked, uploads) {
        tracing::warn!(%error, "no token yet");
    }
    let wrong = clock_is_wrong(credential.clock_skew(), "token endpoint");
    wrong.map_or(Ok(()), |text| Err(format!("{text}, then restart")))
}

/// A transformer or uploader ended: by order, or for a reason that ends the process.
pub(crate) fn ended(
    ended: Result<(String, Result<(), cmsync_queue::Error>), tokio::task::JoinError>,
) -> anyhow::Result<()> {
    let (name, outcome) = ended.context("a stage panicked")?;
    outcome.with_context(|| format!("a stage of connection `{name}` ended"))
}
