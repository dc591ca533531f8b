//! Change tracking: a track that the database keeps for its replication, read where that is asked for.
//! It belongs to the site: nothing is switched on, and whatever it does not say is read in full.

use std::collections::HashMap;

use async_trait::async_trait;
use tiberius::ToSql;

use super::members::Buffer;
use super::{SqlSite, queries, rows};
use crate::error::Error;
use crate::site::CollectionsSink;
use crate::track::{Changed, Track, Tracked};

/// More changes than this are not listed: a full read costs the database no more.
const MOST_CHANGES: usize = 100_000;
/// Members that one query asks for.
const AT_ONCE: usize = 500;

#[async_trait]
impl Tracked for SqlSite {
    async fn track(&self, since: Option<i64>) -> Result<Track, Error> {
        let stands = self.all(queries::TRACK, &[], |row| {
            let mut cells = rows::Cells::of(row);
            Some((cells.number(), cells.number()))
        });
        let Some((Some(version), Some(oldest))) = stands.await?.pop() else {
            return Err(self.answer(
                "change tracking is not on for dbo.CollectionMembers, or may not be seen: GRANT VIEW \
                 CHANGE TRACKING ON dbo.CollectionMembers TO [the account], or set \
                 `change_tracking = false`",
            ));
        };
        // A version ahead of now is one of another past: the database was restored.
        let Some(since) = since.filter(|since| (oldest..=version).contains(since)) else {
            return Ok(Track { version, since: None });
        };
        let most = i64::try_from(MOST_CHANGES).unwrap_or(i64::MAX);
        let parameters: [&dyn ToSql; 2] = [&since, &most];
        let changes =
            self.all(queries::CHANGES, &parameters, |row| Some(rows::change(row))).await?;
        if changes.len() >= MOST_CHANGES {
            return Ok(Track { version, since: None });
        }
        let mut by_collection: HashMap<String, Vec<(i64, Changed)>> = HashMap::new();
        for change in changes {
            let (collection, id, changed) =
                change.ok_or_else(|| self.answer("a row of CHANGETABLE makes no sense"))?;
            by_collection.entry(collection).or_default().push((id, changed));
        }
        Ok(Track { version, since: Some(by_collection) })
    }

    async fn some_members(
        &self,
        collection: &str,
        ids: &[i64],
        sink: &mut dyn CollectionsSink,
    ) -> Result<(), Error> {
        sink.collection(collection);
        let mut buffer = Buffer::new(sink);
        for some in ids.chunks(AT_ONCE) {
            let before: [&dyn ToSql; 1] = [&collection];
            let (query, parameters) =
                queries::with_list_after(&before, queries::SOME_MEMBERS, some);
            let mut is_strange = false;
            let mut on_row = |row| match rows::Cells::of(row).member() {
                Some(member) => buffer.row(member),
                None => is_strange = true,
            };
            self.pool.each(&query, &parameters, &mut on_row).await?;
            if is_strange {
                return Err(self.strange_member());
            }
        }
        buffer.flush();
        self.check_replica()
    }
}
