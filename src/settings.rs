//! The configuration as the console reads and changes it: what the command line does, in the running
//! process.

use std::path::PathBuf;

use async_trait::async_trait;
use cmsync_control::{Change, Desk, Properties, Settings, SettingsError, VisibleView};
use secrecy::SecretString;
use tokio::sync::Mutex;

use crate::asks::Inside;
use crate::config::{self, Config};
use crate::connect::write::{self, Stale, Unwritable};
use crate::{collections, connection, import, secret};

/// The file of the running process.
pub(crate) struct File {
    path: PathBuf,
    asks: Inside,
    /// One change at a time.
    turn: Mutex<()>,
}

impl File {
    pub(crate) fn new(path: PathBuf, desk: Desk) -> Self {
        Self { path, asks: Inside(desk), turn: Mutex::default() }
    }

    fn config(&self) -> Result<Config, SettingsError> {
        config::load(&self.path, &[])
            .map_err(|mistakes| SettingsError::Refused(mistakes.to_string()))
    }
}

/// What a person is told of a failure.
fn told(error: anyhow::Error) -> SettingsError {
    if error.is::<Stale>() {
        return SettingsError::Stale;
    }
    match error.downcast::<Unwritable>() {
        Ok(Unwritable { file, text, source }) => {
            SettingsError::Unwritable { file, detail: source.to_string(), text }
        }
        Err(other) => SettingsError::Refused(format!("{other:#}")),
    }
}

/// An entry of the file, as the command line names it: an id, a pattern or a folder.
fn selector(entry: &str) -> String {
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
    async fn properties(&self, name: &str) -> Result<Properties, SettingsError> {
        // Before the file is read: what changes meanwhile makes the page stale.
        let seen = write::print(&self.path).map_err(told)?;
        let config = self.config()?;
        let connection = config.connection(name).map_err(told)?;
        Ok(Properties { seen, ..connection::properties(name, connection).await })
    }

    async fn visible(&self, name: &str) -> Result<Vec<VisibleView>, SettingsError> {
        let config = self.config()?;
        let connection = config.connection(name).map_err(told)?;
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
                let selectors: Vec<String> = entries.iter().map(|entry| selector(entry)).collect();
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
        let connection = config.connection(name).map_err(told)?;
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
        secret::renew(&config, &self.path, name, (secret, expires)).await.map_err(told)
    }
}
