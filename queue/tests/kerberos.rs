//! Brokers that are signed in to with Kerberos: a real realm, a real broker.

#![cfg(feature = "gssapi")]
#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use cmsync_broker::{Broker, Realm, USER};
use cmsync_queue::kafka::{KafkaOptions, KafkaQueue};
use cmsync_queue::{Output, Queue, TopicKind, TopicSpec};

/// Where the inner test finds the broker.
const BROKERS: &str = "CMSYNC_TEST_BROKERS";
const CA_FILE: &str = "CMSYNC_TEST_CA_FILE";
/// The inner test's own name.
const INNER: &str = "one_message_with_the_keys_of_the_environment";

/// As a configuration with GSSAPI has it.
fn options() -> KafkaOptions {
    let of = |name: &str| std::env::var(name).unwrap();
    let settings = [
        ("security.protocol", "sasl_ssl".to_owned()),
        ("ssl.ca.location", of(CA_FILE)),
        ("sasl.mechanism", "GSSAPI".to_owned()),
        ("sasl.kerberos.service.name", "kafka".to_owned()),
        ("sasl.kerberos.min.time.before.relogin", "0".to_owned()),
    ];
    KafkaOptions {
        brokers: of(BROKERS),
        settings: BTreeMap::from(settings.map(|(name, value)| (name.to_owned(), value))),
        replication: 1,
        min_in_sync: 1,
        patience: Some(Duration::from_secs(10)),
        ..KafkaOptions::default()
    }
}

/// Run by the other test alone: the library reads where keys are from the environment of its process.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the environment that the other test makes"]
async fn one_message_with_the_keys_of_the_environment() {
    let queue = KafkaQueue::open(options()).await.unwrap();
    let spec = TopicSpec { name: "t".into(), partitions: 1, kind: TopicKind::Log, max_bytes: 1000 };
    queue.declare(&[spec]).await.unwrap();
    let key = Bytes::from_static(b"k");
    let output = Output { topic: "t".into(), partition: 0, value: Some(key.clone()), key };
    queue.publish(vec![output]).await.unwrap();
    assert_eq!(queue.peek("t", 0, 0).await.unwrap().len(), 1);
}

#[test]
fn a_keytab_signs_in_and_one_of_a_stranger_may_do_nothing() {
    let realm = Realm::start().unwrap();
    let own = realm.add(USER, "own.keytab").unwrap();
    let strange = realm.add("stranger", "strange.keytab").unwrap();
    let broker = Broker::in_realm(&realm).unwrap();
    let missing = realm.path("missing.keytab");
    for (keytab, told) in [
        (own, "1 passed"),
        (strange, "TopicAuthorizationFailed"),
        (missing, "No Kerberos credentials available"),
    ] {
        let mut command = realm.command(std::env::current_exe().unwrap().to_str().unwrap());
        command
            .args([INNER, "--exact", "--ignored", "--nocapture"])
            .env("KRB5_CLIENT_KTNAME", format!("FILE:{}", keytab.display()))
            .env("KRB5CCNAME", "MEMORY:cmsync")
            .env(BROKERS, broker.secure_brokers())
            .env(CA_FILE, broker.ca_file());
        let output = command.output().unwrap();
        let text =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(told), "{}: {text}", keytab.display());
    }
}
