//! One query, answered row by row.

use std::io;
use std::sync::Arc;

use super::catalog;
use super::evaluate::{self, Facts, Scope, bounds, kind_of};
use super::packet::Answer;
use super::schema::{self, View};
use super::sql::{Select, Term};
use super::token::{self, Failure};
use super::trouble::{BREAK, Trouble, breaks, trouble};
use super::value::{Column, Kind, Value};
use super::views::{self, Row, Rows};
use crate::server::Lab;
use crate::world::World;

/// How a query's answer ended.
pub(super) enum Ended {
    /// With so many rows.
    Rows(u64),
    Failed(Failure),
    /// The connection breaks, as a fault asks.
    Cut,
    /// The client wants no more.
    Cancelled,
}

/// Where a query finds what it needs.
pub(super) struct Context<'a> {
    pub(super) lab: &'a Lab,
    pub(super) facts: &'a Facts,
    pub(super) world: Arc<World>,
    /// Whether the client wants no more.
    pub(super) is_cancelled: &'a mut (dyn FnMut() -> bool + Send + Sync),
}

/// Something that is written in each row.
enum Output<'t> {
    Cell(usize, Kind),
    Term(&'t Term, Kind),
}

/// A query that can be answered.
struct Plan<'t> {
    select: &'t Select,
    columns: Vec<Column>,
    outputs: Vec<Output<'t>>,
}

/// Answers a query; what it says stands in `answer`.
pub(super) async fn run(
    select: &Select,
    mut context: Context<'_>,
    answer: &mut Answer<'_>,
) -> io::Result<Ended> {
    let found = find(select, &context).and_then(|view| {
        let is_strict = context.lab.faults().sql.is_case_sensitive;
        match view.filter(|_| is_strict).and_then(|view| misspelled(select, view)) {
            Some(name) => Err(evaluate::unknown(&name)),
            None => Ok(view),
        }
    });
    let view = match found {
        Ok(view) => view,
        Err(failure) => return Ok(Ended::Failed(failure)),
    };
    let is_list = |view: &View| {
        view.class == "SMS_Collection" && bounds(select, view).0.collections.is_none()
    };
    context.lab.counts().lists += u64::from(view.is_some_and(is_list));
    let trouble = trouble(view, context.lab, context.facts).await;
    if let Some(failure) = trouble.failure.clone() {
        return Ok(Ended::Failed(failure));
    }
    let plan = match outputs(select, view, context.lab) {
        Ok((columns, outputs)) => Plan { select, columns, outputs },
        Err(failure) => return Ok(Ended::Failed(failure)),
    };
    token::columns(&plan.columns, &mut answer.payload);
    let Some(view) = view else {
        return Ok(match constant(&plan, &context, &mut answer.payload) {
            Ok(()) => Ended::Rows(1),
            Err(failure) => Ended::Failed(failure),
        });
    };
    let is_in_order = is_in_order(select, view);
    let rows = match plan.outputs.as_slice() {
        [Output::Term(term, _)] if is_aggregate(term) => {
            aggregated(&plan, term, view, &context).map(|value| vec![vec![value]])
        }
        _ if is_in_order && !select.is_distinct => {
            return stream(&plan, view, &mut context, trouble, answer).await;
        }
        _ => gathered(&plan, view, &context),
    };
    Ok(match rows {
        Ok(rows) => {
            for row in &rows {
                token::row(row, &plan.columns, &mut answer.payload);
            }
            Ended::Rows(rows.len() as u64)
        }
        Err(failure) => Ended::Failed(failure),
    })
}

/// The first column that is spelled in another way than the view has it.
fn misspelled(select: &Select, view: &View) -> Option<String> {
    let order = select.order.iter().map(|(name, _)| name.clone());
    let what = select.what.iter().flatten().filter_map(|(term, _)| match term {
        Term::Column(name) => Some(name.clone()),
        _ => None,
    });
    let is_other = |name: &String| view.columns.iter().all(|(own, _)| own != name);
    order.chain(what).find(is_other)
}

/// Whether rows come in the order that is asked for by themselves.
fn is_in_order(select: &Select, view: &View) -> bool {
    let (bounds, _) = bounds(select, view);
    // Of one collection alone, rows are in order of what follows it.
    let is_one = bounds.collections.is_some_and(|ids| ids.len() == 1) && view.order.len() > 1;
    let is = |order: &[&str]| {
        let mut pairs = select.order.iter().zip(order);
        select.order.len() <= order.len()
            && pairs
                .all(|((own, descends), natural)| own.eq_ignore_ascii_case(natural) && !descends)
    };
    is(view.order) || (is_one && is(&view.order[1..]))
}

fn find(select: &Select, context: &Context<'_>) -> Result<Option<&'static View>, Failure> {
    let Some((schema, name)) = &select.from else {
        return Ok(None);
    };
    let faults = context.lab.faults();
    let found = View::find(schema, name).filter(|view| {
        let is_own = schema::OWN.iter().any(|own| own.name == view.name);
        !faults.sql.missing.contains(view.name)
            && (!is_own || context.facts.database.starts_with("CM_"))
    });
    let is_spelled = |own: &&'static View| {
        !faults.sql.is_case_sensitive
            || (own.name == name.as_str() && own.schema == schema.as_str())
    };
    let view = found
        .filter(is_spelled)
        .ok_or_else(|| Failure::new(208, 16, format!("Invalid object name '{schema}.{name}'.")))?;
    if view.name == schema::CHANGES.name && faults.sql.tracks_from.is_none() {
        let text = "Change tracking is not enabled on table 'dbo.CollectionMembers'.";
        return Err(Failure::new(22_105, 16, text));
    }
    if view.name == schema::REPLICAS.name && faults.sql.lag.is_none() {
        let text = "VIEW SERVER STATE permission was denied on object 'server', database 'master'.";
        return Err(Failure::new(300, 14, text));
    }
    if faults.sql.denied.contains(view.name) {
        let text = format!(
            "The SELECT permission was denied on the object '{name}', database '{}', schema '{schema}'.",
            context.facts.database
        );
        return Err(Failure::new(229, 14, text));
    }
    Ok(Some(view))
}

type Outputs<'t> = (Vec<Column>, Vec<Output<'t>>);

fn outputs<'t>(select: &'t Select, view: Option<&View>, lab: &Lab) -> Result<Outputs<'t>, Failure> {
    let is_numeric = lab.faults().sql.has_numeric_ids;
    let Some(what) = &select.what else {
        let view =
            view.ok_or_else(|| Failure::new(263, 16, "Must specify table to select from."))?;
        let all = view.columns.iter().enumerate();
        return Ok(all
            .map(|(index, (name, kind))| {
                (Column { name: (*name).to_owned(), kind: *kind }, Output::Cell(index, *kind))
            })
            .unzip());
    };
    let mut found = (Vec::new(), Vec::new());
    for (term, name) in what {
        let is_id =
            name == "CollectionID" && view.is_some_and(|v| v.name == schema::COLLECTION.name);
        let term =
            if is_numeric && is_id { &Term::Literal(Value::Number(16_777_217)) } else { term };
        let kind = kind_of(term, view)?;
        found.0.push(Column { name: name.clone(), kind });
        found.1.push(match (term, view) {
            (Term::Column(name), Some(view)) => {
                Output::Cell(view.column(name).unwrap_or_default(), kind)
            }
            _ => Output::Term(term, kind),
        });
    }
    Ok(found)
}

fn constant(plan: &Plan<'_>, context: &Context<'_>, out: &mut Vec<u8>) -> Result<(), Failure> {
    let scope = Scope { facts: context.facts, row: None };
    let mut values = Vec::new();
    for output in &plan.outputs {
        if let Output::Term(term, _) = output {
            values.push(scope.value(term)?);
        }
    }
    token::row(&values, &plan.columns, out);
    Ok(())
}

fn is_aggregate(term: &Term) -> bool {
    match term {
        Term::CountAll => true,
        Term::Call(name, _) => matches!(name.as_str(), "count" | "min" | "max"),
        _ => false,
    }
}

/// The rows of a view that a query is about, before its condition's rest.
fn rows<'w>(
    view: &'static View,
    bounds: views::Bounds,
    (lab, world): (&'w Lab, &'w World),
    facts: &Facts,
) -> Rows<'w> {
    match view.name {
        "COLUMNS" => Box::new(catalog::columns_of_views(lab)),
        "databases" => Box::new(std::iter::once(catalog::own_database(lab, facts))),
        "dm_hadr_database_replica_states" => {
            Box::new(std::iter::once(catalog::own_replica(lab, facts)))
        }
        _ => {
            let shown = Box::new(|id: &str, rows: u64| lab.faults().shown(id, rows));
            let count = Box::new(|id: &str, rows: u64| lab.faults().counted(id, rows));
            views::rows(view, world, bounds, (shown, count))
        }
    }
}

fn passes(rest: &[&Term], scope: &Scope<'_>) -> Result<bool, Failure> {
    for term in rest {
        if scope.is_true(term)? != Some(true) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `COUNT`, `MIN` or `MAX` over all rows.
fn aggregated(
    plan: &Plan<'_>,
    term: &Term,
    view: &'static View,
    context: &Context<'_>,
) -> Result<Value<'static>, Failure> {
    let (bounds, rest) = bounds(plan.select, view);
    let (name, argument) = match term {
        Term::Call(name, arguments) => (name.as_str(), arguments.first()),
        _ => ("count", None),
    };
    let (mut count, mut best) = (0_i64, Value::Null);
    for row in rows(view, bounds, (context.lab, &context.world), context.facts) {
        let scope = Scope { facts: context.facts, row: Some((&row, view)) };
        if !passes(&rest, &scope)? {
            continue;
        }
        let Some(argument) = argument else {
            count += 1;
            continue;
        };
        let value = scope.value(argument)?;
        if value == Value::Null {
            continue;
        }
        count += 1;
        let beats = match value.compare(&best) {
            None => true,
            Some(ordering) if name == "min" => ordering.is_lt(),
            Some(ordering) => ordering.is_gt(),
        };
        if beats {
            best = value.into_owned();
        }
    }
    Ok(if name == "count" { Value::Number(count) } else { best })
}

/// Rows that must be seen all before the first can be given.
fn gathered(
    plan: &Plan<'_>,
    view: &'static View,
    context: &Context<'_>,
) -> Result<Vec<Vec<Value<'static>>>, Failure> {
    let select = plan.select;
    let (bounds, rest) = bounds(select, view);
    let mut found: Vec<(Vec<Value<'static>>, Vec<Value<'static>>)> = Vec::new();
    for row in rows(view, bounds, (context.lab, &context.world), context.facts) {
        let scope = Scope { facts: context.facts, row: Some((&row, view)) };
        if !passes(&rest, &scope)? {
            continue;
        }
        let key = |(name, _): &(String, bool)| {
            let index = view.column(name);
            let unknown = || Failure::new(207, 16, format!("Invalid column name '{name}'."));
            index.map(|index| row.cell(view, index).into_owned()).ok_or_else(unknown)
        };
        let keys = select.order.iter().map(key).collect::<Result<_, _>>()?;
        let values = plan.outputs.iter().map(|output| match output {
            Output::Cell(index, _) => Ok(row.cell(view, *index).into_owned()),
            Output::Term(term, _) => scope.value(term).map(Value::into_owned),
        });
        let values: Vec<_> = values.collect::<Result<_, _>>()?;
        if !(select.is_distinct && found.iter().any(|(_, known)| *known == values)) {
            found.push((keys, values));
        }
    }
    found.sort_by(|(a, _), (b, _)| {
        let each = a.iter().zip(b).zip(&select.order).map(|((a, b), (_, descends))| {
            let ordering = a.compare(b).unwrap_or(std::cmp::Ordering::Equal);
            if *descends { ordering.reverse() } else { ordering }
        });
        each.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
    });
    let most = select.top.map_or(usize::MAX, |top| usize::try_from(top).unwrap_or(usize::MAX));
    Ok(found.into_iter().take(most).map(|(_, values)| values).collect())
}

/// Rows as they come.
async fn stream(
    plan: &Plan<'_>,
    view: &'static View,
    context: &mut Context<'_>,
    trouble: Trouble,
    answer: &mut Answer<'_>,
) -> io::Result<Ended> {
    let (bounds, rest) = bounds(plan.select, view);
    let most = plan.select.top.unwrap_or(u64::MAX);
    let mut sent = 0;
    let world = Arc::clone(&context.world);
    for row in rows(view, bounds, (context.lab, &world), context.facts) {
        if sent == most {
            break;
        }
        if let Row::Member { collection, .. } = &row
            && trouble.unreadable.contains(*collection)
        {
            let text =
                "SQL Server detected a logical consistency-based I/O error: incorrect checksum.";
            return Ok(Ended::Failed(Failure::new(824, 24, text)));
        }
        {
            let scope = Scope { facts: context.facts, row: Some((&row, view)) };
            match passes(&rest, &scope) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(failure) => return Ok(Ended::Failed(failure)),
            }
            answer.payload.push(0xD1);
            for output in &plan.outputs {
                match output {
                    Output::Cell(index, kind) => {
                        row.cell(view, *index).write(*kind, &mut answer.payload);
                    }
                    Output::Term(term, kind) => match scope.value(term) {
                        Ok(value) => value.write(*kind, &mut answer.payload),
                        Err(failure) => return Ok(Ended::Failed(failure)),
                    },
                }
            }
        }
        drop(row);
        sent += 1;
        if trouble.is_cut && sent == 3 {
            break;
        }
        if sent == BREAK && breaks(view, context.lab, answer).await? {
            return Ok(Ended::Cut);
        }
        if answer.is_full() {
            answer.flush().await?;
            if (context.is_cancelled)() {
                return Ok(Ended::Cancelled);
            }
        }
    }
    Ok(if trouble.is_cut { Ended::Cut } else { Ended::Rows(sent) })
}
