//! What SQL Server itself shows of the database: its columns, its settings, its replica.

use super::evaluate::Facts;
use super::schema::{self, View};
use super::value::Value;
use super::views::Row;
use crate::server::Lab;

/// Columns of what the account may read, as the information schema shows them.
pub(super) fn columns_of_views<'w>(lab: &Lab) -> impl Iterator<Item = Row<'w>> + Send + use<'w> {
    let (missing, denied) = {
        let faults = lab.faults();
        (faults.sql.missing.clone(), faults.sql.denied.clone())
    };
    let is_there = move |view: &&View| !missing.contains(view.name) && !denied.contains(view.name);
    schema::OWN.into_iter().filter(is_there).flat_map(|view| {
        view.columns.iter().map(move |(name, kind)| {
            Row::Cells(vec![
                Value::text(view.schema),
                Value::text(view.name),
                Value::text(*name),
                Value::text(kind.name()),
            ])
        })
    })
}

pub(super) fn own_database<'w>(lab: &Lab, facts: &Facts) -> Row<'w> {
    let faults = lab.faults();
    let sql = &faults.sql;
    Row::Cells(vec![
        Value::text(facts.database.clone()),
        Value::Number(5),
        Value::text("ONLINE"),
        Value::bit(sql.is_read_only),
        Value::Number(if sql.no_snapshots { 0 } else { 1 }),
        Value::bit(!sql.no_versions),
        Value::text("SQL_Latin1_General_CP1_CI_AS"),
        Value::Number(957),
    ])
}

/// A secondary replica's own row.
pub(super) fn own_replica<'w>(lab: &Lab, facts: &Facts) -> Row<'w> {
    let lag = lab.faults().sql.lag.unwrap_or(0);
    let at = Value::time(facts.now - lag, 0);
    Row::Cells(vec![Value::Number(5), Value::bit(true), at])
}
