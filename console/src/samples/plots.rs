//! Which plots there are, and what of a page of metrics they draw.

use serde::Serialize;

use super::kept::{Fold, Kept, Value};
use super::reading::Reading;
use super::{Of, Span};

/// What a plot's values are, for its axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Unit {
    PerSecond,
    PerMinute,
    Seconds,
    Bytes,
    Count,
}

/// How a line's values are made.
enum Made {
    Value(&'static str, Fold),
    /// Of a counter: its growth a second.
    Rate(&'static str),
    /// Of a histogram: a share of what it took in since the last sample.
    Quantile(&'static str, f64),
}

struct Shown {
    id: &'static str,
    title: &'static str,
    unit: Unit,
    lines: &'static [(&'static str, Made)],
}

/// Rate of the changes that the workspace took.
pub(super) const CHANGES: &str = "cmsync_uploader_changes_accepted_total";
/// Rows that sites gave.
pub(super) const ROWS_READ: &str = "cmsync_producer_rows_read_total";
/// Records that workspaces took.
pub(super) const RECORDS_TAKEN: &str = "cmsync_uploader_records_delivered_total";
const AGE: &str = "cmsync_uploader_record_age_seconds";
const MEMBERS: &str = "cmsync_producer_members";

const PROCESS: [Shown; 4] = [
    Shown {
        id: "rates",
        title: "Rows read and records taken",
        unit: Unit::PerSecond,
        lines: &[
            ("rows read from sites", Made::Rate(ROWS_READ)),
            ("records taken by workspaces", Made::Rate(RECORDS_TAKEN)),
        ],
    },
    Shown {
        id: "delay",
        title: "Delay from the poll to the workspace",
        unit: Unit::Seconds,
        lines: &[
            ("half of all bodies", Made::Quantile(AGE, 0.5)),
            ("99 of 100 bodies", Made::Quantile(AGE, 0.99)),
        ],
    },
    Shown {
        id: "queue",
        title: "Size of the queue's file",
        unit: Unit::Bytes,
        lines: &[("file", Made::Value("cmsync_queue_file_bytes", Fold::Most))],
    },
    Shown {
        id: "memory",
        title: "Memory of the process",
        unit: Unit::Bytes,
        lines: &[("resident", Made::Value("process_resident_memory_bytes", Fold::Most))],
    },
];

const CONNECTION: [Shown; 4] = [
    Shown {
        id: "lag",
        title: "Age of the oldest change that waits",
        unit: Unit::Seconds,
        lines: &[(
            "oldest",
            Made::Value("cmsync_queue_oldest_undelivered_age_seconds", Fold::Most),
        )],
    },
    Shown {
        id: "waiting",
        title: "Bytes that wait for the workspace",
        unit: Unit::Bytes,
        lines: &[("waiting", Made::Value("cmsync_queue_backlog_bytes", Fold::Most))],
    },
    Shown {
        id: "changes",
        title: "Messages of changes that the workspace took",
        unit: Unit::PerMinute,
        lines: &[("messages of up to 1,000 devices", Made::Rate(CHANGES))],
    },
    Shown {
        id: "members",
        title: "Memberships",
        unit: Unit::Count,
        lines: &[("memberships", Made::Value(MEMBERS, Fold::Last))],
    },
];

/// A plot with its values.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Plot {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: Unit,
    pub(crate) lines: Vec<Line>,
}

/// A line of a plot.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Line {
    pub(crate) name: &'static str,
    /// One for each time; none where there was none.
    pub(crate) values: Vec<Option<f32>>,
}

/// Plots over the same times.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Drawn {
    /// Seconds since 1970.
    pub(crate) times: Vec<f64>,
    pub(crate) plots: Vec<Plot>,
}

/// By what a line is kept.
pub(super) fn key(of: Of<'_>, metric: &str) -> String {
    match of {
        Of::Process => metric.to_owned(),
        Of::Connection(connection) => format!("{metric}/{connection}"),
    }
}

impl Made {
    fn key(&self, of: Of<'_>) -> String {
        match self {
            Self::Value(metric, _) | Self::Rate(metric) => key(of, metric),
            Self::Quantile(metric, share) => key(of, &format!("{metric}/{share}")),
        }
    }

    fn fold(&self) -> Fold {
        match self {
            Self::Value(_, fold) => *fold,
            Self::Rate(_) => Fold::Mean,
            Self::Quantile(..) => Fold::Most,
        }
    }

    fn value(&self, of: Of<'_>, now: &Reading, last: Option<(&Reading, f64)>) -> Option<f64> {
        let connection = match of {
            Of::Process => None,
            Of::Connection(connection) => Some(connection),
        };
        match self {
            Self::Value(metric, _) => now.value(metric, connection),
            Self::Rate(metric) => {
                let (last, seconds) = last?;
                let grown = now.value(metric, connection)? - last.value(metric, connection)?;
                (grown >= 0.0 && seconds > 0.0).then(|| grown / seconds)
            }
            Self::Quantile(metric, share) => now.quantile(metric, last?.0, *share),
        }
    }
}

/// All values of a page of metrics, with the one before and the seconds between them.
pub(super) fn values(now: &Reading, last: Option<(&Reading, f64)>) -> Vec<Value> {
    let of = |of: Of<'_>, shown: &[Shown]| -> Vec<Value> {
        let lines = shown.iter().flat_map(|plot| plot.lines);
        lines.map(|(_, made)| (made.key(of), made.fold(), made.value(of, now, last))).collect()
    };
    let connections = now.connections(MEMBERS);
    let mut all = of(Of::Process, &PROCESS);
    all.extend(connections.flat_map(|name| of(Of::Connection(name), &CONNECTION)));
    all
}

pub(super) fn drawn(kept: &Kept, of: Of<'_>, span: Span) -> Drawn {
    let shown = match of {
        Of::Process => &PROCESS,
        Of::Connection(_) => &CONNECTION,
    };
    let plots = shown
        .iter()
        .map(|plot| {
            // A rate is kept by the second.
            let scale = if plot.unit == Unit::PerMinute { 60.0 } else { 1.0 };
            let values = |made: &Made| {
                let line = kept.line(&made.key(of), span).into_iter();
                line.map(|value| value.map(|value| value * scale)).collect()
            };
            let lines = plot.lines.iter().map(|(name, made)| Line { name, values: values(made) });
            Plot { id: plot.id, title: plot.title, unit: plot.unit, lines: lines.collect() }
        })
        .collect();
    Drawn { times: kept.times(span), plots }
}
