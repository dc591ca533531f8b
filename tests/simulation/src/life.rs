//! From the first start to the moment when all is as it should be: lives of the processes, each ended by
//! a kill, and what happens to them meanwhile.

use std::sync::Arc;
use std::time::Duration;

use cmsync_lab::workspace::Workspace;
use cmsync_queue::local::{CrashPoint, LocalQueue};
use cmsync_queue::{Output, Queue, TopicKind, TopicSpec};
use cmsync_schemas::{CONTROL, Control, Subject, topics};
use rand::Rng as _;

use crate::CONNECTION;
use crate::bugs::{Bug, Planted};
use crate::copy::Copy;
use crate::settled::differences;
use crate::site::{ALL_SYSTEMS, Time};
use crate::store::Observed;
use crate::workspace::Azure;
use crate::world::{BEGINNING, Blow, Lost, World};

/// Between two looks whether all is as it should be.
const LOOK: Duration = Duration::from_secs(600);
/// When a person lets go what is held, counted from the end of all faults.
const APPROVES: Duration = Duration::from_secs(2_400);
/// By then all must be as it should be: reads that never agreed rest for an hour, a `Retry-After` for a
/// quarter of one, held removals up to four, and collections are read whole every two.
const PATIENCE: Duration = Duration::from_secs(12 * 3_600);

/// How a life ended.
enum End {
    Killed,
    Settled,
    Failed,
}

/// What may happen.
#[derive(Debug, Clone, Copy)]
enum Happening {
    Change,
    KillAll,
    KillCopy,
    StopCopy,
    Revoke,
    Abort,
    ClockJump,
    Rights,
    TokenOutage,
    WorkspaceOutage,
    SiteOutage,
    Resend,
}

/// Lives through all of it.
pub(crate) fn live(world: &Arc<World>) {
    let store = Observed::new(Arc::clone(world));
    let azure =
        Arc::new(Azure { world: Arc::clone(world), workspace: Arc::new(Workspace::default()) });
    loop {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return world.lock().ledger.find(error.to_string()),
        };
        let end = runtime.block_on(async {
            world.begin_life();
            cmsync_http::seed_jitter(world.lock().rng.random());
            let mut life = Life::start(world, &store, &azure).await?;
            let end = life.run().await;
            world.end_life();
            end
        });
        match end {
            Ok(End::Killed) => {}
            Ok(End::Settled | End::Failed) => return,
            Err(error) => return world.lock().ledger.find(error),
        }
    }
}

struct Life<'a> {
    world: &'a Arc<World>,
    azure: &'a Arc<Azure>,
    local: Arc<LocalQueue<Observed>>,
    queue: Arc<dyn Queue>,
    copies: Vec<Option<Copy>>,
    next_look: Option<Time>,
    has_approved: bool,
    was_equal: bool,
}

fn topics_of(world: &World) -> Vec<TopicSpec> {
    let plan = &world.plan;
    let spec =
        |name: String, partitions, kind, max_bytes| TopicSpec { name, partitions, kind, max_bytes };
    let log = |name| spec(name, plan.partitions, TopicKind::Log, plan.topic_bytes);
    let compacted =
        |name: &str, partitions| spec(name.to_owned(), partitions, TopicKind::Compacted, u64::MAX);
    vec![
        log(topics::changes(CONNECTION)),
        log(topics::records(CONNECTION)),
        compacted(&topics::groups(CONNECTION), 1),
        compacted(&topics::dead_letters(CONNECTION), 1),
        compacted(topics::STATE, plan.state_partitions),
        compacted(topics::CONTROL, 1),
        compacted(topics::STATUS, 1),
    ]
}

impl<'a> Life<'a> {
    async fn start(
        world: &'a Arc<World>,
        store: &Arc<Observed>,
        azure: &'a Arc<Azure>,
    ) -> Result<Self, String> {
        let local = LocalQueue::open(Arc::clone(store)).map_err(|e| e.to_string())?;
        let local = Arc::new(local);
        let plain: Arc<dyn Queue> = Arc::<LocalQueue<Observed>>::clone(&local);
        let queue: Arc<dyn Queue> = match world.bug {
            Some(bug @ (Bug::CommitEarly | Bug::ReuseASeq | Bug::ForgetARename)) => {
                Arc::new(Planted { queue: plain, bug })
            }
            _ => plain,
        };
        queue.declare(&topics_of(world)).await.map_err(|e| e.to_string())?;
        let mut copies = Vec::new();
        for _ in 0..world.plan.copies {
            copies.push(Some(Copy::start(world, azure, &queue)?));
        }
        let next_look = None;
        Ok(Self {
            world,
            azure,
            local,
            queue,
            copies,
            next_look,
            has_approved: false,
            was_equal: false,
        })
    }

    async fn run(&mut self) -> Result<End, String> {
        while !self.has_findings() {
            let (happening, after) = self.next();
            let ended = async {
                let copies = self.copies.iter_mut().flatten();
                let ended = copies.map(|copy| Box::pin(copy.ended()));
                first_of(ended.collect()).await
            };
            tokio::select! {
                biased;
                blow = self.world.struck() => {
                    // Somewhere among the awaits that follow this call.
                    let steps = self.world.lock().rng_draw(40);
                    for _ in 0..steps {
                        tokio::task::yield_now().await;
                    }
                    self.world.note(&format!("struck: {blow:?}"));
                    match blow {
                        Some(Blow::KillCopy) => self.kill_copy().await?,
                        Some(Blow::Revoke) => self.revoke(),
                        Some(Blow::KillAll) => return Ok(End::Killed),
                        // A finding, which ends all.
                        None => {}
                    }
                    continue;
                }
                ended = ended => {
                    // A queue that crashed ends all that use it.
                    if ended.contains("closed") {
                        self.world.note("the queue crashed");
                        return Ok(End::Killed);
                    }
                    self.world.lock().ledger.find(ended);
                    return Ok(End::Failed);
                }
                () = tokio::time::sleep(after) => {}
            }
            if self.has_findings() {
                return Ok(End::Failed);
            }
            match happening {
                Some(happening) => self.happens(happening).await?,
                None => {
                    if self.is_settled().await? {
                        return Ok(End::Settled);
                    }
                }
            }
        }
        Ok(End::Failed)
    }

    fn has_findings(&self) -> bool {
        !self.world.lock().ledger.findings.is_empty()
    }

    /// What happens next, and in how long; nothing once faults are over.
    fn next(&mut self) -> (Option<Happening>, Duration) {
        let mut inner = self.world.lock();
        let left = self.faults_end() - inner.now();
        if left <= 0 {
            if !inner.is_quiet {
                inner.is_quiet = true;
                (inner.lost, inner.clock_off) = (None, 0);
                (inner.site_back, inner.tokens_back, inner.workspace_back) = (0, 0, 0);
            }
            let next = *self.next_look.get_or_insert(inner.now());
            let wait = u64::try_from(next - inner.now()).unwrap_or(0);
            return (None, Duration::from_micros(wait));
        }
        let hourly = self.world.plan.hourly;
        let rates = [
            (Happening::Change, self.world.plan.changes),
            (Happening::KillAll, hourly.kill_all),
            (Happening::KillCopy, hourly.kill_copy),
            (Happening::StopCopy, hourly.stop_copy),
            (Happening::Revoke, hourly.revoke),
            (Happening::Abort, hourly.abort),
            (Happening::ClockJump, hourly.clock_jump),
            (Happening::Rights, hourly.rights),
            (Happening::TokenOutage, hourly.token_outage),
            (Happening::WorkspaceOutage, hourly.workspace_outage),
            (Happening::SiteOutage, hourly.site_outage),
            (Happening::Resend, hourly.resend),
        ];
        let all: f64 = rates.iter().map(|(_, rate)| rate).sum::<f64>().max(1e-6);
        let wait = -inner.rng.random_range(1e-9..1.0_f64).ln() * 3_600.0 / all;
        let mut drawn = inner.rng.random_range(0.0..all);
        let chosen = rates.into_iter().find(|(_, rate)| {
            drawn -= rate;
            drawn < 0.0
        });
        let happening = chosen.map_or(Happening::Change, |(happening, _)| happening);
        let wait = Duration::from_secs_f64(wait).min(Duration::from_micros(left.unsigned_abs()));
        (Some(happening), wait)
    }

    fn faults_end(&self) -> Time {
        BEGINNING + i64::try_from(self.world.plan.faults_for.as_micros()).unwrap_or(0)
    }

    async fn happens(&mut self, what: Happening) -> Result<(), String> {
        self.world.note(&format!("{what:?}"));
        let draw = |below: usize| self.world.lock().rng_draw(below);
        let minutes = |most: usize| Duration::from_secs(60 * (1 + draw(most) as u64));
        match what {
            Happening::Change => self.change_site(),
            Happening::KillAll => match draw(4) {
                0 => self.local.faults().crash_at(CrashPoint::BeforeApply, draw(20) as u32),
                1 => self.local.faults().crash_at(CrashPoint::AfterApply, draw(20) as u32),
                _ => self.world.plan_at(1 + draw(60) as u32, Blow::KillAll),
            },
            Happening::KillCopy => self.world.plan_at(1 + draw(60) as u32, Blow::KillCopy),
            Happening::StopCopy => {
                let which = draw(self.copies.len());
                if let Some(copy) = self.copies[which].take()
                    && let Some(fault) = copy.stop().await
                    && !fault.contains("closed")
                {
                    self.world.lock().ledger.find(fault);
                }
                self.restart(which).await?;
            }
            Happening::Revoke => self.world.plan_at(1 + draw(60) as u32, Blow::Revoke),
            Happening::Abort => self.local.faults().abort_next(1 + draw(5) as u32),
            Happening::ClockJump => {
                let off = draw(7_200) as i64 - 3_600;
                self.world.lock().clock_off = if draw(2) == 0 { 0 } else { off * 1_000_000 };
            }
            Happening::Rights => self.lose_rights(),
            Happening::TokenOutage => {
                self.away(minutes(20), |inner, until| inner.tokens_back = until)
            }
            Happening::WorkspaceOutage => {
                self.away(minutes(20), |inner, until| inner.workspace_back = until);
            }
            Happening::SiteOutage => self.away(minutes(20), |inner, until| inner.site_back = until),
            Happening::Resend => {
                let (key, value) = Control::resend_all(CONNECTION, self.world.clock()).wish();
                self.order(key, value).await?;
            }
        }
        Ok(())
    }

    async fn kill_copy(&mut self) -> Result<(), String> {
        let which = self.world.lock().rng_draw(self.copies.len());
        drop(self.copies[which].take());
        self.restart(which).await
    }

    /// A few things change at the site.
    fn change_site(&self) {
        let mut inner = self.world.lock();
        let inner = &mut *inner;
        let (now, only_members) = (inner.now(), self.world.plan.only_members);
        for _ in 0..1 + inner.rng.random_range(0..3) {
            inner.truth.change(&mut inner.rng, now, only_members);
        }
    }

    /// The partitions of one group are taken away and given back.
    fn revoke(&self) {
        let groups = [
            (topics::PRODUCER, topics::STATE.to_owned()),
            (topics::TRANSFORMER, topics::changes(CONNECTION)),
            (topics::UPLOADER, topics::records(CONNECTION)),
            (topics::GROUPS, topics::groups(CONNECTION)),
        ];
        let (group, topic) = &groups[self.world.lock().rng_draw(groups.len())];
        self.local.revoke(group, topic);
    }

    fn away(&self, time: Duration, set: impl FnOnce(&mut crate::world::Inner, Time)) {
        let mut inner = self.world.lock();
        let until = inner.now() + i64::try_from(time.as_micros()).unwrap_or(0);
        set(&mut inner, until);
    }

    /// The account loses some rights, or has them again.
    fn lose_rights(&self) {
        let mut inner = self.world.lock();
        let inner = &mut *inner;
        if inner.lost.take().is_some() || !inner.saw_rights {
            return;
        }
        let share = inner.rng.random_range(0.1..0.9);
        let collections = inner.truth.collections.keys().filter(|id| *id != ALL_SYSTEMS).cloned();
        let collections = collections.filter(|_| inner.rng.random_bool(share)).collect();
        let devices = inner.truth.devices.keys().copied();
        let devices = devices.filter(|_| inner.rng.random_bool(share)).collect();
        let is_told_by_account = inner.rng.random_bool(0.5);
        inner.lost = Some(Lost { collections, devices, is_told_by_account });
    }

    async fn restart(&mut self, which: usize) -> Result<(), String> {
        // What was killed lets go of what it owns before another one starts.
        tokio::task::yield_now().await;
        self.copies[which] = Some(Copy::start(self.world, self.azure, &self.queue)?);
        Ok(())
    }

    async fn order(&self, key: String, value: bytes::Bytes) -> Result<(), String> {
        let (topic, key) = (topics::CONTROL.to_owned(), key.into());
        let order = Output { topic, partition: 0, key, value: Some(value) };
        match self.queue.publish(vec![order]).await {
            Ok(_) | Err(cmsync_queue::Error::Closed) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Whether all is as it should be; after enough patience it must be.
    async fn is_settled(&mut self) -> Result<bool, String> {
        self.azure.take_late();
        let now = self.world.now();
        self.next_look = Some(now + i64::try_from(LOOK.as_micros()).unwrap_or(0));
        let Ok(differences) = differences(self.world, self.azure, &*self.queue).await else {
            return Ok(false);
        };
        // It stays so: at two looks, and when nothing that was given up can take effect any more.
        let is_equal = differences.is_empty() && self.world.lock().late.is_empty();
        if std::mem::replace(&mut self.was_equal, is_equal) && is_equal {
            return Ok(true);
        }
        let quiet = Duration::from_micros((now - self.faults_end()).unsigned_abs());
        if quiet >= APPROVES && !std::mem::replace(&mut self.has_approved, true) {
            let order = Control {
                connection: CONNECTION.into(),
                subject: Subject::Removal,
                item: "*".into(),
                action: "approve".into(),
                asked_at: self.world.clock(),
            };
            let key = topics::control_key(CONNECTION, Subject::Removal, "*");
            self.order(key, CONTROL.encode(&order)).await?;
        }
        if quiet >= PATIENCE {
            for difference in differences {
                self.world.lock().ledger.find(format!("at the end: {difference}"));
            }
        }
        Ok(false)
    }
}

/// The first of some futures that is ready; never, where there are none.
async fn first_of<F: Future<Output = String> + Unpin>(mut futures: Vec<F>) -> String {
    std::future::poll_fn(|context| {
        for future in &mut futures {
            if let std::task::Poll::Ready(ended) = std::pin::Pin::new(future).poll(context) {
                return std::task::Poll::Ready(ended);
            }
        }
        std::task::Poll::Pending
    })
    .await
}
