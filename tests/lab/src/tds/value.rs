//! Values and their types, as rows carry them.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::token::COLLATION;

/// A column's type; every one takes null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Int,
    BigInt,
    Bit,
    /// So many characters at most.
    NVarChar(u16),
    DateTime,
}

/// A column of a result.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Number(i64),
    Text(Cow<'a, str>),
    /// Days since 1900, and 1/300 s.
    Time(i32, u32),
}

impl<'a> Value<'a> {
    pub(super) fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn maybe(text: Option<impl Into<Cow<'a, str>>>) -> Self {
        text.map_or(Self::Null, |t| Self::Text(t.into()))
    }

    pub(super) fn bit(is_set: bool) -> Self {
        Self::Number(i64::from(is_set))
    }

    /// A moment in a base of its own, as the site writes them.
    pub(super) fn time(seconds: i64, thousandths: u32) -> Self {
        // 1900-01-01 is 25,567 days before 1970-01-01.
        let days = seconds.div_euclid(86_400) + 25_567;
        let within = u32::try_from(seconds.rem_euclid(86_400)).expect("within a day");
        Self::Time(i32::try_from(days).expect("a date"), within * 300 + thousandths * 3 / 10)
    }

    /// A moment's seconds since 1970.
    pub(super) fn seconds(&self) -> i64 {
        match self {
            Self::Time(days, ticks) => i64::from(days - 25_567) * 86_400 + i64::from(ticks / 300),
            _ => 0,
        }
    }

    pub(super) fn into_owned(self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Number(n) => Value::Number(n),
            Self::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Self::Time(days, ticks) => Value::Time(days, ticks),
        }
    }

    /// How two values compare; `None` where one is null. Texts as in a collation that ignores case.
    pub(super) fn compare(&self, other: &Value<'_>) -> Option<Ordering> {
        match (self, other) {
            (Self::Number(a), Value::Number(b)) => Some(a.cmp(b)),
            (Self::Text(a), Value::Text(b)) => {
                Some(a.to_ascii_lowercase().cmp(&b.to_ascii_lowercase()))
            }
            (Self::Time(a, x), Value::Time(b, y)) => Some((a, x).cmp(&(b, y))),
            (Self::Text(a), Value::Number(b)) => a.trim().parse::<i64>().ok().map(|a| a.cmp(b)),
            (Self::Number(a), Value::Text(b)) => b.trim().parse().ok().map(|b: i64| a.cmp(&b)),
            _ => None,
        }
    }

    /// Writes the value as a column of this type holds it.
    pub(super) fn write(&self, kind: Kind, out: &mut Vec<u8>) {
        match (kind, self) {
            (Kind::NVarChar(_), Self::Null) => out.extend([0xFF, 0xFF]),
            (_, Self::Null) => out.push(0),
            (Kind::Int, Self::Number(n)) => {
                out.push(4);
                out.extend(i32::try_from(*n).expect("an int").to_le_bytes());
            }
            (Kind::BigInt, Self::Number(n)) => {
                out.push(8);
                out.extend(n.to_le_bytes());
            }
            (Kind::Bit, Self::Number(n)) => out.extend([1, u8::from(*n != 0)]),
            (Kind::DateTime, Self::Time(days, ticks)) => {
                out.push(8);
                out.extend(days.to_le_bytes());
                out.extend(ticks.to_le_bytes());
            }
            (Kind::NVarChar(_), value) => {
                let text = value.as_text();
                let from = out.len();
                out.extend([0, 0]);
                out.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
                let length = u16::try_from(out.len() - from - 2).expect("a column's length");
                out[from..from + 2].copy_from_slice(&length.to_le_bytes());
            }
            (kind, value) => unreachable!("{value:?} in a column of {kind:?}"),
        }
    }

    fn as_text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Number(n) => Cow::Owned(n.to_string()),
            Self::Null | Self::Time(..) => Cow::Borrowed(""),
        }
    }
}

impl Kind {
    /// `TYPE_INFO`.
    pub(super) fn info(self, out: &mut Vec<u8>) {
        match self {
            Self::Int => out.extend([0x26, 4]),
            Self::BigInt => out.extend([0x26, 8]),
            Self::Bit => out.extend([0x68, 1]),
            Self::DateTime => out.extend([0x6F, 8]),
            Self::NVarChar(most) => {
                out.push(0xE7);
                out.extend((2 * most).to_le_bytes());
                out.extend(COLLATION);
            }
        }
    }

    /// Its name in `INFORMATION_SCHEMA.COLUMNS`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::BigInt => "bigint",
            Self::Bit => "bit",
            Self::NVarChar(_) => "nvarchar",
            Self::DateTime => "datetime",
        }
    }
}
