//! `make demo`: a lab hierarchy that changes every second, kept in a lab workspace for half a minute.
//! With `QUEUE=kafka` the stages are processes of their own on a real broker, and one of each is
//! killed half-way. Ends with what happened, and exits 0 only if the workspace equals the site.

#![expect(clippy::print_stdout, reason = "this is what the demo is for")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cmsync_lab::churn::percentile;
use cmsync_lab::copies::{COPIES, Copies, asked_broker, binary, kafka_table, wait_until_equal};
use cmsync_lab::world::Plan;
use cmsync_lab::{Lab, Options, Source};

const RUN: Duration = Duration::from_secs(30);
/// The last changes have this long to arrive.
const LAST: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let directory = std::env::temp_dir().join(format!("cmsync-demo-{}", std::process::id()));
    let outcome = demo(&directory).await;
    // What a demo leaves behind is of no use to anyone.
    drop(std::fs::remove_dir_all(&directory));
    outcome
}

async fn demo(directory: &Path) -> anyhow::Result<ExitCode> {
    let plan = Plan { devices: 5_000, collections: 120, memberships: 60_000, ..Plan::default() };
    let source = Source::named("SOURCE");
    let lab = Lab::start(Options { plan, source, ..Options::default() }).await?;
    let keeps = std::env::var("KEEP").is_ok_and(|keep| keep == "1");
    let http = if keeps { "127.0.0.1:9464" } else { "" };
    let broker = asked_broker().await?;
    let kafka = broker.as_ref().map(kafka_table).unwrap_or_default();
    let extra = format!("[producer]\npoll_interval = \"1s\"\n[http]\nlisten = \"{http}\"\n{kafka}");
    let config = lab.write_config(directory, "[{ name = \"*\" }]", &extra)?;
    println!(
        "A hierarchy of 5,000 devices in 120 collections changes every second; cmsync keeps it in a workspace."
    );
    lab.start_churn(Duration::from_secs(1), 5);
    let binary = binary();
    let mut copies = Copies::new(config.clone());
    copies.start_all(broker.is_some())?;
    if broker.is_some() {
        COPIES.iter().for_each(|(stage, n)| println!("on Kafka: {n} x cmsync run --stage {stage}"));
    }
    if keeps {
        println!("site and workspace: {}", lab.url());
        println!("metrics:            http://127.0.0.1:9464/metrics");
        println!("commands:           {} --config {} status", binary.display(), config.display());
        println!("Ctrl-C ends it.");
        tokio::signal::ctrl_c().await?;
        copies.stop()?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(log) = look_on(&lab, &mut copies, broker.is_some()).await? {
        eprintln!("\ncmsync ended:\n{}", std::fs::read_to_string(log)?);
        return Ok(ExitCode::FAILURE);
    }
    println!();
    lab.stop_churn();
    let is_equal = wait_until_equal(&lab, LAST).await;
    copies.stop()?;
    let is_equal = tell(&lab) && is_equal;
    Ok(if is_equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Looks on for half a minute; the log of a copy that ended by itself.
async fn look_on(
    lab: &Lab,
    copies: &mut Copies,
    mut may_kill: bool,
) -> anyhow::Result<Option<PathBuf>> {
    let started = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    while started.elapsed() < RUN {
        ticks.tick().await;
        if let Some(log) = copies.ended()? {
            return Ok(Some(log));
        }
        if may_kill && started.elapsed() > RUN / 2 {
            may_kill = false;
            println!("\none copy of each stage is killed");
            COPIES.iter().try_for_each(|(stage, _)| copies.kill_one(stage))?;
        }
        let counts = lab.counts().clone();
        let (changes, requests) = (lab.churn().changes.len(), counts.site.values().sum::<u64>());
        print!(
            "\r{:>2} s: {changes} membership changes, {requests} requests to the site, {} bodies accepted ",
            started.elapsed().as_secs(),
            counts.bodies
        );
        std::io::stdout().flush()?;
    }
    Ok(None)
}

/// What happened, in a few lines; whether the workspace equals the site.
fn tell(lab: &Lab) -> bool {
    let report = lab.compare(&lab.device_collections());
    let (counts, churn) = (lab.counts().clone(), lab.churn());
    let delays = churn.delays(&lab.workspace);
    println!("collections            {}", report.collections);
    println!("memberships            {}", report.memberships);
    println!("records                {} and {} markers", report.member_rows, report.marker_rows);
    println!(
        "bodies                 {}, the largest {} bytes on the wire",
        counts.bodies, counts.max_body
    );
    let (functions, writes) = {
        let resources = lab.resources();
        (resources.aliases().len(), resources.writes.len())
    };
    println!("computer groups        {functions} functions, {writes} writes");
    println!(
        "membership changes     {}, the way of {} measured",
        churn.changes.len(),
        delays.len()
    );
    let millis = |share| percentile(&delays, share).as_millis();
    println!(
        "change to acceptance   p50 {} ms, p99 {} ms (polled every second)",
        millis(0.5),
        millis(0.99)
    );
    if report.equal {
        println!("The workspace equals the site.");
    } else {
        println!(
            "The workspace DIFFERS: {} missing, {} extra, {} wrong",
            report.missing, report.extra, report.wrong
        );
        report.differences.iter().for_each(|difference| println!("  {difference}"));
    }
    report.equal
}
