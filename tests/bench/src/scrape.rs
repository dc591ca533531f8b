//! What it costs to be watched: a scrape of a process with a hundred connections, and counting itself.

use std::time::Instant;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

use crate::process::Process;
use crate::rig::{PORT, Plan, Rig, wait_for};
use crate::rows::{Better, Rows};

const CONNECTIONS: usize = 100;
const SCRAPES: usize = 300;

/// A hundred connections with 50 collections each. All read one site; their workspaces need not be there.
pub(crate) fn scrape(rows: &mut Rows) -> anyhow::Result<()> {
    let plan = Plan {
        devices: 2_000,
        collections: 50,
        memberships: 5_000,
        poll: 3_600,
        ..Plan::default()
    };
    let rig = Rig::start(&plan)?;
    rig.rewrite(|text| {
        let from = text.find("[connections.lab]").unwrap_or(0);
        let to = text.find("[producer]").unwrap_or(text.len());
        let (before, rest) = text.split_at(from);
        let (one, after) = rest.split_at(to - from);
        let one: String = one
            .lines()
            .filter(|l| !l.starts_with("resource_id"))
            .map(|l| format!("{l}\n"))
            .collect();
        let each = (0..CONNECTIONS).map(|number| {
            let name = format!("hierarchy-{number:03}");
            let own = one.replace("connections.lab", &format!("connections.{name}"));
            let own = own.replace("lab-workspace", &format!("workspace-{number:03}"));
            own.replace("id = \"dcr-", &format!("id = \"dcr-{number:03}"))
        });
        let after = after.replace("[connections.lab.groups]\nkind = \"none\"\n", "");
        format!("{before}{}{after}", each.collect::<String>())
    })?;
    let mut process = Process::spawn(&mut rig.cmsync(&["run"]))?;
    wait_for("all polls", || {
        let polls = rig.metric("cmsync_producer_polls_total")?;
        (polls >= CONNECTIONS as f64).then_some(())
    })?;
    let client = reqwest::blocking::Client::new();
    let (mut times, mut bytes) = (Vec::new(), 0);
    for _ in 0..SCRAPES {
        let started = Instant::now();
        let page = client.get(format!("http://127.0.0.1:{PORT}/metrics")).send()?.bytes()?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
        bytes = page.len();
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((SCRAPES as f64 * share) as usize).min(SCRAPES - 1)];
    rows.add("scrape.median_ms", at(0.5), "ms", (20.0, Better::Lower))?;
    rows.add("scrape.p99_ms", at(0.99), "ms", (20.0, Better::Lower))?;
    rows.add("scrape.kilobytes", bytes as f64 / 1e3, "kB", (300.0, Better::Lower))?;
    process.stop()
}

/// Nanoseconds that one count takes: of a counter, and of a histogram.
fn cost() -> anyhow::Result<(f64, f64)> {
    const TIMES: u32 = 5_000_000;
    let name = Matcher::Full("h_seconds".into());
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(name, cmsync_telemetry::SECONDS)?
        .build_recorder();
    Ok(metrics::with_local_recorder(&recorder, || {
        let (counter, histogram) = (metrics::counter!("c_total"), metrics::histogram!("h_seconds"));
        let each = |count: &dyn Fn()| {
            let started = Instant::now();
            (0..TIMES).for_each(|_| count());
            started.elapsed().as_secs_f64() * 1e9 / f64::from(TIMES)
        };
        let nanoseconds = (each(&|| counter.increment(1)), each(&|| histogram.record(0.1)));
        drop(recorder.handle());
        nanoseconds
    }))
}

/// What counting costs of the CPU that a snapshot took: how often something was counted since the start,
/// at the price of one count. Every message, body, commit and request counts a few things.
pub(crate) fn counting(rig: &Rig, rows: &mut Rows, cpu: f64) -> anyhow::Result<()> {
    let (counter, histogram) = cost()?;
    let count = |name: &str| rig.metric(name).unwrap_or(0.0);
    let messages = count("cmsync_transformer_changes_total");
    let bodies = count("cmsync_uploader_body_bytes_count");
    let counters = 6.0 * messages + 8.0 * bodies + 2.0 * count("cmsync_http_requests_total");
    let histograms = 3.0 * bodies
        + count("cmsync_queue_commit_seconds_count")
        + count("cmsync_http_request_seconds_count");
    let seconds = (counters * counter + histograms * histogram) / 1e9;
    rows.add("metrics.percent_of_cpu", 100.0 * seconds / cpu, "%", (1.0, Better::Lower))?;
    rows.add("metrics.counter_ns", counter, "ns", (50.0, Better::Lower))?;
    rows.add("metrics.histogram_ns", histogram, "ns", (200.0, Better::Lower))
}
