//! The stages as processes on a broker beside them.

use std::time::Instant;

use cmsync_broker::Broker;

use crate::process::Process;
use crate::rig::{FULL_BODIES, PORT, Plan, Rig, wait_for};
use crate::rows::{Better, Rows};

/// As `session_timeout` is by default.
const SESSION: f64 = 10.0;

const PUBLISHED: &str = "cmsync_producer_devices_published_total";
const POLLS: &str = "cmsync_producer_polls_total";
const MADE: &str = "cmsync_transformer_records_total";
const DELIVERED: &str = "cmsync_uploader_records_delivered_total";

/// A broker, a lab, and the topics.
struct Site {
    rig: Rig,
    _broker: Broker,
}

impl Site {
    fn new(plan: Plan) -> anyhow::Result<Self> {
        let broker = Broker::start(1)?;
        let table = format!(
            "[queue.kafka]\nbrokers = \"{}\"\nreplication = 1\nmin_in_sync = 1\n",
            broker.brokers()
        );
        let rig = Rig::start(&Plan { extra: format!("{}{table}", plan.extra), ..plan })?;
        anyhow::ensure!(rig.cmsync(&["topics", "create"]).status()?.success(), "no topics");
        Ok(Self { rig, _broker: broker })
    }

    /// A copy of a stage, whose metrics are at so many ports above the first.
    fn start(&self, stage: &str, port: u16) -> anyhow::Result<Process> {
        let mut command = self.rig.cmsync(&["run", "--stage", stage]);
        command.env("CMSYNC_HTTP__LISTEN", format!("127.0.0.1:{}", PORT + port));
        Process::spawn(&mut command)
    }

    fn until(&self, port: u16, name: &str, least: f64) -> anyhow::Result<f64> {
        wait_for(name, || self.rig.metric_at(PORT + port, name).filter(|found| *found >= least))
    }

    /// Lets producer and transformer fill the records; gives their number.
    fn fill(&self) -> anyhow::Result<f64> {
        let mut producer = self.start("producer", 0)?;
        let records = self.rig.first_poll()?;
        self.until(0, PUBLISHED, records)?;
        let mut transformer = self.start("transformer", 1)?;
        self.until(1, MADE, records)?;
        producer.stop()?;
        transformer.stop()?;
        Ok(records)
    }
}

fn plan() -> Plan {
    Plan {
        devices: 100_000,
        collections: 300,
        memberships: 3_000_000,
        poll: 3_600,
        // Room for all of it: the stages run one after the other.
        extra: FULL_BODIES.to_owned(),
        ..Plan::default()
    }
}

/// 3 million memberships: the uploader alone, all stages at once, and a standby that takes over.
pub(crate) fn small(rows: &mut Rows) -> anyhow::Result<()> {
    let site = Site::new(plan())?;
    let records = site.fill()?;
    let mut uploader = site.start("uploader", 0)?;
    wait_for("the first records", || site.rig.metric(DELIVERED).filter(|n| *n > 0.0))?;
    let (started, first, cpu) =
        (Instant::now(), site.rig.metric(DELIVERED).unwrap_or(0.0), uploader.cpu()?);
    site.rig.delivered(&mut uploader, records)?;
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), uploader.cpu()? - cpu);
    let rate = (records - first) / seconds;
    rows.add("kafka.uploader.records_per_second", rate, "records/s", (600_000.0, Better::Higher))?;
    let cost = cpu * 1e6 / (records - first);
    rows.add("kafka.uploader.cpu_seconds_per_million", cost, "CPU-s", (0.9, Better::Lower))?;
    let peak = uploader.peak_mib()?;
    rows.add("kafka.uploader.peak_rss_mib", peak, "MiB", (100.0, Better::Lower))?;
    let mut producer = site.start("producer", 1)?;
    let mut transformer = site.start("transformer", 2)?;
    site.until(1, POLLS, 1.0)?;
    let before = site.rig.metric(DELIVERED).unwrap_or(0.0);
    let started = Instant::now();
    site.rig.cmsync(&["collections", "resend", "lab"]).status()?;
    site.rig.delivered(&mut uploader, before + records)?;
    let rate = records / started.elapsed().as_secs_f64();
    rows.add("kafka.pipeline.records_per_second", rate, "records/s", (300_000.0, Better::Higher))?;
    // The last markers follow the last rows.
    wait_for("equality", || site.rig.must_be_equal().ok())?;
    uploader.stop()?;
    transformer.stop()?;
    producer.stop()
}

/// From the death of the owner to a standby that has polled.
pub(crate) fn take_over(rows: &mut Rows) -> anyhow::Result<()> {
    let site = Site::new(Plan { poll: 1, ..plan() })?;
    site.fill()?;
    let first = site.start("producer", 1)?;
    site.until(1, POLLS, 1.0)?;
    let second = site.start("producer", 2)?;
    // Both have partitions now; the connection is in one of them.
    site.until(2, "cmsync_queue_owned_partitions", 1.0)?;
    let site = &site;
    let owns = |port: u16| {
        let polls = move || site.rig.metric_at(PORT + port, POLLS).unwrap_or(0.0);
        let before = polls();
        move || (polls() >= before + 2.0).then_some(port)
    };
    let (one, two) = (owns(1), owns(2));
    let owner = wait_for("an owner", || one().or_else(&two))?;
    let (dies, mut lives, heir) = match owner {
        1 => (first, second, 2),
        _ => (second, first, 1),
    };
    let before = site.rig.metric_at(PORT + heir, POLLS).unwrap_or(0.0);
    let started = Instant::now();
    drop(dies);
    site.until(heir, POLLS, before + 1.0)?;
    let seconds = started.elapsed().as_secs_f64();
    rows.add("kafka.take_over_seconds", seconds, "s", (SESSION + 5.0, Better::Lower))?;
    lives.stop()
}

/// Uploaders with one body in flight each, against a workspace that answers after a second.
pub(crate) fn uploaders(rows: &mut Rows) -> anyhow::Result<()> {
    for count in [1, 2, 4] {
        let one = "[uploader]\nmax_in_flight = 1\n".to_owned();
        let site =
            Site::new(Plan { memberships: 300_000, latency_ms: 1_000, extra: one, ..plan() })?;
        let records = site.fill()?;
        let mut running = Vec::new();
        for number in 0..count {
            running.push(site.start("uploader", number)?);
        }
        let delivered = || -> f64 {
            let each = (0..count).filter_map(|number| site.rig.metric_at(PORT + number, DELIVERED));
            each.sum()
        };
        // A partition moves while others join: from half of it on, all are at work.
        wait_for("half", || (delivered() >= records / 4.0).then_some(()))?;
        let (started, first) = (Instant::now(), delivered());
        wait_for("most", || (delivered() >= records * 0.75).then_some(()))?;
        let rate = (delivered() - first) / started.elapsed().as_secs_f64();
        let name = format!("kafka.uploaders_{count}.records_per_second");
        rows.add(&name, rate, "records/s", (f64::from(count) * 4_000.0, Better::Higher))?;
        for mut process in running {
            process.stop()?;
        }
    }
    Ok(())
}

/// 30 million memberships: how long a producer without a disk needs to know them again.
pub(crate) fn large(rows: &mut Rows) -> anyhow::Result<()> {
    let site =
        Site::new(Plan { devices: 825_000, collections: 400, memberships: 30_000_000, ..plan() })?;
    let mut producer = site.start("producer,transformer,uploader", 0)?;
    let records = site.rig.first_poll()?;
    site.rig.delivered(&mut producer, records)?;
    producer.stop()?;
    // The lab would read all rows anew to say how far they go, which a workspace tells at once.
    site.rig.rewrite(|text| text.replace("workspace_id = \"lab-workspace\"\n", ""))?;
    let mut again = site.start("producer", 0)?;
    let started = Instant::now();
    site.until(0, "cmsync_producer_members{", records)?;
    let seconds = started.elapsed().as_secs_f64();
    rows.add("kafka.restore_seconds.30m", seconds, "s", (60.0, Better::Lower))?;
    let peak = again.peak_mib()?;
    rows.add("kafka.restore_peak_rss_mib.30m", peak, "MiB", (400.0, Better::Lower))?;
    again.stop()
}
