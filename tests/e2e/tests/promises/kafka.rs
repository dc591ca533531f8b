//! The stages in processes of their own, on a real Kafka: killed, frozen and replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cmsync_broker::{Broker, SchemaRegistry};
use cmsync_lab::Options;
use cmsync_lab::faults::Quota;
use cmsync_lab::world::{CLIENTS, Plan};
use cmsync_queue::kafka::{KafkaOptions, KafkaQueue};
use cmsync_queue::{Message, Queue, partition_for};
use cmsync_schemas::topics::{self, StateKey};
use cmsync_schemas::{CHANGE, Change, ChangeKind, RECORD_BATCH};
use rand::{Rng as _, SeedableRng as _};
use roaring::RoaringBitmap;

use crate::rig::{PATIENCE, Rig, listening, metric, options, served, small, use_brokers};

pub(crate) const PARTITIONS: u32 = 4;

/// A lab, and copies of cmsync on a broker that all tests share.
pub(crate) struct Cluster {
    pub(crate) rig: Rig,
    pub(crate) broker: Arc<Broker>,
    pub(crate) prefix: String,
    copies: Vec<Child>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs();
            // On a thread of its own: that of the test may not wait.
            std::thread::scope(|scope| {
                let show = || tokio::runtime::Runtime::new().unwrap().block_on(self.show_queue());
                drop(scope.spawn(show).join());
            });
        }
        for copy in &mut self.copies {
            drop(copy.kill());
            drop(copy.wait());
        }
    }
}

/// The broker that all tests share.
pub(crate) async fn shared() -> Arc<Broker> {
    tokio::task::spawn_blocking(Broker::shared).await.unwrap()
}

pub(crate) async fn registry() -> SchemaRegistry {
    tokio::task::spawn_blocking(|| SchemaRegistry::start().unwrap()).await.unwrap()
}

impl Cluster {
    pub(crate) async fn new() -> Self {
        Self::on(shared().await).await
    }

    pub(crate) async fn on(broker: Arc<Broker>) -> Self {
        let cluster = Self::unmade(broker).await;
        let made = cluster.rig.run(&["topics", "create"]).await;
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        cluster
    }

    /// Without topics.
    pub(crate) async fn unmade(broker: Arc<Broker>) -> Self {
        Self::unmade_with(broker, options(small())).await
    }

    pub(crate) async fn unmade_with(broker: Arc<Broker>, lab: Options) -> Self {
        let rig = Rig::with(lab, r#"[{ name = "*" }]"#, "").await;
        let prefix = use_brokers(&rig.config, &broker);
        // The lab's own table of the queue comes first.
        let text = std::fs::read_to_string(&rig.config).unwrap();
        let text = text.replacen("[queue]\n", &format!("[queue]\npartitions = {PARTITIONS}\n"), 1);
        let log = "[log]\nlevel = \"info,cmsync_queue=debug,librdkafka=info\"\n";
        std::fs::write(&rig.config, format!("{text}\n{log}")).unwrap();
        Self { rig, broker, prefix, copies: Vec::new() }
    }

    /// What `cmsync check` says of the queue; whether all is well.
    pub(crate) async fn check(&self, change: impl Fn(String) -> String) -> (bool, String) {
        let text = self.rewrite(change);
        let told = self.told(&["check", "--stage", "transformer"]).await;
        self.rewrite(|_| text);
        told
    }

    /// Lets messages carry the ids of their schemas from the next start on.
    pub(crate) fn with_registry(&self, url: &str) {
        let table = format!("[queue.kafka.schema_registry]\nurl = \"{url}\"\n");
        self.rewrite(|text| format!("{text}{table}"));
    }

    /// Starts a copy of these stages; its number.
    pub(crate) fn start(&mut self, stages: &str) -> usize {
        let config = self.rig.config.clone();
        self.start_with(stages, &config)
    }

    /// The same for one that serves its pages; its number and its port.
    pub(crate) async fn start_listening(&mut self, stages: &str) -> (usize, u16) {
        let (config, port) = listening(&self.rig.config);
        let number = self.start_with(stages, &config);
        let is_up = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        self.rig.until(|| is_up().then_some(())).await;
        assert!(self.copies[number].try_wait().unwrap().is_none(), "copy {number} ended");
        (number, port)
    }

    /// The same, with another file.
    pub(crate) fn start_with(&mut self, stages: &str, config: &Path) -> usize {
        let number = self.copies.len();
        let log = std::fs::File::create(self.log_path(stages, number)).unwrap();
        let mut command = self.rig.command_with(config, &["run", "--stage", stages]);
        self.copies.push(command.stderr(log).stdout(Stdio::null()).spawn().unwrap());
        number
    }

    /// The same of another program.
    pub(crate) fn start_program(&mut self, stages: &str, program: &Path) -> usize {
        self.rig.program = Some(program.to_owned());
        let number = self.start(stages);
        self.rig.program = None;
        number
    }

    pub(crate) fn is_running(&mut self, number: usize) -> bool {
        self.copies[number].try_wait().unwrap().is_none()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, number: usize) {
        self.copies[number].kill().unwrap();
        self.copies[number].wait().unwrap();
    }

    pub(crate) fn signal(&self, number: usize, signal: &str) {
        let id = self.copies[number].id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Changes the file; what it was before.
    pub(crate) fn rewrite(&self, change: impl FnOnce(String) -> String) -> String {
        let text = std::fs::read_to_string(&self.rig.config).unwrap();
        std::fs::write(&self.rig.config, change(text.clone())).unwrap();
        text
    }

    /// Runs a command; whether it succeeded, and what it said.
    pub(crate) async fn told(&self, arguments: &[&str]) -> (bool, String) {
        let output = self.rig.run(arguments).await;
        let all = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&all).into_owned())
    }

    /// Stops a copy as a service manager does.
    pub(crate) async fn stop(&mut self, number: usize) {
        self.signal(number, "-TERM");
        self.until_ended(number).await;
    }

    /// Waits until something waits for a group, or nothing any more.
    pub(crate) async fn until_waiting(&self, topic: &str, group: &str, wanted: bool) {
        let queue = self.queue().await;
        let mut beats = queue.watch(topic).unwrap();
        loop {
            let logs = queue.log(topic, group).await.unwrap();
            if logs.iter().any(|log| log.waiting > 0) == wanted {
                return;
            }
            tokio::time::timeout(PATIENCE, beats.changed()).await.unwrap().unwrap();
        }
    }

    /// Waits until a copy that was told to stop has ended.
    pub(crate) async fn until_ended(&mut self, number: usize) {
        let mut copy = self.copies.remove(number);
        let ending = tokio::task::spawn_blocking(move || (copy.wait().unwrap(), copy));
        let (status, copy) = ending.await.unwrap();
        assert!(status.success(), "copy {number}: {status}");
        self.copies.insert(number, copy);
    }

    pub(crate) fn log_path(&self, stages: &str, number: usize) -> PathBuf {
        self.rig.directory.path().join(format!("{stages}-{number}.log"))
    }

    pub(crate) fn log(&self, stages: &str, number: usize) -> String {
        std::fs::read_to_string(self.log_path(stages, number)).unwrap_or_default()
    }

    /// Waits until a copy's log holds a text.
    pub(crate) async fn until_told(&mut self, stages: &str, number: usize, text: &str) {
        let log = self.log_path(stages, number);
        let told = || std::fs::read_to_string(&log).is_ok_and(|told| told.contains(text));
        self.rig.until(|| told().then_some(())).await;
    }

    pub(crate) async fn until_equal(&mut self) {
        self.rig.until_all_equal().await;
    }

    /// What the copies said last, for whoever looks at a failure.
    pub(crate) fn show_logs(&self) {
        let files = std::fs::read_dir(self.rig.directory.path()).into_iter().flatten().flatten();
        for file in files.filter(|f| f.path().extension().is_some_and(|e| e == "log")) {
            let text = std::fs::read_to_string(file.path()).unwrap_or_default();
            let lines: Vec<&str> = text.lines().filter(|l| !l.contains("a poll failed")).collect();
            let last = lines[lines.len().saturating_sub(60)..].join("\n");
            eprintln!("{}:\n{last}", file.path().display());
        }
    }

    /// Where the stages stand, for whoever looks at a failure.
    pub(crate) async fn show_queue(&self) {
        let queue = self.queue().await;
        for (topic, group) in [
            (topics::changes("lab"), topics::TRANSFORMER),
            (topics::records("lab"), topics::UPLOADER),
        ] {
            match queue.log(&topic, group).await {
                Ok(logs) => eprintln!("{topic}: {logs:#?}"),
                Err(error) => eprintln!("{topic}: {error}"),
            }
        }
    }

    /// Ends the churn and waits until the workspace shows all of it; says how long that took.
    pub(crate) async fn until_recovered(&mut self, since: &str) {
        let started = std::time::Instant::now();
        self.rig.lab.stop_churn();
        self.until_equal().await;
        eprintln!("equal {:.1} s after {since}", started.elapsed().as_secs_f64());
    }

    /// Changes a collection and waits until the workspace shows it.
    pub(crate) async fn until_a_change_arrives(&mut self, device: u32) {
        self.rig.lab.world().change_members("PS100001", &[CLIENTS + device], &[]);
        self.until_equal().await;
    }

    pub(crate) async fn queue(&self) -> KafkaQueue {
        let (brokers, prefix) = (self.broker.brokers(), self.prefix.clone());
        let options = KafkaOptions {
            brokers,
            prefix,
            replication: 1,
            min_in_sync: 1,
            ..KafkaOptions::default()
        };
        KafkaQueue::open(options).await.unwrap()
    }

    /// Each change became records once, and all of them together are what the state says.
    pub(crate) async fn assert_exactly_once(&self) -> Vec<Change> {
        let queue = self.queue().await;
        let (changes, records) = (topics::changes("lab"), topics::records("lab"));
        let mut all = Vec::new();
        let all_topics = queue.topics().await.unwrap();
        let partitions = all_topics.iter().find(|spec| spec.name == changes).unwrap().partitions;
        for partition in 0..partitions {
            let published = messages(&queue, &changes, partition).await;
            let offsets: Vec<i64> = published.iter().map(|m| m.offset as i64).collect();
            let batches = messages(&queue, &records, partition).await;
            let of = |m: &Message| RECORD_BATCH.decode(&m.value).unwrap().change_offset;
            let mapped: Vec<i64> = batches.iter().map(of).collect();
            // Offsets without a gap are of one transaction.
            let at = || batches.iter().map(|m| (m.offset, of(m))).collect::<Vec<_>>();
            assert_eq!(
                mapped,
                offsets,
                "partition {partition}: records and their changes {:?}",
                at()
            );
            all.extend(published.iter().map(|m| CHANGE.decode(&m.value).unwrap()));
        }
        let mut by_seq: Vec<&Change> = all.iter().collect();
        by_seq.sort_by_key(|change| change.seq);
        assert_eq!(replayed(&by_seq), self.state(&queue).await, "what was published and the state");
        all
    }

    pub(crate) async fn state(&self, queue: &KafkaQueue) -> BTreeMap<String, BTreeSet<i64>> {
        let mut members: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
        for entry in queue.scan(topics::STATE).await.unwrap() {
            let (key, value) = entry.unwrap();
            if let Some((_, StateKey::Members(id, _))) = StateKey::decode(&key) {
                let bitmap = RoaringBitmap::deserialize_from(value.as_ref()).unwrap();
                members.entry(id).or_default().extend(bitmap.iter().map(i64::from));
            }
        }
        members
    }
}

pub(crate) async fn messages(queue: &KafkaQueue, topic: &str, partition: u32) -> Vec<Message> {
    let mut all: Vec<Message> = Vec::new();
    loop {
        let from = all.last().map_or(0, |last| last.offset + 1);
        let more = queue.peek(topic, partition, from).await.unwrap();
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

/// The members that these changes lead to.
pub(crate) fn replayed(changes: &[&Change]) -> BTreeMap<String, BTreeSet<i64>> {
    let mut collections: BTreeMap<String, BTreeMap<i64, i64>> = BTreeMap::new();
    for change in changes {
        let members = collections.entry(change.collection_id.clone()).or_default();
        for device in &change.present {
            let seq = members.entry(device.resource_id).or_insert(change.seq);
            *seq = (*seq).max(change.seq);
        }
        for device in &change.removed {
            members.remove(&device.resource_id);
        }
        if change.kind == ChangeKind::Snapshot && change.is_last {
            members.retain(|_, seq| *seq >= change.start_seq);
        }
    }
    collections.into_iter().map(|(id, members)| (id, members.into_keys().collect())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_on_kafka_end_equal_though_one_copy_of_each_is_killed() {
    let mut cluster = Cluster::new().await;
    let producer = cluster.start("producer");
    cluster.start("producer");
    let transformer = cluster.start("transformer");
    cluster.start("transformer");
    let uploader = cluster.start("uploader");
    cluster.start("uploader");
    cluster.rig.lab.start_churn(Duration::from_millis(50), 3);
    let lab = Arc::clone(&cluster.rig.lab);
    cluster.rig.until(|| (lab.compare(&[]).member_rows > 0).then_some(())).await;
    for copy in [producer, transformer, uploader] {
        cluster.kill(copy);
    }
    cluster.start("producer,transformer");
    cluster.rig.two_polls().await;
    cluster.rig.lab.stop_churn();
    cluster.until_equal().await;
    cluster.assert_exactly_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_instant_changes_become_records_exactly_once() {
    let kills = std::env::var("CMSYNC_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    let mut cluster = Cluster::new().await;
    let mut random = rand::rngs::StdRng::seed_from_u64(5);
    let mut running = [cluster.start("producer"), cluster.start("transformer")];
    cluster.start("uploader");
    cluster.rig.lab.start_churn(Duration::from_millis(30), 3);
    for kill in 0..kills {
        // An instant: what the copy does then is what is to be tried.
        tokio::time::sleep(Duration::from_millis(random.random_range(300..1_500))).await;
        let which = kill % 2;
        cluster.kill(running[which]);
        running[which] = cluster.start(["producer", "transformer"][which]);
    }
    cluster.rig.lab.stop_churn();
    cluster.until_equal().await;
    cluster.assert_exactly_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_producer_that_was_replaced_writes_nothing_when_it_wakes() {
    let mut cluster = Cluster::new().await;
    let frozen = cluster.start("producer");
    cluster.start("transformer,uploader");
    cluster.until_equal().await;
    cluster.until_a_change_arrives(3).await;
    cluster.signal(frozen, "-STOP");
    cluster.start("producer");
    cluster.until_a_change_arrives(4).await;
    cluster.signal(frozen, "-CONT");
    // What it would publish now is published by the other alone.
    for device in 5..10 {
        cluster.until_a_change_arrives(device).await;
    }
    let changes = cluster.assert_exactly_once().await;
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    for change in &changes {
        let before = last.insert(change.collection_id.clone(), change.seq).unwrap_or(0);
        assert!(change.seq >= before, "{}: {} after {before}", change.collection_id, change.seq);
    }
    let log = cluster.log("producer", frozen);
    assert!(log.contains("partitions go") && !log.contains("panicked"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_over_and_sends_no_snapshot_twice() {
    let mut cluster = Cluster::new().await;
    let (owner, port) = cluster.start_listening("producer").await;
    cluster.start("transformer,uploader");
    cluster.until_equal().await;
    let owns = "on cmsync.state: 4 partitions";
    assert!(served(port, "/ready").contains(owns), "{}", served(port, "/ready"));
    let (_, heir) = cluster.start_listening("producer").await;
    assert!(!served(heir, "/ready").contains(owns), "{}", served(heir, "/ready"));
    cluster.kill(owner);
    cluster.until_a_change_arrives(3).await;
    cluster.rig.until(|| served(heir, "/ready").contains(owns).then_some(())).await;
    let changes = cluster.assert_exactly_once().await;
    let snapshots = changes.iter().filter(|c| c.kind == ChangeKind::Snapshot && c.is_last);
    let ids: Vec<&str> = snapshots.map(|c| c.collection_id.as_str()).collect();
    let distinct: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(ids.len(), distinct.len(), "{ids:?}");
}

/// Names of connections whose state lies in different partitions, one in each.
fn one_in_each_partition() -> Vec<String> {
    let mut found: BTreeMap<u32, String> = BTreeMap::new();
    for name in (0..).map(|number| format!("site-{number}")) {
        found.entry(partition_for(name.as_bytes(), PARTITIONS)).or_insert(name);
        if found.len() == PARTITIONS as usize {
            break;
        }
    }
    found.into_values().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn hierarchies_are_shared_among_producers_and_each_is_read_by_one() {
    let mut cluster = Cluster::unmade(shared().await).await;
    let names = one_in_each_partition();
    cluster.rewrite(|text| {
        let from = text.find("[connections.lab]").unwrap();
        let to = text.find("[http]").unwrap();
        let one = text.get(from..to).unwrap().to_owned();
        // Nothing is uploaded: the workspaces need not be there.
        let each = names.iter().map(|name| {
            let own = one.replace("connections.lab", &format!("connections.{name}"));
            let own = own.replace("lab-workspace", &format!("{name}-workspace"));
            own.replace("id = \"dcr-", &format!("id = \"dcr-{name}-"))
        });
        text.replace(&one, &each.collect::<Vec<_>>().concat())
    });
    let ports =
        [cluster.start_listening("producer").await.1, cluster.start_listening("producer").await.1];
    let half = "on cmsync.state: 2 partitions";
    let is_shared = || ports.iter().all(|port| served(*port, "/ready").contains(half));
    cluster.rig.until(|| is_shared().then_some(())).await;
    let of = |metric_of: &str, port: u16, name: &str| {
        metric(port, &format!("cmsync_producer_{metric_of}{{connection=\"{name}\"}}"))
    };
    let each = |metric_of: &str| {
        ports.map(|port| names.iter().map(|n| of(metric_of, port, n)).collect::<Vec<_>>())
    };
    let before = each("last_poll_timestamp_seconds");
    let reads = |producer: usize| -> BTreeSet<usize> {
        let now = each("last_poll_timestamp_seconds");
        (0..names.len()).filter(|n| now[producer][*n] > before[producer][*n]).collect()
    };
    let all = |(one, other): &(BTreeSet<usize>, BTreeSet<usize>)| one.len() + other.len() >= 4;
    let (one, other) = cluster.rig.until(|| Some((reads(0), reads(1))).filter(all)).await;
    assert!(one.len() == 2 && one.is_disjoint(&other), "{names:?}: {one:?} {other:?}");
    let [first, second] = each("owner");
    let owners = first.iter().zip(&second).map(|(one, other)| one + other);
    assert!(owners.clone().all(|owners| owners == 1.0), "{first:?} {second:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_with_an_older_configuration_owns_nothing_until_its_file_follows() {
    let mut cluster = Cluster::new().await;
    let text = std::fs::read_to_string(&cluster.rig.config).unwrap();
    let other = cluster.rig.directory.path().join("other.toml");
    let with = |revision: u32| format!("revision = {revision}\n{text}");
    std::fs::write(&cluster.rig.config, with(2)).unwrap();
    std::fs::write(&other, with(1)).unwrap();
    cluster.start("producer");
    cluster.start("transformer,uploader");
    cluster.until_equal().await;
    let older = cluster.start_with("producer", &other);
    let told = "`revision` is 1 and another copy's is 2";
    cluster.until_told("producer", older, told).await;
    cluster.until_a_change_arrives(5).await;
    assert!(!cluster.log("producer", older).contains("partitions come"));
    // It is the newest now, and takes over from the other.
    std::fs::write(&other, with(3)).unwrap();
    cluster.until_told("producer", older, "partitions come").await;
    cluster.until_told("producer", 0, "`revision` is 2 and another copy's is 3").await;
    cluster.until_a_change_arrives(6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uploaders_that_join_and_leave_under_load_lose_nothing_and_stop_only_what_moves() {
    let mut cluster = Cluster::new().await;
    cluster.start("producer,transformer");
    let first = cluster.start("uploader");
    cluster.until_equal().await;
    // Faster, and the site never stands still for a whole read: its removals are held then.
    cluster.rig.lab.start_churn(Duration::from_millis(100), 3);
    let come = "partitions come group=\"cmsync-uploader";
    let mut others = Vec::new();
    for _ in 0..3 {
        let other = cluster.start("uploader");
        cluster.until_told("uploader", other, come).await;
        cluster.rig.two_polls().await;
        others.push(other);
    }
    for other in others {
        cluster.signal(other, "-TERM");
        cluster.until_ended(other).await;
        cluster.rig.two_polls().await;
    }
    cluster.until_recovered("the last of them left").await;
    cluster.assert_exactly_once().await;
    let log = cluster.log("uploader", first);
    let gone = partitions(&log, "partitions go group=\"cmsync-uploader");
    assert!(!gone.is_empty() && gone.len() < PARTITIONS as usize, "moved: {gone:?}");
    eprintln!("{} rows were sent again by those that moved", cluster.rig.repeats());
}

/// The partitions in the lines of a log that hold a text.
fn partitions(log: &str, text: &str) -> BTreeSet<u32> {
    let lists = log.lines().filter(|line| line.contains(text));
    let lists = lists.filter_map(|line| line.split_once('[')?.1.split_once(']'));
    lists.flat_map(|(list, _)| list.split(", ").filter_map(|p| p.parse().ok())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn uploaders_on_one_rule_find_a_fair_share_of_its_quota() {
    let plan = Plan { devices: 2_000, collections: 40, memberships: 40_000, ..Plan::default() };
    let mut cluster = Cluster::unmade_with(shared().await, options(plan)).await;
    cluster.rewrite(|text| text.replace("[uploader]\n", "[uploader]\nmax_raw_body = \"20 KB\"\n"));
    // Nothing is taken until all that is to be uploaded waits.
    cluster.rig.lab.faults().quota = Some(Quota::new(0, Duration::from_secs(1)));
    let (_, first) = cluster.start_listening("producer,transformer").await;
    let ports =
        [cluster.start_listening("uploader").await.1, cluster.start_listening("uploader").await.1];
    let half = "cmsync.records.lab: 2 partitions";
    let is_shared = || ports.iter().all(|port| served(*port, "/ready").contains(half));
    let is_read = || metric(first, "cmsync_producer_polls_total") >= 1.0;
    cluster.rig.until(|| (is_shared() && is_read()).then_some(())).await;
    cluster.until_waiting(&topics::changes("lab"), topics::TRANSFORMER, false).await;
    cluster.rig.lab.faults().quota = Some(Quota::new(20, Duration::from_secs(1)));
    let each = |name: &str| ports.iter().map(|port| metric(*port, name)).collect::<Vec<_>>();
    let refused: f64 = each(r#"cmsync_uploader_posts_total{status="429"}"#).iter().sum();
    // While both have more than the rule takes, their rates come together: some fifty bodies come
    // of which neither sent less than a quarter.
    let mut before = vec![0.0; ports.len()];
    let taken = cluster
        .rig
        .until(|| {
            let taken = each("cmsync_uploader_body_bytes_count");
            let since: Vec<f64> = taken.iter().zip(&before).map(|(now, then)| now - then).collect();
            let all: f64 = since.iter().sum();
            if all < 50.0 {
                return None;
            }
            before.clone_from(&taken);
            since.iter().all(|share| *share >= all / 4.0).then_some(taken)
        })
        .await;
    let refused =
        each(r#"cmsync_uploader_posts_total{status="429"}"#).iter().sum::<f64>() - refused;
    let all: f64 = taken.iter().sum();
    assert!(refused <= all, "{refused} requests were refused, {all} taken");
    cluster.until_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_registry_old_and_new_messages_are_read_side_by_side_and_its_outage_stops_nothing() {
    let mut cluster = Cluster::new().await;
    let stages = "producer,transformer,uploader";
    let first = cluster.start(stages);
    cluster.until_equal().await;
    cluster.kill(first);
    // What is published now is read when the registry is there.
    let producer = cluster.start("producer");
    cluster.until_told("producer", producer, "partitions come").await;
    cluster.rig.lab.world().change_members("PS100001", &[CLIENTS + 7], &[]);
    cluster.rig.two_polls().await;
    cluster.kill(producer);
    let mut registry = registry().await;
    cluster.with_registry(&registry.url());
    let copy = cluster.start(stages);
    cluster.until_a_change_arrives(8).await;
    registry.kill();
    cluster.until_a_change_arrives(9).await;
    let queue = cluster.queue().await;
    let mut firsts = BTreeSet::new();
    for partition in 0..PARTITIONS {
        let all = messages(&queue, &topics::changes("lab"), partition).await;
        firsts.extend(all.iter().filter_map(|message| message.value.first().copied()));
    }
    assert_eq!(firsts, BTreeSet::from([0x00, 0xC3]), "{}", cluster.log(stages, copy));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_cut_off_from_the_brokers_is_replaced_and_comes_back_with_nothing_lost() {
    let mut cluster = Cluster::new().await;
    let (proxy, brokers) = cluster.broker.proxy().unwrap();
    let text = std::fs::read_to_string(&cluster.rig.config).unwrap();
    let through = cluster.rig.directory.path().join("through.toml");
    std::fs::write(&through, text.replace(&cluster.broker.brokers(), &brokers)).unwrap();
    let cut = cluster.start_with("producer,transformer", &through);
    cluster.start("uploader");
    cluster.until_equal().await;
    cluster.rig.lab.start_churn(Duration::from_millis(100), 3);
    cluster.rig.two_polls().await;
    proxy.cut();
    let other = cluster.start("producer,transformer");
    cluster
        .until_told("producer,transformer", other, "partitions come group=\"cmsync-producer")
        .await;
    cluster.rig.two_polls().await;
    proxy.mend();
    cluster.kill(other);
    // The one that was cut off takes over again by itself.
    cluster.rig.lab.stop_churn();
    cluster.until_equal().await;
    let told = cluster.log("producer,transformer", cut);
    assert!(told.matches("partitions come group=\"cmsync-producer").count() > 1, "{told}");
    cluster.assert_exactly_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_queue_deleted_before_it_was_taken_is_sent_whole_again() {
    let mut cluster = Cluster::new().await;
    cluster.start("producer");
    let first = cluster.start("transformer");
    cluster.start("uploader");
    cluster.until_equal().await;
    cluster.kill(first);
    cluster.rig.lab.world().change_members("PS100001", &[CLIENTS + 3], &[CLIENTS + 4]);
    let (queue, changes) = (cluster.queue().await, topics::changes("lab"));
    let mut watch = queue.watch(&changes).unwrap();
    let logs = loop {
        let logs = queue.log(&changes, topics::TRANSFORMER).await.unwrap();
        if logs.iter().any(|log| log.waiting > 0) {
            break logs;
        }
        tokio::time::timeout(PATIENCE, watch.changed()).await.unwrap().unwrap();
    };
    for (partition, log) in (0..).zip(logs) {
        queue.delete_below(&changes, (partition, log.end)).await.unwrap();
    }
    let second = cluster.start("transformer");
    cluster.until_equal().await;
    let told = cluster.log("transformer", second);
    assert!(told.contains("every collection is sent whole again"), "{told}");
}

/// Each node leads some partitions and groups, and one of them the cluster.
#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_die_in_turn_and_all_at_once_lose_nothing() {
    let broker = tokio::task::spawn_blocking(|| Broker::start(3).unwrap()).await.unwrap();
    let mut cluster = Cluster::on(Arc::new(broker)).await;
    cluster.start("producer");
    cluster.start("transformer");
    cluster.start("uploader");
    cluster.until_equal().await;
    for node in 0..3 {
        cluster.rig.lab.start_churn(Duration::from_millis(100), 3);
        cluster.rig.two_polls().await;
        cluster.broker.kill(node);
        cluster.until_recovered(&format!("node {node} is dead")).await;
        let broker = Arc::clone(&cluster.broker);
        tokio::task::spawn_blocking(move || broker.restart(node).unwrap()).await.unwrap();
    }
    cluster.rig.lab.start_churn(Duration::from_millis(100), 3);
    cluster.rig.two_polls().await;
    (0..3).for_each(|node| cluster.broker.kill(node));
    tokio::time::sleep(down()).await;
    let broker = Arc::clone(&cluster.broker);
    tokio::task::spawn_blocking(move || {
        (0..3).for_each(|node| broker.launch(node).unwrap());
        (0..3).for_each(|node| broker.until_up(node).unwrap());
    })
    .await
    .unwrap();
    cluster.until_recovered("all nodes are up again").await;
    cluster.assert_exactly_once().await;
}

/// How long all brokers are down; a minute in the long form.
fn down() -> Duration {
    let seconds = std::env::var("CMSYNC_DOWN").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}
