//! From text to [`File`]: the file, the environment over it, and every mistake at once.

use std::ffi::OsString;
use std::ops::Range;
use std::path::Path;

use toml::{Table, Value};

use super::raw::File;
use super::{Mistake, Mistakes};

/// Environment variables that begin so override the file, two underscores a level.
const PREFIX: &str = "CMSYNC_";
/// Variables with the prefix that mean something else.
const OTHERS: [&str; 4] = ["CMSYNC_CONFIG", "CMSYNC_CAPTURES", "CMSYNC_BIN", "CMSYNC_IMAGE"];

/// Reads a configuration; with it come the mistakes that were taken out to read it.
pub(super) fn read(
    path: &Path,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<(File, Vec<Mistake>), Mistakes> {
    let exists = path.try_exists().unwrap_or(true);
    if !exists {
        let message = "is not there: `cmsync connect NAME` makes it, or name another with --config";
        let path = path.display().to_string();
        return Err(Mistakes(vec![Mistake { path, message: message.into() }]));
    }
    let mut table = table_of(path)?;
    let mut given = Vec::new();
    let mut mistakes = Vec::new();
    refuse_secrets(&table, &mut mistakes);
    for (name, value) in environment {
        let Some(keys) = name.strip_prefix(PREFIX).filter(|_| !OTHERS.contains(&name.as_str()))
        else {
            continue;
        };
        let keys = keys.to_ascii_lowercase();
        override_with(&mut table, &keys, &value);
        given.push((keys.replace("__", "."), name));
    }
    let parsed = parse(table, &mut mistakes);
    for mistake in &mut mistakes {
        if let Some((_, name)) = given.iter().find(|(key, _)| *key == mistake.path) {
            mistake.message += &format!(" (the variable {name} gives it)");
        }
    }
    match parsed {
        Some(file) => Ok((file, mistakes)),
        None => Err(Mistakes(mistakes)),
    }
}

/// The variables of this process that are text: no other is a key of ours, nor a value.
pub(crate) fn environment() -> impl Iterator<Item = (String, String)> {
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text)
}

/// A file's table.
///
/// # Errors
/// What is wrong and where.
pub(crate) fn table_of(path: &Path) -> Result<Table, Mistakes> {
    let alone =
        |message: String| Mistakes(vec![Mistake { path: path.display().to_string(), message }]);
    let text = text_of(path).map_err(|error| {
        let remedy = match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                "; run it as root (sudo), or as the user that cmsync runs as"
            }
            _ => "",
        };
        alone(format!("cannot be read: {error}{remedy}"))
    })?;
    toml::from_str(&text).map_err(|e| alone(place(&text, e.span(), e.message())))
}

/// A file's text, without the mark that editors of Windows put before it.
pub(crate) fn text_of(path: &Path) -> std::io::Result<String> {
    let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => {
            std::io::Error::new(error.kind(), "is no UTF-8: save it anew with that encoding")
        }
        _ => error,
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// What is wrong, and where: never the line itself, in which a password may stand.
pub(crate) fn place(text: &str, span: Option<Range<usize>>, message: &str) -> String {
    let before = span.and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}: {message}")
}

/// Secrets have files of their own, which can be guarded and renewed.
pub(super) fn refuse_secrets(table: &Table, mistakes: &mut Vec<Mistake>) {
    let connections = table.get("connections").and_then(Value::as_table);
    for (name, connection) in connections.into_iter().flatten() {
        if connection.get("workspace").and_then(|w| w.get("client_secret")).is_some() {
            mistakes.push(Mistake {
                path: format!("connections.{name}.workspace.client_secret"),
                message: "must not stand in this file; write it to a file of its own and name that as `client_secret_file`".into(),
            });
        }
    }
}

/// Sets `a__b__c` to a value: TOML where it parses as such, else text.
fn override_with(table: &mut Table, keys: &str, text: &str) {
    let value = super::value_of(text);
    let mut levels: Vec<&str> = keys.split("__").collect();
    let Some(last) = levels.pop() else { return };
    let mut at = table;
    for level in levels {
        let next = at.entry(level).or_insert_with(|| Value::Table(Table::new()));
        if !next.is_table() {
            *next = Value::Table(Table::new());
        }
        let Value::Table(inner) = next else { return };
        at = inner;
    }
    at.insert(last.to_owned(), value);
}

/// Parses until nothing is wrong any longer: each value that cannot be used is noted and taken out,
/// so that the next shows up.
pub(super) fn parse(table: Table, mistakes: &mut Vec<Mistake>) -> Option<File> {
    let mut value = Value::Table(table);
    loop {
        let mut unknown = Vec::new();
        let mut track = serde_path_to_error::Track::new();
        let tracked = serde_path_to_error::Deserializer::new(value.clone(), &mut track);
        let parsed: Result<File, _> = serde_ignored::deserialize(tracked, |path| {
            unknown.push(path.to_string());
        });
        match parsed {
            Ok(file) => {
                let message = "is not a key that cmsync knows; see cmsync.example.toml".to_owned();
                mistakes.extend(
                    unknown.into_iter().map(|path| Mistake { path, message: message.clone() }),
                );
                return Some(file);
            }
            Err(error) => {
                let path = track.path().to_string();
                let message = expected(error.to_string().lines().next().unwrap_or_default());
                mistakes.push(Mistake { path: path.clone(), message });
                if !take_out(&mut value, &path) {
                    return None;
                }
            }
        }
    }
}

/// What was expected, without what stands there, which may be a secret in the wrong place.
fn expected(message: &str) -> String {
    let is_about_a_value = ["invalid type: ", "invalid value: "];
    match message.rsplit_once(", expected ") {
        Some((before, expected)) if is_about_a_value.iter().any(|s| before.starts_with(s)) => {
            format!("must be {}", plain(expected))
        }
        Some((before, known)) => match before.strip_prefix("unknown variant ") {
            Some(value) => format!("must be {known}, not {value}"),
            None => message.to_owned(),
        },
        _ => message.to_owned(),
    }
}

/// What serde names a type, in the file's own words.
fn plain(expected: &str) -> &str {
    match expected {
        "a duration" => "a span of time in quotes, for example \"30s\" or \"12h\"",
        "parsable string" => "a size in quotes, for example \"4 GiB\"",
        "a string" => "text in quotes",
        "a boolean" => "true or false, without quotes",
        "a sequence" => "a list in [ ]",
        "u16" | "u32" | "u64" | "usize" => "a whole number, without quotes",
        "f64" => "a number, without quotes",
        "a map" => "a table",
        table if table.starts_with("struct ") => "a table: [key] below, or { … }",
        other => other,
    }
}

/// Takes the value at a dotted path out; false when there is none.
fn take_out(value: &mut Value, path: &str) -> bool {
    let normal = path.replace('[', ".").replace(']', "");
    let mut keys: Vec<&str> = normal.split('.').collect();
    let Some(last) = keys.pop() else { return false };
    let mut at = value;
    for key in keys {
        let next = match at {
            Value::Table(table) => table.get_mut(key),
            Value::Array(array) => key.parse::<usize>().ok().and_then(|n| array.get_mut(n)),
            _ => None,
        };
        let Some(next) = next else { return false };
        at = next;
    }
    match at {
        Value::Table(table) => table.remove(last).is_some(),
        Value::Array(array) => match last.parse::<usize>() {
            Ok(index) if index < array.len() => {
                array.remove(index);
                true
            }
            _ => false,
        },
        _ => false,
    }
}
