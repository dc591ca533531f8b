//! The members of a group that differs, read by ranges within the limits of a query.

use std::collections::HashMap;

use cmsync_azure::QueryError;
use cmsync_schemas::questions;

use super::{Asks, Finding, Kind, Verifier};
use crate::question::Question;
use crate::views::{Answer, ExpectedGroup, ExpectedView, MemberView};

/// Members of one range: well below the 500,000 rows and 64 MB of an answer.
const RANGE: usize = 100_000;

type Names = (String, String);

impl Verifier {
    /// Reads the members and says how they differ.
    pub(super) async fn members(
        &self,
        asks: &dyn Asks,
        expected: &ExpectedView,
        group: &ExpectedGroup,
    ) -> Result<Finding, String> {
        let question = Question::Members {
            connection: expected.connection.clone(),
            collection: group.collection.clone(),
        };
        let Answer::Members(mut members) = asks.ask(question).await? else {
            return Ok(Finding::group(Kind::Members, group, "it is not kept any longer"));
        };
        members.sort_by_key(|m| m.resource_id);
        let mut chunks: Vec<&[MemberView]> = members.chunks(RANGE).collect();
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        let (mut counts, last, mut from) = ((0, 0, 0), chunks.len() - 1, 0);
        for (number, chunk) in chunks.into_iter().enumerate() {
            let end =
                chunk.last().filter(|_| number < last).map_or(u32::MAX.into(), |m| m.resource_id);
            let mut open = vec![(from, end)];
            while let Some((from, to)) = open.pop() {
                let text = questions::group_members(
                    &expected.site_code,
                    &group.collection,
                    self.days,
                    (from, to),
                );
                let rows = match self.query.rows(&self.workspace, &text).await {
                    Ok(rows) => rows,
                    Err(QueryError::TooLarge(_)) if from < to => {
                        let middle = from + (to - from) / 2;
                        open.extend([(middle + 1, to), (from, middle)]);
                        continue;
                    }
                    Err(error) => {
                        return Ok(Finding::group(Kind::Members, group, &error.to_string()));
                    }
                };
                let within = chunk.iter().filter(|m| (from..=to).contains(&m.resource_id));
                add(&mut counts, compare(&rows, within));
            }
            from = end + 1;
        }
        Ok(Self::differing(group, counts))
    }
}

fn add(sum: &mut (u64, u64, u64), more: (u64, u64, u64)) {
    *sum = (sum.0 + more.0, sum.1 + more.1, sum.2 + more.2);
}

/// Members that are missing, too many, and there with other names.
fn compare<'a>(
    rows: &[Vec<serde_json::Value>],
    members: impl Iterator<Item = &'a MemberView>,
) -> (u64, u64, u64) {
    let text = |row: &[serde_json::Value], at: usize| {
        row.get(at).and_then(|v| v.as_str()).unwrap_or_default().to_owned()
    };
    let mut seen: HashMap<i64, Names> = rows
        .iter()
        .filter_map(|row| Some((row.first()?.as_i64()?, (text(row, 1), text(row, 2)))))
        .collect();
    let (mut missing, mut wrong) = (0, 0);
    for member in members {
        match seen.remove(&member.resource_id) {
            None => missing += 1,
            Some((computer, netbios)) => {
                let is_same = computer == member.computer && netbios == member.netbios_name;
                wrong += u64::from(!is_same);
            }
        }
    }
    (missing, seen.len() as u64, wrong)
}
