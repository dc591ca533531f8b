//! The part of OData's `$filter` that the WMI route is known to take.

/// A parsed filter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Filter {
    And(Box<Filter>, Box<Filter>),
    Or(Box<Filter>, Box<Filter>),
    Compare(String, Operator, Literal),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    Number(i64),
    Text(String),
}

/// Parses a filter; an error is what the route answers with 400.
pub(crate) fn parse(text: &str) -> Result<Filter, String> {
    let mut tokens = tokens(text)?;
    tokens.reverse();
    let filter = or(&mut tokens)?;
    if let Some(rest) = tokens.pop() { Err(format!("unexpected `{rest}`")) } else { Ok(filter) }
}

fn tokens(text: &str) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ' ' => {}
            '(' | ')' => found.push(c.to_string()),
            '\'' => {
                let mut literal = String::from("'");
                loop {
                    match chars.next().ok_or("text without its end")? {
                        '\'' if chars.peek() == Some(&'\'') => {
                            chars.next();
                            literal.push('\'');
                        }
                        '\'' => break,
                        c => literal.push(c),
                    }
                }
                found.push(literal);
            }
            c => {
                let mut word = String::from(c);
                while let Some(c) = chars.peek().filter(|c| !" ()'".contains(**c)) {
                    word.push(*c);
                    chars.next();
                }
                found.push(word);
            }
        }
    }
    Ok(found)
}

fn or(tokens: &mut Vec<String>) -> Result<Filter, String> {
    let mut left = and(tokens)?;
    while tokens.last().is_some_and(|t| t == "or") {
        tokens.pop();
        left = Filter::Or(Box::new(left), Box::new(and(tokens)?));
    }
    Ok(left)
}

fn and(tokens: &mut Vec<String>) -> Result<Filter, String> {
    let mut left = term(tokens)?;
    while tokens.last().is_some_and(|t| t == "and") {
        tokens.pop();
        left = Filter::And(Box::new(left), Box::new(term(tokens)?));
    }
    Ok(left)
}

fn term(tokens: &mut Vec<String>) -> Result<Filter, String> {
    let mut next = || tokens.pop().ok_or_else(|| "the filter ends too early".to_owned());
    let column = next()?;
    if column == "(" {
        let inner = or(tokens)?;
        return if tokens.pop().as_deref() == Some(")") {
            Ok(inner)
        } else {
            Err("`)` is missing".into())
        };
    }
    let operator = match next()?.as_str() {
        "eq" => Operator::Equal,
        "ne" => Operator::NotEqual,
        "gt" => Operator::Greater,
        "ge" => Operator::GreaterOrEqual,
        "lt" => Operator::Less,
        "le" => Operator::LessOrEqual,
        other => return Err(format!("unknown operator `{other}`")),
    };
    let literal = next()?;
    let literal = match literal.strip_prefix('\'') {
        Some(text) => Literal::Text(text.to_owned()),
        None => {
            Literal::Number(literal.parse().map_err(|_| format!("unknown literal `{literal}`"))?)
        }
    };
    Ok(Filter::Compare(column, operator, literal))
}

impl Filter {
    /// Whether a row passes; `column` gives its values, `None` for null.
    pub(crate) fn passes(&self, column: &dyn Fn(&str) -> Option<Literal>) -> bool {
        match self {
            Self::And(a, b) => a.passes(column) && b.passes(column),
            Self::Or(a, b) => a.passes(column) || b.passes(column),
            Self::Compare(name, operator, wanted) => {
                let Some(found) = column(name) else {
                    return false;
                };
                let order = match (&found, wanted) {
                    (Literal::Number(a), Literal::Number(b)) => a.cmp(b),
                    (Literal::Text(a), Literal::Text(b)) => a.to_lowercase().cmp(&b.to_lowercase()),
                    _ => return false,
                };
                match operator {
                    Operator::Equal => order.is_eq(),
                    Operator::NotEqual => order.is_ne(),
                    Operator::Greater => order.is_gt(),
                    Operator::GreaterOrEqual => order.is_ge(),
                    Operator::Less => order.is_lt(),
                    Operator::LessOrEqual => order.is_le(),
                }
            }
        }
    }

    /// The filter of a row's key, as it stands in a path: `'text'` or a number.
    pub(crate) fn key(column: &str, key: &str) -> Self {
        let text = key.strip_prefix('\'').and_then(|k| k.strip_suffix('\''));
        let literal = match (text, key.parse()) {
            (None, Ok(number)) => Literal::Number(number),
            _ => Literal::Text(text.unwrap_or(key).to_owned()),
        };
        Self::Compare(column.to_owned(), Operator::Equal, literal)
    }

    /// The texts of which a column must equal one for a row to pass, if the filter says nothing else.
    pub(crate) fn one_of(&self, column: &str) -> Vec<&str> {
        match self {
            Self::Or(a, b) => {
                let (mut some, more) = (a.one_of(column), b.one_of(column));
                if some.is_empty() || more.is_empty() {
                    return Vec::new();
                }
                some.extend(more);
                some
            }
            Self::And(a, b) => {
                let some = a.one_of(column);
                if some.is_empty() { b.one_of(column) } else { some }
            }
            Self::Compare(name, Operator::Equal, Literal::Text(value)) if name == column => {
                vec![value]
            }
            Self::Compare(..) => Vec::new(),
        }
    }

    /// What a column must not exceed for a row to pass, if the filter says so.
    pub(crate) fn up_to(&self, column: &str) -> Option<i64> {
        match self {
            Self::And(a, b) => a.up_to(column).or_else(|| b.up_to(column)),
            Self::Compare(name, Operator::LessOrEqual, Literal::Number(value))
                if name == column =>
            {
                Some(*value)
            }
            _ => None,
        }
    }

    /// Above what a column must lie for a row to pass, if the filter says so.
    pub(crate) fn above(&self, column: &str) -> Option<i64> {
        match self {
            Self::And(a, b) => a.above(column).or_else(|| b.above(column)),
            Self::Compare(name, Operator::Greater, Literal::Number(value)) if name == column => {
                Some(*value)
            }
            _ => None,
        }
    }
}
