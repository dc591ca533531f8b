//! Makes the clients of librdkafka, each with what it needs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::FutureProducer;
use rdkafka::{Offset, TopicPartitionList};
use secrecy::ExposeSecret as _;

use super::options::{KafkaOptions, TokenSource};
use crate::{Error, Output};

/// How long a question to the brokers may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

/// What the mutex guards, also after a thread panicked with it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Partitions of a topic with an offset each, as librdkafka takes them.
pub(super) fn offsets(
    topic: &str,
    partitions: impl IntoIterator<Item = (u32, Offset)>,
) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in partitions {
        list.add_partition_offset(topic, as_i32(partition), offset)?;
    }
    Ok(list)
}

/// A list that all of the brokers answered for: a call may succeed and a partition of it not.
pub(super) fn whole(told: TopicPartitionList) -> KafkaResult<TopicPartitionList> {
    told.elements().iter().try_for_each(|element| element.error())?;
    Ok(told)
}

pub(super) fn as_i32(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

/// An offset to start from.
pub(super) fn at(offset: u64) -> Offset {
    Offset::Offset(i64::try_from(offset).unwrap_or(0))
}

/// What a client says of its connections, and how it gets tokens.
#[derive(Clone, Default)]
pub(super) struct Link {
    trouble: Arc<Mutex<Option<String>>>,
    token: Option<TokenSource>,
    is_closed: Arc<AtomicBool>,
}

impl Link {
    /// The last thing that went wrong.
    pub(super) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }
}

impl ClientContext for Link {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // What it repeats by itself is no warning; what it cannot mend comes as an error.
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::warn!(target: "librdkafka", facility, "{message}");
            }
            _ => tracing::debug!(target: "librdkafka", facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason, "a connection is in trouble");
        let is_of_all = error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown);
        let mut trouble = lock(&self.trouble);
        // That all are down says less than why one is.
        if !(is_of_all && trouble.is_some()) {
            *trouble = Some(reason.to_owned());
        }
    }

    fn generate_oauth_token(
        &self,
        _: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        // A consumer that is dropped polls once more, on whatever thread that is.
        if self.is_closed.load(Ordering::Acquire) {
            return Err("the queue is closed".into());
        }
        let source = self.token.as_ref();
        let token = source.ok_or("`sasl.mechanism` is OAUTHBEARER and there is no identity")?()?;
        Ok(OAuthToken {
            token: token.value.expose_secret().to_owned(),
            principal_name: token.principal,
            lifetime_ms: token.expires,
        })
    }
}

impl ConsumerContext for Link {}

/// Makes clients.
#[derive(Clone)]
pub(super) struct Clients {
    pub(super) options: Arc<KafkaOptions>,
    pub(super) link: Link,
}

impl Clients {
    pub(super) fn new(options: KafkaOptions) -> Self {
        let link = Link { token: options.token.clone(), ..Link::default() };
        Self { options: Arc::new(options), link }
    }

    /// Whether the queue was closed: nothing is waited for any longer.
    pub(super) fn is_closed(&self) -> bool {
        self.link.is_closed.load(Ordering::Acquire)
    }

    pub(super) fn close(&self) {
        self.link.is_closed.store(true, Ordering::Release);
    }

    /// A name with the installation's prefix.
    pub(super) fn name(&self, name: &str) -> String {
        format!("{}{name}", self.options.prefix)
    }

    /// Messages with the names of their topics as the brokers know them.
    pub(super) fn named(&self, outputs: &[Output]) -> Vec<Output> {
        let named = |output: &Output| Output { topic: self.name(&output.topic), ..output.clone() };
        outputs.iter().map(named).collect()
    }

    /// What all clients have; `defaults` are ours as long as the configuration says nothing else.
    pub(super) fn config(&self, defaults: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            // With the default a stalled transaction needs 20 s after a broker's restart.
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "500")
            .set("topic.metadata.refresh.interval.ms", "30000")
            .set("client.id", "cmsync")
            .set_log_level(RDKafkaLogLevel::Info);
        for (name, value) in defaults {
            config.set(*name, *value);
        }
        for (name, value) in &self.options.settings {
            config.set(name, value);
        }
        for (name, value) in &self.options.secrets {
            config.set(name, value.expose_secret());
        }
        config.set("bootstrap.servers", &self.options.brokers);
        config
    }

    /// A consumer of a group.
    pub(super) fn consumer<C: ConsumerContext>(
        &self,
        group: &str,
        isolation: &str,
        context: C,
        more: &[(&str, &str)],
    ) -> Result<BaseConsumer<C>, Error> {
        let mut config =
            self.config(&[("queued.max.messages.kbytes", "16384"), ("fetch.max.bytes", "8388608")]);
        config
            .set("group.id", group)
            .set("isolation.level", isolation)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest");
        for (name, value) in more {
            config.set(*name, *value);
        }
        BaseConsumer::from_config_and_context(&config, context)
            .map_err(|e| self.failed("configure a consumer of", &e))
    }

    /// A producer; with an id, of transactions.
    pub(super) fn producer(
        &self,
        transactional_id: Option<&str>,
    ) -> Result<FutureProducer<Link>, Error> {
        let mut config = self.config(&[
            ("linger.ms", "1"),
            ("message.max.bytes", "10000000"),
            ("queue.buffering.max.kbytes", "65536"),
            ("compression.type", "lz4"),
            // A call that the library forgot goes on when a connection closes: see `Writer::call`.
            ("connections.max.idle.ms", "60000"),
        ]);
        config.set("enable.idempotence", "true").set("acks", "all");
        if let Some(id) = transactional_id {
            let timeout = self.options.transaction_timeout.as_millis().to_string();
            config.set("transactional.id", id).set("transaction.timeout.ms", timeout);
        } else {
            // Zero is without end.
            let patience = self.options.patience.unwrap_or_default().as_millis().to_string();
            config.set("message.timeout.ms", patience);
        }
        FutureProducer::from_config_and_context(&config, self.link.clone())
            .map_err(|e| self.failed("configure a producer of", &e))
    }

    /// There is no token to sign in with.
    pub(super) fn unsigned(&self, detail: String) -> Error {
        self.broker_error("sign in to", detail)
    }

    /// The brokers do not do as they should.
    pub(super) fn broker_error(&self, action: &'static str, detail: String) -> Error {
        Error::Broker { action, brokers: self.options.brokers.clone(), detail }
    }

    /// An error of the brokers, with why they cannot be reached where that is known.
    pub(super) fn failed(&self, action: &'static str, error: &KafkaError) -> Error {
        if let KafkaError::ClientConfig(_, detail, key, _) = error {
            return Error::Setting { key: key.clone(), detail: detail.clone() };
        }
        let code = error.rdkafka_error_code();
        let is_unreached = matches!(
            code,
            Some(
                RDKafkaErrorCode::BrokerTransportFailure
                    | RDKafkaErrorCode::OperationTimedOut
                    | RDKafkaErrorCode::AllBrokersDown
                    | RDKafkaErrorCode::Authentication
            )
        );
        let detail = match (is_unreached, self.link.trouble()) {
            (true, Some(trouble)) => format!("{error}: {trouble}"),
            _ => error.to_string(),
        };
        if let Some(RDKafkaErrorCode::UnsupportedFeature | RDKafkaErrorCode::UnsupportedVersion) =
            code
        {
            return Error::TooOld { action, detail };
        }
        if let Some(code) = code.filter(|code| is_refused(*code)) {
            return Error::NotAllowed { action, detail: format!("{detail} ({code:?})") };
        }
        self.broker_error(action, detail)
    }
}

fn is_refused(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{
        ClusterAuthorizationFailed, GroupAuthorizationFailed, TopicAuthorizationFailed,
        TransactionalIdAuthorizationFailed,
    };
    matches!(
        code,
        ClusterAuthorizationFailed
            | GroupAuthorizationFailed
            | TopicAuthorizationFailed
            | TransactionalIdAuthorizationFailed
    )
}
