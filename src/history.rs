//! What was, asked of the workspaces of the configuration as it stands.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cmsync_azure::QueryError;
use cmsync_control::history::{ChangeView, CollectionHistory, History, Reader};

use crate::config::Connection;
use crate::connections;
use crate::settings::File;

fn reader(connection: &Connection) -> anyhow::Result<Reader> {
    let credential = connections::credential(&connection.workspace)?;
    let (query, workspace) = connections::asked(connection, credential)?;
    Ok(Reader { query, workspace, days: connection.written().groups.days() })
}

/// How long a workspace may take: somebody waits, and the service goes on for ten minutes otherwise.
const PATIENCE: Duration = Duration::from_secs(20);

impl File {
    /// Asks a connection's workspace something, within a moment and not beside too many others.
    async fn asked<T, F: Future<Output = Result<T, QueryError>>>(
        &self,
        connection: &str,
        ask: impl FnOnce(Arc<Reader>) -> F,
    ) -> Result<T, String> {
        let busy = || "too many ask at once: try again in a moment".to_owned();
        let _turn = self.asks_workspace().ok_or_else(busy)?;
        let made = self.reader(connection, |config| reader(config.connection(connection)?));
        let reader = made.map_err(|error| error.to_string())?;
        let answer = tokio::time::timeout(PATIENCE, ask(reader)).await;
        let answer = answer.map_err(|_| "it takes longer than 20 s to answer".to_owned())?;
        answer.map_err(|error| error.to_string())
    }
}

#[async_trait]
impl History for File {
    async fn of_collection(
        &self,
        connection: &str,
        site: &str,
        id: &str,
    ) -> Result<CollectionHistory, String> {
        let ask = async |reader: Arc<Reader>| reader.collection(site, id).await;
        self.asked(connection, ask).await
    }

    async fn of_computer(
        &self,
        connection: &str,
        site: &str,
        computer: &str,
    ) -> Result<(u32, Vec<ChangeView>), String> {
        let ask = async |reader: Arc<Reader>| {
            let changes = reader.computer(site, computer).await?;
            Ok((reader.days, changes))
        };
        self.asked(connection, ask).await
    }
}
