//! What was: the snapshots and changes of a collection, or of a computer, as the workspace has them. cmsync
//! keeps no second copy of what Azure keeps for it.

use async_trait::async_trait;
use cmsync_azure::{Query, QueryError};
use cmsync_schemas::questions;
use serde::Serialize;
use serde_json::Value;

/// Rows of an answer; where there are as many, there may be older ones.
pub use cmsync_schemas::questions::MOST;

/// What the workspace has of a collection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CollectionHistory {
    /// How far back it was asked, in days.
    pub days: u32,
    /// Its markers, newest first.
    pub markers: Vec<MarkerView>,
    /// Members that came and went, newest first.
    pub changes: Vec<ChangeView>,
}

/// A snapshot that is whole, a new name, or the collection's removal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MarkerView {
    /// When the snapshot began; microseconds since 1970.
    pub started_at: i64,
    /// When it was said; that of the start for a snapshot, later for a new name of it and a removal.
    pub at: i64,
    /// Its members.
    pub members: i64,
    /// `Complete` or `Removed`.
    pub status: String,
    /// The collection's name.
    pub name: String,
    /// When the workspace showed it; microseconds since 1970.
    pub came_at: Option<i64>,
}

/// A member that came or went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangeView {
    /// Microseconds since 1970.
    pub at: i64,
    /// The collection; of one collection's history empty.
    pub collection: String,
    /// The collection's name, or the computer's.
    pub name: String,
    /// Whether it went.
    pub went: bool,
}

/// Whoever can ask the workspaces of the configuration.
#[async_trait]
pub trait History: Send + Sync {
    /// What the workspace has of a collection of a site.
    ///
    /// # Errors
    /// One sentence: why it cannot be asked.
    async fn of_collection(
        &self,
        connection: &str,
        site: &str,
        id: &str,
    ) -> Result<CollectionHistory, String>;

    /// Groups that a computer came to and went from, newest first, with how far back it was asked, in days.
    ///
    /// # Errors
    /// As there.
    async fn of_computer(
        &self,
        connection: &str,
        site: &str,
        computer: &str,
    ) -> Result<(u32, Vec<ChangeView>), String>;
}

/// Asks one workspace.
pub struct Reader {
    /// How.
    pub query: Query,
    /// The workspace's id for queries.
    pub workspace: String,
    /// How far back it looks, in days.
    pub days: u32,
}

fn text(row: &[Value], at: usize) -> String {
    row.get(at).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn number(row: &[Value], at: usize) -> i64 {
    row.get(at).and_then(Value::as_i64).unwrap_or(0)
}

fn time(row: &[Value], at: usize) -> Option<i64> {
    let time: jiff::Timestamp = row.get(at)?.as_str()?.parse().ok()?;
    Some(time.as_microsecond())
}

impl Reader {
    async fn rows(&self, text: &str) -> Result<Vec<Vec<Value>>, QueryError> {
        self.query.rows(&self.workspace, text).await
    }

    /// See [`History::of_collection`].
    ///
    /// # Errors
    /// As there.
    pub async fn collection(&self, site: &str, id: &str) -> Result<CollectionHistory, QueryError> {
        let markers = self.rows(&questions::group_snapshots(site, id, self.days)).await?;
        let changes = self.rows(&questions::group_changes(site, id, self.days)).await?;
        let marker = |row: &Vec<Value>| MarkerView {
            started_at: number(row, 0),
            at: number(row, 1),
            members: number(row, 2),
            status: text(row, 3),
            name: text(row, 4),
            came_at: time(row, 5),
        };
        let change = |row: &Vec<Value>| ChangeView {
            at: number(row, 0),
            collection: String::new(),
            name: text(row, 2),
            went: text(row, 3) == "Remove",
        };
        Ok(CollectionHistory {
            days: self.days,
            markers: markers.iter().map(marker).collect(),
            changes: changes.iter().map(change).collect(),
        })
    }

    /// See [`History::of_computer`].
    ///
    /// # Errors
    /// As there.
    pub async fn computer(&self, site: &str, name: &str) -> Result<Vec<ChangeView>, QueryError> {
        let rows = self.rows(&questions::computer_changes(site, name, self.days)).await?;
        let change = |row: &Vec<Value>| ChangeView {
            at: number(row, 0),
            collection: text(row, 1),
            name: text(row, 2),
            went: text(row, 3) == "Remove",
        };
        Ok(rows.iter().map(change).collect())
    }
}
