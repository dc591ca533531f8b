//! `make soak`: the program beside the lab for as long as is wanted, with churn, faults and kills,
//! measured every few seconds. Writes what it measured as CSV, and exits 0 only if the workspace equals
//! the site at the end.

#![expect(clippy::print_stdout, reason = "this is what the program is for")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cmsync_lab::copies::{Copies, asked_broker, kafka_table, wait_until_equal};
use cmsync_lab::world::Plan;
use cmsync_lab::{Lab, Options};
use rand::Rng as _;

/// Between two measurements.
const TICK: Duration = Duration::from_secs(5);
/// Between two faults, in measurements; in the middle the last one ends: what comes in numbers would else gather
/// faster than a careful client asks.
const FAULTS: u32 = 4;
/// Kills in the first half of the time: in the other one it is seen whether memory stays flat.
const KILLS: u32 = 5;
/// The last changes have this long to arrive.
const LAST: Duration = Duration::from_secs(120);

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let minutes = number("MINUTES", 10);
    let output = std::env::var("OUTPUT").unwrap_or_else(|_| "target/soak.csv".into());
    let directory = std::env::temp_dir().join(format!("cmsync-soak-{}", std::process::id()));
    let plan = Plan { devices: 20_000, collections: 400, memberships: 300_000, ..Plan::default() };
    let lab = Lab::start(Options { plan, ..Options::default() }).await?;
    let broker = asked_broker().await?;
    let kafka = broker.as_ref().map(kafka_table).unwrap_or_default();
    let extra = format!(
        "[producer]\npoll_interval = \"2s\"\nsnapshot_interval = \"10m\"\n\
         device_sweep_interval = \"5m\"\n[http]\nlisten = \"\"\n{kafka}"
    );
    let config = lab.write_config(&directory, "[{ name = \"*\" }]", &extra)?;
    let mut copies = Copies::new(config);
    copies.start_all(broker.is_some())?;
    lab.start_churn(Duration::from_secs(1), 5);
    let mut file = std::fs::File::create(PathBuf::from(&output))?;
    writeln!(file, "seconds,stage,rss_mib,handles,queue_mib,bodies,changes,killed")?;
    let time = Duration::from_secs(60 * minutes);
    soak(&lab, &mut copies, (time, &directory), &mut file).await?;
    lab.stop_churn();
    wait_until_equal(&lab, LAST).await;
    let report = lab.compare(&lab.device_collections());
    copies.stop()?;
    if report.equal {
        drop(std::fs::remove_dir_all(&directory));
    }
    println!(
        "{minutes} min, {} rows in {} bodies: {}; {output}",
        report.member_rows,
        lab.counts().bodies,
        if report.equal {
            "equal".to_owned()
        } else {
            format!("NOT equal: see {}", directory.display())
        }
    );
    report.differences.iter().for_each(|difference| println!("  {difference}"));
    Ok(if report.equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn soak(
    lab: &Arc<Lab>,
    copies: &mut Copies,
    (time, directory): (Duration, &Path),
    file: &mut std::fs::File,
) -> anyhow::Result<()> {
    let (started, mut ticks) = (Instant::now(), tokio::time::interval(TICK));
    let (mut tick, mut kills) = (0, 0);
    let calm = lab.faults().clone();
    while started.elapsed() < time {
        ticks.tick().await;
        tick += 1;
        if let Some(log) = copies.ended()? {
            anyhow::bail!("cmsync ended by itself:\n{}", std::fs::read_to_string(log)?);
        }
        let mut killed = String::new();
        if kills < KILLS && started.elapsed() > time / 2 * (kills + 1) / KILLS {
            kills += 1;
            killed = kill_and_start(copies)?;
        }
        match tick % FAULTS {
            0 => strike(lab),
            2 => *lab.faults() = calm.clone(),
            _ => {}
        }
        let queue = size_of(&directory.join("queue")) as f64 / f64::from(1 << 20);
        let (bodies, changes) = (lab.counts().bodies, lab.churn().changes.len());
        for (stage, process) in copies.processes() {
            let (rss, handles) = measured(process);
            writeln!(
                file,
                "{},{stage},{rss:.1},{handles},{queue:.1},{bodies},{changes},{killed}",
                started.elapsed().as_secs()
            )?;
        }
    }
    Ok(())
}

/// A copy is killed, whichever is drawn, and another one of its stage started.
fn kill_and_start(copies: &mut Copies) -> anyhow::Result<String> {
    let stages: Vec<String> = copies.processes().map(|(stage, _)| stage.to_owned()).collect();
    let stage = stages[rand::rng().random_range(0..stages.len())].clone();
    copies.kill_one(&stage)?;
    match stage.as_str() {
        "run" => copies.start(&[])?,
        stage => copies.start(&["--stage", stage])?,
    }
    Ok(stage)
}

/// One of the faults that a lab knows.
fn strike(lab: &Lab) {
    let count = rand::rng().random_range(1..20);
    let mut faults = lab.faults();
    match rand::rng().random_range(0..8) {
        0 => faults.cut_answers = count,
        1 => faults.site_status = (count, 503, false),
        2 => faults.throttle_next = (count, 2),
        3 => faults.ingestion_status = (count, 503),
        4 => faults.stalls = (count, Duration::from_secs(2)),
        5 => faults.resets = count,
        6 => faults.proxy_pages = 2,
        _ => faults.token_down_until = Some(Instant::now() + Duration::from_secs(10)),
    }
}

/// Resident memory in MiB, and open handles.
fn measured(process: u32) -> (f64, usize) {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse().ok());
    let handles = std::fs::read_dir(format!("/proc/{process}/fd")).map_or(0, Iterator::count);
    (kib.unwrap_or(0.0) / 1_024.0, handles)
}

/// Bytes of the files in a directory.
fn size_of(directory: &Path) -> u64 {
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|found| found.len()).sum()
}
