//! One pass over the members of all collections, by ranges of the resource. Where most collections are
//! wanted and many are small, it costs a site less than reads of each.

use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use serde::de::Error as _;
use tokio::time::Instant;

use crate::admin_service::AdminService;
use crate::error::Error;
use crate::query::{Query, answer, host};
use crate::rows::Member;
use crate::site::{DeviceScope, MemberRow};

/// What a request costs besides its rows, in rows: an estimate, by which reads are weighed.
const REQUEST: usize = 500;

/// After a pass that failed none is tried for so long.
const REST: Duration = Duration::from_secs(3_600);
const STRANGE: &str =
    "rows of all members are not in order of the resource, or more than there should be";

/// Takes the rows of a pass.
pub trait PassSink: Send {
    /// A row of some collection, in any order.
    fn row(&mut self, collection: &str, row: &MemberRow<'_>);
}

/// A site that can be read in one pass.
#[async_trait]
pub trait Passes: Send + Sync {
    /// How many requests one pass takes, where it costs less than reads of these collections, by the
    /// counts of the last list.
    fn pays(&self, wanted: &[String]) -> Option<usize>;

    /// Members of all collections whose `ResourceID` is above the first and not above the second.
    ///
    /// # Errors
    /// When the rows did not come whole; what the sink holds is then worthless.
    async fn members_between(
        &self,
        range: (i64, i64),
        sink: &mut dyn PassSink,
    ) -> Result<(), Error>;
}

#[async_trait]
impl Passes for AdminService {
    fn pays(&self, wanted: &[String]) -> Option<usize> {
        let failed = *self.pass_failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.is_some_and(|at| at.elapsed() < REST) {
            return None;
        }
        let all = self.counts.total();
        let (requests, rows) = self.counts.cost(wanted, DeviceScope::MOST_IDS, self.page_size());
        let pass = all / self.page_size().max(1) + 1;
        let pays = pass * REQUEST + all < requests * REQUEST + rows;
        (pays && all <= self.load.rows_at_once()).then_some(pass)
    }

    /// Page by page, in order of the resource. The last resource of a full page may have more rows than
    /// the page shows: it is read again with the next. All of it at one provider: whoever is refused
    /// reads each collection instead.
    async fn members_between(
        &self,
        range: (i64, i64),
        sink: &mut dyn PassSink,
    ) -> Result<(), Error> {
        let read = self.pages_between(range, sink).await;
        if read.is_err() {
            *self.pass_failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        read
    }
}

impl AdminService {
    async fn pages_between(
        &self,
        (from, to): (i64, i64),
        sink: &mut dyn PassSink,
    ) -> Result<(), Error> {
        let (_, provider) = self.provider(0)?;
        // User collections have rows too, which no count that was listed tells.
        let most = 2 * self.counts.total() + self.page_size();
        let (mut after, mut taken) = (from, 0);
        loop {
            let filter = format!("ResourceID gt {after} and ResourceID le {to}");
            let query = Query {
                class: "SMS_FullCollectionMembership",
                options: vec![
                    ("$filter", filter),
                    ("$select", Member::SELECT.to_owned()),
                    ("$orderby", "ResourceID".to_owned()),
                    ("$top", self.page_size().to_string()),
                ],
            };
            let (mut page, mut last, mut in_order) = (Vec::new(), after, true);
            let count = self
                .rows(provider, &query, &mut |row| {
                    let row: Member<'_> = serde_json::from_slice(row)?;
                    let collection = row.collection.as_deref().map(ToOwned::to_owned);
                    let row = row.into_row().into_owned();
                    in_order &= row.resource_id >= last && row.resource_id > after;
                    last = row.resource_id;
                    taken += 1;
                    in_order &= page.len() < self.page_size() && taken <= most;
                    match collection.filter(|_| in_order) {
                        Some(collection) => page.push((collection, row)),
                        None => return Err(serde_json::Error::custom(STRANGE)),
                    }
                    Ok(())
                })
                .await?;
            let is_end = count < self.page_size();
            if last > to || (!is_end && last == after + 1) {
                return Err(answer(&host(provider), query.class, STRANGE));
            }
            for (collection, row) in &page {
                if is_end || row.resource_id < last {
                    sink.row(collection, row);
                }
            }
            if is_end {
                return Ok(());
            }
            after = last - 1;
        }
    }
}
