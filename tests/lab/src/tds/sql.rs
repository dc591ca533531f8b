//! The T-SQL that the lab understands: `SELECT` from one view with conditions, an order and `TOP`, and
//! what clients say of their session. It is parsed as T-SQL, so that a query with a mistake fails here.

use sqlparser::ast::{self, BinaryOperator, Expr, SelectItem, SetExpr, TableFactor, UnaryOperator};
use sqlparser::dialect::MsSqlDialect;
use sqlparser::parser::Parser;

use super::request::Parameters;
use super::token::Failure;
use super::value::Value;

/// One statement of a batch.
#[derive(Debug)]
pub(super) enum Statement {
    Select(Box<Select>),
    /// `SET TRANSACTION ISOLATION LEVEL SNAPSHOT`, or another level.
    Isolation {
        is_snapshot: bool,
    },
    Use(String),
    Begin,
    Commit,
    Rollback,
    /// What changes nothing here: `SET ARITHABORT ON`, …
    Nothing,
}

/// A query.
#[derive(Debug, Default)]
pub(super) struct Select {
    /// Schema and name of the view, if there is one.
    pub(super) from: Option<(String, String)>,
    /// What is selected, each with its name; `None` is `*`.
    pub(super) what: Option<Vec<(Term, String)>>,
    pub(super) condition: Option<Term>,
    /// Columns, each with whether it descends.
    pub(super) order: Vec<(String, bool)>,
    pub(super) top: Option<u64>,
    pub(super) is_distinct: bool,
    /// The version after which changes are asked for.
    pub(super) since: i64,
}

/// An expression.
#[derive(Debug, Clone)]
pub(super) enum Term {
    Column(String),
    Literal(Value<'static>),
    Call(String, Vec<Term>),
    /// `COUNT(*)`
    CountAll,
    Compare(Box<Term>, Comparison, Box<Term>),
    In(Box<Term>, Vec<Term>),
    Like(Box<Term>, Box<Term>),
    IsNull(Box<Term>),
    Not(Box<Term>),
    And(Box<Term>, Box<Term>),
    Or(Box<Term>, Box<Term>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

fn syntax(text: impl std::fmt::Display) -> Failure {
    Failure::new(102, 15, format!("Incorrect syntax: {text}"))
}

fn unsupported(what: impl std::fmt::Display) -> Failure {
    Failure::new(40_515, 16, format!("The lab does not understand: {what}"))
}

/// The statements of a batch.
pub(super) fn parse(text: &str, parameters: &Parameters) -> Result<Vec<Statement>, Failure> {
    pieces(text).into_iter().map(|piece| statement(piece, parameters)).collect()
}

/// A batch cut at its semicolons, outside of texts and brackets.
fn pieces(text: &str) -> Vec<&str> {
    let mut quote = None;
    let is_end = |c: char| {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (None, '[') => quote = Some(']'),
            (Some(open), c) if open == c => quote = None,
            (None, ';') => return true,
            _ => {}
        }
        false
    };
    text.split(is_end).map(str::trim).filter(|piece| !piece.is_empty()).collect()
}

fn statement(text: &str, parameters: &Parameters) -> Result<Statement, Failure> {
    let lower = text.to_ascii_lowercase();
    let words: Vec<&str> = lower.split_whitespace().collect();
    Ok(match words.as_slice() {
        ["if", "@@trancount", ">", "0", rest @ ..] => statement(&rest.join(" "), parameters)?,
        ["set", "transaction", "isolation", "level", level @ ..] => {
            Statement::Isolation { is_snapshot: level == ["snapshot"] }
        }
        ["set", ..] => Statement::Nothing,
        ["use", ..] => {
            let name = text.get(3..).unwrap_or_default().trim();
            Statement::Use(name.trim_matches(['[', ']']).to_owned())
        }
        ["begin", "tran" | "transaction", ..] => Statement::Begin,
        ["commit", ..] => Statement::Commit,
        ["rollback", ..] => Statement::Rollback,
        ["select", ..] => Statement::Select(Box::new(select(text, parameters)?)),
        _ => return Err(unsupported(text)),
    })
}

/// `CHANGETABLE(CHANGES …, version)`, which the parser does not know, as the name of a view; and the
/// version.
fn without_changes(text: &str, parameters: &Parameters) -> Result<(String, i64), Failure> {
    const START: &str = "changetable(changes ";
    let Some(from) = text.to_ascii_lowercase().find(START) else {
        return Ok((text.to_owned(), 0));
    };
    let (before, rest) = text.split_at(from);
    let (inner, after) = rest
        .get(START.len()..)
        .unwrap_or_default()
        .split_once(')')
        .ok_or_else(|| syntax("CHANGETABLE"))?;
    let (table, version) = inner.split_once(',').ok_or_else(|| syntax("CHANGETABLE"))?;
    if table.trim() != "dbo.CollectionMembers" {
        let text = format!("Change tracking is not enabled on table '{}'.", table.trim());
        return Err(Failure::new(22_105, 16, text));
    }
    let version = version.trim();
    let version = match parameters.get(&version.to_lowercase()) {
        Some(Value::Number(version)) => *version,
        _ => version.parse().map_err(|_| syntax("CHANGETABLE"))?,
    };
    Ok((format!("{before}dbo.CHANGETABLE{after}"), version))
}

fn select(text: &str, parameters: &Parameters) -> Result<Select, Failure> {
    let (text, since) = without_changes(text, parameters)?;
    let parsed = Parser::parse_sql(&MsSqlDialect {}, &text).map_err(syntax)?;
    let [ast::Statement::Query(query)] = parsed.as_slice() else {
        return Err(unsupported(text));
    };
    let SetExpr::Select(select) = query.body.as_ref() else {
        return Err(unsupported(text));
    };
    let term = |expr: &Expr| term(expr, parameters);
    let mut result = Select { is_distinct: select.distinct.is_some(), since, ..Select::default() };
    match select.from.as_slice() {
        [] => {}
        [from] if from.joins.is_empty() => result.from = Some(view(&from.relation)?),
        _ => return Err(unsupported("joins")),
    }
    if !matches!(&select.group_by, ast::GroupByExpr::Expressions(by, _) if by.is_empty())
        || select.having.is_some()
        || query.with.is_some()
    {
        return Err(unsupported("groups and common table expressions"));
    }
    result.what = items(&select.projection, &term)?;
    result.condition = select.selection.as_ref().map(term).transpose()?;
    result.top = match select.top.as_ref().and_then(|top| top.quantity.as_ref()) {
        None => None,
        Some(ast::TopQuantity::Constant(n)) => Some(*n),
        Some(ast::TopQuantity::Expr(expr)) => match term(expr)? {
            Term::Literal(Value::Number(n)) => u64::try_from(n).ok(),
            _ => return Err(unsupported("TOP of an expression")),
        },
    };
    if let Some(order) = &query.order_by {
        let ast::OrderByKind::Expressions(by) = &order.kind else {
            return Err(unsupported("ORDER BY ALL"));
        };
        for one in by {
            let Term::Column(name) = term(&one.expr)? else {
                return Err(unsupported("ORDER BY an expression"));
            };
            let descends = matches!(one.options.sort, Some(ast::OrderBySort::Desc));
            result.order.push((name, descends));
        }
    }
    Ok(result)
}

type Named = Vec<(Term, String)>;

fn items(
    projection: &[SelectItem],
    term: &dyn Fn(&Expr) -> Result<Term, Failure>,
) -> Result<Option<Named>, Failure> {
    let mut named = Vec::new();
    for item in projection {
        match item {
            SelectItem::Wildcard(_) if projection.len() == 1 => return Ok(None),
            SelectItem::UnnamedExpr(expr) => {
                let term = term(expr)?;
                let name = match &term {
                    Term::Column(name) => name.clone(),
                    _ => String::new(),
                };
                named.push((term, name));
            }
            SelectItem::ExprWithAlias { expr, alias } => {
                named.push((term(expr)?, alias.value.clone()));
            }
            other => return Err(unsupported(other)),
        }
    }
    Ok(Some(named))
}

/// Schema and name; what stands before them is a database's name.
fn view(relation: &TableFactor) -> Result<(String, String), Failure> {
    let TableFactor::Table { name, args: None, .. } = relation else {
        return Err(unsupported(relation));
    };
    let parts: Vec<&str> =
        name.0.iter().filter_map(|p| p.as_ident()).map(|i| i.value.as_str()).collect();
    match parts.as_slice() {
        [name] => Ok(("dbo".into(), (*name).to_owned())),
        [.., "", name] => Ok(("dbo".into(), (*name).to_owned())),
        [.., schema, name] => Ok(((*schema).to_owned(), (*name).to_owned())),
        [] => Err(unsupported(relation)),
    }
}

fn term(expr: &Expr, parameters: &Parameters) -> Result<Term, Failure> {
    let part = |expr: &Expr| term(expr, parameters);
    let boxed = |expr: &Expr| part(expr).map(Box::new);
    Ok(match expr {
        Expr::Nested(inner) => part(inner)?,
        Expr::Identifier(ident) if ident.value.starts_with("@@") => {
            Term::Call(ident.value.to_ascii_lowercase(), Vec::new())
        }
        Expr::Identifier(ident) if ident.value.starts_with('@') => {
            let value = parameters.get(&ident.value.to_lowercase());
            let declared = value.ok_or_else(|| {
                Failure::new(
                    137,
                    15,
                    format!("Must declare the scalar variable \"{}\".", ident.value),
                )
            });
            Term::Literal(declared?.clone())
        }
        Expr::Identifier(ident) => Term::Column(ident.value.clone()),
        Expr::CompoundIdentifier(parts) => {
            Term::Column(parts.last().map(|p| p.value.clone()).unwrap_or_default())
        }
        Expr::Value(value) => Term::Literal(literal(&value.value)?),
        Expr::Cast { expr, .. } | Expr::Collate { expr, .. } => part(expr)?,
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match part(expr)? {
            Term::Literal(Value::Number(n)) => Term::Literal(Value::Number(-n)),
            _ => return Err(unsupported(expr)),
        },
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => Term::Not(boxed(expr)?),
        Expr::IsNull(inner) => Term::IsNull(boxed(inner)?),
        Expr::IsNotNull(inner) => Term::Not(Box::new(Term::IsNull(boxed(inner)?))),
        Expr::Between { expr, negated: false, low, high } => {
            let side = |comparison, bound: &Expr| {
                Ok(Box::new(Term::Compare(boxed(expr)?, comparison, boxed(bound)?)))
            };
            Term::And(side(Comparison::GreaterOrEqual, low)?, side(Comparison::LessOrEqual, high)?)
        }
        Expr::In { expr: left, target: ast::InTarget::List(items), negated, .. } => {
            let list = items.iter().map(part).collect::<Result<_, _>>()?;
            let is_in = Term::In(boxed(left)?, list);
            if *negated { Term::Not(Box::new(is_in)) } else { is_in }
        }
        Expr::Like { negated: false, expr, pattern, .. } => {
            Term::Like(boxed(expr)?, boxed(pattern)?)
        }
        Expr::BinaryOp { left, op, right } => binary(boxed(left)?, op, boxed(right)?)?,
        Expr::Function(function) => call(function, &part)?,
        other => return Err(unsupported(other)),
    })
}

fn binary(left: Box<Term>, op: &BinaryOperator, right: Box<Term>) -> Result<Term, Failure> {
    let comparison = match op {
        BinaryOperator::And => return Ok(Term::And(left, right)),
        BinaryOperator::Or => return Ok(Term::Or(left, right)),
        BinaryOperator::NotEq => {
            return Ok(Term::Not(Box::new(Term::Compare(left, Comparison::Equal, right))));
        }
        BinaryOperator::Eq => Comparison::Equal,
        BinaryOperator::Lt => Comparison::Less,
        BinaryOperator::LtEq => Comparison::LessOrEqual,
        BinaryOperator::Gt => Comparison::Greater,
        BinaryOperator::GtEq => Comparison::GreaterOrEqual,
        other => return Err(unsupported(other)),
    };
    Ok(Term::Compare(left, comparison, right))
}

fn call(
    function: &ast::Function,
    term: &dyn Fn(&Expr) -> Result<Term, Failure>,
) -> Result<Term, Failure> {
    let name = function.name.to_string().to_ascii_lowercase();
    let mut arguments = Vec::new();
    if let ast::FunctionArguments::List(list) = &function.args {
        for argument in &list.args {
            match argument {
                ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Wildcard) if name == "count" => {
                    return Ok(Term::CountAll);
                }
                ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => {
                    arguments.push(term(expr)?);
                }
                other => return Err(unsupported(other)),
            }
        }
    }
    Ok(Term::Call(name, arguments))
}

fn literal(value: &ast::Value) -> Result<Value<'static>, Failure> {
    Ok(match value {
        ast::Value::Number(text, _) => Value::Number(text.parse().map_err(|_| unsupported(text))?),
        ast::Value::SingleQuotedString(text) | ast::Value::NationalStringLiteral(text) => {
            Value::text(text.clone())
        }
        ast::Value::Null => Value::Null,
        other => return Err(unsupported(other)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_cut_at_semicolons_that_are_none_of_a_text() {
        assert_eq!(pieces("SET A ON; SELECT ';' AS [x;y];\n"), ["SET A ON", "SELECT ';' AS [x;y]"]);
    }

    #[test]
    fn a_query_is_read_as_t_sql_and_a_mistake_in_it_is_told() {
        let parameters = Parameters::from([("@p1".into(), Value::text("SMS00001"))]);
        let text = "SELECT TOP (5) ResourceID, Name AS n FROM dbo.v_X WITH (NOLOCK) \
                    WHERE CollectionID = @P1 AND ResourceID BETWEEN 3 AND 7 ORDER BY ResourceID DESC";
        let Statement::Select(select) = parse(text, &parameters).unwrap().remove(0) else {
            panic!("no query");
        };
        assert_eq!(select.from, Some(("dbo".into(), "v_X".into())));
        assert_eq!((select.top, &*select.order), (Some(5), &[("ResourceID".into(), true)][..]));
        assert_eq!(parse("SELECT @P2", &parameters).unwrap_err().number, 137);
        assert_eq!(parse("SELECT FROM WHERE", &parameters).unwrap_err().number, 102);
    }
}
