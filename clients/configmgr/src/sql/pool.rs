//! A few connections to the database, kept for the next query, and how queries see what changes.

use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tiberius::{IsolationLevel, QueryItem, Row, ToSql};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_stream::StreamExt as _;

use super::connect::{Place, Session, connect};
use super::failure::{Failure, SNAPSHOTS_ARE_OFF, failure};
use super::settings::SqlSettings;
use crate::error::{Error, Nature};
use crate::load::Load;
use crate::site::Site;

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

/// A connection that waited longer than this may have been closed by what lies in between, unseen.
const LONGEST_IDLE: Duration = Duration::from_secs(120);

/// Connections that are open and not in use, since when, and where they all lead.
#[derive(Default)]
struct Idle {
    /// All of them lead to `place`.
    sessions: Vec<(Session, Instant)>,
    /// Of several replicas all reads go to one: what two of them show may differ by their delays.
    place: Option<Place>,
    /// How often the place has changed.
    moves: u64,
}

/// The connections to one database.
pub(super) struct Pool {
    given: Arc<SqlSettings>,
    /// The site, where it is asked for its database.
    finder: Option<Arc<dyn Site>>,
    /// What is given, with what the site said.
    found: Mutex<Option<Arc<SqlSettings>>>,
    idle: Mutex<Idle>,
    permits: Semaphore,
    load: Load,
    isolation: AtomicU8,
    /// Held by whoever opens a connection, so that all of them agree where to.
    opening: tokio::sync::Mutex<()>,
}

impl Pool {
    pub(super) fn new(given: SqlSettings, finder: Option<Arc<dyn Site>>) -> Self {
        Self {
            finder,
            found: Mutex::default(),
            idle: Mutex::default(),
            permits: Semaphore::new(given.connections.max(1)),
            load: Load::new(given.limits),
            isolation: AtomicU8::new(Isolation::Locks as u8),
            opening: tokio::sync::Mutex::default(),
            given: Arc::new(given),
        }
    }

    fn found(&self) -> MutexGuard<'_, Option<Arc<SqlSettings>>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the database is, and how it is read.
    async fn locate(&self) -> Result<Arc<SqlSettings>, Error> {
        let known = self.found().clone();
        let (None, Some(finder)) = (&known, &self.finder) else {
            return Ok(known.unwrap_or_else(|| Arc::clone(&self.given)));
        };
        let database = finder.database().await?.ok_or_else(|| {
            let text = "the administration service does not say where it is: give `server` and \
                        `database`";
            self.error(text.into(), Nature::Lasting)
        })?;
        let settings = Arc::new(self.given.with(database));
        tracing::info!(server = settings.server, database = settings.database, "site database");
        *self.found() = Some(Arc::clone(&settings));
        Ok(settings)
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that waits to be used, if one does, and where it leads.
    fn take_idle(&self) -> Option<(Session, Place)> {
        let mut idle = self.idle();
        idle.sessions.retain(|(_, since)| since.elapsed() < LONGEST_IDLE);
        let place = idle.place.clone()?;
        idle.sessions.pop().map(|(session, _)| (session, place))
    }

    /// Keeps a connection for the next query, unless all others lead elsewhere by now.
    fn put_idle(&self, session: Session, place: &Place) {
        let mut idle = self.idle();
        if idle.place.as_ref() == Some(place) {
            idle.sessions.push((session, Instant::now()));
        }
    }

    /// How often another replica was gone to. What was read across such a move may be of two of them.
    pub(super) fn moves(&self) -> u64 {
        self.idle().moves
    }

    /// A new connection, to where the others are; where that place is gone, to another for all.
    async fn connect(&self) -> Result<(Session, Place), Error> {
        let _opening = self.opening.lock().await;
        let told = |failure: Failure| self.error(failure.text, failure.nature);
        let settings = self.locate().await?;
        let known = self.idle().place.clone();
        if known.is_some()
            && let Ok(again) = connect(&settings, known.clone()).await
        {
            return Ok(again);
        }
        let connected = connect(&settings, None).await.map_err(told);
        // It may have moved: the site is asked again.
        let (session, place) = connected.inspect_err(|_| *self.found() = None)?;
        if known.as_ref() != Some(&place) {
            let mut idle = self.idle();
            let moves = idle.moves + 1;
            *idle = Idle { sessions: Vec::new(), place: Some(place.clone()), moves };
        }
        Ok((session, place))
    }

    pub(super) fn settings(&self) -> Arc<SqlSettings> {
        self.found().clone().unwrap_or_else(|| Arc::clone(&self.given))
    }

    pub(super) fn set_isolation(&self, isolation: Isolation) {
        self.isolation.store(isolation as u8, Ordering::Relaxed);
    }

    pub(super) fn rows_at_once(&self) -> usize {
        self.load.rows_at_once()
    }

    pub(super) fn waited(&self) -> Duration {
        self.load.waited()
    }

    pub(super) fn error(&self, detail: String, nature: Nature) -> Error {
        let settings = self.settings();
        let SqlSettings { server, database, .. } = settings.as_ref();
        Error::Database { server: server.clone(), database: database.clone(), detail, nature }
    }

    /// Asks a query and gives each row as it comes. A connection that failed is not used again.
    pub(super) async fn each(
        &self,
        query: &str,
        parameters: &[&dyn ToSql],
        on_row: OnRow<'_>,
    ) -> Result<(), Error> {
        let _permit = self
            .permits
            .acquire()
            .await
            .map_err(|_| self.error("stopped".into(), Nature::Transient))?;
        self.load.request().await;
        let idle = self.take_idle();
        let is_used = idle.is_some();
        let (mut session, mut place) = match idle {
            Some(idle) => idle,
            None => self.connect().await?,
        };
        let mut rows = 0_u64;
        let mut counted = |row| {
            rows += 1;
            on_row(row);
        };
        let mut asked = self.ask(&mut session, query, parameters, &mut counted).await;
        if matches!(&asked, Err(tiberius::error::Error::Io { kind, .. }) if *kind != io::ErrorKind::TimedOut)
            && is_used
            && rows == 0
        {
            // It may have been closed while it waited to be used.
            (session, place) = self.connect().await?;
            asked = self.ask(&mut session, query, parameters, on_row).await;
        }
        if let Err(error) = asked {
            if error.code() == Some(SNAPSHOTS_ARE_OFF) {
                self.set_isolation(Isolation::Locks);
            }
            let Failure { text, nature } = failure(&error);
            return Err(self.error(text, nature));
        }
        self.put_idle(session, &place);
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
