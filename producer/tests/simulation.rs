//! The producer against a site that changes between any two of its answers, fails, and lists less than it
//! has, in virtual time: whatever it is read through, what was published ends as what the site has.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use cmsync_configmgr::{
    Changed, Collection, CollectionsSink, DeviceRow, DeviceScope, Error, Hierarchy, MemberRow,
    PassSink, Passes, Selection, Selector, Site, SiteInfo, Track, Tracked,
};
use cmsync_producer::{ConnectionConfig, Context, HighestSeq, Job, Options, StaticGroups, run};
use cmsync_queue::memory::{MemoryQueue, MemoryStore};
use cmsync_queue::{Queue, TopicKind, TopicSpec};
use cmsync_schemas::{CHANGE, ChangeKind, Status, topics};
use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::seq::IteratorRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const DEVICES: i64 = 240;
const POLL: Duration = Duration::from_secs(60);

type Members = BTreeMap<String, BTreeSet<i64>>;

/// What a site is read through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Each,
    Tracked,
    Pass,
}

struct World {
    rng: SmallRng,
    members: Members,
    versions: HashMap<String, u64>,
    /// Every change: collection, resource, whether it was added.
    track: Vec<(String, i64, bool)>,
    is_quiet: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut members = Members::new();
        for number in 0..6 {
            let all = (1..=DEVICES).filter(|_| rng.random_bool(0.4)).collect();
            members.insert(format!("PS10000{number}"), all);
        }
        members.insert("SMS00001".into(), (1..=DEVICES).collect());
        Self { rng, members, versions: HashMap::new(), track: Vec::new(), is_quiet: false }
    }

    /// One or two members of a collection change, now and then one for another.
    fn change(&mut self) {
        let ids: Vec<String> =
            self.members.keys().filter(|id| !id.starts_with("SMS")).cloned().collect();
        let Some(id) = ids.into_iter().choose(&mut self.rng) else {
            return;
        };
        let members = self.members.entry(id.clone()).or_default();
        let mut changes = Vec::new();
        if self.rng.random_bool(0.7) {
            let others = (1..=DEVICES).filter(|device| !members.contains(device));
            changes.extend(others.choose(&mut self.rng).map(|device| (device, true)));
        }
        if changes.is_empty() || self.rng.random_bool(0.7) {
            let own = members.iter().copied();
            changes.extend(own.choose(&mut self.rng).map(|device| (device, false)));
        }
        for (device, is_added) in changes {
            if is_added {
                members.insert(device)
            } else {
                members.remove(&device)
            };
            self.track.push((id.clone(), device, is_added));
        }
        *self.versions.entry(id).or_default() += 1;
    }
}

struct Simulated {
    world: Mutex<World>,
    way: Way,
}

fn failed() -> Error {
    let (host, class) = ("sim".to_owned(), "rows".to_owned());
    Error::Answer { host, class, detail: "as asked".to_owned() }
}

impl Simulated {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time passes: the site may have changed, and may fail.
    async fn turn(&self) -> Result<(), Error> {
        tokio::task::yield_now().await;
        let mut world = self.world();
        if world.is_quiet {
            return Ok(());
        }
        while world.rng.random_bool(CHANGES) {
            world.change();
        }
        if world.rng.random_bool(0.01) { Err(failed()) } else { Ok(()) }
    }

    fn listed(&self, shows_less: bool) -> Vec<Collection> {
        let mut world = self.world();
        let ids: Vec<String> = world.members.keys().cloned().collect();
        let mut listed = Vec::new();
        for id in ids {
            let is_missing = shows_less && !world.is_quiet && !id.starts_with("SMS");
            if is_missing && world.rng.random_bool(0.05) {
                continue;
            }
            listed.push(Collection {
                name: id.clone(),
                folder: "/".into(),
                member_count: world.members[&id].len() as i64,
                token: world.versions.get(&id).copied().unwrap_or(0).to_string(),
                id,
            });
        }
        listed
    }

    fn members(&self, collection: &str, from: i64, to: i64) -> Vec<i64> {
        self.world().members[collection].range(from..to).copied().collect()
    }
}

/// How likely one more change is whenever time passes: rare enough that reads find moments of quiet.
const CHANGES: f64 = 0.06;

fn row(id: i64) -> MemberRow<'static> {
    let (name, assigned_site) = (format!("PC{id}").into(), Some("PS1".into()));
    let (resource_type, domain, is_retired) = (5, None, false);
    MemberRow { resource_id: id, resource_type, name, domain, assigned_site, is_retired }
}

#[async_trait]
impl Site for Simulated {
    async fn hierarchy(&self) -> Result<Hierarchy, Error> {
        let (code, name, reports_to) = ("CAS".to_owned(), "Site".to_owned(), String::new());
        let version = "5.00".to_owned();
        let site = SiteInfo { code, name, kind: 4, reports_to, status: 1, version };
        Ok(Hierarchy { this_site: "CAS".into(), sites: vec![site], links: vec![], notes: vec![] })
    }

    async fn collections(&self) -> Result<Vec<Collection>, Error> {
        self.turn().await?;
        Ok(self.listed(true))
    }

    fn together(&self) -> (usize, usize) {
        (4, 100_000)
    }

    async fn members_of(
        &self,
        collections: &[String],
        sink: &mut dyn CollectionsSink,
    ) -> Result<(), Error> {
        for id in collections {
            self.turn().await?;
            sink.collection(id);
            // In two pieces, between which members may change.
            let middle = DEVICES / 2;
            self.members(id, 0, middle).into_iter().for_each(|device| sink.row(&row(device)));
            self.turn().await?;
            let rest = self.members(id, middle, i64::MAX);
            rest.into_iter().for_each(|device| sink.row(&row(device)));
        }
        Ok(())
    }

    async fn collections_of(&self, ids: &[String]) -> Result<Vec<Collection>, Error> {
        self.turn().await?;
        Ok(self.listed(false).into_iter().filter(|c| ids.contains(&c.id)).collect())
    }

    async fn devices(&self, scope: &DeviceScope) -> Result<Vec<DeviceRow>, Error> {
        let wanted = |id: &i64| match scope {
            DeviceScope::After(after) => id > after,
            DeviceScope::Ids(ids) => ids.contains(id),
        };
        let device = |id: i64| DeviceRow {
            resource_id: id,
            netbios_name: format!("PC{id}"),
            ..DeviceRow::default()
        };
        Ok((1..=DEVICES).filter(wanted).map(device).collect())
    }

    fn tracked(&self) -> Option<&dyn Tracked> {
        (self.way == Way::Tracked).then_some(self)
    }

    fn passes(&self) -> Option<&dyn Passes> {
        (self.way == Way::Pass).then_some(self)
    }

    async fn account(&self) -> Result<Option<String>, Error> {
        Ok(Some("reader".into()))
    }
}

#[async_trait]
impl Tracked for Simulated {
    async fn track(&self, since: Option<i64>) -> Result<Track, Error> {
        self.turn().await?;
        let version = self.world().track.len() as i64;
        self.turn().await?;
        let world = self.world();
        let since = since.map(|since| {
            let mut changed: BTreeMap<(&str, i64), (bool, bool)> = BTreeMap::new();
            for (collection, id, is_added) in &world.track[since as usize..] {
                changed.entry((collection, *id)).or_insert((!is_added, false)).1 = *is_added;
            }
            let mut by_collection: HashMap<String, Vec<(i64, Changed)>> = HashMap::new();
            for ((collection, id), change) in changed {
                let change = match change {
                    (false, true) => Changed::Added,
                    (true, true) => Changed::Otherwise,
                    (_, false) => Changed::Removed,
                };
                by_collection.entry(collection.to_owned()).or_default().push((id, change));
            }
            by_collection
        });
        Ok(Track { version, since })
    }

    async fn some_members(
        &self,
        collection: &str,
        ids: &[i64],
        sink: &mut dyn CollectionsSink,
    ) -> Result<(), Error> {
        self.turn().await?;
        sink.collection(collection);
        let found = self.members(collection, 0, i64::MAX);
        let found = found.into_iter().filter(|id| ids.contains(id));
        found.for_each(|device| sink.row(&row(device)));
        Ok(())
    }
}

#[async_trait]
impl Passes for Simulated {
    fn pays(&self, wanted: &[String]) -> Option<usize> {
        (wanted.len() > 2).then_some(3)
    }

    async fn members_between(
        &self,
        (from, to): (i64, i64),
        sink: &mut dyn PassSink,
    ) -> Result<(), Error> {
        self.turn().await?;
        let world = self.world();
        for (collection, members) in &world.members {
            let within = members.iter().filter(|id| (from + 1..=to).contains(*id));
            within.for_each(|id| sink.row(collection, &row(*id)));
        }
        Ok(())
    }
}

struct Nothing;

#[async_trait]
impl HighestSeq for Nothing {
    async fn highest_seq(&self, _: &str) -> Option<i64> {
        None
    }
}

/// The members that whoever reads the changes in order has at the end.
async fn published(queue: &dyn Queue) -> Members {
    let topic = topics::changes("sim");
    let mut members = Members::new();
    let mut from = 0;
    loop {
        let messages = queue.peek(&topic, 0, from).await.unwrap();
        let Some(last) = messages.last() else {
            return members;
        };
        from = last.offset + 1;
        for message in &messages {
            let change = CHANGE.decode(&message.value).unwrap();
            let of = members.entry(change.collection_id.clone()).or_default();
            if change.kind == ChangeKind::Snapshot && change.chunk == 0 {
                of.clear();
            }
            of.extend(change.present.iter().map(|device| device.resource_id));
            for device in &change.removed {
                of.remove(&device.resource_id);
            }
            if change.kind == ChangeKind::Removed {
                members.remove(&change.collection_id);
            }
        }
    }
}

async fn topics_of_the_stage(queue: &dyn Queue) {
    let topic = |name: String, kind| TopicSpec { name, partitions: 1, kind, max_bytes: u64::MAX };
    let specs = [
        topic(topics::changes("sim"), TopicKind::Log),
        topic(topics::records("sim"), TopicKind::Log),
        topic(topics::groups("sim"), TopicKind::Compacted),
        topic(topics::STATE.to_owned(), TopicKind::Compacted),
        topic(topics::CONTROL.to_owned(), TopicKind::Compacted),
        topic(topics::STATUS.to_owned(), TopicKind::Compacted),
    ];
    queue.declare(&specs).await.unwrap();
}

fn job(site: Arc<dyn Site>) -> Job {
    let config = ConnectionConfig {
        name: "sim".into(),
        selection: Selection::new(vec![Selector::Name("*".into())]).unwrap(),
        statics: StaticGroups::default(),
        import: true,
        quiet_hours: None,
    };
    let status = watch::Sender::new(Status::starting("sim", "producer", 0));
    Job { config, site, status, highest_seq: Arc::new(Nothing) }
}

/// Runs for so many polls while the site changes, then for a while when it stands still; gives what was
/// published and what the site has.
async fn simulate(seed: u64, way: Way, polls: u32) -> (Members, Members) {
    let queue: Arc<dyn Queue> = Arc::new(MemoryQueue::open(MemoryStore::new()).unwrap());
    topics_of_the_stage(queue.as_ref()).await;
    let site = Arc::new(Simulated { world: Mutex::new(World::new(seed)), way });
    let (started, year) = (Instant::now(), Duration::from_secs(365 * 86_400));
    let context = Context {
        queue: Arc::clone(&queue),
        clock: Arc::new(move || 1_800_000_000_000_000 + started.elapsed().as_micros() as i64),
        state_partitions: 1,
        partitions: 1,
        options: Options {
            poll_interval: POLL,
            // Nothing but the reads of what changed may make it right.
            snapshot_interval: year,
            reread_interval: year,
            device_sweep_interval: year,
            ..Options::default()
        },
        neighbours: watch::channel(BTreeMap::new()).1,
        new_instance: Arc::new(|| "instance".into()),
        note: Arc::new(drop),
    };
    let job = job(Arc::clone(&site) as Arc<dyn Site>);
    // It is stopped in the middle of whatever it does, and started again.
    for is_last in [false, true] {
        let (_jobs, wanted) = watch::channel(BTreeMap::from([("sim".to_owned(), job.clone())]));
        let stop = CancellationToken::new();
        let running = tokio::spawn(run(context.clone(), wanted, false, stop.clone()));
        tokio::time::sleep(POLL * polls).await;
        if is_last {
            site.world().is_quiet = true;
            // Longer than a collection whose reads never agreed is left alone.
            tokio::time::sleep(Duration::from_secs(3 * 3_600)).await;
        }
        stop.cancel();
        running.await.unwrap().unwrap();
    }
    let members = site.world().members.clone();
    (published(queue.as_ref()).await, members)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_was_published_ends_as_what_the_site_has(
        seed: u64,
        way in prop_oneof![Just(Way::Each), Just(Way::Tracked), Just(Way::Pass)],
        polls in 1..60_u32,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        let (published, members) = runtime.block_on(simulate(seed, way, polls));
        prop_assert_eq!(published, members);
    }
}
