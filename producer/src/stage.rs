//! The stage: owns partitions of the state, and runs the connections in them.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, RwLock};

use cmsync_configmgr::Site;
use cmsync_queue::worker::next_event;
use cmsync_queue::{Committer, Event, Queue, partition_for};
use cmsync_schemas::{Clock, Note, Status, topics};
use cmsync_telemetry::Leave as _;
use roaring::RoaringBitmap;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::backlog::Backlog;
use crate::claim::{Claim, Neighbours};
use crate::config::{ConnectionConfig, Cuts, Options};
use crate::connection::{Connection, Stopped};
use crate::diary::Diary;
use crate::error::Error;
use crate::measured::Measured;
use crate::metrics::Metrics;
use crate::publish::Publisher;
use crate::state::{self, Memory};
use crate::sweep::Sweep;
use crate::tracking::Look;
use crate::waiting::Waiting;

/// What all connections share.
#[derive(Clone)]
pub struct Context {
    /// The queue.
    pub queue: Arc<dyn Queue>,
    /// Wall time.
    pub clock: Clock,
    /// Partitions of the state.
    pub state_partitions: u32,
    /// Partitions of a connection's changes.
    pub partitions: u32,
    /// Options.
    pub options: Options,
    /// How what is published is cut.
    pub cuts: Cuts,
    /// Who else writes into each connection's workspace: a site code belongs to one of them.
    pub neighbours: watch::Receiver<Neighbours>,
    /// Gives each installation's state its random instance.
    pub new_instance: Arc<dyn Fn() -> String + Send + Sync>,
    /// Told of what happens.
    pub note: Note,
}

/// A connection to run.
#[derive(Clone)]
pub struct Job {
    /// Its configuration.
    pub config: ConnectionConfig,
    /// Its site.
    pub site: Arc<dyn Site>,
    /// Where it says how it is.
    pub status: watch::Sender<Status>,
    /// The highest seq that the workspace holds of a site, where that may be asked.
    pub highest_seq: Arc<dyn HighestSeq>,
}

/// Asks the workspace for the highest seq of a site.
#[async_trait::async_trait]
pub trait HighestSeq: Send + Sync {
    /// `None` where it cannot be told.
    async fn highest_seq(&self, site_code: &str) -> Option<i64>;
}

/// How a run with `once` ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Connections that failed, with their reasons.
    pub failed: Vec<(String, String)>,
    /// Removals that wait for a person.
    pub held: usize,
}

/// Runs the producer until `shutdown`; with `once`, until every connection of `jobs` was polled and
/// published.
///
/// # Errors
/// When the queue is closed, or the state cannot be read.
pub async fn run(
    context: Context,
    mut jobs: watch::Receiver<BTreeMap<String, Job>>,
    once: bool,
    shutdown: CancellationToken,
) -> Result<Outcome, Error> {
    let (mut events, committer) = context.queue.join(topics::PRODUCER, topics::STATE).await?;
    let mut stage = Stage {
        context,
        committer,
        owned: BTreeMap::new(),
        metrics: BTreeMap::new(),
        running: BTreeMap::new(),
        tasks: JoinSet::new(),
        outcome: Outcome::default(),
        finished: 0,
        once,
        claims: Arc::default(),
        shutdown: shutdown.clone(),
    };
    loop {
        let wanted = jobs.borrow_and_update().clone();
        stage.stop_others(&wanted).await?;
        stage.start_missing(&wanted).await?;
        if once && stage.finished == wanted.len() {
            return Ok(stage.outcome);
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {
                stage.stop_all().await?;
                return Ok(stage.outcome);
            }
            event = next_event(&mut *events) => match event? {
                Event::Assigned { partition, state, .. } => {
                    stage.stop_partition(partition).await?;
                    stage.owned.insert(partition, state::load(state)?);
                }
                Event::Revoked { partition } => {
                    stage.stop_partition(partition).await?;
                    stage.owned.remove(&partition);
                }
                Event::Messages { .. } => {}
            },
            changed = jobs.changed() => if changed.is_err() {
                stage.stop_all().await?;
                return Ok(stage.outcome);
            },
            Some(done) = stage.tasks.join_next() => stage.stopped(done)?,
        }
    }
}

struct Stage {
    context: Context,
    committer: Arc<dyn Committer>,
    /// What is remembered of connections that do not run, by owned partition.
    owned: BTreeMap<u32, BTreeMap<String, Memory>>,
    running: BTreeMap<String, (Job, CancellationToken)>,
    /// Of every connection of the configuration, whether it runs here or not.
    metrics: BTreeMap<String, Arc<Metrics>>,
    tasks: JoinSet<(String, Stopped)>,
    outcome: Outcome,
    finished: usize,
    once: bool,
    claims: Arc<tokio::sync::Mutex<()>>,
    shutdown: CancellationToken,
}

impl Stage {
    fn partition(&self, connection: &str) -> u32 {
        partition_for(connection.as_bytes(), self.context.state_partitions)
    }

    async fn stop_others(&mut self, wanted: &BTreeMap<String, Job>) -> Result<(), Error> {
        let is_other = |name: &String, job: &Job| {
            wanted
                .get(name)
                .is_none_or(|w| w.config != job.config || !Arc::ptr_eq(&w.site, &job.site))
        };
        let others = self.running.iter().filter(|(name, (job, _))| is_other(name, job));
        let names: Vec<String> = others.map(|(name, _)| name.clone()).collect();
        self.stop(&names).await
    }

    async fn stop_partition(&mut self, partition: u32) -> Result<(), Error> {
        let names: Vec<String> =
            self.running.keys().filter(|n| self.partition(n) == partition).cloned().collect();
        let of = |name: &String| self.running.get(name).map(|(job, _)| job.status.clone());
        let statuses: Vec<_> = names.iter().filter_map(of).collect();
        self.stop(&names).await?;
        let now = (self.context.clock)();
        for status in statuses {
            status.send_if_modified(|status| status.stand_by(now));
        }
        Ok(())
    }

    async fn stop_all(&mut self) -> Result<(), Error> {
        let names: Vec<String> = self.running.keys().cloned().collect();
        self.stop(&names).await
    }

    async fn stop(&mut self, names: &[String]) -> Result<(), Error> {
        for name in names {
            if let Some((_, token)) = self.running.get(name) {
                token.cancel();
            }
        }
        while names.iter().any(|name| self.running.contains_key(name)) {
            let Some(done) = self.tasks.join_next().await else {
                return Ok(());
            };
            self.stopped(done)?;
        }
        Ok(())
    }

    /// Notes how a connection ended. What it remembered is not used again: it may have been stopped
    /// in the middle of a commit, so whoever starts it next reads the state anew.
    fn stopped(
        &mut self,
        done: Result<(String, Stopped), tokio::task::JoinError>,
    ) -> Result<(), Error> {
        let Ok((name, Stopped { held, outcome })) = done else {
            return Err(Error::State {
                connection: "?".into(),
                detail: "a connection's task panicked".into(),
            });
        };
        let job = self.running.remove(&name).map(|(job, _)| job);
        if let Some(metrics) = self.metrics.get(&name) {
            metrics.leave();
        }
        self.finished += 1;
        self.outcome.held += held;
        match outcome {
            Ok(()) => Ok(()),
            Err(Error::Lost) => {
                let now = (self.context.clock)();
                if let Some(job) = job {
                    job.status.send_if_modified(|status| status.stand_by(now));
                }
                // Its partition is assigned again, with its state.
                let partition = self.partition(&name);
                self.owned.remove(&partition);
                Ok(())
            }
            Err(error @ Error::Queue(cmsync_queue::Error::Closed)) => Err(error),
            Err(error) => {
                if self.once {
                    self.outcome.failed.push((name, error.to_string()));
                }
                Ok(())
            }
        }
    }

    async fn start_missing(&mut self, wanted: &BTreeMap<String, Job>) -> Result<(), Error> {
        if self.once && self.finished > 0 {
            return Ok(());
        }
        self.metrics.retain(|name, _| wanted.contains_key(name));
        for (name, job) in wanted {
            let metrics = self.metrics.entry(name.clone());
            let metrics = Arc::clone(metrics.or_insert_with(|| Arc::new(Metrics::new(name))));
            let partition = self.partition(name);
            if self.running.contains_key(name) {
                continue;
            }
            let Some(memories) = self.owned.get_mut(&partition) else {
                continue;
            };
            let memory = match memories.remove(name) {
                Some(memory) => memory,
                None => reload(&*self.context.queue, name).await?,
            };
            let token = self.shutdown.child_token();
            metrics.owner.set(1.0);
            metrics.last_answer.set((self.context.clock)() as f64 / 1e6);
            let connection = self.connection(job, memory, (partition, metrics));
            let (once, stop, name_of) = (self.once, token.clone(), name.clone());
            let (context, highest) = (self.context.clone(), Arc::clone(&job.highest_seq));
            let run = async move {
                let mut connection = connection;
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    () = prepare(&mut connection, &context, &*highest) => {}
                }
                (name_of, connection.run(once, stop).await)
            };
            self.tasks.spawn(run.instrument(tracing::info_span!("producer", connection = name)));
            self.running.insert(name.clone(), (job.clone(), token));
        }
        Ok(())
    }

    fn connection(
        &self,
        job: &Job,
        mut memory: Memory,
        (partition, metrics): (u32, Arc<Metrics>),
    ) -> Connection {
        let context = &self.context;
        let devices = Arc::new(RwLock::new(std::mem::take(&mut memory.devices)));
        let (name, max) = (job.config.name.clone(), context.options.max_backlog.as_u64());
        let backlog = Backlog::new(Arc::clone(&context.queue), name, max);
        let publisher = Publisher {
            connection: job.config.name.clone(),
            queue: Arc::clone(&context.queue),
            committer: Arc::clone(&self.committer),
            partition,
            partitions: context.partitions,
            cuts: context.cuts,
            backlog,
            clock: Arc::clone(&context.clock),
            metrics: Arc::clone(&metrics),
            devices: Arc::clone(&devices),
            statics: job.config.statics.clone(),
            polled_at: AtomicI64::new(0),
            waiting: Mutex::new(Waiting::new(context.cuts.messages)),
            ended: Mutex::default(),
            diary: Diary::new(
                &job.config.name,
                Arc::clone(&context.clock),
                Arc::clone(&context.note),
            ),
        };
        let is_old = !memory.collections.is_empty();
        Connection {
            config: job.config.clone(),
            options: context.options.clone(),
            site: Arc::new(Measured::new(Arc::clone(&job.site))),
            memory,
            devices,
            publisher,
            queue: Arc::clone(&context.queue),
            clock: Arc::clone(&context.clock),
            metrics,
            status: job.status.clone(),
            claim: Claim::new(is_old, context.neighbours.clone(), Arc::clone(&self.claims)),
            had_fewer_rights: false,
            unread_rights: None,
            is_misplaced: false,
            asked: BTreeMap::new(),
            clock_is_wrong: false,
            no_record: RoaringBitmap::new(),
            track: Look::default(),
            sweep: Sweep::new(context.options.device_sweep_interval),
            hierarchy_at: None,
            warnings: Vec::new(),
            former_warnings: Vec::new(),
            today: (0, 0),
        }
    }
}

/// Reads what is durable of one connection, after every commit that is still on its way.
async fn reload(queue: &dyn Queue, connection: &str) -> Result<Memory, Error> {
    // Commits are applied in order: when this one is done, so are those before it.
    queue.publish(Vec::new()).await?;
    let own = queue.scan_within(topics::STATE, format!("{connection}/").into()).await?;
    Ok(state::load(own)?.remove(connection).unwrap_or_default())
}

/// Gives a fresh state its instance, and notices an old copy: where the workspace holds a higher
/// seq than the state gave out, everything is sent whole again, above it.
async fn prepare(connection: &mut Connection, context: &Context, highest: &dyn HighestSeq) {
    if connection.memory.connection.instance.is_empty() {
        connection.memory.connection.instance = (context.new_instance)();
    }
    if connection.memory.connection.site_code.is_empty()
        && let Ok(hierarchy) = connection.site.hierarchy().await
    {
        connection.memory.connection.site_code = hierarchy.this_site;
    }
    let site = connection.memory.connection.site_code.clone();
    let Some(seq) = highest.highest_seq(&site).await else {
        return;
    };
    let last = connection.memory.connection.last_seq;
    if seq > last {
        if last > 0 {
            tracing::error!(
                "workspace holds newer rows than the state: an old copy was restored; sending everything whole"
            );
        }
        // Made durable before the seq above which they are sent: a crash in between sends them again.
        let ids: Vec<String> = connection.memory.collections.keys().cloned().collect();
        for id in ids {
            if let Some(kept) = connection.memory.collections.get_mut(&id) {
                (kept.state.start_seq, kept.state.sending) = (0, false);
            }
            if let Err(error) =
                connection.publisher.commit_collection(&connection.memory, &id).await
            {
                tracing::warn!(%error, "failed to note that a collection is to be sent whole");
            }
        }
        if let Err(error) = connection.publisher.flush().await {
            tracing::warn!(%error, "failed to note that all collections are to be sent whole");
        }
        connection.memory.connection.last_seq = seq;
    }
}
