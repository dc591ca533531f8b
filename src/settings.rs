//! The configuration as the console reads and changes it: what the command line does, in the running
//! process.

use std::path::PathBuf;

use async_trait::async_trait;
use cmsync_control::history::Reader;
use cmsync_control::{Change, Desk, Properties, Settings, SettingsError, VisibleView};
use secrecy::SecretString;
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use toml_edit::visit_mut::VisitMut;
use toml_edit::{DocumentMut, Item, KeyMut};

use crate::asks::Inside;
use crate::cli::StageName;
use crate::config::{self, Config, Connection};
use crate::connect::write::{self, Stale, Unwritable};
use crate::{collections, connection, expiry, import, secret};

/// The file of the running process.
pub(crate) struct File {
    path: PathBuf,
    /// The stages that run here: the secrets of others need not be.
    stages: Vec<StageName>,
    asks: Inside,
    /// One change at a time.
    turn: Mutex<()>,
    /// One look at a site at a time.
    looks: Semaphore,
    /// Questions to workspaces at a time.
    questions: Semaphore,
    /// Whoever asks each workspace, with the file that says how.
    readers: std::sync::Mutex<Readers>,
}

/// By connection.
type Readers = std::collections::HashMap<String, (String, std::sync::Arc<Reader>)>;

impl File {
    pub(crate) fn new(path: PathBuf, stages: Vec<StageName>, desk: Desk) -> Self {
        Self {
            path,
            stages,
            asks: Inside(desk),
            turn: Mutex::default(),
            looks: Semaphore::new(1),
            questions: Semaphore::new(2),
            readers: std::sync::Mutex::default(),
        }
    }

    /// A turn to ask a workspace, where not too many do: each takes some of what the service allows.
    pub(crate) fn asks_workspace(&self) -> Option<SemaphorePermit<'_>> {
        self.questions.try_acquire().ok()
    }

    /// Whoever asks a connection's workspace: one, with one token, as long as the file stays as it is.
    pub(crate) fn reader(
        &self,
        connection: &str,
        make: impl FnOnce(&Config) -> anyhow::Result<Reader>,
    ) -> Result<std::sync::Arc<Reader>, SettingsError> {
        let print = self.seen()?;
        let mut readers = self.readers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((own, reader)) = readers.get(connection)
            && *own == print
        {
            return Ok(std::sync::Arc::clone(reader));
        }
        let reader = std::sync::Arc::new(make(&self.config()?).map_err(told)?);
        readers.retain(|_, (own, _)| *own == print);
        readers.insert(connection.to_owned(), (print, std::sync::Arc::clone(&reader)));
        Ok(reader)
    }

    pub(crate) fn config(&self) -> Result<Config, SettingsError> {
        config::load(&self.path, &self.stages)
            .map_err(|mistakes| SettingsError::Refused(mistakes.to_string()))
    }
}

/// A text without the accounts that may stand in its URLs, and in what names a proxy, with a scheme or
/// without.
fn masked(text: &str) -> String {
    let mut parts = text.split("://");
    let first = parts.next().unwrap_or_default().to_owned();
    let masked = parts.fold(first, |masked, part| {
        let end = part.find(['/', '"', '\'', '\n', ' ']).unwrap_or(part.len());
        let (host, rest) = part.split_at(end);
        let host = host.rsplit_once('@').map_or(host.to_owned(), |(_, host)| format!("…@{host}"));
        format!("{masked}://{host}{rest}")
    });
    let Ok(mut document) = masked.parse::<DocumentMut>() else { return masked };
    Proxies.visit_document_mut(&mut document);
    document.to_string()
}

/// Takes the accounts out of what names a proxy, wherever it stands.
struct Proxies;

impl VisitMut for Proxies {
    fn visit_table_like_kv_mut(&mut self, key: KeyMut<'_>, node: &mut Item) {
        if key.get() == "proxy"
            && let Some(value) = node.as_value_mut()
            && let Some((account, place)) = value.as_str().and_then(|text| text.rsplit_once('@'))
            && !account.ends_with("://…")
        {
            let (shown, decor) = (format!("…@{place}"), value.decor().clone());
            *value = shown.into();
            *value.decor_mut() = decor;
        }
        toml_edit::visit_mut::visit_table_like_kv_mut(self, key, node);
    }
}

fn of<'a>(config: &'a Config, name: &str) -> Result<&'a Connection, SettingsError> {
    config.connections.get(name).ok_or_else(|| SettingsError::Missing(name.to_owned()))
}

/// What a person is told of a failure.
fn told(error: anyhow::Error) -> SettingsError {
    if error.is::<Stale>() {
        return SettingsError::Stale;
    }
    match error.downcast::<Unwritable>() {
        Ok(Unwritable { file, text, source }) => {
            SettingsError::Unwritable { file, detail: source.to_string(), text: masked(&text) }
        }
        Err(other) => SettingsError::Refused(format!("{other:#}")),
    }
}

/// An entry of the file, as the command line names it: an id, a pattern or a folder.
fn as_typed(entry: &str) -> String {
    let text = match config::value_of(entry) {
        toml::Value::Table(table) => {
            table.values().next().and_then(|value| value.as_str().map(ToOwned::to_owned))
        }
        value => value.as_str().map(ToOwned::to_owned),
    };
    text.unwrap_or_else(|| entry.to_owned())
}

#[async_trait]
impl Settings for File {
    fn seen(&self) -> Result<String, SettingsError> {
        write::print(&self.path).map_err(told)
    }

    async fn properties(&self, name: &str) -> Result<Properties, SettingsError> {
        // Before the file is read: what changes meanwhile makes the page stale.
        let seen = self.seen()?;
        let config = self.config()?;
        let connection = of(&config, name)?;
        Ok(Properties { seen, ..connection::properties(name, connection).await })
    }

    async fn visible(&self, name: &str) -> Result<Vec<VisibleView>, SettingsError> {
        let config = self.config()?;
        let connection = of(&config, name)?;
        let _look = self.looks.acquire().await.map_err(|error| told(error.into()))?;
        let visible = collections::visible(connection).await.map_err(told)?;
        Ok(visible.iter().map(|c| collections::view(name, connection, c)).collect())
    }

    async fn change(
        &self,
        name: &str,
        change: Change,
        seen: &str,
    ) -> Result<String, SettingsError> {
        let _turn = self.turn.lock().await;
        let config = self.config()?;
        let file = (self.path.as_path(), Some(seen));
        let said = match change {
            Change::Add(selectors) => collections::add(&config, file, name, &selectors).await,
            Change::Remove(entries) => {
                let selectors: Vec<String> = entries.iter().map(|entry| as_typed(entry)).collect();
                collections::remove(&self.asks, &config, file, name, &selectors).await
            }
            Change::Import { on, remove_groups } => {
                import::set(&self.asks, &config, file, name, (on, remove_groups)).await
            }
        };
        said.map_err(told)
    }

    async fn verify_identity(&self, name: &str) -> Result<String, SettingsError> {
        let config = self.config()?;
        let connection = of(&config, name)?;
        secret::verify(&connection.workspace).await.map_err(told)?;
        Ok("accepted".into())
    }

    async fn renew_secret(
        &self,
        name: &str,
        secret: SecretString,
        expires: Option<&str>,
    ) -> Result<String, SettingsError> {
        let _turn = self.turn.lock().await;
        let config = self.config()?;
        let expires = expires.map(expiry::day_of).transpose().map_err(SettingsError::Refused)?;
        secret::renew(&config, &self.path, name, (secret, expires)).await.map_err(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_in_urls_are_not_shown() {
        let text =
            "proxy = \"http://user:pa@ss@proxy:8080/x\"\na = 'https://b/c@d'\n# see http://e\n";
        let shown = "proxy = \"http://…@proxy:8080/x\"\na = 'https://b/c@d'\n# see http://e\n";
        assert_eq!(masked(text), shown);
        let bare = "site.proxy = 'me:hid@den@a:8080'\nx = { \"proxy\" = \"me:no@b\" }\nproxy = \"c:1\" # d@e\n";
        let shown =
            "site.proxy = \"…@a:8080\"\nx = { \"proxy\" = \"…@b\" }\nproxy = \"c:1\" # d@e\n";
        assert_eq!(masked(bare), shown);
    }

    #[test]
    fn entries_of_the_file_are_named_as_the_command_line_does() {
        let entries =
            ["\"PS100014\"", "{ name = \"Servers - *\" }", "{ folder = \"/a b\" }", "PS100014"];
        assert_eq!(entries.map(as_typed), ["PS100014", "Servers - *", "/a b", "PS100014"]);
    }
}
