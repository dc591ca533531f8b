//! What administrators set up, and can get wrong, before copies run: brokers, credentials, topics,
//! schemas.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cmsync_http::{Client, Settings};
use cmsync_lab::Options;
use cmsync_queue::kafka::{KafkaOptions, KafkaQueue};
use cmsync_queue::{Queue, TopicKind, TopicSpec};
use cmsync_registry::Registry;
use cmsync_schemas::topics;

use crate::kafka::{Cluster, PARTITIONS, registry, shared};
use crate::rig::{options, small};

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_the_registry_does_not_allow_is_told_before_anything_is_written() {
    let cluster = Cluster::new().await;
    let registry = registry().await;
    let client = Client::new("registry", &Settings::default()).unwrap();
    let theirs = Registry::new(client, registry.url().parse().unwrap(), None);
    let other = r#"{"type": "record", "name": "Change", "namespace": "cmsync", "fields": [
        {"name": "connection", "type": "int"}]}"#;
    let subject = format!("{}cmsync.Change", cluster.prefix);
    theirs.register(&subject, other).await.unwrap();
    let queue = cluster.queue().await;
    let before = versions(&queue).await;
    cluster.with_registry(&registry.url());
    let told = cluster.rig.run(&["run", "--once"]).await;
    let text = String::from_utf8_lossy(&told.stderr).into_owned();
    assert_told(&(told.status.success(), text), &["incompatible", &subject]);
    let nowhere = cluster.check(|text| text.replace("/ccompat/", "/nowhere/")).await;
    assert_told(&nowhere, &["queue.kafka.schema_registry", "schema registry"]);
    assert_eq!(versions(&queue).await, before);
}

/// How much was written to each topic.
async fn versions(queue: &KafkaQueue) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    for topic in queue.topics().await.unwrap() {
        let version = queue.version(&topic.name).await.unwrap();
        all.push((topic.name, version));
    }
    all
}

fn assert_told((is_well, text): &(bool, String), parts: &[&str]) {
    assert!(!is_well && parts.iter().all(|part| text.contains(part)), "{parts:?}: {text}");
}

fn spec(name: &str, partitions: u32, kind: TopicKind) -> TopicSpec {
    TopicSpec { name: name.into(), partitions, kind, max_bytes: u64::MAX }
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_would_lose_data_are_refused_with_the_remedy() {
    let cluster = Cluster::unmade(shared().await).await;
    let same = |text: String| text;
    assert_told(&cluster.check(same).await, &["topics are missing", "cmsync topics create"]);
    let queue = cluster.queue().await;
    for (wrong, parts) in [
        (spec(topics::CONTROL, 3, TopicKind::Compacted), ["control", "3 partitions", "1 part"]),
        (spec(topics::STATE, PARTITIONS, TopicKind::Log), ["cmsync.state", "Log", "Compacted"]),
    ] {
        queue.declare(std::slice::from_ref(&wrong)).await.unwrap();
        let created = cluster.rig.run(&["topics", "create"]).await;
        let told = String::from_utf8_lossy(&created.stderr).into_owned();
        assert!(parts.iter().all(|part| told.contains(part)), "{told}");
        queue.remove(&[wrong.name]).await.unwrap();
    }
    let brokers = cluster.broker.brokers();
    let (prefix, retention) = (cluster.prefix.clone(), Duration::from_secs(60));
    let short = KafkaOptions {
        brokers,
        prefix,
        retention,
        replication: 1,
        min_in_sync: 1,
        ..KafkaOptions::default()
    };
    let short = KafkaQueue::open(short).await.unwrap();
    let changes = spec(&topics::changes("lab"), PARTITIONS, TopicKind::Log);
    short.declare(&[changes]).await.unwrap();
    let created = cluster.rig.run(&["topics", "create"]).await;
    let told = String::from_utf8_lossy(&created.stderr).into_owned();
    assert!(told.contains("retention.ms is 60000") && told.contains("kafka-configs"), "{told}");
    let run = cluster.rig.run(&["run", "--once"]).await;
    let told = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(!run.status.success() && told.contains("retention.ms is 60000"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_cannot_be_reached_and_wrong_passwords_are_told_and_secrets_are_not() {
    let cluster = Cluster::new().await;
    let broker = Arc::clone(&cluster.broker);
    let plain = broker.brokers();
    let password = cluster.rig.directory.path().join("kafka-password");
    let with = |brokers: &str, more: &str| {
        let (old, new) = (format!("\"{plain}\""), format!("\"{brokers}\"\n{more}"));
        move |text: String| text.replace(&old, &new)
    };
    let unreached = cluster.check(with("127.0.0.1:1", "")).await;
    assert_told(&unreached, &["127.0.0.1:1", "refused"]);
    let secure = format!(
        "tls = true\nca_file = \"{}\"\nsasl = {{ mechanism = \"SCRAM-SHA-512\", username = \"{}\", password_file = \"{}\" }}\n",
        broker.ca_file().display(),
        cmsync_broker::USER,
        password.display()
    );
    let secure_brokers = broker.secure_brokers();
    std::fs::write(&password, "not it at all").unwrap();
    let wrong = cluster.check(with(&secure_brokers, &secure)).await;
    assert_told(&wrong, &["uthentication failed"]);
    assert!(!wrong.1.contains("not it at all"), "{}", wrong.1);
    std::fs::write(&password, cmsync_broker::PASSWORD).unwrap();
    let right = cluster.check(with(&secure_brokers, &secure)).await;
    assert!(right.0 && right.1.contains("topics are as they should be"), "{}", right.1);
    let guest = secure.replace("\"cmsync\"", "\"guest\"");
    let denied = cluster.check(with(&secure_brokers, &guest)).await;
    assert_told(&denied, &["do not allow this principal", "transactional id", "kafka-acls"]);
    let clash = "settings = { \"acks\" = \"1\", \"no.such.setting\" = \"1\" }";
    let clashing = cluster.check(with(&plain, clash)).await;
    assert_told(&clashing, &["queue.kafka.settings.\"acks\"", "set by cmsync"]);
    let unknown = cluster.check(with(&plain, "settings = { \"no.such.setting\" = \"1\" }")).await;
    assert_told(&unknown, &["`no.such.setting`"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn state_whose_topic_was_given_other_partitions_by_hand_is_refused() {
    let cluster = Cluster::new().await;
    let queue = cluster.queue().await;
    queue.remove(&[topics::STATE.to_owned()]).await.unwrap();
    queue.declare(&[spec(topics::STATE, 6, TopicKind::Compacted)]).await.unwrap();
    let parts =
        ["`cmsync.state` has 6 partitions and its state was written with 4", "topics create"];
    assert_told(&cluster.check(|text| text).await, &parts);
    let run = cluster.rig.run(&["run", "--once"]).await;
    assert_told(&(run.status.success(), String::from_utf8_lossy(&run.stderr).into()), &parts);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_partitions_come_only_when_nothing_is_on_its_way_and_the_order_stays() {
    let mut cluster = Cluster::new().await;
    let stages = ["transformer", "uploader"];
    let producer = cluster.start("producer");
    let (changes, records) = (topics::changes("lab"), topics::records("lab"));
    cluster.until_waiting(&changes, topics::TRANSFORMER, true).await;
    let more = |text: String| text.replace("partitions = 4", "partitions = 7");
    let before = cluster.rewrite(more);
    let create = ["topics", "create"];
    let refused = cluster.told(&create).await;
    assert_told(&refused, &["no partitions are added", "cmsync-producer", "copies of it run"]);
    cluster.stop(producer).await;
    let refused = cluster.told(&create).await;
    assert_told(&refused, &["cmsync-transformer", "messages of `cmsync.changes.lab` wait"]);
    let run = cluster.told(&["run", "--once"]).await;
    assert_told(&run, &["4 partitions", "7 partitions", "`cmsync topics create` adds partitions"]);
    cluster.rewrite(|_| before);
    let running = stages.map(|stage| cluster.start(stage));
    cluster.until_waiting(&changes, topics::TRANSFORMER, false).await;
    cluster.until_waiting(&records, topics::UPLOADER, false).await;
    for number in running {
        cluster.stop(number).await;
    }
    cluster.rewrite(more);
    let (is_well, told) = cluster.told(&create).await;
    assert!(is_well && told.contains("2 topics have 7 partitions now"), "{told}");
    cluster.start("producer");
    for stage in stages {
        cluster.start(stage);
    }
    cluster.rig.lab.start_churn(Duration::from_millis(100), 3);
    cluster.rig.two_polls().await;
    cluster.until_recovered("more partitions came").await;
    let mut seqs: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for change in cluster.assert_exactly_once().await {
        seqs.entry(change.collection_id).or_default().push(change.seq);
    }
    for (collection, seqs) in seqs {
        // What is in its old partition is older than all in its new one, and each is in order.
        let mut parts: Vec<&[i64]> = seqs.chunk_by(|one, next| one <= next).collect();
        parts.sort();
        assert!(parts.len() <= 2 && parts.concat().is_sorted(), "{collection}: {seqs:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_entra_sign_in_to_the_brokers_and_are_renewed() {
    let broker = shared().await;
    let signing_key = Some(broker.token_key().to_owned());
    let lab = Options { signing_key, token_lifetime: 6, ..options(small()) };
    let mut cluster = Cluster::unmade_with(Arc::clone(&broker), lab).await;
    let folder = cluster.rig.directory.path().to_owned();
    let written = std::fs::read_to_string(&cluster.rig.config).unwrap();
    let entra: Vec<&str> = written
        .lines()
        .filter(|line| {
            ["tenant_id", "client_id", "client_secret_file"].iter().any(|key| line.starts_with(key))
        })
        .collect();
    let url = written.split("authority = \"").nth(1).unwrap().split('"').next().unwrap();
    let secure = format!(
        "brokers = \"{}\"\ntls = true\nca_file = \"{}\"\nsasl = {{ mechanism = \"OAUTHBEARER\", \
         entra = {{ audience = \"{}\", ca_file = \"{}\", endpoints = {{ authority = \"{}\" }}, {} }} }}\n",
        broker.secure_brokers(),
        broker.ca_file().display(),
        cmsync_broker::AUDIENCE,
        folder.join("lab-ca.pem").display(),
        url,
        entra.join(", "),
    );
    let plain = format!("brokers = \"{}\"\n", broker.brokers());
    cluster.rewrite(|text| text.replace(&plain, &secure));
    let (is_well, told) = cluster.told(&["topics", "create"]).await;
    assert!(is_well, "{told}");
    cluster.start("producer,transformer,uploader");
    cluster.until_equal().await;
    // Each of the first tokens has ended when so many more were asked for.
    let asked = cluster.rig.lab.counts().tokens + 12;
    let lab = Arc::clone(&cluster.rig.lab);
    cluster.rig.until(|| (lab.counts().tokens >= asked).then_some(())).await;
    cluster.until_a_change_arrives(1).await;
    cluster.rig.lab.faults().secret_expired = true;
    let refused = cluster.check(|text| text).await;
    assert_told(&refused, &["AADSTS7000222"]);
    let secret = std::fs::read_to_string(folder.join("client-secret")).unwrap();
    assert!(!refused.1.contains(secret.trim()), "{}", refused.1);
}
