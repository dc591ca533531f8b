//! What the file says of a site.

use std::path::PathBuf;
use std::time::Duration;

use cmsync_configmgr::{Encryption, Limits};
use serde::{Deserialize, Serialize};

/// A site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Site {
    pub(crate) admin_service: Vec<String>,
    pub(crate) authentication: Option<Authentication>,
    /// Logon name of the account, to watch its rights.
    pub(crate) account: Option<String>,
    /// The site database, read in the place of the administration service.
    pub(crate) sql: Option<Sql>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) proxy: Option<String>,
    #[serde(with = "humantime_serde")]
    pub(crate) connect_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub(crate) read_timeout: Duration,
    /// Most requests and rows that the site is asked for in a second; 0 for no bound.
    pub(crate) max_requests_per_second: u32,
    pub(crate) max_rows_per_second: u32,
    /// Allows http to loopback addresses, for tests.
    pub(crate) allow_insecure: bool,
}

/// What a site is read through.
pub(crate) enum Source<'a> {
    AdminService,
    Sql(&'a Sql),
}

impl Site {
    /// What it is read through: the one place that decides it.
    pub(crate) fn source(&self) -> Source<'_> {
        match &self.sql {
            Some(sql) => Source::Sql(sql),
            None => Source::AdminService,
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            requests_per_second: self.max_requests_per_second,
            rows_per_second: self.max_rows_per_second,
        }
    }
}

impl Default for Site {
    fn default() -> Self {
        Self {
            admin_service: Vec::new(),
            authentication: None,
            account: None,
            sql: None,
            ca_file: None,
            proxy: None,
            connect_timeout: Duration::from_secs(10),
            // A dead provider process lets clients hang; a slow class takes more than a minute.
            read_timeout: Duration::from_secs(120),
            max_requests_per_second: 0,
            max_rows_per_second: 0,
            allow_insecure: false,
        }
    }
}

/// The site database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Sql {
    pub(crate) server: String,
    /// 1433 unless it or an instance is given.
    pub(crate) port: Option<u16>,
    /// A named instance, whose port SQL Server Browser tells.
    pub(crate) instance: Option<String>,
    pub(crate) database: String,
    /// A login of SQL Server's own.
    pub(crate) user: Option<String>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) encryption: Encryption,
    /// Reads from a secondary replica of an availability group.
    pub(crate) read_only: bool,
    /// Reads changed members alone, by the track that the database keeps for its replication.
    pub(crate) change_tracking: bool,
    /// Connections at once.
    pub(crate) connections: usize,
}

impl Default for Sql {
    fn default() -> Self {
        Self {
            server: String::new(),
            port: None,
            instance: None,
            database: String::new(),
            user: None,
            password_file: None,
            encryption: Encryption::Required,
            read_only: false,
            change_tracking: false,
            connections: 4,
        }
    }
}

/// How a site is signed in to: exactly one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Authentication {
    /// File with a bearer token, read at every request.
    pub(crate) bearer_token_file: Option<PathBuf>,
    pub(crate) kerberos: Option<Kerberos>,
    pub(crate) entra: Option<Entra>,
    /// As the account that runs cmsync, on Windows.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) integrated: bool,
    /// Whether NTLM is asked for, which is refused with the reason.
    #[serde(skip_serializing, deserialize_with = "is_given")]
    pub(crate) ntlm: bool,
}

fn is_given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// A token that the workspace's identity gets for the site.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Entra {
    /// What the token is asked for, for example `api://<tenant id>/ConfigMgrService`.
    pub(crate) audience: String,
}

/// A Kerberos account with its keytab or its ticket cache: exactly one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Kerberos {
    /// For example `svc-cmsync@CONTOSO.COM`.
    pub(crate) principal: String,
    pub(crate) keytab: Option<PathBuf>,
    /// As Kerberos names it, for example `FILE:/run/cmsync/tickets`.
    pub(crate) ticket_cache: Option<String>,
}
