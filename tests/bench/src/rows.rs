//! Figures as they are found.

use std::fs::File;
use std::io::Write;

/// Which way a figure gets better.
#[derive(Clone, Copy)]
pub(crate) enum Better {
    Higher,
    Lower,
}

/// Prints each figure and writes it into a file of JSON lines.
pub(crate) struct Rows {
    file: File,
}

impl Rows {
    pub(crate) fn create(path: &str) -> anyhow::Result<Self> {
        Ok(Self { file: File::create(path)? })
    }

    #[expect(clippy::print_stdout, reason = "this is what the bench is for")]
    pub(crate) fn add(
        &mut self,
        name: &str,
        value: f64,
        unit: &str,
        (goal, better): (f64, Better),
    ) -> anyhow::Result<()> {
        let (word, is_reached) = match better {
            Better::Higher => ("higher", value >= goal),
            Better::Lower => ("lower", value <= goal),
        };
        let mark = if is_reached { "reached" } else { "MISSED" };
        println!("{name:<40} {value:>14.3} {unit:<12} goal {goal:<10} {mark}");
        let row = serde_json::json!({"name": name, "value": value, "unit": unit, "goal": goal, "better": word});
        writeln!(self.file, "{row}")?;
        Ok(())
    }
}
