//! What a page of the console takes at the largest supported size, and what looking costs.

use std::time::Instant;

use anyhow::Context as _;

use crate::process::Process;
use crate::rig::{FULL_BODIES, PORT, Plan, Rig, wait_for};
use crate::rows::{Better, Rows};

/// Times that each page is asked for.
const TIMES: usize = 50;

/// 825,000 devices in 5,000 collections with 30 million memberships.
pub(crate) fn console(rows: &mut Rows) -> anyhow::Result<()> {
    let plan = Plan {
        devices: 825_000,
        collections: 5_000,
        memberships: 30_000_000,
        poll: 3_600,
        extra: FULL_BODIES.to_owned(),
        ..Plan::default()
    };
    let rig = Rig::start(&plan)?;
    let mut process = Process::spawn(&mut rig.cmsync(&["run"]))?;
    let records = rig.first_poll()?;
    rig.delivered(&mut process, records)?;
    let before = process.peak_mib()?;
    let client = reqwest::blocking::Client::new();
    let get = |path: &str| -> anyhow::Result<(f64, usize)> {
        let started = Instant::now();
        let answer = client.get(format!("http://localhost:{PORT}{path}")).send()?;
        let answer = answer.error_for_status().context("a page failed")?;
        let bytes = answer.bytes()?.len();
        Ok((started.elapsed().as_secs_f64() * 1e3, bytes))
    };
    let (first, _) = get("/computers/lab")?;
    rows.add("console.first_look_ms", first, "ms", (5_000.0, Better::Lower))?;
    wait_for("the counts", || get("/").ok())?;
    for (name, path, goal) in [
        ("overview", "/", 100.0),
        ("groups", "/groups?sort=members&down=true&page=50", 200.0),
        ("groups_search", "/groups?q=servers", 200.0),
        ("members_of_all", "/groups/lab/SMS00001?page=4000", 200.0),
        ("members_search", "/groups/lab/SMS00001?q=pc1234", 200.0),
        ("members_by_id", "/groups/lab/SMS00001?sort=resource-id&down=true", 200.0),
        ("computers", "/computers/lab?page=8000", 200.0),
        ("computer", "/computer/lab/pc000042.contoso.com", 200.0),
        ("removals", "/removals", 200.0),
        ("dead_letters", "/dead-letters", 200.0),
        ("activity", "/activity", 200.0),
        ("plots", "/plots?connection=lab", 200.0),
        ("api_members", "/api/v1/connections/lab/collections/SMS00001/members?limit=1000", 200.0),
        ("api_groups", "/api/v1/groups?limit=1000", 200.0),
    ] {
        let mut times = Vec::new();
        for _ in 0..TIMES {
            times.push(get(path).with_context(|| path.to_owned())?.0);
        }
        times.sort_by(f64::total_cmp);
        let (median, most) = (times[TIMES / 2], times[TIMES - 1]);
        rows.add(&format!("console.{name}_median_ms"), median, "ms", (goal, Better::Lower))?;
        rows.add(&format!("console.{name}_max_ms"), most, "ms", (goal, Better::Lower))?;
    }
    let (seconds, bytes) = get("/computers/lab/computers.csv")?;
    rows.add("console.csv_megabytes", bytes as f64 / 1e6, "MB", (100.0, Better::Lower))?;
    rows.add("console.csv_ms", seconds, "ms", (5_000.0, Better::Lower))?;
    let more = process.peak_mib()? - before;
    rows.add("console.memory_mib", more, "MiB", (200.0, Better::Lower))?;
    process.stop()
}
