//! Plots of the process's own samples; as numbers for whoever has no scripts.

use askama::Template;
use serde::{Deserialize, Serialize};

use super::link::Link;
use super::words::amount;
use crate::access::Frame;
use crate::samples::{Drawn, Line, Of, Span, Unit};

/// What is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Asked {
    /// Empty for the whole process.
    connection: String,
    span: Span,
}

/// The page.
#[derive(Template)]
#[template(path = "plots.html")]
pub(crate) struct Page {
    frame: Frame,
    whose: Vec<Tab>,
    spans: Vec<Tab>,
    plots: Vec<Plot>,
    /// Where the page's script asks.
    from: String,
}

struct Tab {
    href: String,
    text: String,
    is_current: bool,
}

/// What the page's script draws.
#[derive(Serialize)]
pub(crate) struct Data {
    times: Vec<f64>,
    plots: Vec<Plot>,
}

#[derive(Serialize)]
struct Plot {
    id: &'static str,
    title: &'static str,
    unit: Unit,
    lines: Vec<Summed>,
}

#[derive(Serialize)]
struct Summed {
    name: &'static str,
    values: Vec<Option<f32>>,
    /// Now, least, mean and most.
    summary: [String; 4],
}

impl Asked {
    pub(crate) fn of(&self) -> Of<'_> {
        if self.connection.is_empty() { Of::Process } else { Of::Connection(&self.connection) }
    }

    pub(crate) fn span(&self) -> Span {
        // A minute draws nothing.
        if self.span == Span::Day { Span::Day } else { Span::Hour }
    }
}

fn link(path: &str, connection: &str, span: Span) -> String {
    let word = if span == Span::Day { "day" } else { "hour" };
    Link::to(path).with("connection", connection).with("span", word).to_string()
}

impl Data {
    pub(crate) fn new(drawn: Drawn) -> Self {
        let plots = drawn.plots.into_iter().map(|plot| Plot {
            id: plot.id,
            title: plot.title,
            unit: plot.unit,
            lines: plot.lines.into_iter().map(|line| summed(line, plot.unit)).collect(),
        });
        Self { times: drawn.times, plots: plots.collect() }
    }
}

fn summed(line: Line, unit: Unit) -> Summed {
    let known: Vec<f64> = line.values.iter().flatten().map(|value| f64::from(*value)).collect();
    let text = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |v| amount(v, unit));
    let count = f64::from(u32::try_from(known.len()).unwrap_or(u32::MAX));
    let now = line.values.last().copied().flatten().map(f64::from);
    let summary = [
        now,
        known.iter().copied().reduce(f64::min),
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / count),
        known.iter().copied().reduce(f64::max),
    ];
    Summed { name: line.name, values: line.values, summary: summary.map(text) }
}

impl Page {
    pub(crate) fn new(
        frame: Frame,
        connections: impl Iterator<Item = String>,
        asked: &Asked,
        drawn: Drawn,
    ) -> Self {
        let (own, span) = (&asked.connection, asked.span());
        let whose = |name: String| Tab {
            href: link("/plots", &name, span),
            is_current: *own == name,
            text: if name.is_empty() { "This process".into() } else { name },
        };
        let spans = [(Span::Hour, "Last hour"), (Span::Day, "Last day")];
        let spans = spans.map(|(one, text)| Tab {
            href: link("/plots", own, one),
            text: text.into(),
            is_current: one == span,
        });
        Self {
            frame,
            whose: std::iter::once(String::new()).chain(connections).map(whose).collect(),
            spans: spans.into(),
            plots: Data::new(drawn).plots,
            from: link("/api/v1/samples", own, span),
        }
    }
}
