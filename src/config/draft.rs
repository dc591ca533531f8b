//! One connection before the file holds it whole.

use std::collections::BTreeMap;

use cmsync_azure::Endpoints;
use toml::{Table, Value};

use super::checker::Checker;
use super::{Connection, Mistakes, Site, check, raw, read};

/// Stands where set-up will put the real one.
const PLACEHOLDER: &str = "https://set-up.invalid";

/// Stands where a person will name collections.
const ALL_SYSTEMS: &str = "SMS00001";

/// A connection from its table.
///
/// # Errors
/// Every value that cannot be used, with its key's path.
pub(crate) fn parse_connection(name: &str, table: Table) -> Result<raw::Connection, Mistakes> {
    let connections = Table::from_iter([(name.to_owned(), Value::Table(table))]);
    let file = Table::from_iter([("connections".to_owned(), Value::Table(connections))]);
    let mut mistakes = Vec::new();
    read::refuse_secrets(&file, &mut mistakes);
    match read::parse(file, &mut mistakes) {
        Some(mut file) if mistakes.is_empty() => {
            Ok(file.connections.remove(name).unwrap_or_default())
        }
        _ => Err(Mistakes(mistakes)),
    }
}

/// Checks a connection that still lacks what set-up finds: its rules and its workspace.
///
/// # Errors
/// Every mistake, with its key's path.
pub(crate) fn check_connection(
    name: &str,
    written: &raw::Connection,
) -> Result<Connection, Mistakes> {
    let mut written = written.clone();
    if written.workspace.rules.is_empty() {
        let (endpoint, id) = (PLACEHOLDER.to_owned(), "dcr-0".to_owned());
        written.workspace.rules.push(raw::Rule { endpoint, id });
    }
    if written.collections.is_empty() {
        written.collections.push(raw::Selector::Id(ALL_SYSTEMS.to_owned()));
    }
    let file = raw::File {
        connections: BTreeMap::from([(name.to_owned(), written.clone())]),
        ..raw::File::default()
    };
    checked(|checker| check::connection(checker, name, &written, &file))
}

/// Checks how a site is reached.
///
/// # Errors
/// Every mistake, with its key's path.
pub(crate) fn check_site(name: &str, written: &raw::Connection) -> Result<Site, Mistakes> {
    let page_size = cmsync_producer::Options::default().page_size;
    let path = format!("connections.{name}");
    checked(|checker| {
        let site = check::site(checker, &path, written, page_size);
        if site.is_none() && checker.mistakes.is_empty() {
            // Its tokens are those of the identity, whose mistakes are told where it stands.
            let message = "the identity in Azure is needed for this: answer its page first";
            checker.wrong(&format!("{path}.workspace"), message);
        }
        site
    })
}

/// Checks where a workspace's cloud has its services.
///
/// # Errors
/// Every mistake, with its key's path.
pub(crate) fn check_endpoints(
    name: &str,
    written: &raw::Workspace,
) -> Result<(Endpoints, cmsync_http::Settings), Mistakes> {
    let path = format!("connections.{name}.workspace");
    checked(|checker| super::identity::reached(checker, &path, written))
}

fn checked<T>(check: impl FnOnce(&mut Checker) -> Option<T>) -> Result<T, Mistakes> {
    let mut checker = Checker::default();
    match check(&mut checker) {
        Some(found) if checker.mistakes.is_empty() => Ok(found),
        _ => Err(Mistakes(checker.mistakes)),
    }
}

/// What the file has to hold of a connection: what differs from the defaults.
pub(crate) fn written(connection: &raw::Connection) -> Table {
    let table = |c: &raw::Connection| Table::try_from(c).unwrap_or_default();
    let mut written = table(connection);
    without(&mut written, &table(&raw::Connection::default()));
    written
}

/// Takes out what is the same in `defaults`.
fn without(table: &mut Table, defaults: &Table) {
    table.retain(|key, value| match (value, defaults.get(key)) {
        (Value::Table(inner), Some(Value::Table(default))) => {
            without(inner, default);
            !inner.is_empty()
        }
        (value, Some(default)) => value != default,
        (_, None) => true,
    });
}

/// A value as it is written on a command line: TOML where it parses as such, else text.
pub(crate) fn value_of(text: &str) -> Value {
    let parsed = format!("v = {text}").parse::<Table>().ok().and_then(|mut t| t.remove("v"));
    parsed.unwrap_or_else(|| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_differs_and_reads_back_the_same() {
        let table: Table = "description = 'x'\nimport = true\n[site]\nadmin_service = ['https://a']\n[groups]\nkind = 'automatic'"
            .parse()
            .unwrap();
        let connection = parse_connection("c", table).unwrap();
        let written = written(&connection);
        assert_eq!(written.keys().collect::<Vec<_>>(), ["description", "site"]);
        assert_eq!(parse_connection("c", written).unwrap(), connection);
    }
}
