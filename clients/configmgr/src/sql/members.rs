//! Members: a large collection for itself, piece by piece; small ones together.

use tiberius::ToSql;

use super::{SqlSite, TOGETHER, queries, rows};
use crate::error::Error;
use crate::site::{CollectionsSink, MemberRow};
use crate::together::FEW_MEMBERS;

/// Faults after which the read of one collection goes on where it stopped.
const MOST_FAULTS: u32 = 3;

/// Hands rows on, some at a time.
pub(super) struct Buffer<'a> {
    sink: &'a mut dyn CollectionsSink,
    rows: Vec<MemberRow<'static>>,
}

impl<'a> Buffer<'a> {
    const AT_ONCE: usize = 256;

    pub(super) fn new(sink: &'a mut dyn CollectionsSink) -> Self {
        Self { sink, rows: Vec::with_capacity(Self::AT_ONCE) }
    }

    pub(super) fn row(&mut self, row: MemberRow<'static>) {
        self.rows.push(row);
        if self.rows.len() == Self::AT_ONCE {
            self.flush();
        }
    }

    pub(super) fn flush(&mut self) {
        self.sink.rows(&self.rows);
        self.rows.clear();
    }

    fn collection(&mut self, id: &str) {
        self.flush();
        self.sink.collection(id);
    }
}

impl SqlSite {
    /// Members of these collections, each in order of the resource.
    pub(super) async fn read_members(
        &self,
        collections: &[String],
        sink: &mut dyn CollectionsSink,
    ) -> Result<(), Error> {
        let few = FEW_MEMBERS.min(self.pool.rows_at_once());
        for group in self.counts.groups(collections, TOGETHER, few) {
            match group {
                [one] => self.members_of_one(one, sink).await?,
                some => self.members_of_some(some, sink).await?,
            }
        }
        Ok(())
    }

    /// Members of one collection, in pieces that are not open for long; after a fault it goes on behind
    /// the last row that came.
    async fn members_of_one(
        &self,
        collection: &str,
        sink: &mut dyn CollectionsSink,
    ) -> Result<(), Error> {
        sink.collection(collection);
        let mut buffer = Buffer::new(sink);
        let most = self.pool.rows_at_once();
        let (top, mut last, mut faults) = (i64::try_from(most).unwrap_or(i64::MAX), -1, 0);
        loop {
            // An int as the column is, so that nothing is converted to compare them.
            let after = i32::try_from(last).unwrap_or(i32::MAX);
            let (mut count, mut is_strange) = (0, false);
            let mut on_row = |row| match rows::Cells::of(row).member() {
                Some(member) if member.resource_id > last && !is_strange => {
                    last = member.resource_id;
                    count += 1;
                    buffer.row(member);
                }
                _ => is_strange = true,
            };
            let parameters: [&dyn ToSql; 3] = [&collection, &after, &top];
            let read = self.pool.each(queries::MEMBERS_AFTER, &parameters, &mut on_row).await;
            buffer.flush();
            if is_strange {
                return Err(self.strange_member());
            }
            match read {
                Ok(()) if count < most => return Ok(()),
                Ok(()) => {}
                Err(error)
                    if error.is_transient() && last > i64::from(after) && faults < MOST_FAULTS =>
                {
                    self.check_replica()?;
                    faults += 1;
                    tracing::warn!(collection, %error, "going on where a read of members stopped");
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Members of some collections, one after the other.
    async fn members_of_some(
        &self,
        collections: &[String],
        sink: &mut dyn CollectionsSink,
    ) -> Result<(), Error> {
        let (query, parameters) = queries::with_list(queries::MEMBERS, collections);
        let mut buffer = Buffer::new(sink);
        let (mut current, mut is_strange) = (String::new(), false);
        let mut on_row = |row| {
            // After a row that makes no sense nothing is announced, so that nothing counts as complete.
            if is_strange {
                return;
            }
            let mut cells = rows::Cells::of(row);
            let of = cells.text().filter(|of| collections.iter().any(|id| id == of));
            match of.and_then(|of| Some((of, cells.member()?))) {
                Some((of, member)) => {
                    if of != current {
                        buffer.collection(&of);
                        current = of.into_owned();
                    }
                    buffer.row(member);
                }
                None => is_strange = true,
            }
        };
        let read = self.pool.each(&query, &parameters, &mut on_row).await;
        buffer.flush();
        read?;
        if is_strange { Err(self.strange_member()) } else { Ok(()) }
    }

    pub(super) fn strange_member(&self) -> Error {
        self.answer("a row of members makes no sense, or stands out of order")
    }
}
