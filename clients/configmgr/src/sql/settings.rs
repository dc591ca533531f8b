//! How the site database is reached.

use std::path::PathBuf;
use std::time::Duration;

use cmsync_http::Secret;
use serde::{Deserialize, Serialize};

use crate::load::Limits;
use crate::site::Database;

/// Where the site database is, and how it is read.
#[derive(Debug, Clone)]
pub struct SqlSettings {
    /// The server's full name, or that of an availability group's listener; empty where the site is asked
    /// for it.
    pub server: String,
    /// Its port, or how it is found; 1433 where nobody says it.
    pub port: Option<Port>,
    /// `CM_<site code>`; empty where the site is asked for it.
    pub database: String,
    /// Who logs in.
    pub login: SqlLogin,
    /// How the connection is encrypted.
    pub encryption: Encryption,
    /// A file of certificates in PEM that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Reads from a secondary replica where there is one (`ApplicationIntent=ReadOnly`).
    pub read_only: bool,
    /// Reads changed members alone where the database keeps track of them.
    pub change_tracking: bool,
    /// Connections at once, at most.
    pub connections: usize,
    /// How much is asked for.
    pub limits: Limits,
    /// Time until a connection stands.
    pub connect_timeout: Duration,
    /// Longest silence within an answer.
    pub read_timeout: Duration,
}

impl SqlSettings {
    /// The same, with what the site says where nothing is given.
    pub(super) fn with(&self, found: Database) -> Self {
        let or = |given: &str, found: String| match given {
            "" => found,
            given => given.to_owned(),
        };
        let known = found.port.map(Port::Number).or(found.instance.map(Port::Instance));
        Self {
            server: or(&self.server, found.server),
            port: self.port.clone().or(known),
            database: or(&self.database, found.name),
            ..self.clone()
        }
    }
}

/// A port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Port {
    /// This one; 1433 is a default instance's.
    Number(u16),
    /// That which the server's SQL Server Browser names for an instance.
    Instance(String),
}

/// Who logs in to the database.
#[derive(Debug, Clone)]
pub enum SqlLogin {
    /// A login of SQL Server's own.
    Password {
        /// Its name.
        user: String,
        /// Its password, read for every connection.
        password: Secret,
    },
    /// The account whose keytab or ticket cache the process has, by Kerberos; on Windows the account that
    /// runs the process.
    Integrated,
}

/// Encryption of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    /// All of it, and the server's certificate is verified.
    #[default]
    Required,
    /// From the first byte on (TDS 8.0; SQL Server 2022 and newer).
    Strict,
    /// None: for loopback addresses, in tests.
    None,
}
