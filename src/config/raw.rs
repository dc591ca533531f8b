//! The configuration file as it is written, before it is checked. Everything has a default, so that
//! what is missing is told together with what is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use cmsync_azure::Cloud;
use cmsync_schemas::kql::Names;
use serde::{Deserialize, Serialize};

pub(crate) use super::raw_queue::{BrokerTokens, Kafka, Queue, Sasl};
pub(crate) use super::raw_site::{Authentication, Entra, Kerberos, Site, Source, Sql};

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct File {
    /// How long a stop may take.
    #[serde(with = "humantime_serde")]
    pub(crate) drain_deadline: Duration,
    /// How often the workspace is verified; zero for never.
    #[serde(with = "humantime_serde")]
    pub(crate) verify_interval: Duration,
    /// What changed within this time is not judged: rows are visible after minutes.
    #[serde(with = "humantime_serde")]
    pub(crate) verify_settle: Duration,
    /// Counts changes of the file, where several hosts have one.
    pub(crate) revision: u64,
    pub(crate) http: Http,
    pub(crate) console: super::console::Written,
    pub(crate) log: Log,
    pub(crate) traces: super::traces::Written,
    pub(crate) queue: Queue,
    pub(crate) producer: cmsync_producer::Options,
    pub(crate) uploader: cmsync_uploader::Options,
    pub(crate) connections: BTreeMap<String, Connection>,
}

impl Default for File {
    fn default() -> Self {
        Self {
            // Below the 30 s that Kubernetes and systemd wait by default.
            drain_deadline: Duration::from_secs(25),
            verify_interval: Duration::from_secs(6 * 3_600),
            verify_settle: Duration::from_secs(15 * 60),
            revision: 0,
            http: Http::default(),
            console: super::console::Written::default(),
            log: Log::default(),
            traces: super::traces::Written::default(),
            queue: Queue::default(),
            producer: cmsync_producer::Options::default(),
            uploader: cmsync_uploader::Options::default(),
            connections: BTreeMap::new(),
        }
    }
}

/// The web endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Http {
    /// Address of `/metrics`, `/live` and `/ready`, and of pages for this machine; empty for none.
    pub(crate) listen: String,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: "127.0.0.1:9464".into() }
    }
}

/// Logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Log {
    /// `text` or `json`.
    pub(crate) format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, or a filter by module.
    pub(crate) level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".into() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// One connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Connection {
    pub(crate) description: String,
    pub(crate) collections: Vec<Selector>,
    /// Whether the site is read.
    pub(crate) import: bool,
    /// For example `22:00-04:00`, local time.
    pub(crate) quiet_hours: Option<String>,
    pub(crate) site: Site,
    pub(crate) workspace: Workspace,
    pub(crate) groups: Groups,
}

impl Default for Connection {
    fn default() -> Self {
        Self {
            description: String::new(),
            collections: Vec::new(),
            import: true,
            quiet_hours: None,
            site: Site::default(),
            workspace: Workspace::default(),
            groups: Groups::default(),
        }
    }
}

/// An entry of `collections`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a collection id, { name = \"pattern\" } or { folder = \"/path\" }")]
pub(crate) enum Selector {
    Id(String),
    Name { name: String },
    Folder { folder: String },
}

/// Computer groups in the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Groups {
    pub(crate) kind: GroupKind,
    /// With `automatic`, groups with up to so many members are static.
    pub(crate) static_up_to: u64,
    /// Collections whose groups are static, whatever their size.
    #[serde(rename = "static")]
    pub(crate) always_static: BTreeSet<String>,
    /// Collections whose groups are functions, whatever their size.
    #[serde(rename = "function")]
    pub(crate) always_function: BTreeSet<String>,
    pub(crate) names: Names,
    /// How far back a function looks.
    #[serde(with = "humantime_serde")]
    pub(crate) window: Duration,
    pub(crate) writes_per_hour: u32,
}

impl Groups {
    /// How far back readers look, in days.
    pub(crate) fn days(&self) -> u32 {
        u32::try_from(self.window.as_secs().div_ceil(86_400)).unwrap_or(u32::MAX)
    }
}

impl Default for Groups {
    fn default() -> Self {
        Self {
            kind: GroupKind::Automatic,
            static_up_to: 1_000,
            always_static: BTreeSet::new(),
            always_function: BTreeSet::new(),
            names: Names::Both,
            window: Duration::from_secs(7 * 86_400),
            writes_per_hour: cmsync_uploader::groups::WRITES_PER_HOUR,
        }
    }
}

/// What groups are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum GroupKind {
    /// Static up to a size, else a function.
    Automatic,
    /// Their members' names.
    Static,
    /// Read from the tables.
    Function,
    /// Not kept.
    None,
}

impl GroupKind {
    /// As the file has it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::Static => "static",
            Self::Function => "function",
            Self::None => "none",
        }
    }
}

/// A workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Workspace {
    pub(crate) cloud: Cloud,
    pub(crate) endpoints: Endpoints,
    /// Workspace id (a GUID), to ask it for what it holds.
    pub(crate) workspace_id: Option<String>,
    /// The workspace's resource id, to keep computer groups in it.
    pub(crate) resource_id: Option<String>,
    pub(crate) tenant_id: String,
    pub(crate) client_id: String,
    pub(crate) client_secret_file: Option<PathBuf>,
    /// Given by the environment alone.
    #[serde(skip_serializing)]
    pub(crate) client_secret: Option<String>,
    /// The day on which the secret ends, to be told in time.
    pub(crate) client_secret_expires: Option<String>,
    /// The application's certificate with its chain, PEM.
    pub(crate) certificate_file: Option<PathBuf>,
    /// Its key, where that has a file of its own.
    pub(crate) certificate_key_file: Option<PathBuf>,
    /// The machine's identity; `client_id` names one that a person assigned.
    pub(crate) managed_identity: bool,
    /// A token of another issuer, found by Azure's `AZURE_…` variables.
    pub(crate) workload_identity: bool,
    /// File with a token that somebody else renews.
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) proxy: Option<String>,
    #[serde(with = "humantime_serde")]
    pub(crate) connect_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub(crate) read_timeout: Duration,
    /// Allows http to loopback addresses, for tests.
    pub(crate) allow_insecure: bool,
}

impl Default for Workspace {
    fn default() -> Self {
        Self {
            cloud: Cloud::Public,
            endpoints: Endpoints::default(),
            workspace_id: None,
            resource_id: None,
            tenant_id: String::new(),
            client_id: String::new(),
            client_secret_file: None,
            client_secret: None,
            client_secret_expires: None,
            certificate_file: None,
            certificate_key_file: None,
            managed_identity: false,
            workload_identity: false,
            token_file: None,
            rules: Vec::new(),
            ca_file: None,
            proxy: None,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
            allow_insecure: false,
        }
    }
}

/// What overrides the cloud's own addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Endpoints {
    pub(crate) authority: Option<String>,
    pub(crate) resource_manager: Option<String>,
    pub(crate) ingestion_audience: Option<String>,
    pub(crate) query: Option<String>,
    pub(crate) graph: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rule {
    pub(crate) endpoint: String,
    pub(crate) id: String,
}
