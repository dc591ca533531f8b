//! The lab as a process, the binary as another, and the measurements over both.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::process::Process;
use crate::rows::{Better, Rows};

const PATIENCE: Duration = Duration::from_secs(600);
/// Where processes show their metrics.
pub(crate) const PORT: u16 = 19464;

/// What is measured of the data path: bodies as large as the service takes them, eight rules.
pub(crate) const FULL_BODIES: &str = "[uploader]\nmax_raw_body = \"16MiB\"\n";

pub(crate) struct Rig {
    pub(crate) lab: Process,
    pub(crate) directory: tempfile::TempDir,
    client: reqwest::blocking::Client,
    url: String,
}

#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) devices: u32,
    pub(crate) collections: u32,
    pub(crate) memberships: u64,
    pub(crate) poll: u32,
    pub(crate) churn_ms: u64,
    pub(crate) churn_collections: u32,
    pub(crate) latency_ms: u64,
    pub(crate) extra: String,
}

/// Another program of the same build.
fn binary(name: &str) -> PathBuf {
    std::env::current_exe().unwrap_or_default().with_file_name(name)
}

impl Rig {
    pub(crate) fn start(plan: &Plan) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut command = Command::new(binary("cmsync-lab"));
        command.arg("--directory").arg(directory.path()).stderr(Stdio::null());
        for (name, value) in [
            ("--devices", u64::from(plan.devices)),
            ("--collections", u64::from(plan.collections)),
            ("--memberships", plan.memberships),
            ("--rules", 8),
            ("--poll-seconds", u64::from(plan.poll)),
            ("--churn-ms", plan.churn_ms),
            ("--churn-collections", u64::from(plan.churn_collections)),
            ("--latency-ms", plan.latency_ms),
        ] {
            command.arg(name).arg(value.to_string());
        }
        let lab = Process::spawn(&mut command)?;
        let url_file = directory.path().join("lab-url");
        let url = wait_for("the lab", || {
            std::fs::read_to_string(&url_file).ok().filter(|u| !u.is_empty())
        })?;
        let ca = std::fs::read(directory.path().join("lab-ca.pem"))?;
        let client = reqwest::blocking::Client::builder()
            .add_root_certificate(reqwest::Certificate::from_pem(&ca)?)
            .timeout(PATIENCE)
            .build()?;
        let config = directory.path().join("cmsync.toml");
        let text = std::fs::read_to_string(&config)?;
        let listen = format!("[http]\nlisten = \"127.0.0.1:{PORT}\"\n");
        let text = text.replace("[producer]\n", "[producer]\npage_size = 50000\n");
        let groups = "[connections.lab.groups]\nkind = \"none\"\n";
        std::fs::write(&config, format!("{text}\n{}{listen}{groups}", plan.extra))?;
        Ok(Self { lab, directory, client, url })
    }

    pub(crate) fn cmsync(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary("cmsync"));
        let log = self.directory.path().join("cmsync.log");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log);
        command.arg("--config").arg(self.directory.path().join("cmsync.toml")).args(arguments);
        command.stdout(Stdio::null());
        // As deploy/ sets them: the allocator gives memory back at once.
        command.env("MIMALLOC_PURGE_DELAY", "0").env("MIMALLOC_ARENA_EAGER_COMMIT", "0");
        command.env("MIMALLOC_PAGE_FULL_RETAIN", "0").env("MIMALLOC_GENERIC_COLLECT", "1000");
        if let Ok(log) = log {
            command.stderr(log);
        }
        command
    }

    /// A value of the running process's `/metrics`, over all its labels.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        self.metric_at(PORT, name)
    }

    /// The same of a process that listens on a port of its own.
    pub(crate) fn metric_at(&self, port: u16, name: &str) -> Option<f64> {
        let url = format!("http://127.0.0.1:{port}/metrics");
        let text = self.client.get(url).send().ok()?.text().ok()?;
        let values = text
            .lines()
            .filter(|l| l.starts_with(name))
            .filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok());
        Some(values.sum())
    }

    fn counts(&self) -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::from_str(
            &self.client.get(format!("{}/lab/counts", self.url)).send()?.text()?,
        )?)
    }

    /// Changes the configuration of what is started from here on.
    pub(crate) fn rewrite(&self, edit: impl Fn(&str) -> String) -> anyhow::Result<()> {
        let file = self.directory.path().join("cmsync.toml");
        let text = std::fs::read_to_string(&file)?;
        Ok(std::fs::write(&file, edit(&text))?)
    }

    /// Waits for the first poll; gives the memberships that it found.
    pub(crate) fn first_poll(&self) -> anyhow::Result<f64> {
        wait_for("the first poll", || {
            let polled = self.metric("cmsync_producer_polls_total").is_some_and(|n| n >= 1.0);
            polled.then(|| self.metric("cmsync_producer_members{")).flatten()
        })
    }

    /// Waits until the process has delivered this many records since its start.
    pub(crate) fn delivered(&self, process: &mut Process, records: f64) -> anyhow::Result<()> {
        wait_for("delivery", || {
            let done = self
                .metric("cmsync_uploader_records_delivered_total")
                .is_some_and(|n| n >= records);
            let gone = !process.is_running();
            (done || gone).then_some(done)
        })?
        .then_some(())
        .with_context(|| {
            std::fs::read_to_string(self.directory.path().join("cmsync.log")).unwrap_or_default()
        })
    }

    /// Fails unless the workspace equals the site: a wrong answer has no speed.
    pub(crate) fn must_be_equal(&self) -> anyhow::Result<()> {
        let text = self.client.get(format!("{}/lab/report", self.url)).send()?.text()?;
        let report: serde_json::Value = serde_json::from_str(&text)?;
        if report["report"]["equal"] != true {
            bail!("the workspace differs from the site: {}", report["report"]);
        }
        Ok(())
    }

    /// Changes members of so many collections at the site.
    pub(crate) fn churn(&self, collections: u32) -> anyhow::Result<()> {
        let url = format!("{}/lab/churn?collections={collections}", self.url);
        anyhow::ensure!(self.client.get(url).send()?.status().is_success(), "no churn");
        Ok(())
    }

    pub(crate) fn queue(&self) -> PathBuf {
        self.directory.path().join("queue")
    }
}

/// Looks every 50 ms until there is something: more often would be a load of its own.
pub(crate) fn wait_for<T>(what: &str, found: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    look(what, Duration::from_millis(50), found)
}

#[expect(clippy::disallowed_methods, reason = "a measuring program without an async runtime")]
fn look<T>(what: &str, every: Duration, mut found: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = found() {
            return Ok(found);
        }
        if started.elapsed() > PATIENCE {
            bail!("waited in vain for {what}");
        }
        std::thread::sleep(every);
    }
}

/// 100,000 devices and 3 million memberships: first synchronisation, snapshots from state, the
/// uploader alone.
pub(crate) fn small(rows: &mut Rows) -> anyhow::Result<()> {
    let plan = Plan {
        devices: 100_000,
        collections: 300,
        memberships: 3_000_000,
        poll: 3_600,
        extra: FULL_BODIES.to_owned(),
        ..Plan::default()
    };
    let rig = Rig::start(&plan)?;
    let (records, peak) = first_sync(&rig, rows, "first_sync.records_per_second")?;
    rows.add("embedded.peak_rss_mib.3m", peak, "MiB", (100.0, Better::Lower))?;
    let counts = rig.counts()?;
    let bodies = counts["bodies"].as_f64().unwrap_or(0.0);
    rows.add("requests_per_100k", bodies * 100_000.0 / records, "requests", (5.0, Better::Lower))?;
    rows.add(
        "max_body_bytes",
        counts["max_body"].as_f64().unwrap_or(0.0),
        "bytes",
        (1_048_576.0, Better::Lower),
    )?;
    rig.must_be_equal()?;
    let embedded = snapshot(&rig, rows, records)?;
    uploader_alone(&rig, rows, records)?;
    crate::limit::compare(rows, rig.directory.path(), records, embedded)
}

/// From an empty queue to everything delivered; gives records and peak memory.
pub(crate) fn first_sync(rig: &Rig, rows: &mut Rows, name: &str) -> anyhow::Result<(f64, f64)> {
    let started = Instant::now();
    let mut process = Process::spawn(&mut rig.cmsync(&["run"]))?;
    let records = rig.first_poll()?;
    rig.delivered(&mut process, records)?;
    let seconds = started.elapsed().as_secs_f64();
    rows.add(name, records / seconds, "records/s", (300_000.0, Better::Higher))?;
    let peak = process.peak_mib()?;
    process.stop()?;
    Ok((records, peak))
}

/// All collections sent whole from the state, by command, on the running process; gives records a second.
fn snapshot(rig: &Rig, rows: &mut Rows, records: f64) -> anyhow::Result<f64> {
    let mut process = Process::spawn(&mut rig.cmsync(&["run"]))?;
    wait_for("the poll", || rig.metric("cmsync_producer_polls_total").filter(|n| *n >= 1.0))?;
    let lab_before = rig.lab.cpu()?;
    let (cpu, started) = (process.cpu()?, Instant::now());
    let asked = rig.cmsync(&["collections", "resend", "lab"]).status()?;
    if !asked.success() {
        bail!("`collections resend` failed");
    }
    rig.delivered(&mut process, records)?;
    let seconds = started.elapsed().as_secs_f64();
    let cpu = process.cpu()? - cpu;
    rows.add(
        "embedded.records_per_second",
        records / seconds,
        "records/s",
        (800_000.0, Better::Higher),
    )?;
    rows.add(
        "embedded.cpu_seconds_per_million",
        cpu * 1e6 / records,
        "CPU-s",
        (1.8, Better::Lower),
    )?;
    crate::scrape::counting(rig, rows, cpu)?;
    rows.add(
        "lab.cpu_seconds_per_million",
        (rig.lab.cpu()? - lab_before) * 1e6 / records,
        "CPU-s",
        (0.1, Better::Lower),
    )?;
    process.stop()?;
    Ok(records / seconds)
}

/// Each stage alone on the same directory, so that the uploader's own cost shows.
fn uploader_alone(rig: &Rig, rows: &mut Rows, records: f64) -> anyhow::Result<()> {
    for stage in ["producer", "transformer"] {
        let mut process = Process::spawn(&mut rig.cmsync(&["run", "--stage", stage]))?;
        wait_for("the stage", || rig.metric("cmsync_http_requests_total"))?;
        if stage == "producer" {
            rig.cmsync(&["collections", "resend", "lab"]).status()?;
        }
        let name = if stage == "producer" {
            "cmsync_producer_devices_published_total"
        } else {
            "cmsync_transformer_records_total"
        };
        wait_for(stage, || rig.metric(name).filter(|n| *n >= records))?;
        process.stop()?;
    }
    let mut process = Process::spawn(&mut rig.cmsync(&["run", "--stage", "uploader"]))?;
    let started = Instant::now();
    rig.delivered(&mut process, records)?;
    let seconds = started.elapsed().as_secs_f64();
    rows.add(
        "uploader.records_per_second",
        records / seconds,
        "records/s",
        (800_000.0, Better::Higher),
    )?;
    rows.add(
        "uploader.cpu_seconds_per_million",
        process.cpu()? * 1e6 / records,
        "CPU-s",
        (0.9, Better::Lower),
    )?;
    process.stop()
}

/// 5,000 collections in which nothing changes, polled every second.
pub(crate) fn idle(rows: &mut Rows) -> anyhow::Result<()> {
    let plan = Plan {
        devices: 5_000,
        collections: 5_000,
        memberships: 500_000,
        poll: 1,
        ..Plan::default()
    };
    let rig = Rig::start(&plan)?;
    // The poll alone: the re-read of each collection once a day is other work.
    let config = rig.directory.path().join("cmsync.toml");
    let text = std::fs::read_to_string(&config)?;
    let text = text.replace("[producer]\n", "[producer]\nreread_interval = \"365days\"\n");
    std::fs::write(&config, text)?;
    let mut process = Process::spawn(&mut rig.cmsync(&["run"]))?;
    let polls = || rig.metric("cmsync_producer_polls_total").unwrap_or(0.0);
    let records = rig.first_poll()?;
    rig.delivered(&mut process, records)?;
    wait_for("quiet", || (polls() >= 4.0).then_some(()))?;
    let total = |counts: &serde_json::Value| {
        counts["site"]
            .as_object()
            .map_or(0.0, |o| o.values().filter_map(serde_json::Value::as_f64).sum())
    };
    // The lab's own count of polls: it moves with the requests that are counted beside it.
    let listed = |counts: &serde_json::Value| counts["site"]["SMS_Collection"].as_f64();
    let first = rig.counts()?;
    let (before, cpu) = (polls(), process.cpu()?);
    // Each look at the metrics costs as much as a poll: there are few.
    look("twenty polls", Duration::from_secs(10), || (polls() >= before + 20.0).then_some(()))?;
    let (count, last) = (polls() - before, rig.counts()?);
    let polled = listed(&last).context("polls")? - listed(&first).context("polls")?;
    rows.add(
        "idle_poll.requests",
        (total(&last) - total(&first)) / polled,
        "requests",
        (1.05, Better::Lower),
    )?;
    rows.add(
        "idle_poll.cpu_ms",
        (process.cpu()? - cpu) * 1e3 / count,
        "ms",
        (20.0, Better::Lower),
    )?;
    process.stop()
}

/// 100,000 devices, 4 % of the collections changing a minute, polled every 5 s: from the poll that
/// sees a change to its acceptance, as the uploader's own histogram has it.
pub(crate) fn delay(rows: &mut Rows) -> anyhow::Result<()> {
    let plan = Plan {
        devices: 100_000,
        collections: 300,
        memberships: 3_000_000,
        poll: 5,
        churn_ms: 5_000,
        churn_collections: 1,
        ..Plan::default()
    };
    let rig = Rig::start(&plan)?;
    let mut process = Process::spawn(&mut rig.cmsync(&["run"]))?;
    let bucket = |le: &str| {
        let text =
            rig.client.get(format!("http://127.0.0.1:{PORT}/metrics")).send().ok()?.text().ok()?;
        let of = text.lines().find(|l| {
            l.starts_with("cmsync_uploader_record_age_seconds_bucket")
                && l.contains(&format!("le=\"{le}\""))
        });
        of.and_then(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
    };
    let members = rig.first_poll()?;
    rig.delivered(&mut process, members)?;
    // What belongs to the first synchronisation has arrived when two more polls are over.
    let polls = || rig.metric("cmsync_producer_polls_total").unwrap_or(0.0);
    let first = polls();
    wait_for("two polls", || (polls() >= first + 2.0).then_some(()))?;
    let bounds = ["0.5", "1", "2", "5", "+Inf"];
    let before: Vec<f64> = bounds.iter().map(|b| bucket(b).unwrap_or(0.0)).collect();
    wait_for("two minutes of changes", || {
        (bucket("+Inf").unwrap_or(0.0) >= before[4] + 24.0).then_some(())
    })?;
    let after: Vec<f64> = bounds.iter().map(|b| bucket(b).unwrap_or(0.0)).collect();
    let counts: Vec<f64> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
    // The bound of the first bucket that holds 99 %.
    let index = counts.iter().position(|c| *c >= 0.99 * counts[4]).unwrap_or(4);
    let p99 = bounds[index].parse().unwrap_or(f64::INFINITY);
    rows.add("change_delay.p99_seconds", p99, "s, at most", (2.0, Better::Lower))?;
    process.stop()
}
