//! The configuration: read, checked as a whole, and turned into what each crate takes.

mod broker_identity;
mod check;
mod checker;
mod console;
mod draft;
mod groups;
mod identity;
mod kafka;
pub(crate) mod raw;
mod raw_queue;
mod raw_site;
mod read;
mod site_identity;
mod sql;
mod traces;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cmsync_azure::{Endpoints, Identity, Rule, WorkspaceId};
use cmsync_configmgr::{Port, SqlSettings};
use cmsync_http::Secret;
use cmsync_producer::{ConnectionConfig, Neighbours};
use cmsync_uploader::groups::GroupOptions;

pub(crate) use check::{is_name, selection};
pub(crate) use console::{Console, OpenId};
pub(crate) use draft::{
    check_connection, check_endpoints, check_site, parse_connection, value_of, written,
};
pub(crate) use kafka::Kafka;
pub(crate) use raw::LogFormat;
pub(crate) use read::{environment, place, table_of, text_of};
pub(crate) use sql::Sql;
pub(crate) use traces::Traces;

use crate::BadUse;
use crate::cli::StageName;

/// Something that cannot be used, where it stands, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) path: String,
    pub(crate) message: String,
}

/// All mistakes of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mistakes(pub(crate) Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid configuration, {} to mend:", self.0.len())?;
        self.0.iter().try_for_each(|m| write!(f, "\n  {}: {}", m.path, m.message))
    }
}

impl std::error::Error for Mistakes {}

/// The configuration as it is used.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    pub(crate) drain_deadline: Duration,
    pub(crate) verify_interval: Duration,
    pub(crate) verify_settle: Duration,
    pub(crate) revision: u64,
    pub(crate) listen: Option<SocketAddr>,
    /// Who sees pages, and from where.
    pub(crate) console: Console,
    pub(crate) log_format: LogFormat,
    pub(crate) log_level: String,
    /// Where traces of changes go, if anywhere.
    pub(crate) traces: Option<Traces>,
    pub(crate) queue_directory: PathBuf,
    pub(crate) max_size: u64,
    /// Where the queue is Kafka's.
    pub(crate) kafka: Option<Kafka>,
    pub(crate) partitions: u32,
    pub(crate) producer: cmsync_producer::Options,
    pub(crate) uploader: cmsync_uploader::Options,
    pub(crate) connections: BTreeMap<String, Connection>,
    /// Files that hold secrets, and the one that says where they are sent.
    pub(crate) private: Vec<PathBuf>,
}

impl Config {
    /// The part of the queue's room that each connection may use.
    pub(crate) fn share(&self) -> u64 {
        self.max_size / u64::try_from(self.connections.len().max(1)).unwrap_or(1)
    }

    /// Where the queue is, for people.
    pub(crate) fn queue(&self) -> String {
        match &self.kafka {
            Some(kafka) => kafka.options.brokers.clone(),
            None => self.queue_directory.display().to_string(),
        }
    }

    /// For each connection, the others that write into the same workspace.
    pub(crate) fn neighbours(&self) -> Neighbours {
        let of = |(name, connection): (&String, &Connection)| {
            let others = self.connections.iter().filter(|(other, _)| *other != name);
            let sharing = others.filter(|(_, other)| other.shares_workspace(connection));
            (name.clone(), sharing.map(|(other, _)| other.clone()).collect())
        };
        self.connections.iter().map(of).collect()
    }

    /// A connection by its name.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn connection(&self, name: &str) -> anyhow::Result<&Connection> {
        self.connections.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.connections.keys().map(String::as_str).collect();
            let text = match names.is_empty() {
                true => format!("there is no connection `{name}`: the configuration has none"),
                false => format!("there is no connection `{name}`; there is {}", names.join(", ")),
            };
            BadUse(text).into()
        })
    }
}

/// A connection as it is used.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    pub(crate) producer: ConnectionConfig,
    pub(crate) site: Site,
    pub(crate) workspace: Workspace,
    /// Where and how computer groups are kept, if they are.
    pub(crate) groups: Option<(WorkspaceId, GroupOptions)>,
    /// The file's own words, to see whether they changed.
    written: raw::Connection,
}

impl Connection {
    /// As the file has it.
    pub(crate) fn written(&self) -> &raw::Connection {
        &self.written
    }

    /// Whether the rows of both go to one workspace, as far as the file tells.
    pub(crate) fn shares_workspace(&self, other: &Self) -> bool {
        let rules = &other.workspace.rules;
        let place = |c: &Self| {
            let id = c.written.workspace.resource_id.as_deref().map(str::to_lowercase);
            id.map(|id| (c.workspace.endpoints.resource_manager.clone(), id))
        };
        let id = |c: &Self| {
            let id = c.workspace.workspace_id.as_deref().map(str::to_lowercase);
            id.map(|id| (c.workspace.endpoints.query.clone(), id))
        };
        let is_same_place = place(self).is_some_and(|own| place(other) == Some(own));
        let is_same_id = id(self).is_some_and(|own| id(other) == Some(own));
        is_same_place || is_same_id || self.workspace.rules.iter().any(|r| rules.contains(r))
    }
}

impl PartialEq for Connection {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

/// How a site is reached.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) source: Source,
    /// Devices of one page.
    pub(crate) page_size: usize,
}

/// What a site is read through.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    AdminService(Box<AdminService>),
    Sql(Box<Sql>),
}

/// The administration service.
#[derive(Debug, Clone)]
pub(crate) struct AdminService {
    pub(crate) http: cmsync_http::Settings,
    pub(crate) settings: cmsync_configmgr::Settings,
    pub(crate) authentication: SiteIdentity,
}

impl Site {
    /// Where it is read, one text for each place.
    pub(crate) fn places(&self) -> Vec<String> {
        match &self.source {
            Source::AdminService(service) => {
                service.settings.providers.iter().map(ToString::to_string).collect()
            }
            Source::Sql(sql) => {
                let SqlSettings { server, port, database, .. } = &sql.settings;
                let port = match port {
                    None => String::new(),
                    Some(Port::Number(port)) => format!(",{port}"),
                    Some(Port::Instance(instance)) => format!("\\{instance}"),
                };
                let of = sql.finder.iter().flat_map(|service| &service.settings.providers);
                let of: String = of.map(|url| format!(" (as {url} says)")).collect();
                vec![format!("{server}{port} {database}{of}").trim().to_owned()]
            }
        }
    }

    /// Whether its database is read.
    pub(crate) fn is_sql(&self) -> bool {
        matches!(self.source, Source::Sql(_))
    }

    /// The Kerberos account that reads it, if it is one.
    pub(crate) fn account(&self) -> Option<&raw::Kerberos> {
        match &self.source {
            Source::AdminService(service) => match &service.authentication {
                SiteIdentity::Kerberos(account) => Some(account),
                SiteIdentity::Bearer(_) | SiteIdentity::Entra(_) | SiteIdentity::Integrated => None,
            },
            Source::Sql(sql) => sql.account.as_ref(),
        }
    }
}

/// How a site is signed in to.
#[derive(Debug, Clone)]
pub(crate) enum SiteIdentity {
    Bearer(Secret),
    Kerberos(raw::Kerberos),
    /// As the account that runs this process.
    Integrated,
    Entra(Box<EntraTokens>),
}

/// Tokens of Entra for a site.
#[derive(Debug, Clone)]
pub(crate) struct EntraTokens {
    pub(crate) audience: String,
    pub(crate) identity: Identity,
    pub(crate) endpoints: Endpoints,
    pub(crate) http: cmsync_http::Settings,
}

/// How a workspace is reached.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    pub(crate) http: cmsync_http::Settings,
    pub(crate) endpoints: Endpoints,
    pub(crate) identity: Identity,
    pub(crate) workspace_id: Option<String>,
    /// When the client secret ends, in seconds since 1970, where that was given.
    pub(crate) secret_expires: Option<i64>,
    pub(crate) rules: Vec<Rule>,
}

/// The stages of whoever needs no secret.
pub(crate) const NO_SECRETS: &[StageName] = &[StageName::Transformer];

/// What a file says with the environment over it, whatever else is wrong with it.
pub(crate) fn as_far_as_read(path: &Path) -> raw::File {
    read::read(path, environment()).map(|(file, _)| file).unwrap_or_default()
}

/// Reads and checks a configuration, with the environment over the file; of secrets, those that these
/// stages need (none named: all).
///
/// # Errors
/// Every mistake, with its key's path.
pub(crate) fn load(path: &Path, stages: &[StageName]) -> Result<Config, Mistakes> {
    let (file, mistakes) = read::read(path, environment())?;
    let has = |stage| stages.is_empty() || stages.contains(&stage);
    // Each stage needs its own secrets alone.
    let unread: &'static [&'static str] = match (has(StageName::Producer), has(StageName::Uploader))
    {
        (true, true) => &[],
        (true, false) => &[".workspace."],
        (false, true) => &[".site."],
        (false, false) => &[".site.", ".workspace.", "console."],
    };
    let mut config = check::check(&file, mistakes, unread)?;
    // Whoever can change it can send the secrets elsewhere.
    config.private.push(path.to_owned());
    Ok(config)
}

/// The same of a file that must name a connection: for whatever is done with connections.
///
/// # Errors
/// As [`load`], and where it names none.
pub(crate) fn load_with_connections(path: &Path, stages: &[StageName]) -> Result<Config, Mistakes> {
    let config = load(path, stages)?;
    if config.connections.is_empty() {
        let message = "at least one is needed, [connections.<name>]: `cmsync connect` sets one up";
        let (path, message) = ("connections".to_owned(), message.to_owned());
        return Err(Mistakes(vec![Mistake { path, message }]));
    }
    Ok(config)
}

/// Keys and values of a part of a configuration that cmsync does not know.
#[cfg(test)]
pub(crate) fn unknown_keys(table: toml::Table) -> impl Iterator<Item = String> {
    let mut mistakes = Vec::new();
    read::refuse_secrets(&table, &mut mistakes);
    drop(read::parse(table, &mut mistakes));
    mistakes.into_iter().map(|m| format!("{}: {}", m.path, m.message))
}

#[cfg(test)]
mod tests;
