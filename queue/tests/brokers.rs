//! What brokers alone can do to a member, on a real one.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cmsync_broker::Broker;
use cmsync_queue::kafka::{KafkaOptions, KafkaQueue};
use cmsync_queue::{
    Commit, Committed, Committer, Event, Events, Message, Output, Position, Queue, TopicKind,
    TopicSpec,
};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;

const GROUP: &str = "g";

async fn open(prefix: &str, retention: Duration) -> KafkaQueue {
    let brokers = tokio::task::spawn_blocking(Broker::shared).await.unwrap().brokers();
    let options = KafkaOptions {
        brokers,
        prefix: prefix.to_owned(),
        retention,
        replication: 1,
        min_in_sync: 1,
        session_timeout: Duration::from_secs(2),
        transaction_timeout: Duration::from_secs(2),
        ..KafkaOptions::default()
    };
    let queue = KafkaQueue::open(options).await.unwrap();
    let log =
        TopicSpec { name: "in".into(), partitions: 2, kind: TopicKind::Log, max_bytes: u64::MAX };
    queue.declare(&[log]).await.unwrap();
    queue
}

fn prefix() -> String {
    format!("b{:016x}.", rand::random::<u64>())
}

async fn publish(queue: &KafkaQueue, partition: u32, text: &'static str) {
    let (key, value) = (Bytes::from_static(b"k"), Some(Bytes::from_static(text.as_bytes())));
    queue.publish(vec![Output { topic: "in".into(), partition, key, value }]).await.unwrap();
}

async fn joined(queue: &KafkaQueue) -> (Box<dyn Events>, Arc<dyn Committer>) {
    queue.join(GROUP, "in").await.unwrap()
}

/// The next messages of a partition.
async fn messages(events: &mut dyn Events, of: u32) -> Vec<Message> {
    loop {
        match events.next().await.unwrap() {
            Event::Messages { partition, messages } if partition == of => return messages,
            _ => {}
        }
    }
}

/// Where a partition stands when it is assigned, and what is said to be lost of it.
async fn assigned(events: &mut dyn Events, of: u32) -> (u64, u64) {
    loop {
        match events.next().await.unwrap() {
            Event::Assigned { partition, position, lost, .. } if partition == of => {
                return (position.offset, lost);
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_half_of_the_retention_is_told() {
    let queue = open(&prefix(), Duration::from_secs(4)).await;
    publish(&queue, 0, "waits").await;
    let mut beats = queue.watch("in").unwrap();
    let fresh = queue.log("in", GROUP).await.unwrap();
    assert!(fresh[0].waiting == 1 && fresh.iter().all(|log| !log.expires), "{fresh:?}");
    let old = loop {
        let logs = queue.log("in", GROUP).await.unwrap();
        if logs[0].expires {
            break logs;
        }
        beats.changed().await.unwrap();
    };
    assert!(!old[1].expires, "{old:?}");
}

/// As after a broker's disk was lost, or a topic was made anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_ends_below_what_was_taken_is_read_from_its_start() {
    let prefix = prefix();
    let queue = open(&prefix, Duration::from_secs(3_600)).await;
    publish(&queue, 0, "one").await;
    let (mut events, committer) = joined(&queue).await;
    let taken = messages(&mut *events, 0).await;
    let beyond = Position { offset: taken[0].offset + 100, note: String::new() };
    let commit = Commit { positions: vec![(0, beyond)], ..Commit::default() };
    assert_eq!(committer.commit(commit).await.unwrap(), Committed::Done(Vec::new()));
    drop((events, committer));
    queue.leave().await;
    let queue = open(&prefix, Duration::from_secs(3_600)).await;
    let (mut events, _committer) = joined(&queue).await;
    let (position, lost) = assigned(&mut *events, 0).await;
    assert_eq!((position, lost), (0, 99));
    assert_eq!(messages(&mut *events, 0).await[0].value, "one");
}

/// The library remembers pauses of partitions that have gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_went_while_it_was_paused_is_read_when_it_comes_back() {
    let queue = open(&prefix(), Duration::from_secs(3_600)).await;
    let (mut events, _committer) = joined(&queue).await;
    assigned(&mut *events, 1).await;
    events.pause(0);
    // Whoever took this has followed the pause before.
    publish(&queue, 1, "after the pause").await;
    messages(&mut *events, 1).await;
    queue.revoke(GROUP, "in");
    events.resume(0);
    assigned(&mut *events, 0).await;
    publish(&queue, 0, "comes").await;
    assert_eq!(messages(&mut *events, 0).await[0].value, "comes");
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_whose_settings_would_lose_or_refuse_messages_are_named() {
    let brokers = tokio::task::spawn_blocking(Broker::shared).await.unwrap().brokers();
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
    let prefix = prefix();
    let queue = open(&prefix, Duration::from_secs(3_600)).await;
    for (kind, setting, value) in [
        (TopicKind::Log, "cleanup.policy", "compact"),
        (TopicKind::Log, "retention.bytes", "1000000"),
        (TopicKind::Log, "max.message.bytes", "100000"),
        (TopicKind::Log, "unclean.leader.election.enable", "true"),
        (TopicKind::Compacted, "cleanup.policy", "delete"),
        (TopicKind::Compacted, "cleanup.policy", "compact,delete"),
    ] {
        let name = format!("{:016x}", rand::random::<u64>());
        let full = format!("{prefix}{name}");
        let policy = if kind == TopicKind::Log { "delete" } else { "compact" };
        let wrong = NewTopic::new(&full, 1, TopicReplication::Fixed(1));
        let wrong = wrong.set("cleanup.policy", policy).set(setting, value);
        admin.create_topics(&[wrong], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
        let spec = TopicSpec { name, partitions: 1, kind, max_bytes: u64::MAX };
        let told = queue.declare(&[spec]).await.unwrap_err().to_string();
        assert!(told.contains(&full), "{setting}: {told}");
        assert!(told.contains(setting) || told.contains("Compacted"), "{setting}: {told}");
    }
}
