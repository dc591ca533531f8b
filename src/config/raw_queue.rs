//! What the file says of the queue.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use cmsync_azure::Cloud;
use cmsync_queue::kafka;
use serde::{Deserialize, Serialize};

use super::raw::{Endpoints, Kerberos, Workspace};

/// The message queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Queue {
    pub(crate) embedded: Embedded,
    /// Where the stages run in processes of their own.
    pub(crate) kafka: Option<Kafka>,
    /// Partitions of each topic; fixed once the queue exists.
    pub(crate) partitions: u32,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            embedded: Embedded::default(),
            kafka: None,
            partitions: cmsync_schemas::topics::DEFAULT_PARTITIONS,
        }
    }
}

/// The queue in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Embedded {
    /// Its directory.
    pub(crate) directory: PathBuf,
    /// Bytes of messages that it may hold; each connection has an equal share.
    pub(crate) max_size: ByteSize,
}

impl Default for Embedded {
    fn default() -> Self {
        Self { directory: crate::platform::queue(), max_size: ByteSize::gib(4) }
    }
}

/// The queue on Kafka.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Kafka {
    /// `host:port`, more than one with commas.
    pub(crate) brokers: String,
    /// What topics, groups and transactional ids begin with.
    pub(crate) prefix: String,
    /// Copies of each partition.
    pub(crate) replication: i32,
    /// Copies that must have a message before it counts.
    pub(crate) min_in_sync: i32,
    /// How long logs keep what nobody took.
    #[serde(with = "humantime_serde")]
    pub(crate) retention: Duration,
    /// Bytes of messages that may wait; each connection has an equal share.
    pub(crate) max_size: ByteSize,
    /// After this time without a sign of life a copy's partitions go to another.
    #[serde(with = "humantime_serde")]
    pub(crate) session_timeout: Duration,
    pub(crate) group_protocol: GroupProtocol,
    /// After this time without a sign of life an open transaction is aborted.
    #[serde(with = "humantime_serde")]
    pub(crate) transaction_timeout: Duration,
    pub(crate) tls: bool,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) certificate_file: Option<PathBuf>,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) sasl: Option<Sasl>,
    /// Where messages carry the ids of their schemas.
    pub(crate) schema_registry: Option<SchemaRegistry>,
    /// More settings of librdkafka.
    pub(crate) settings: BTreeMap<String, String>,
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            brokers: String::new(),
            prefix: String::new(),
            replication: 3,
            min_in_sync: 2,
            retention: Duration::from_secs(7 * 24 * 3_600),
            max_size: ByteSize::gib(16),
            session_timeout: Duration::from_secs(10),
            group_protocol: GroupProtocol::default(),
            transaction_timeout: Duration::from_secs(10),
            tls: false,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            sasl: None,
            schema_registry: None,
            settings: BTreeMap::new(),
        }
    }
}

/// How copies share partitions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum GroupProtocol {
    /// Among themselves.
    #[default]
    Classic,
    /// By the brokers (KIP-848).
    Consumer,
}

impl From<GroupProtocol> for kafka::GroupProtocol {
    fn from(written: GroupProtocol) -> Self {
        match written {
            GroupProtocol::Classic => Self::Classic,
            GroupProtocol::Consumer => Self::Consumer,
        }
    }
}

/// A schema registry that speaks Confluent's API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SchemaRegistry {
    /// Where its API is.
    pub(crate) url: String,
    pub(crate) username: String,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) ca_file: Option<PathBuf>,
}

/// How the brokers are signed in to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Sasl {
    pub(crate) mechanism: String,
    pub(crate) username: String,
    pub(crate) password_file: PathBuf,
    /// File with a token that somebody else renews.
    pub(crate) token_file: Option<PathBuf>,
    /// Tokens of Entra, as Event Hubs takes them.
    pub(crate) entra: Option<BrokerTokens>,
    /// An account for GSSAPI.
    pub(crate) kerberos: Option<Kerberos>,
    /// What the brokers' principals begin with, for GSSAPI; `kafka` where it is not given.
    pub(crate) service_name: Option<String>,
}

/// An identity of Entra for the brokers; the same options as a workspace has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct BrokerTokens {
    /// What tokens are for, for example `https://contoso.servicebus.windows.net`.
    pub(crate) audience: String,
    pub(crate) cloud: Cloud,
    pub(crate) endpoints: Endpoints,
    pub(crate) tenant_id: String,
    pub(crate) client_id: String,
    pub(crate) client_secret_file: Option<PathBuf>,
    pub(crate) certificate_file: Option<PathBuf>,
    pub(crate) certificate_key_file: Option<PathBuf>,
    pub(crate) managed_identity: bool,
    pub(crate) workload_identity: bool,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) proxy: Option<String>,
}

impl BrokerTokens {
    /// The same as the sign-in of a workspace.
    pub(crate) fn sign_in(&self) -> Workspace {
        let own = self.clone();
        Workspace {
            cloud: own.cloud,
            endpoints: own.endpoints,
            tenant_id: own.tenant_id,
            client_id: own.client_id,
            client_secret_file: own.client_secret_file,
            certificate_file: own.certificate_file,
            certificate_key_file: own.certificate_key_file,
            managed_identity: own.managed_identity,
            workload_identity: own.workload_identity,
            ca_file: own.ca_file,
            proxy: own.proxy,
            ..Workspace::default()
        }
    }
}
