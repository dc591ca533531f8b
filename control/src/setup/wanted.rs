//! What is to be there, from the contract of the tables.

use cmsync_azure::{Column, EndpointWanted, RuleWanted, Stream, Table, Tags};
use cmsync_schemas::tables::{
    COLLECTION_COLUMNS, COLLECTION_STREAM, MEMBER_COLUMNS, MEMBER_STREAM,
};

use super::{Ground, Setup, TAG};

/// What tables of cmsync say of themselves.
pub(super) const TABLE_MARK: &str = "Kept by cmsync";

/// Bytes of a member row as the service bills it: the columns as text, without their names.
///
/// Source: "Azure Monitor Logs cost calculations": the size of the columns' string form. Here 27 for
/// the time, 3 and 8 for site and group, 8 for the id, 24 and 12 for the names, 3 for the site, 7 for
/// the action, 16 for the seq, and about a quarter as overhead.
const BILLED_ROW: f64 = 135.0;
/// Hours of a month.
const MONTH: f64 = 730.0;

fn columns(of: &[(&str, &str)]) -> Vec<Column> {
    of.iter()
        .map(|(name, kind)| Column { name: (*name).to_owned(), kind: (*kind).to_owned() })
        .collect()
}

/// Names and types.
type Columns = &'static [(&'static str, &'static str)];

/// Name, columns and what it holds.
fn streams() -> [(&'static str, Columns, &'static str); 2] {
    [
        (MEMBER_STREAM, MEMBER_COLUMNS, "members of Configuration Manager collections"),
        (COLLECTION_STREAM, COLLECTION_COLUMNS, "Configuration Manager collections"),
    ]
}

/// The table that a stream fills.
fn table_of(stream: &str) -> String {
    format!("{}_CL", stream.trim_start_matches("Custom-"))
}

/// The tables.
pub(super) fn tables() -> Vec<Table> {
    let table = |(stream, of, what): (&str, &[(&str, &str)], &str)| Table {
        name: table_of(stream),
        description: format!("{TABLE_MARK}: {what}"),
        columns: columns(of),
        plan: "Analytics".into(),
        state: String::new(),
    };
    streams().into_iter().map(table).collect()
}

impl Setup {
    pub(super) fn tags(&self) -> Tags {
        Tags::from([(TAG.to_owned(), self.target.site_code.clone())])
    }

    pub(super) fn rule(&self, number: u32, ground: &Ground) -> RuleWanted {
        let streams = streams().map(|(name, of, _)| Stream {
            name: name.to_owned(),
            table: table_of(name),
            columns: columns(of),
        });
        let id = self.rule_id(number);
        RuleWanted {
            name: id.rsplit('/').next().unwrap_or_default().to_owned(),
            location: ground.location.clone(),
            workspace: self.target.workspace.clone(),
            endpoint: ground.is_private.then(|| self.endpoint_id()),
            streams: streams.into(),
            tags: self.tags(),
        }
    }

    pub(super) fn endpoint(&self, ground: &Ground) -> EndpointWanted {
        EndpointWanted {
            id: self.endpoint_id(),
            location: ground.location.clone(),
            tags: self.tags(),
        }
    }
}

/// Gigabytes a month of so many memberships, each sent whole at an interval: an estimate, changes
/// left out.
#[must_use]
pub fn monthly_gigabytes(memberships: u64, snapshot_hours: f64) -> f64 {
    memberships as f64 * BILLED_ROW * (MONTH / snapshot_hours.max(0.1)) / 1e9
}

/// What gigabytes cost a month, in US dollars: the list price of the Analytics plan in a common
/// region, after the 5 GB that are free. A contract's price differs.
#[must_use]
pub fn monthly_price(gigabytes: f64) -> f64 {
    (gigabytes - 5.0).max(0.0) * 2.3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_is_near_the_known_example() {
        // 20,000 devices in 20 collections each, sent whole twice a day.
        let gigabytes = monthly_gigabytes(400_000, 12.0);
        assert!((3.0..3.6).contains(&gigabytes), "{gigabytes}");
        assert!(monthly_price(gigabytes).abs() < f64::EPSILON);
        assert!((monthly_price(25.0) - 46.0).abs() < 0.001);
    }

    #[test]
    fn tables_have_names_that_the_service_takes_and_a_time() {
        for table in tables() {
            assert!(table.name.ends_with("_CL") && table.name.len() <= 45, "{}", table.name);
            assert!(
                table.columns.iter().any(|c| c.name == "TimeGenerated" && c.kind == "datetime")
            );
        }
    }
}
