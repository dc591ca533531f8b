//! What is known of the connection: from the configuration, from a set-up that was interrupted, from
//! a file of answers and from the command line, each over the one before.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::flags::ConnectArgs;
use crate::config::{self, Mistake, Mistakes, raw};

/// Everything that set-up asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answers {
    /// The connection's name; empty while it is not known.
    pub(crate) name: String,
    /// What the configuration will hold of it.
    pub(crate) connection: raw::Connection,
    /// What only set-up needs.
    pub(crate) setup: SetupAnswers,
}

/// What only set-up needs: `[setup]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SetupAnswers {
    /// Who sets up in Azure.
    pub(crate) login: Option<Login>,
    /// By name or id.
    pub(crate) subscription: String,
    pub(crate) resource_group: String,
    /// The workspace's name.
    pub(crate) workspace: String,
    /// Region in which what is missing is made.
    pub(crate) location: String,
    pub(crate) pricing_tier: String,
    /// Rules that share the load.
    pub(crate) rules: u32,
    /// Id (a GUID) of a role of one's own that may write saved searches.
    pub(crate) groups_role: String,
}

impl Default for SetupAnswers {
    fn default() -> Self {
        Self {
            login: None,
            subscription: String::new(),
            resource_group: String::new(),
            workspace: String::new(),
            location: String::new(),
            pricing_tier: "PerGB2018".into(),
            rules: 1,
            groups_role: String::new(),
        }
    }
}

/// Who sets up in Azure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Login {
    /// Whoever signed in with `az login`.
    AzureCli,
    /// The connection's own identity.
    Application,
}

/// Lays `over` upon `table`, key by key.
fn lay(table: &mut Table, over: Table) {
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => lay(below, above),
            (_, value) => drop(table.insert(key, value)),
        }
    }
}

/// Sets the value at a dotted key.
fn set(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => drop(table.insert(key.to_owned(), value)),
        Some((first, rest)) => {
            let next = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
            if !next.is_table() {
                *next = Value::Table(Table::new());
            }
            if let Value::Table(inner) = next {
                set(inner, rest, value);
            }
        }
    }
}

/// Takes the value at a dotted key out.
fn unset(table: &mut Table, key: &str) {
    match key.split_once('.') {
        None => drop(table.remove(key)),
        Some((first, rest)) => {
            if let Some(Value::Table(inner)) = table.get_mut(first) {
                unset(inner, rest);
            }
        }
    }
}

/// The connection of a file of answers, with its name where the file has one.
fn of_file(path: &Path, wanted: Option<&str>) -> Result<(Option<String>, Table), Mistakes> {
    let mut file = config::table_of(path)?;
    let setup = file.remove("setup");
    let others = file.keys().filter(|key| *key != "connections").map(|key| Mistake {
        path: format!("{}: {key}", path.display()),
        message: "answers are of one connection, with [setup]: put this into the configuration"
            .into(),
    });
    let others: Vec<Mistake> = others.collect();
    if !others.is_empty() {
        return Err(Mistakes(others));
    }
    let connections = file.get("connections").and_then(Value::as_table).cloned();
    let mut all = connections.unwrap_or_default().into_iter();
    let found = match wanted {
        Some(name) => all.find(|(found, _)| found == name),
        None => all.next().filter(|_| all.next().is_none()),
    };
    let Some((name, Value::Table(mut table))) = found else {
        let message = match wanted {
            Some(name) => format!("holds no connection `{name}`"),
            None => "must hold exactly one connection, or give its name".into(),
        };
        return Err(Mistakes(vec![Mistake { path: path.display().to_string(), message }]));
    };
    if let Some(setup) = setup {
        table.insert("setup".into(), setup);
    }
    Ok((Some(name), table))
}

fn flatten(prefix: &str, table: &Table, into: &mut Vec<(String, String)>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) => flatten(&key, inner, into),
            Value::Array(items) => {
                let text = |item: &Value| item.as_str().map_or(item.to_string(), ToOwned::to_owned);
                into.extend(items.iter().map(|item| (key.clone(), text(item))));
            }
            Value::String(text) => into.push((key, text.clone())),
            other => into.push((key, other.to_string())),
        }
    }
}

/// Where the answers of a set-up are kept until it is complete.
pub(super) fn draft_path(config: &Path, name: &str) -> PathBuf {
    config.with_file_name(format!("cmsync-connect-{name}.toml"))
}

/// The names of set-ups that are not complete.
pub(crate) fn drafts(config: &Path) -> Vec<String> {
    let directory = config.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(files) = std::fs::read_dir(directory) else { return Vec::new() };
    let name = |file: std::fs::DirEntry| {
        let name = file.file_name().into_string().ok()?;
        let name = name.strip_prefix("cmsync-connect-")?.strip_suffix(".toml")?;
        config::is_name(name).is_ok().then(|| name.to_owned())
    };
    let mut names: Vec<String> = files.flatten().filter_map(name).collect();
    names.sort();
    names
}

/// Forgets the answers of a set-up.
///
/// # Errors
/// When their file cannot be removed.
pub(super) fn forget(config: &Path, name: &str) -> anyhow::Result<()> {
    remove(&draft_path(config, name))
}

/// Removes a file that need not be there.
pub(super) fn remove(file: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove `{}`", file.display()))
        }
        _ => Ok(()),
    }
}

impl Answers {
    /// Everything that is known so far.
    pub(crate) fn gather(args: &ConnectArgs, config: &Path) -> Result<Self, Mistakes> {
        let mut name = args.name.clone();
        let mut answered = Table::new();
        if let Some(path) = &args.answers {
            let (found, table) = of_file(path, name.as_deref())?;
            (name, answered) = (found, table);
        }
        let name = name.unwrap_or_default();
        let mut table = Table::new();
        if config.exists() {
            let mut file = config::table_of(config)?;
            let all = file.remove("connections").and_then(|c| c.as_table().cloned());
            let own = all.and_then(|mut all| all.remove(&name));
            if let Some(Value::Table(own)) = own {
                table = own;
            }
        }
        let draft = draft_path(config, &name);
        if args.answers.is_none() && !name.is_empty() && draft.exists() {
            // It holds everything that was known: what was taken back is not in it.
            table = of_file(&draft, Some(&name))?.1;
        }
        lay(&mut table, answered);
        for (key, value) in args.given() {
            // An answer of nothing takes back what was answered before.
            match value.as_str() {
                Some("") => unset(&mut table, &key),
                _ => set(&mut table, &key, value),
            }
        }
        let setup = match table.remove("setup") {
            None => SetupAnswers::default(),
            Some(setup) => setup.try_into().map_err(|e: toml::de::Error| {
                let message = e.message().to_owned();
                Mistakes(vec![Mistake { path: "setup".into(), message }])
            })?,
        };
        let connection = config::parse_connection(&name, table)?;
        Ok(Self { name, connection, setup })
    }

    /// Every answer by its dotted key, as text: what is none is left out.
    pub(crate) fn flat(&self) -> Vec<(String, String)> {
        let mut flat = Vec::new();
        flatten("", &config::written(&self.connection), &mut flat);
        if let Ok(setup) = Table::try_from(&self.setup) {
            flatten("setup", &setup, &mut flat);
        }
        flat
    }

    /// As a file of answers.
    fn text(&self) -> String {
        let mut file = Table::new();
        let connection = config::written(&self.connection);
        let connections = Table::from_iter([(self.name.clone(), Value::Table(connection))]);
        file.insert("connections".into(), Value::Table(connections));
        if let Ok(setup) = Table::try_from(&self.setup) {
            file.insert("setup".into(), Value::Table(setup));
        }
        toml::to_string(&file).unwrap_or_default()
    }

    /// Keeps the answers beside the configuration, so that an interrupted set-up goes on with them.
    pub(crate) fn keep(&self, config: &Path) -> anyhow::Result<()> {
        if self.name.is_empty() {
            return Ok(());
        }
        let head =
            "# Answers of a set-up that is not complete: `cmsync connect` goes on with them.\n";
        // Whole or not at all, and for nobody else to read: URLs in it may hold an account.
        let text = format!("{head}{}", self.text());
        super::write_secret(&draft_path(config, &self.name), &text.into())
    }

    /// Whether a set-up of this name was begun.
    pub(crate) fn is_kept(&self, config: &Path) -> bool {
        draft_path(config, &self.name).exists()
    }
}
