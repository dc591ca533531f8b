//! From what is written to what is used; everything that cannot be used is told.

use std::collections::BTreeMap;

use cmsync_azure::{Endpoints, Rule};
use cmsync_configmgr::{Selection, Selector};
use cmsync_producer::ConnectionConfig;

use super::checker::Checker;
use super::groups::groups;
use super::identity::{identity, reached, secret_expires};
use super::kafka::kafka;
use super::{AdminService, Config, Connection, Mistake, Mistakes, Site, Source, Workspace, raw};

/// Rows of one page, at most: an answer is held row by row, a request only so long.
const PAGE_SIZES: std::ops::RangeInclusive<usize> = 100..=100_000;
/// The smallest queue: a few full commits for each topic.
const SMALLEST_QUEUE: u64 = 64 * 1024 * 1024;
/// The service takes no more on the wire.
const WIRE_LIMIT: u64 = 1_048_576;
/// The service loses larger bodies silently.
const RAW_LIMIT: u64 = 50 * 1024 * 1024;

/// Checks a file as a whole; `mistakes` are those that were found on the way here.
pub(super) fn check(
    file: &raw::File,
    mistakes: Vec<Mistake>,
    unread: &'static [&'static str],
) -> Result<Config, Mistakes> {
    let mut checker = Checker { untyped: mistakes.len(), mistakes, unread, private: Vec::new() };
    let listen = listen(&mut checker, &file.http.listen);
    options(&mut checker, file);
    let mut connections = BTreeMap::new();
    for (name, written) in &file.connections {
        if let Some(connection) = connection(&mut checker, name, written, file) {
            connections.insert(name.clone(), connection);
        }
    }
    refuse_twins(&mut checker, &connections);
    let kafka = kafka(&mut checker, file);
    let traces = super::traces::check(&mut checker, &file.traces);
    let console = super::console::check(&mut checker, &file.console);
    if !checker.mistakes.is_empty() {
        return Err(Mistakes(checker.mistakes));
    }
    Ok(Config {
        drain_deadline: file.drain_deadline,
        verify_interval: file.verify_interval,
        verify_settle: file.verify_settle,
        revision: file.revision,
        listen,
        console,
        log_format: file.log.format,
        log_level: file.log.level.clone(),
        traces,
        queue_directory: file.queue.embedded.directory.clone(),
        max_size: match &file.queue.kafka {
            Some(kafka) => kafka.max_size.as_u64(),
            None => file.queue.embedded.max_size.as_u64(),
        },
        kafka,
        partitions: file.queue.partitions,
        producer: file.producer.clone(),
        uploader: file.uploader.clone(),
        connections,
        private: checker.private,
    })
}

fn listen(checker: &mut Checker, text: &str) -> Option<std::net::SocketAddr> {
    if text.is_empty() { None } else { checker.address("http.listen", text, "127.0.0.1:9464") }
}

fn options(checker: &mut Checker, file: &raw::File) {
    checker.require(
        crate::logging::is_level(&file.log.level),
        "log.level",
        "must be error, warn, info, debug or trace, or a filter by module, for example \
         \"info,cmsync_producer=debug\"",
    );
    let producer = &file.producer;
    for (path, duration) in [
        ("drain_deadline", file.drain_deadline),
        ("producer.poll_interval", producer.poll_interval),
        ("producer.snapshot_interval", producer.snapshot_interval),
        ("producer.reread_interval", producer.reread_interval),
        ("producer.device_sweep_interval", producer.device_sweep_interval),
        ("uploader.probe_first", file.uploader.probe_first),
        ("uploader.probe_max", file.uploader.probe_max),
    ] {
        checker.require(!duration.is_zero(), path, "must be longer than zero");
    }
    let share = producer.max_removed_share;
    checker.require(
        (0.0..=1.0).contains(&share),
        "producer.max_removed_share",
        "must lie between 0 and 1",
    );
    checker.require(
        PAGE_SIZES.contains(&producer.page_size),
        "producer.page_size",
        "must lie between 100 and 100000",
    );
    let max_size = file.queue.embedded.max_size.as_u64();
    checker.require(
        max_size >= SMALLEST_QUEUE,
        "queue.embedded.max_size",
        "must be 64 MiB or more",
    );
    checker.require(
        (1..=1024).contains(&file.queue.partitions),
        "queue.partitions",
        "must lie between 1 and 1024",
    );
    let uploader = &file.uploader;
    checker.require(
        (1..=64).contains(&uploader.max_in_flight),
        "uploader.max_in_flight",
        "must lie between 1 and 64",
    );
    let raw = uploader.max_raw_body.as_u64();
    checker.require(
        (10_000..=RAW_LIMIT).contains(&raw),
        "uploader.max_raw_body",
        "must lie between 10 kB and 50 MiB: the service loses larger bodies silently",
    );
    let wire = uploader.max_wire_body.as_u64();
    checker.require(
        (10_000..=WIRE_LIMIT).contains(&wire),
        "uploader.max_wire_body",
        "must lie between 10 kB and 1 MiB: the service takes no more",
    );
}

/// Whether a text may name a connection.
pub(crate) fn is_name(text: &str) -> Result<(), String> {
    let is_fine = (1..=32).contains(&text.len())
        && !text.starts_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let message = "a connection's name has up to 32 small letters, digits and hyphens, and begins with no hyphen";
    is_fine.then_some(()).ok_or_else(|| message.to_owned())
}

/// Checks one connection.
pub(super) fn connection(
    checker: &mut Checker,
    name: &str,
    written: &raw::Connection,
    file: &raw::File,
) -> Option<Connection> {
    let path = format!("connections.{name}");
    if let Err(message) = is_name(name) {
        checker.wrong(&path, message);
    }
    checker.require(
        !written.collections.is_empty(),
        &format!("{path}.collections"),
        "is empty: name at least one collection",
    );
    let selection = match selection(&written.collections) {
        Ok(selection) => Some(selection),
        Err((index, message)) => {
            checker.wrong(&format!("{path}.collections[{index}]"), message);
            None
        }
    };
    let quiet_hours = written.quiet_hours.as_deref().and_then(|text| {
        let hours = text
            .split_once('-')
            .and_then(|(from, to)| Some((from.trim().parse().ok()?, to.trim().parse().ok()?)));
        if hours.is_none() {
            checker.wrong(
                &format!("{path}.quiet_hours"),
                format!("`{text}` is no span of hours, for example 22:00-04:00"),
            );
        }
        hours
    });
    let site = site(checker, &path, written, file.producer.page_size);
    let workspace = workspace(checker, &format!("{path}.workspace"), &written.workspace);
    let (statics, groups) = groups(checker, &path, written, file.producer.snapshot_interval);
    let producer = ConnectionConfig {
        name: name.to_owned(),
        selection: selection?,
        statics,
        import: written.import,
        quiet_hours,
    };
    let (site, workspace, written) = (site?, workspace?, written.clone());
    Some(Connection { producer, site, workspace, groups, written })
}

/// The collections that a list selects; the error names the entry that cannot be used.
pub(crate) fn selection(written: &[raw::Selector]) -> Result<Selection, (usize, String)> {
    let selectors = written.iter().map(|s| match s {
        raw::Selector::Id(id) => Selector::Id(id.clone()),
        raw::Selector::Name { name } => Selector::Name(name.clone()),
        raw::Selector::Folder { folder } => Selector::Folder(folder.clone()),
    });
    Selection::new(selectors.collect())
}

/// How a connection's site is reached.
pub(super) fn site(
    checker: &mut Checker,
    connection: &str,
    whole: &raw::Connection,
    page_size: usize,
) -> Option<Site> {
    let (path, written) = (format!("{connection}.site"), &whole.site);
    let path = path.as_str();
    let source = match written.source() {
        raw::Source::AdminService => {
            Source::AdminService(Box::new(admin_service(checker, connection, whole, page_size)?))
        }
        raw::Source::Sql(table) => {
            let mut sql = super::sql::check(checker, path, (written, table))?;
            if sql.settings.server.is_empty() || sql.settings.database.is_empty() {
                sql.finder = Some(admin_service(checker, connection, whole, page_size)?);
            }
            Source::Sql(Box::new(sql))
        }
    };
    Some(Site { source, page_size })
}

/// How an administration service is reached.
fn admin_service(
    checker: &mut Checker,
    connection: &str,
    whole: &raw::Connection,
    page_size: usize,
) -> Option<AdminService> {
    let (path, written) = (format!("{connection}.site"), &whole.site);
    let path = path.as_str();
    checker.require(!written.admin_service.is_empty(), &format!("{path}.admin_service"), "is empty: give the URL of the administration service, for example https://cm01.contoso.com/AdminService");
    let mut providers = Vec::new();
    for (index, text) in written.admin_service.iter().enumerate() {
        providers.extend(checker.url(
            &format!("{path}.admin_service[{index}]"),
            text,
            written.allow_insecure,
        ));
    }
    let timeouts = (written.connect_timeout, written.read_timeout);
    let http = checker.http(path, written.ca_file.as_ref(), written.proxy.as_ref(), timeouts);
    let authentication = super::site_identity::check(checker, connection, whole)?;
    let account = written.account.clone();
    let settings =
        cmsync_configmgr::Settings { providers, page_size, account, limits: written.limits() };
    Some(AdminService { http, settings, authentication })
}

pub(super) fn endpoints(
    checker: &mut Checker,
    path: &str,
    written: &raw::Workspace,
) -> Option<Endpoints> {
    let (given, hosts) = (&written.endpoints, written.cloud.hosts());
    let mut endpoint = |key: &str, text: &Option<String>, default: Option<&str>| {
        let at = format!("{path}.endpoints.{key}");
        let Some(text) = text.as_deref().or(default) else {
            checker
                .wrong(&at, "is missing: with `cloud = \"custom\"` every endpoint must be given");
            return None;
        };
        checker.url(&at, text, written.allow_insecure)
    };
    let authority = endpoint("authority", &given.authority, hosts.map(|h| h.authority));
    let resource_manager =
        endpoint("resource_manager", &given.resource_manager, hosts.map(|h| h.resource_manager));
    let audience = hosts.map(|h| h.ingestion_audience);
    let audience = endpoint("ingestion_audience", &given.ingestion_audience, audience);
    let query = endpoint("query", &given.query, hosts.map(|h| h.query));
    let graph = endpoint("graph", &given.graph, hosts.map(|h| h.graph));
    Some(Endpoints {
        authority: authority?,
        resource_manager: resource_manager?,
        ingestion_audience: audience?.as_str().trim_end_matches('/').to_owned(),
        query: query?,
        graph: graph?,
    })
}

fn workspace(checker: &mut Checker, path: &str, written: &raw::Workspace) -> Option<Workspace> {
    let reached = reached(checker, path, written);
    let variable = |name: &str| std::env::var(name).ok();
    let identity = identity(checker, path, written, variable);
    let secret_expires = secret_expires(checker, path, written);
    checker.require(
        !written.rules.is_empty(),
        &format!("{path}.rules"),
        "is empty: give the data collection rule as { endpoint = \"…\", id = \"dcr-…\" }",
    );
    let mut rules = Vec::new();
    for (index, rule) in written.rules.iter().enumerate() {
        let at = format!("{path}.rules[{index}]");
        let is_id = rule.id.starts_with("dcr-") && rule.id.len() > 4;
        checker.require(
            is_id,
            &format!("{at}.id"),
            "must be the rule's immutable id, which begins with dcr-",
        );
        if let Some(endpoint) =
            checker.url(&format!("{at}.endpoint"), &rule.endpoint, written.allow_insecure)
        {
            let new = Rule { endpoint, id: rule.id.clone() };
            checker.require(!rules.contains(&new), &at, "is there twice");
            rules.push(new);
        }
    }
    let (endpoints, http) = reached?;
    Some(Workspace {
        http,
        endpoints,
        identity: identity?,
        workspace_id: written.workspace_id.clone(),
        secret_expires,
        rules,
    })
}

/// The same site may not feed the same workspace twice: each would undo the other's work.
fn refuse_twins(checker: &mut Checker, connections: &BTreeMap<String, Connection>) {
    let all: Vec<_> = connections.iter().collect();
    for (index, (name, one)) in all.iter().enumerate() {
        for (earlier, other) in all.iter().take(index) {
            let places = other.site.places();
            let same_site = one.site.places().iter().any(|place| places.contains(place));
            if same_site && one.shares_workspace(other) {
                checker.wrong(
                    &format!("connections.{name}"),
                    format!(
                        "reads the same site into the same workspace as `connections.{earlier}`"
                    ),
                );
            }
        }
    }
}
