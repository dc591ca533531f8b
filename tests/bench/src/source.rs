//! The largest hierarchy that is supported, read through the administration service and through the site
//! database: 825,000 devices and 30 million memberships.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};

use crate::process::Process;
use crate::rig::{FULL_BODIES, Plan, Rig, first_sync, wait_for};
use crate::rows::{Better, Rows};
use crate::tds::Alone;

const COLLECTIONS: u32 = 400;
/// Rows a second that each source is to give.
const ROWS: (f64, Better) = (500_000.0, Better::Higher);
const MEMORY: (f64, Better) = (400.0, Better::Lower);

fn start() -> anyhow::Result<Rig> {
    let plan = Plan {
        devices: 825_000,
        collections: COLLECTIONS,
        memberships: 30_000_000,
        poll: 3_600,
        extra: FULL_BODIES.to_owned(),
        ..Plan::default()
    };
    Rig::start(&plan)
}

/// The first synchronisation through the administration service, then reads of everything that is already
/// known through both sources.
pub(crate) fn large(rows: &mut Rows) -> anyhow::Result<()> {
    let rig = start()?;
    let (_, peak) = first_sync(&rig, rows, "first_sync.records_per_second.30m")?;
    rows.add("embedded.peak_rss_mib.30m", peak, "MiB", MEMORY)?;
    let size = std::fs::metadata(rig.queue().join("queue.redb"))?.len();
    let size = size as f64 / 1_048_576.0;
    rows.add("embedded.queue_file_mib.30m", size, "MiB", (4_096.0, Better::Lower))?;
    // The lab would read all its rows anew to say how far they go, which a workspace tells at once.
    rig.rewrite(|text| text.replace("workspace_id = \"lab-workspace\"\n", ""))?;
    read_whole(&rig, rows, "admin_service")?;
    read_changed(&rig, rows, "admin_service")?;
    through_database(&rig)?;
    let rate = read_whole(&rig, rows, "sql")?;
    read_changed(&rig, rows, "sql")?;
    let lab = rig.lab.cpu()?;
    let alone = alone(&rig)?;
    rows.add("read.client_alone.rows_per_second", alone.rate(), "rows/s", (0.0, Better::Higher))?;
    per_million(rows, "read.client_alone", alone.cpu, rig.lab.cpu()? - lab, alone.rows)?;
    rows.add("read.sql.share_of_client_alone", rate / alone.rate(), "", (0.8, Better::Higher))
}

/// The first synchronisation through the site database.
pub(crate) fn large_sql(rows: &mut Rows) -> anyhow::Result<()> {
    let rig = start()?;
    through_database(&rig)?;
    let (_, peak) = first_sync(&rig, rows, "first_sync.records_per_second.30m.sql")?;
    rows.add("embedded.peak_rss_mib.30m.sql", peak, "MiB", MEMORY)?;
    rig.must_be_equal()
}

/// From here on the site is read through its database.
fn through_database(rig: &Rig) -> anyhow::Result<()> {
    let sql = file(rig.directory.path(), "lab-sql.toml")?;
    rig.rewrite(|text| {
        let is_service = |line: &&str| {
            ["admin_service", "authentication", "account"].iter().any(|key| line.starts_with(key))
        };
        let kept: Vec<&str> = text.lines().filter(|line| !is_service(line)).collect();
        let site = "[connections.lab.site]\n";
        kept.join("\n").replace(site, &format!("{site}{sql}"))
    })
}

/// Every collection is due: all rows are read and compared with what is known. Gives the rate.
fn read_whole(rig: &Rig, rows: &mut Rows, source: &str) -> anyhow::Result<f64> {
    rereading(rig, "1s")?;
    let lab = rig.lab.cpu()?;
    let mut process = Process::spawn(&mut rig.cmsync(&["run"]))?;
    let (seconds, read) = poll(rig)?;
    let (cpu, peak) = (process.cpu()?, process.peak_mib()?);
    let lab = rig.lab.cpu()? - lab;
    process.stop()?;
    let rate = read / seconds;
    rows.add(&format!("read.{source}.rows_per_second"), rate, "rows/s", ROWS)?;
    per_million(rows, &format!("read.{source}"), cpu, lab, read)?;
    rows.add(&format!("read.{source}.peak_rss_mib"), peak, "MiB", MEMORY)?;
    Ok(rate)
}

fn per_million(rows: &mut Rows, of: &str, cpu: f64, lab: f64, read: f64) -> anyhow::Result<()> {
    for (whose, cpu) in [("", cpu), ("lab_", lab)] {
        let name = format!("{of}.{whose}cpu_seconds_per_million");
        rows.add(&name, cpu * 1e6 / read, "CPU-s", (2.0, Better::Lower))?;
    }
    Ok(())
}

/// One poll after members of one collection in a hundred changed.
fn read_changed(rig: &Rig, rows: &mut Rows, source: &str) -> anyhow::Result<()> {
    rereading(rig, "365days")?;
    rig.churn(COLLECTIONS / 100)?;
    let mut process = Process::spawn(&mut rig.cmsync(&["run"]))?;
    let (seconds, read) = poll(rig)?;
    process.stop()?;
    ensure!(read > 0.0, "nothing changed");
    let name = format!("read.{source}.one_percent_seconds");
    rows.add(&name, seconds, "s", (60.0, Better::Lower))?;
    rows.add(&format!("read.{source}.one_percent_rows"), read, "rows", (0.0, Better::Higher))
}

fn rereading(rig: &Rig, interval: &str) -> anyhow::Result<()> {
    rig.rewrite(|text| {
        let kept = text.lines().filter(|line| !line.starts_with("reread_interval"));
        let kept = kept.collect::<Vec<_>>().join("\n");
        kept.replace("[producer]\n", &format!("[producer]\nreread_interval = \"{interval}\"\n"))
    })
}

/// Waits for the first poll: the seconds that it took, and the rows that it read.
fn poll(rig: &Rig) -> anyhow::Result<(f64, f64)> {
    let done = "cmsync_producer_polls_total";
    wait_for("the poll", || rig.metric(done).filter(|polls| *polls >= 1.0))?;
    wait_for("its time", || {
        rig.metric("cmsync_producer_poll_seconds_count").filter(|n| *n >= 1.0)
    })?;
    let seconds = rig.metric("cmsync_producer_poll_seconds_sum").context("no time")?;
    Ok((seconds, rig.metric("cmsync_producer_rows_read_total").context("no rows")?))
}

/// What the client for SQL Server does with the same rows, in a process of its own.
fn alone(rig: &Rig) -> anyhow::Result<Alone> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--read-database").arg(rig.directory.path()).stderr(Stdio::inherit());
    let started = Instant::now();
    let output = command.output()?;
    ensure!(output.status.success(), "the client alone failed");
    let mut alone: Alone = serde_json::from_slice(&output.stdout)?;
    ensure!(alone.seconds <= started.elapsed().as_secs_f64(), "a wrong clock");
    alone.rows = alone.rows.max(1.0);
    Ok(alone)
}

/// The lab's files for who reads its database.
pub(crate) fn file(directory: &Path, name: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(directory.join(name)).with_context(|| name.to_owned())
}
