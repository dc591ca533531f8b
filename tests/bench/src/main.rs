//! `make bench`: measures the real binary against the lab in a process of its own, prints a row for
//! each figure and writes `target/bench.json`, one JSON object a line.

mod console;
mod kafka;
mod limit;
mod process;
mod rig;
mod rows;
mod scrape;
mod source;
mod tds;

use clap::Parser;
use rows::Rows;

/// Measures cmsync; see docs/performance.md for what each row means.
#[derive(Parser)]
struct Arguments {
    /// Measure only rows whose group begins so: `small`, `scrape`, `console`, `large`, `large-sql`, `idle`, `delay`, `kafka`
    #[arg(long, default_value = "")]
    only: String,
    /// Only reads all members from a lab's site database, as a client for SQL Server alone does
    #[arg(long, hide = true)]
    read_database: Option<std::path::PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(directory) = arguments.read_database {
        return tds::read_alone(&directory);
    }
    let is_known = GROUPS.iter().any(|(name, _)| name.starts_with(&arguments.only));
    anyhow::ensure!(is_known, "--only {}: there is no such group", arguments.only);
    let mut rows = Rows::create("target/bench.json")?;
    for (name, measure) in GROUPS {
        if name.starts_with(&arguments.only) {
            measure(&mut rows)?;
        }
    }
    Ok(())
}

type Measure = fn(&mut Rows) -> anyhow::Result<()>;
const GROUPS: [(&str, Measure); 11] = [
    ("small", rig::small),
    ("idle", rig::idle),
    ("delay", rig::delay),
    ("scrape", scrape::scrape),
    ("console", console::console),
    ("large", source::large),
    ("large-sql", source::large_sql),
    ("kafka", kafka::small),
    ("kafka-take-over", kafka::take_over),
    ("kafka-uploaders", kafka::uploaders),
    ("kafka-large", kafka::large),
];
