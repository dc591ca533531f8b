//! `make bench`: measures the real binary against the lab in a process of its own, prints a row for
//! each figure and writes `target/bench.json`, one JSON object a line.

mod kafka;
mod process;
mod rig;
mod rows;

use clap::Parser;
use rows::Rows;

/// Measures cmsync; see docs/performance.md for what each row means.
#[derive(Parser)]
struct Arguments {
    /// Measure only rows whose group begins so: `small`, `large`, `idle`, `delay`, `kafka`
    #[arg(long, default_value = "")]
    only: String,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut rows = Rows::create("target/bench.json")?;
    for (name, measure) in GROUPS {
        if name.starts_with(&arguments.only) {
            measure(&mut rows)?;
        }
    }
    Ok(())
}

type Measure = fn(&mut Rows) -> anyhow::Result<()>;
const GROUPS: [(&str, Measure); 8] = [
    ("small", rig::small),
    ("idle", rig::idle),
    ("delay", rig::delay),
    ("large", rig::large),
    ("kafka", kafka::small),
    ("kafka-take-over", kafka::take_over),
    ("kafka-uploaders", kafka::uploaders),
    ("kafka-large", kafka::large),
];
