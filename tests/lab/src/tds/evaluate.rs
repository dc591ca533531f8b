//! What a query's terms come to, over a row or without one.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::schema::View;
use super::sql::{Comparison, Select, Term};
use super::token::Failure;
use super::value::{Kind, Value};
use super::views::{Bounds, Row};
use crate::server::Lab;

/// What a session is, as its functions tell.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) database: String,
    pub(super) login: String,
    /// Seconds since 1970, by the server's clock.
    pub(super) now: i64,
    pub(super) transactions: i64,
    /// Views that the account may not read.
    pub(super) denied: BTreeSet<String>,
    /// The account's role, where a fault gives it another.
    pub(super) role: String,
    pub(super) hides_account: bool,
    /// The version of change tracking, where it is on, and the oldest that is kept.
    pub(super) track: Option<(i64, i64)>,
}

impl Facts {
    pub(super) fn new(lab: &Lab, login: String, database: String) -> Self {
        let (denied, role) = (BTreeSet::new(), String::new());
        let (now, transactions, hides_account, track) = (0, 0, false, None);
        let facts = Self { database, login, now, transactions, denied, role, hides_account, track };
        facts.now(lab)
    }

    /// The same at this moment.
    pub(super) fn now(&self, lab: &Lab) -> Self {
        let version = i64::try_from(lab.world().changes.len()).unwrap_or(i64::MAX);
        let faults = lab.faults();
        Self {
            track: faults.sql.tracks_from.map(|oldest| (version, oldest)),
            now: jiff::Timestamp::now().as_second() - faults.behind,
            denied: faults.sql.denied.iter().cloned().collect(),
            role: faults.role.clone(),
            hides_account: faults.hides_account,
            ..self.clone()
        }
    }
}

/// Where terms find their values.
pub(super) struct Scope<'a> {
    pub(super) facts: &'a Facts,
    pub(super) row: Option<(&'a Row<'a>, &'a View)>,
}

pub(super) fn unknown(name: &str) -> Failure {
    Failure::new(207, 16, format!("Invalid column name '{name}'."))
}

impl<'a> Scope<'a> {
    /// The value of a term.
    pub(super) fn value(&self, term: &'a Term) -> Result<Value<'a>, Failure> {
        match term {
            Term::Literal(value) => Ok(value.clone()),
            Term::Column(name) => {
                let (row, view) = self.row.ok_or_else(|| unknown(name))?;
                let index = view.column(name).ok_or_else(|| unknown(name))?;
                Ok(row.cell(view, index))
            }
            Term::Call(name, arguments) => self.call(name, arguments),
            other => Ok(match self.is_true(other)? {
                Some(truth) => Value::bit(truth),
                None => Value::Null,
            }),
        }
    }

    /// Whether a condition holds; `None` where that is not known, as it is with null.
    pub(super) fn is_true(&self, term: &'a Term) -> Result<Option<bool>, Failure> {
        Ok(match term {
            Term::And(a, b) => match (self.is_true(a)?, self.is_true(b)?) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Term::Or(a, b) => match (self.is_true(a)?, self.is_true(b)?) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Term::Not(inner) => self.is_true(inner)?.map(|truth| !truth),
            Term::IsNull(inner) => Some(self.value(inner)? == Value::Null),
            Term::Compare(left, comparison, right) => {
                let ordering = self.value(left)?.compare(&self.value(right)?);
                ordering.map(|ordering| holds(*comparison, ordering))
            }
            Term::In(left, list) => {
                let left = self.value(left)?;
                let mut found = Some(false);
                for one in list {
                    match left.compare(&self.value(one)?) {
                        Some(Ordering::Equal) => return Ok(Some(true)),
                        Some(_) => {}
                        None => found = None,
                    }
                }
                found
            }
            Term::Like(left, pattern) => match (self.value(left)?, self.value(pattern)?) {
                (Value::Text(text), Value::Text(pattern)) => {
                    let (text, pattern) = (text.to_lowercase(), pattern.to_lowercase());
                    Some(is_like(text.as_bytes(), pattern.as_bytes()))
                }
                _ => None,
            },
            other => match self.value(other)? {
                Value::Number(n) => Some(n != 0),
                _ => None,
            },
        })
    }

    fn call(&self, name: &str, arguments: &'a [Term]) -> Result<Value<'a>, Failure> {
        let facts = self.facts;
        let text = |index: usize| match arguments.get(index) {
            Some(Term::Literal(Value::Text(text))) => text.as_ref(),
            _ => "",
        };
        Ok(match name {
            "db_name" => Value::text(facts.database.as_str()),
            "db_id" => Value::Number(5),
            "suser_sname" | "original_login" if facts.hides_account => Value::Null,
            "suser_sname" | "original_login" => Value::text(facts.login.as_str()),
            "is_rolemember" => Value::bit(facts.role.is_empty() && text(0) == "db_datareader"),
            "has_perms_by_name" => {
                let view = text(0).rsplit('.').next().unwrap_or_default().trim_matches(['[', ']']);
                Value::bit(!facts.denied.contains(view))
            }
            // In seconds, from 1970 or from a column to now.
            "datediff" => match arguments.get(1).map(|from| self.value(from)).transpose()? {
                Some(from @ Value::Time(..)) => Value::Number(facts.now - from.seconds()),
                _ => Value::Number(facts.now),
            },
            // Of the one table that may be tracked.
            "object_id" => Value::Number(1),
            "change_tracking_current_version" => {
                facts.track.map_or(Value::Null, |(version, _)| Value::Number(version))
            }
            "change_tracking_min_valid_version" => {
                facts.track.map_or(Value::Null, |(_, oldest)| Value::Number(oldest))
            }
            "@@spid" => Value::Number(51),
            "@@trancount" => Value::Number(facts.transactions),
            "@@version" => Value::text("Microsoft SQL Server 2022 (a pretend one)"),
            "isnull" => match arguments {
                [first, second] => match self.value(first)? {
                    Value::Null => self.value(second)?,
                    value => value,
                },
                _ => Value::Null,
            },
            _ => {
                let text = format!("'{name}' is not a recognized built-in function name.");
                return Err(Failure::new(195, 15, text));
            }
        })
    }
}

fn holds(comparison: Comparison, ordering: Ordering) -> bool {
    match comparison {
        Comparison::Equal => ordering.is_eq(),
        Comparison::Less => ordering.is_lt(),
        Comparison::LessOrEqual => ordering.is_le(),
        Comparison::Greater => ordering.is_gt(),
        Comparison::GreaterOrEqual => ordering.is_ge(),
    }
}

/// `LIKE` with `%` and `_`.
fn is_like(text: &[u8], pattern: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'%', rest)) => (0..=text.len()).any(|from| is_like(&text[from..], rest)),
        Some((b'_', rest)) => text.split_first().is_some_and(|(_, text)| is_like(text, rest)),
        Some((c, rest)) => {
            text.split_first().is_some_and(|(own, text)| own == c && is_like(text, rest))
        }
    }
}

/// The type of a term's column.
pub(super) fn kind_of(term: &Term, view: Option<&View>) -> Result<Kind, Failure> {
    Ok(match term {
        Term::Column(name) => {
            let index = view.and_then(|view| view.column(name)).ok_or_else(|| unknown(name))?;
            view.map_or(Kind::Int, |view| view.columns[index].1)
        }
        Term::Literal(Value::Text(text)) => {
            Kind::NVarChar(u16::try_from(text.chars().count().clamp(1, 4_000)).unwrap_or(4_000))
        }
        Term::Call(name, arguments) => match name.as_str() {
            "db_name" | "suser_sname" | "original_login" => Kind::NVarChar(128),
            "@@version" => Kind::NVarChar(300),
            "isnull" | "min" | "max" => match arguments.first() {
                Some(first) => kind_of(first, view)?,
                None => Kind::Int,
            },
            name if name.starts_with("change_tracking") => Kind::BigInt,
            _ => Kind::Int,
        },
        _ => Kind::Int,
    })
}

/// What a condition says of collections and resources, and what is left to look at row by row.
pub(super) fn bounds<'t>(select: &'t Select, view: &View) -> (Bounds, Vec<&'t Term>) {
    let (mut bounds, mut rest) = (Bounds { since: select.since, ..Bounds::default() }, Vec::new());
    let mut terms: Vec<&Term> = select.condition.iter().collect();
    let collection = if view.name == "v_Collections" { "SiteID" } else { "CollectionID" };
    while let Some(term) = terms.pop() {
        match term {
            Term::And(a, b) => terms.extend([a.as_ref(), b.as_ref()]),
            Term::Compare(left, Comparison::Equal, right) if is_column(left, collection) => {
                match right.as_ref() {
                    Term::Literal(Value::Text(id)) => narrow(&mut bounds, [id.to_uppercase()]),
                    _ => rest.push(term),
                }
            }
            Term::In(left, list) if is_column(left, collection) => {
                let text = |term: &Term| match term {
                    Term::Literal(Value::Text(id)) => Some(id.to_uppercase()),
                    _ => None,
                };
                match list.iter().map(text).collect::<Option<BTreeSet<_>>>() {
                    Some(ids) => narrow(&mut bounds, ids),
                    None => rest.push(term),
                }
            }
            Term::Compare(left, comparison, right) if is_column(left, "ResourceID") => {
                let Term::Literal(Value::Number(n)) = right.as_ref() else {
                    rest.push(term);
                    continue;
                };
                let (from, to) = bounds.resources.unwrap_or((i64::MIN, i64::MAX));
                bounds.resources = Some(match comparison {
                    Comparison::Equal => (from.max(*n), to.min(*n)),
                    Comparison::Less => (from, to.min(n - 1)),
                    Comparison::LessOrEqual => (from, to.min(*n)),
                    Comparison::Greater => (from.max(n + 1), to),
                    Comparison::GreaterOrEqual => (from.max(*n), to),
                });
            }
            other => {
                if let Term::In(left, list) = other
                    && is_column(left, "ResourceID")
                {
                    let number = |term: &Term| match term {
                        Term::Literal(Value::Number(n)) => *n,
                        _ => i64::MIN,
                    };
                    let (from, to) = bounds.resources.unwrap_or((i64::MIN, i64::MAX));
                    let least = list.iter().map(number).min().unwrap_or(i64::MIN);
                    let most = list.iter().map(number).max().unwrap_or(i64::MAX);
                    bounds.resources = Some((from.max(least), to.min(most)));
                }
                rest.push(other);
            }
        }
    }
    (bounds, rest)
}

fn is_column(term: &Term, name: &str) -> bool {
    matches!(term, Term::Column(own) if own.eq_ignore_ascii_case(name))
}

fn narrow(bounds: &mut Bounds, ids: impl IntoIterator<Item = String>) {
    let ids: BTreeSet<String> = ids.into_iter().collect();
    bounds.collections = Some(match bounds.collections.take() {
        None => ids,
        Some(before) => &before & &ids,
    });
}
