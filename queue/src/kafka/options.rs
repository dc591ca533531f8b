//! How the brokers are reached, and what is asked of topics.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

/// Settings that cmsync sets itself, because its promises rest on them.
const OURS: [&str; 21] = [
    "bootstrap.servers",
    "client.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.protocol",
    "isolation.level",
    "auto.offset.reset",
    "transactional.id",
    "transaction.timeout.ms",
    "session.timeout.ms",
    "acks",
    "heartbeat.interval.ms",
    "partition.assignment.strategy",
    "fetch.wait.max.ms",
    "message.timeout.ms",
    // Other names of three of these.
    "metadata.broker.list",
    "request.required.acks",
    "delivery.timeout.ms",
];

/// A token for SASL OAUTHBEARER.
pub struct Token {
    /// Its value.
    pub value: SecretString,
    /// Whom it is for.
    pub principal: String,
    /// Its end, in milliseconds since 1970.
    pub expires: i64,
}

/// Gets a token; may wait.
pub type TokenSource = Arc<dyn Fn() -> Result<Token, String> + Send + Sync>;

/// The groups that read a topic, by its name: what they have taken needs no room.
pub type Readers = Arc<dyn Fn(&str) -> Vec<String> + Send + Sync>;

/// How members of a group share its partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GroupProtocol {
    /// The members do it among themselves (`cooperative-sticky`).
    #[default]
    Classic,
    /// The brokers do it (KIP-848, Apache Kafka 4.0 and newer): each member moves without the others.
    /// How long a silent member is waited for is the brokers' setting then, and not
    /// [`KafkaOptions::session_timeout`].
    Consumer,
}

/// How the brokers are reached, and what is asked of topics.
#[derive(Clone)]
pub struct KafkaOptions {
    /// `host:port`, more than one with commas.
    pub brokers: String,
    /// What the names of topics, groups and transactional ids begin with.
    pub prefix: String,
    /// More settings of librdkafka, by its names.
    pub settings: BTreeMap<String, String>,
    /// Those that hold secrets.
    pub secrets: BTreeMap<String, SecretString>,
    /// Copies of each partition.
    pub replication: i32,
    /// Copies that must have a message before it counts.
    pub min_in_sync: i32,
    /// How long a log keeps what nobody took.
    pub retention: Duration,
    /// The shortest retention that is accepted of a log that is there.
    pub min_retention: Duration,
    /// After this time without a sign of life a member's partitions go to another.
    pub session_timeout: Duration,
    /// How members share partitions.
    pub group_protocol: GroupProtocol,
    /// After this time without a sign of life an open transaction is aborted.
    pub transaction_timeout: Duration,
    /// How long a partition that moves waits for what was taken of it to be finished.
    pub drain: Duration,
    /// Tokens for OAUTHBEARER.
    pub token: Option<TokenSource>,
    /// Groups of other processes.
    pub readers: Readers,
    /// How long brokers that cannot be reached are waited for; without end where it is `None`.
    pub patience: Option<Duration>,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            brokers: String::new(),
            prefix: String::new(),
            settings: BTreeMap::new(),
            secrets: BTreeMap::new(),
            replication: 3,
            min_in_sync: 2,
            retention: Duration::from_secs(7 * 24 * 3_600),
            min_retention: Duration::ZERO,
            session_timeout: Duration::from_secs(10),
            group_protocol: GroupProtocol::default(),
            transaction_timeout: Duration::from_secs(10),
            drain: Duration::from_secs(5),
            token: None,
            readers: Arc::new(|_| Vec::new()),
            patience: None,
        }
    }
}

impl KafkaOptions {
    /// The settings that clash with those of cmsync, each with what to do.
    #[must_use]
    pub fn clashes(&self) -> Vec<(String, String)> {
        let names = self.settings.keys().chain(self.secrets.keys());
        let ours = names.filter(|name| OURS.contains(&name.as_str()));
        let told = ours.map(|name| {
            let message =
                format!("`{name}` is set by cmsync, whose promises rest on it: leave it out");
            (name.clone(), message)
        });
        told.collect()
    }
}

impl fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaOptions").field("brokers", &self.brokers).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_is_ours_is_named() {
        let settings = BTreeMap::from([
            ("acks".to_owned(), "1".to_owned()),
            ("socket.timeout.ms".to_owned(), "1".to_owned()),
        ]);
        let clashes = KafkaOptions { settings, ..KafkaOptions::default() }.clashes();
        assert_eq!(clashes.len(), 1);
        assert!(clashes[0].1.contains("`acks` is set by cmsync"), "{clashes:?}");
    }
}
