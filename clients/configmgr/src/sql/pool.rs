//! A few connections to the database, kept for the next query, and how queries see what changes.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tiberius::{IsolationLevel, QueryItem, Row, ToSql};
use tokio::sync::Semaphore;
use tokio_stream::StreamExt as _;

use super::connect::{Session, connect};
use super::failure::{Failure, failure};
use super::settings::SqlSettings;
use crate::error::Error;
use crate::load::Load;

/// How a query sees rows that others change meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Isolation {
    /// Each query sees one moment by itself.
    Versions,
    /// It does in a snapshot transaction.
    Snapshot,
    /// It takes locks, row by row.
    Locks,
}

/// Rows between two looks at the bounds.
const COUNTED_AT_ONCE: usize = 256;

/// Takes the rows of a query.
pub(super) type OnRow<'a> = &'a mut (dyn FnMut(Row) + Send);

/// Connections that are open and not in use.
pub(super) struct Pool {
    settings: SqlSettings,
    idle: Mutex<Vec<Session>>,
    permits: Semaphore,
    load: Load,
    isolation: AtomicU8,
}

impl Pool {
    pub(super) fn new(settings: SqlSettings) -> Self {
        let permits = Semaphore::new(settings.connections.max(1));
        let isolation = AtomicU8::new(Isolation::Locks as u8);
        let load = Load::new(settings.limits);
        Self { settings, idle: Mutex::default(), permits, load, isolation }
    }

    pub(super) fn settings(&self) -> &SqlSettings {
        &self.settings
    }

    pub(super) fn set_isolation(&self, isolation: Isolation) {
        self.isolation.store(isolation as u8, Ordering::Relaxed);
    }

    pub(super) fn waited(&self) -> Duration {
        self.load.waited()
    }

    pub(super) fn error(&self, detail: String, is_transient: bool) -> Error {
        let SqlSettings { server, database, .. } = &self.settings;
        Error::Database { server: server.clone(), database: database.clone(), detail, is_transient }
    }

    /// Asks a query and gives each row as it comes. A connection that failed is not used again.
    pub(super) async fn each(
        &self,
        query: &str,
        parameters: &[&dyn ToSql],
        on_row: OnRow<'_>,
    ) -> Result<(), Error> {
        let told = |failure: Failure| self.error(failure.text, failure.is_transient);
        let _permit =
            self.permits.acquire().await.map_err(|_| self.error("stopped".into(), true))?;
        self.load.request().await;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let is_used = idle.is_some();
        let mut session = match idle {
            Some(session) => session,
            None => connect(&self.settings).await.map_err(told)?,
        };
        let mut rows = 0_u64;
        let mut counted = |row| {
            rows += 1;
            on_row(row);
        };
        let mut asked = self.ask(&mut session, query, parameters, &mut counted).await;
        if let Err(tiberius::error::Error::Io { .. }) = &asked
            && is_used
            && rows == 0
        {
            // It may have been closed while it waited to be used.
            session = connect(&self.settings).await.map_err(told)?;
            asked = self.ask(&mut session, query, parameters, on_row).await;
        }
        asked.map_err(|error| told(failure(&error)))?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
        Ok(())
    }

    async fn ask(
        &self,
        session: &mut Session,
        query: &str,
        parameters: &[&dyn ToSql],
        on_row: OnRow<'_>,
    ) -> tiberius::Result<()> {
        let is_snapshot = self.isolation.load(Ordering::Relaxed) == Isolation::Snapshot as u8;
        if is_snapshot {
            session.begin_transaction_with_isolation(IsolationLevel::Snapshot).await?;
        }
        let mut stream = session.query(query, parameters).await?;
        let mut uncounted = 0;
        while let Some(item) = stream.try_next().await? {
            if let QueryItem::Row(row) = item {
                on_row(row);
                uncounted += 1;
            }
            if uncounted == COUNTED_AT_ONCE {
                self.load.rows(std::mem::take(&mut uncounted)).await;
            }
        }
        drop(stream);
        self.load.rows(uncounted).await;
        if is_snapshot {
            session.commit_transaction().await?;
        }
        Ok(())
    }
}
