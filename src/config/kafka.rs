//! How Kafka is reached, from what is written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cmsync_http::Settings;
use cmsync_queue::kafka::KafkaOptions;
use cmsync_registry::Account;
use cmsync_schemas::topics;
use url::Url;

use super::EntraTokens;
use super::broker_identity::{SignIn, sign_in};
use super::checker::Checker;
use super::raw::{self, File};

/// Logs must keep what nobody took for so many snapshot intervals: one may be missed.
const INTERVALS: u32 = 2;

/// Time-outs towards a schema registry.
const CONNECT: Duration = Duration::from_secs(10);
const READ: Duration = Duration::from_secs(30);

/// How Kafka is reached.
#[derive(Debug, Clone)]
pub(crate) struct Kafka {
    pub(crate) options: KafkaOptions,
    sign_in: Option<SignIn>,
    pub(crate) registry: Option<SchemaRegistry>,
    /// The file's own words, to see whether they changed.
    written: raw::Kafka,
}

impl Kafka {
    /// Tokens for the brokers, where they take those.
    pub(crate) fn tokens(&self) -> Option<&EntraTokens> {
        match &self.sign_in {
            Some(SignIn::Tokens(tokens)) => Some(tokens),
            Some(SignIn::Tickets(_) | SignIn::Password) | None => None,
        }
    }

    /// The account whose tickets the brokers take, where they do.
    pub(crate) fn account(&self) -> Option<&raw::Kerberos> {
        match &self.sign_in {
            Some(SignIn::Tickets(account)) => Some(account),
            Some(SignIn::Tokens(_) | SignIn::Password) | None => None,
        }
    }
}

impl PartialEq for Kafka {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

/// How Kafka is reached, where the queue is there.
pub(super) fn kafka(checker: &mut Checker, file: &File) -> Option<Kafka> {
    let written = file.queue.kafka.as_ref()?;
    let path = "queue.kafka";
    let message = "Apache Kafka is not in this build (see `cmsync --version`): leave it out, and the queue is a file";
    checker.require(cfg!(feature = "kafka"), path, message);
    checker.require(
        !written.brokers.is_empty(),
        &format!("{path}.brokers"),
        "is missing: host:port, more than one with commas",
    );
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    checker.require(
        written.prefix.chars().all(is_name),
        &format!("{path}.prefix"),
        "must be of letters, digits, `.`, `_` and `-`: the names of topics begin with it",
    );
    checker.require(
        (1..=written.replication).contains(&written.min_in_sync),
        &format!("{path}.min_in_sync"),
        "must lie between 1 and `replication`",
    );
    let least = file.producer.snapshot_interval * INTERVALS;
    checker.require(
        written.retention >= least,
        &format!("{path}.retention"),
        "must be two `producer.snapshot_interval` at least: what waits longer would be deleted",
    );
    for (key, duration) in [
        ("session_timeout", written.session_timeout),
        ("transaction_timeout", written.transaction_timeout),
    ] {
        checker.require(
            duration >= Duration::from_millis(500),
            &format!("{path}.{key}"),
            "must be half a second at least",
        );
    }
    let mut options = KafkaOptions {
        brokers: written.brokers.clone(),
        prefix: written.prefix.clone(),
        settings: BTreeMap::new(),
        secrets: BTreeMap::new(),
        replication: written.replication,
        min_in_sync: written.min_in_sync,
        retention: written.retention,
        min_retention: least,
        session_timeout: written.session_timeout,
        group_protocol: written.group_protocol.into(),
        transaction_timeout: written.transaction_timeout,
        readers: Arc::new(readers),
        ..KafkaOptions::default()
    };
    transport(checker, path, written, &mut options);
    let sasl = written.sasl.as_ref();
    let sign_in =
        sasl.and_then(|sasl| sign_in(checker, &format!("{path}.sasl"), sasl, &mut options));
    settings(checker, path, written, &mut options);
    let registry = registry(checker, &format!("{path}.schema_registry"), written);
    Some(Kafka { options, sign_in, registry, written: written.clone() })
}

/// How a schema registry is reached.
#[derive(Debug, Clone)]
pub(crate) struct SchemaRegistry {
    pub(crate) url: Url,
    pub(crate) account: Account,
    pub(crate) http: Settings,
}

fn registry(checker: &mut Checker, path: &str, written: &raw::Kafka) -> Option<SchemaRegistry> {
    let written = written.schema_registry.as_ref()?;
    let http = checker.http(path, written.ca_file.as_ref(), None, (CONNECT, READ));
    let account = match (&*written.username, &written.password_file) {
        ("", None) => None,
        (user, Some(file)) if !user.is_empty() => {
            Some((user.to_owned(), checker.secret(&format!("{path}.password_file"), file)))
        }
        _ => {
            checker.wrong(path, "needs `username` and `password_file`, or neither of them");
            None
        }
    };
    match Url::parse(&written.url) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => {
            Some(SchemaRegistry { url, account, http })
        }
        _ => {
            let message =
                format!("`{}` is no URL, for example https://registry.contoso.com", written.url);
            checker.wrong(&format!("{path}.url"), message);
            None
        }
    }
}

fn settings(checker: &mut Checker, path: &str, written: &raw::Kafka, options: &mut KafkaOptions) {
    for (name, value) in &written.settings {
        let key = format!("{path}.settings.\"{name}\"");
        if options.settings.insert(name.clone(), value.clone()).is_some() {
            checker.wrong(&key, "is set by an option of `queue.kafka` too: leave one of them out");
        }
        if name.contains("password") || name.contains("secret") || name == "ssl.key.pem" {
            let message =
                "holds a secret, which must be in a file: see `queue.kafka.sasl` and `key_file`";
            checker.wrong(&key, message);
        }
    }
    for (name, message) in options.clashes() {
        checker.wrong(&format!("{path}.settings.\"{name}\""), message);
    }
}

fn transport(checker: &mut Checker, path: &str, written: &raw::Kafka, options: &mut KafkaOptions) {
    let protocol = match (written.tls, written.sasl.is_some()) {
        (false, false) => "plaintext",
        (true, false) => "ssl",
        (false, true) => "sasl_plaintext",
        (true, true) => "sasl_ssl",
    };
    let mut set = |name: &str, value: String| drop(options.settings.insert(name.into(), value));
    set("security.protocol", protocol.to_owned());
    let files = [
        ("ca_file", "ssl.ca.location", &written.ca_file),
        ("certificate_file", "ssl.certificate.location", &written.certificate_file),
        ("key_file", "ssl.key.location", &written.key_file),
    ];
    for (key, name, file) in files {
        let Some(file) = file else { continue };
        checker.require(written.tls, &format!("{path}.{key}"), "is used with `tls = true` alone");
        if let Err(error) = std::fs::File::open(file) {
            checker.wrong(&format!("{path}.{key}"), format!("`{}`: {error}", file.display()));
        }
        set(name, file.display().to_string());
    }
}

/// The groups of all stages that read a topic.
fn readers(topic: &str) -> Vec<String> {
    let of = |topic: &str, all: fn(&str) -> String| topic.starts_with(&all(""));
    match topic {
        _ if of(topic, topics::changes) => vec![topics::TRANSFORMER.into()],
        _ if of(topic, topics::records) => vec![topics::UPLOADER.into()],
        _ => Vec::new(),
    }
}
