//! One copy of the program: all stages as they are shipped, over this world's site, queue and workspace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cmsync_azure::{Credential, Identity, Ingestion, Proof, Rule};
use cmsync_configmgr::{Selection, Selector};
use cmsync_http::{Client, Secret, Settings};
use cmsync_producer::{ConnectionConfig, Context, HighestSeq, Job, StaticGroups};
use cmsync_queue::Queue;
use cmsync_schemas::{Clock, Status};
use cmsync_uploader::groups::{GroupOptions, GroupsWriter, SavedSearches};
use cmsync_uploader::{Target, Uploader};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::CONNECTION;
use crate::service::Service;
use crate::workspace::Azure;
use crate::world::World;

/// How long a stop may take.
pub(crate) const DRAIN: Duration = Duration::from_secs(25);

/// A copy that runs.
pub(crate) struct Copy {
    tasks: JoinSet<(&'static str, Result<(), String>)>,
    stop: CancellationToken,
    /// Keeps the producer's list of connections open.
    _jobs: watch::Sender<BTreeMap<String, Job>>,
}

/// Nobody may ask the workspace.
struct Unknown;

#[async_trait::async_trait]
impl HighestSeq for Unknown {
    async fn highest_seq(&self, _: &str) -> Option<i64> {
        None
    }
}

/// How the groups are written.
pub(crate) fn group_options() -> GroupOptions {
    GroupOptions::default()
}

fn url(text: &str) -> Result<Url, String> {
    Url::parse(text).map_err(|error| error.to_string())
}

/// A client over this world. Making one reads the system's authorities, so one serves all.
fn client(azure: &Arc<Azure>) -> Result<Client, String> {
    static TEMPLATE: OnceLock<Result<Client, String>> = OnceLock::new();
    let made = || Client::new("simulation", &Settings::default()).map_err(|e| e.to_string());
    let template = TEMPLATE.get_or_init(made).clone()?;
    Ok(template.over(Arc::<Azure>::clone(azure)))
}

fn target(azure: &Arc<Azure>, rules: usize) -> Result<Target, String> {
    let client = client(azure)?;
    let (tenant, id) = ("tenant".to_owned(), "client".to_owned());
    let proof = Proof::Secret(Secret::Given("secret".into()));
    let identity = Identity::Application { tenant, client: id, proof };
    let endpoint = url("https://ingest.invalid")?;
    let rule = |number: usize| Rule { endpoint: endpoint.clone(), id: format!("dcr-{number}") };
    let credential = Credential::new(client.clone(), url("https://login.invalid")?, identity);
    Ok(Target {
        ingestion: Ingestion::new(client),
        credential: Arc::new(credential),
        audience: "https://monitor.azure.com".into(),
        rules: (0..rules).map(rule).collect(),
    })
}

fn job(world: &Arc<World>) -> Result<Job, String> {
    let selection = Selection::new(vec![Selector::Name("*".into())]);
    Ok(Job {
        config: ConnectionConfig {
            name: CONNECTION.into(),
            selection: selection.map_err(|e| format!("{e:?}"))?,
            statics: StaticGroups::default(),
            import: true,
            quiet_hours: None,
        },
        site: Arc::new(Service { world: Arc::clone(world) }),
        status: status(world, "producer"),
        highest_seq: Arc::new(Unknown),
    })
}

fn status(world: &World, stage: &str) -> watch::Sender<Status> {
    watch::Sender::new(Status::starting(CONNECTION, stage, world.now()))
}

fn clock(world: &Arc<World>) -> Clock {
    let world = Arc::clone(world);
    Arc::new(move || world.clock())
}

impl Copy {
    /// Starts a copy.
    ///
    /// # Errors
    /// When the simulation itself is at fault.
    pub(crate) fn start(
        world: &Arc<World>,
        azure: &Arc<Azure>,
        queue: &Arc<dyn Queue>,
    ) -> Result<Self, String> {
        let (jobs, wanted) = watch::channel(BTreeMap::from([(CONNECTION.to_owned(), job(world)?)]));
        let mut copy = Self { tasks: JoinSet::new(), stop: CancellationToken::new(), _jobs: jobs };
        copy.produce(world, queue, wanted);
        copy.transform(world, queue);
        copy.upload(world, azure, queue)?;
        Ok(copy)
    }

    fn produce(
        &mut self,
        world: &Arc<World>,
        queue: &Arc<dyn Queue>,
        wanted: watch::Receiver<BTreeMap<String, Job>>,
    ) {
        let (plan, instances) = (&world.plan, Arc::clone(world));
        let context = Context {
            queue: Arc::clone(queue),
            clock: clock(world),
            state_partitions: plan.state_partitions,
            partitions: plan.partitions,
            options: plan.options.clone(),
            cuts: plan.cuts,
            neighbours: watch::channel(BTreeMap::new()).1,
            new_instance: Arc::new(move || instances.lock().rng_draw(1 << 30).to_string()),
            note: Arc::new(drop),
        };
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let ended = cmsync_producer::run(context, wanted, false, stop).await;
            ("producer", ended.map(drop).map_err(|e| e.to_string()))
        });
    }

    fn transform(&mut self, world: &Arc<World>, queue: &Arc<dyn Queue>) {
        let status = status(world, "transformer");
        let transformer = cmsync_transformer::Transformer::new(CONNECTION, clock(world), status);
        let (queue, stop) = (Arc::clone(queue), self.stop.clone());
        self.tasks.spawn(async move {
            let ended = cmsync_transformer::run(&*queue, transformer, &stop).await;
            ("transformer", ended.map_err(|e| e.to_string()))
        });
    }

    fn upload(
        &mut self,
        world: &Arc<World>,
        azure: &Arc<Azure>,
        queue: &Arc<dyn Queue>,
    ) -> Result<(), String> {
        let options = &world.plan.uploader;
        let uploader = Uploader {
            connection: CONNECTION.into(),
            queue: Arc::clone(queue),
            target: target(azure, world.plan.rules)?,
            options: options.clone(),
            clock: clock(world),
            status: status(world, "uploader"),
            drain: DRAIN,
        };
        let writer = GroupsWriter {
            connection: CONNECTION.into(),
            queue: Arc::clone(queue),
            target: Arc::<Azure>::clone(azure) as Arc<dyn SavedSearches>,
            options: group_options(),
            rests: (options.probe_first, options.probe_max),
            clock: clock(world),
            status: status(world, "groups"),
            progress: watch::Sender::new(None),
        };
        let (stop, stop_groups) = (self.stop.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            let ended = cmsync_uploader::run(uploader, stop).await;
            ("uploader", ended.map_err(|e| e.to_string()))
        });
        self.tasks.spawn(async move {
            let ended = cmsync_uploader::groups::run(writer, stop_groups).await;
            ("groups", ended.map_err(|e| e.to_string()))
        });
        Ok(())
    }

    /// Asks it to stop, and waits; gives what is wrong with how it ended.
    pub(crate) async fn stop(mut self) -> Option<String> {
        self.stop.cancel();
        let deadline = tokio::time::Instant::now() + DRAIN + Duration::from_secs(1);
        let mut left = BTreeSet::from(["producer", "transformer", "uploader", "groups"]);
        loop {
            match tokio::time::timeout_at(deadline, self.tasks.join_next()).await {
                Ok(None) => return None,
                Ok(Some(Ok((stage, Ok(()))))) => drop(left.remove(stage)),
                Ok(Some(Ok((stage, Err(error))))) => {
                    return Some(format!("{stage} stopped: {error}"));
                }
                Ok(Some(Err(error))) => return Some(format!("a stage panicked: {error}")),
                Err(_) => return Some(format!("{left:?} stopped later than the deadline")),
            }
        }
    }

    /// Waits until a stage ends by itself, which none should.
    pub(crate) async fn ended(&mut self) -> String {
        match self.tasks.join_next().await {
            Some(Ok((stage, ended))) => format!("{stage} ended by itself: {ended:?}"),
            Some(Err(error)) => format!("a stage panicked: {error}"),
            None => "no stage is left".to_owned(),
        }
    }
}
