//! Messages that are not what they should be: set aside alone, or kept for a newer version.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cmsync_azure::{Credential, Identity, Ingestion, Proof, Rule};
use cmsync_http::{Client, Secret};
use cmsync_lab::Lab;
use cmsync_queue::memory::{MemoryQueue, MemoryStore};
use cmsync_queue::{Output, Queue, TopicKind, TopicSpec};
use cmsync_schemas::{
    CHANGE, Change, ChangeKind, Clock, DEAD_LETTER, DeadLetter, Device, Health, RECORD_BATCH,
    Status, topics,
};
use secrecy::SecretString;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::rig::{options, small};

const PARTITIONS: u32 = 2;

fn clock() -> Clock {
    Arc::new(|| jiff::Timestamp::now().as_microsecond())
}

fn status(stage: &str) -> watch::Sender<Status> {
    watch::Sender::new(Status::starting("c", stage, 0))
}

async fn queue() -> Arc<MemoryQueue> {
    queue_with(u64::MAX).await
}

/// A queue whose dead letters may take this much.
async fn queue_with(max_letters: u64) -> Arc<MemoryQueue> {
    let queue = Arc::new(MemoryQueue::open(MemoryStore::new()).unwrap());
    let topic =
        |name: String, partitions, kind| TopicSpec { name, partitions, kind, max_bytes: u64::MAX };
    queue
        .declare(&[
            topic(topics::changes("c"), PARTITIONS, TopicKind::Log),
            topic(topics::records("c"), PARTITIONS, TopicKind::Log),
            TopicSpec {
                max_bytes: max_letters,
                ..topic(topics::dead_letters("c"), 1, TopicKind::Compacted)
            },
            topic(topics::CONTROL.into(), 1, TopicKind::Compacted),
        ])
        .await
        .unwrap();
    queue
}

/// A delta that adds these devices.
fn change(names: &[String]) -> Change {
    let devices = (1_i64..).zip(names).map(|(resource_id, name)| Device {
        resource_id,
        netbios_name: name.clone(),
        ..Device::default()
    });
    Change {
        connection: "c".into(),
        site_code: "CAS".into(),
        collection_id: "PS100001".into(),
        name: "n".into(),
        folder: "/".into(),
        kind: ChangeKind::Delta,
        instance: "i".into(),
        run_id: "r".into(),
        start_seq: 1,
        seq: 2,
        chunk: 0,
        is_last: false,
        total_members: 0,
        observed_at: clock()(),
        present: devices.collect(),
        removed: vec![],
    }
}

async fn write(queue: &dyn Queue, topic: String, partition: u32, value: impl Into<Bytes>) {
    let (key, value) = (Bytes::from_static(b"k"), Some(value.into()));
    queue.publish(vec![Output { topic, partition, key, value }]).await.unwrap();
}

/// Bytes of a good message, framed by a schema that nobody here knows.
fn newer(good: &Bytes) -> Bytes {
    let mut bytes = good.to_vec();
    bytes[4] ^= 0xFF;
    bytes.into()
}

async fn letters(queue: &dyn Queue) -> Vec<DeadLetter> {
    let entries = queue.scan(&topics::dead_letters("c")).await.unwrap();
    entries.map(|entry| DEAD_LETTER.decode(&entry.unwrap().1).unwrap()).collect()
}

/// Waits until a group stands at this offset of a partition.
async fn until_at(queue: &dyn Queue, topic: &str, group: &str, (partition, offset): (usize, u64)) {
    let mut changed = queue.watch(topic).unwrap();
    loop {
        changed.borrow_and_update();
        let log = queue.log(topic, group).await.unwrap();
        if log[partition].position.as_ref().is_some_and(|p| p.offset >= offset) {
            return;
        }
        tokio::time::timeout(Duration::from_secs(30), changed.changed()).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn the_transformer_sets_bad_ones_aside_alone_and_keeps_newer_ones() {
    let queue = queue().await;
    let changes = topics::changes("c");
    let good = CHANGE.encode(&change(&["A".into()]));
    let large = CHANGE.encode(&change(&["A".into(), "x".repeat(70_000), "B".into()]));
    for bytes in [good.clone(), Bytes::from_static(b"{\"json\": 1}"), good.slice(..30), large] {
        write(&*queue, changes.clone(), 0, bytes).await;
    }
    write(&*queue, changes.clone(), 0, good.clone()).await;
    for bytes in [newer(&good), good.clone()] {
        write(&*queue, changes.clone(), 1, bytes).await;
    }
    let (health, stop) = (status("transformer"), CancellationToken::new());
    let mut said = health.subscribe();
    let transformer = cmsync_transformer::Transformer::new("c", clock(), health);
    let (running, stopping) = (Arc::clone(&queue), stop.clone());
    let task =
        tokio::spawn(
            async move { cmsync_transformer::run(&*running, transformer, &stopping).await },
        );
    until_at(&*queue, &changes, topics::TRANSFORMER, (0, 5)).await;
    said.wait_for(|s| s.state == Health::Stopped).await.unwrap();
    assert!(said.borrow().reason.contains("upgrade this copy"), "{:?}", *said.borrow());
    stop.cancel();
    task.await.unwrap().unwrap();
    let found = letters(&*queue).await;
    let reasons: Vec<_> = found.iter().map(|l| (l.id.as_str(), l.reason.as_str())).collect();
    assert_eq!(
        reasons,
        [
            ("cmsync.changes.c/0/1/0", "undecodable"),
            ("cmsync.changes.c/0/2/0", "undecodable"),
            ("cmsync.changes.c/0/3/1", "field_too_large"),
        ]
    );
    let records = queue.peek(&topics::records("c"), 0, 0).await.unwrap();
    let rows = records.iter().map(|m| RECORD_BATCH.decode(&m.value).unwrap().present.len());
    assert_eq!(rows.collect::<Vec<_>>(), [1, 2, 1]);
    // The newer message and what stands behind it are still there, untouched.
    let log = queue.log(&changes, topics::TRANSFORMER).await.unwrap();
    assert_eq!((log[1].start, log[1].end, log[1].position.clone()), (0, 2, None));
}

fn uploader(
    lab: &Lab,
    queue: &Arc<MemoryQueue>,
    ca: &std::path::Path,
) -> (cmsync_uploader::Uploader, watch::Receiver<Status>) {
    let settings = cmsync_http::Settings { ca_file: Some(ca.to_owned()), ..Default::default() };
    let url = Url::parse(&lab.url()).unwrap();
    let secret = SecretString::from(lab.options.client_secret.clone());
    let identity = Identity::Application {
        tenant: lab.options.tenant.clone(),
        client: lab.options.client_id.clone(),
        proof: Proof::Secret(Secret::Given(secret)),
    };
    let credential =
        Credential::new(Client::new("token", &settings).unwrap(), url.clone(), identity);
    let health = status("uploader");
    let said = health.subscribe();
    let uploader = cmsync_uploader::Uploader {
        connection: "c".into(),
        queue: Arc::clone(queue) as Arc<dyn Queue>,
        target: cmsync_uploader::Target {
            ingestion: Ingestion::new(Client::new("ingestion", &settings).unwrap()),
            credential: Arc::new(credential),
            audience: lab.options.audience.clone(),
            rules: vec![Rule { endpoint: url, id: lab.options.rules[0].clone() }],
        },
        options: cmsync_uploader::Options {
            linger: Duration::from_millis(20),
            ..cmsync_uploader::Options::default()
        },
        clock: clock(),
        status: health,
        drain: Duration::from_secs(5),
    };
    (uploader, said)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_uploader_sets_bad_ones_aside_alone_and_keeps_newer_ones() {
    let lab = Lab::start(options(small())).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, &lab.ca_pem).unwrap();
    let queue = queue().await;
    let records = topics::records("c");
    let (batch, _) = cmsync_transformer::mapping::map(change(&["A".into()]), (0, 0));
    let good = RECORD_BATCH.encode(&batch);
    // A single record that no body can hold: larger than the wire even when compressed.
    let mut random = 1_u64;
    let mut letter = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from_u32(33 + ((random >> 33) % 90) as u32).unwrap()
    };
    let mut huge = batch.clone();
    huge.present[0].computer = (0..1_600_000).map(|_| letter()).collect();
    let huge = RECORD_BATCH.encode(&huge);
    for bytes in
        [good.clone(), Bytes::from_static(b"\x00\x01"), good.slice(..20), huge, good.clone()]
    {
        write(&*queue, records.clone(), 0, bytes).await;
    }
    write(&*queue, records.clone(), 1, newer(&good)).await;
    let (uploader, mut said) = uploader(&lab, &queue, &ca);
    let stop = CancellationToken::new();
    let task = tokio::spawn(cmsync_uploader::run(uploader, stop.clone()));
    until_at(&*queue, &records, topics::UPLOADER, (0, 5)).await;
    said.wait_for(|s| s.state == Health::Stopped).await.unwrap();
    assert!(said.borrow().reason.contains("upgrade this copy"), "{:?}", *said.borrow());
    stop.cancel();
    task.await.unwrap().unwrap();
    let found = letters(&*queue).await;
    let reasons: Vec<_> = found.iter().map(|l| l.reason.as_str()).collect();
    assert_eq!(reasons, ["undecodable", "undecodable", "too_large"]);
    let mut rows = 0;
    lab.workspace.rows(0, |_, _| rows += 1, |_, _| {});
    assert_eq!(rows, 2);
    assert_eq!(queue.log(&records, topics::UPLOADER).await.unwrap()[1].position, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_dead_letters_full_it_waits_and_dropping_one_makes_room() {
    let lab = Lab::start(options(small())).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, &lab.ca_pem).unwrap();
    let queue = queue_with(1).await;
    let records = topics::records("c");
    write(&*queue, records.clone(), 0, Bytes::from_static(b"first")).await;
    let (uploader, _said) = uploader(&lab, &queue, &ca);
    let stop = CancellationToken::new();
    let task = tokio::spawn(cmsync_uploader::run(uploader, stop.clone()));
    // An empty topic takes any message; the second finds it full and waits.
    until_at(&*queue, &records, topics::UPLOADER, (0, 1)).await;
    write(&*queue, records.clone(), 0, Bytes::from_static(b"second")).await;
    let first = letters(&*queue).await.remove(0);
    assert_eq!(first.payload, b"first");
    let control = cmsync_schemas::Control {
        connection: "c".into(),
        subject: cmsync_schemas::Subject::DeadLetter,
        item: first.id.clone(),
        action: "drop".into(),
        asked_at: 1,
    };
    let key = topics::control_key("c", control.subject, &first.id);
    let value = Some(cmsync_schemas::CONTROL.encode(&control));
    let topic = topics::CONTROL.to_owned();
    queue.publish(vec![Output { topic, partition: 0, key: key.into(), value }]).await.unwrap();
    until_at(&*queue, &records, topics::UPLOADER, (0, 2)).await;
    let left: Vec<_> = letters(&*queue).await.into_iter().map(|l| l.payload).collect();
    assert_eq!(left, [b"second".to_vec()]);
    stop.cancel();
    task.await.unwrap().unwrap();
}
