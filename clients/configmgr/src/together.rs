//! Small collections read together: one request for as many as one page holds, by the counts that the
//! site itself gave. A collection that fills a page is read for itself, page by page.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use url::Url;

use crate::admin_service::AdminService;
use crate::error::Error;
use crate::query::Query;
use crate::rows::Member;
use crate::site::{Collection, MemberRow};

/// Members that are few enough to be read together with those of other collections.
pub const FEW_MEMBERS: usize = 5_000;

/// Ids as the terms of a filter.
pub(crate) fn any_of(ids: &[String]) -> String {
    let terms: Vec<String> = ids.iter().map(|id| format!("CollectionID eq '{id}'")).collect();
    terms.join(" or ")
}

/// Members of collections, as the last list counted them.
#[derive(Default)]
pub(crate) struct Counts(Mutex<HashMap<String, i64>>);

impl Counts {
    /// Takes over what a list says.
    pub(crate) fn note(&self, listed: &[Collection]) {
        let counts = listed.iter().map(|c| (c.id.clone(), c.member_count)).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    /// Members of all collections together.
    pub(crate) fn total(&self) -> usize {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        usize::try_from(counts.values().sum::<i64>()).unwrap_or(usize::MAX)
    }

    /// How many requests, and how many rows, reads of these collections come to, so many at a time.
    pub(crate) fn cost(&self, ids: &[String], most: usize, page: usize) -> (usize, usize) {
        let groups = self.groups(ids, most, page);
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = |ids: &[String]| {
            let members = ids.iter().filter_map(|id| counts.get(id)).sum::<i64>();
            usize::try_from(members).unwrap_or(0)
        };
        let requests: usize = groups.iter().map(|ids| rows(ids) / page.max(1) + 1).sum();
        // Their counts are asked for again after it.
        (requests + ids.len().div_ceil(most.max(1)), rows(ids))
    }

    /// Ids in groups of at most `most`, whose members together are fewer than `rows`. What was never
    /// counted is alone.
    pub(crate) fn groups<'a>(
        &self,
        ids: &'a [String],
        most: usize,
        rows: usize,
    ) -> Vec<&'a [String]> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        let mut groups = Vec::new();
        let mut rest = ids;
        while !rest.is_empty() {
            let mut members = 0_i64;
            let fits = |id: &&String| {
                members = members.saturating_add(counts.get(*id).copied().unwrap_or(rows));
                members < rows
            };
            let together = rest.iter().take(most).take_while(fits).count().max(1);
            let (group, after) = rest.split_at(together.min(rest.len()));
            groups.push(group);
            rest = after;
        }
        groups
    }
}

impl AdminService {
    /// The rows of a group in one answer, each collection's for itself; `None` when they may not be all.
    /// They are held until the answer is whole: whoever takes them believes what it is given.
    pub(crate) async fn group(
        &self,
        provider: &Url,
        ids: &[String],
    ) -> Result<Option<Vec<Vec<MemberRow<'static>>>>, Error> {
        let query = Query {
            class: "SMS_FullCollectionMembership",
            options: vec![
                ("$filter", any_of(ids)),
                ("$select", Member::SELECT.to_owned()),
                ("$top", self.page_size().to_string()),
            ],
        };
        let mut found = vec![Vec::new(); ids.len()];
        let mut is_ours = true;
        let count = self
            .rows(provider, &query, &mut |row| {
                let row: Member<'_> = serde_json::from_slice(row)?;
                let of = ids.iter().position(|id| row.collection.as_deref() == Some(id));
                match of.and_then(|of| found.get_mut(of)) {
                    Some(rows) => rows.push(row.into_row().into_owned()),
                    None => is_ours = false,
                }
                Ok(())
            })
            .await?;
        Ok((is_ours && count < self.page_size()).then_some(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn groups_hold_every_collection_once_and_fit_into_a_page(
            counts in prop::collection::vec(prop::option::of(0_i64..60), 0..80),
            most in 1..20_usize,
        ) {
            let ids: Vec<String> = (0..counts.len()).map(|n| n.to_string()).collect();
            let count = |id: &str| counts[id.parse::<usize>().unwrap()];
            let known = Counts::default();
            known.0.lock().unwrap().extend(ids.iter().filter_map(|id| Some((id.clone(), count(id)?))));
            let groups = known.groups(&ids, most, 50);
            prop_assert_eq!(groups.concat(), ids.clone());
            for group in groups {
                let members: i64 = group.iter().map(|id| count(id).unwrap_or(50)).sum();
                prop_assert!(group.len() == 1 || members < 50);
                prop_assert!((1..=most).contains(&group.len()));
            }
        }
    }
}
