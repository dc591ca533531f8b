//! One process for many hierarchies: each is read in its own time, whatever the others do.

use std::sync::Arc;
use std::time::Duration;

use cmsync_lab::{Lab, Options, Source};

use crate::rig::{Rig, options, small};

const SITES: usize = 25;
const ALL: &str = r#"[{ name = "*" }]"#;
/// Those that are slow or broken.
const STALLS: usize = 3;
const FAILS: usize = 4;
const DEADLOCKS: usize = 5;

fn hierarchy(number: usize) -> Options {
    let source = if number.is_multiple_of(2) { Source::AdminService } else { Source::Sql };
    let mut plan = small();
    plan.seed = number as u64;
    Options { source, ..options(plan) }
}

fn is_equal(lab: &Lab) -> bool {
    lab.compare(&lab.device_collections()).equal
}

#[tokio::test(flavor = "multi_thread")]
async fn of_25_hierarchies_slow_and_broken_ones_delay_no_other() {
    let mut rig = Rig::with(hierarchy(0), ALL, "").await;
    let mut labs = vec![Arc::clone(&rig.lab)];
    let mut text = std::fs::read_to_string(&rig.config).unwrap();
    for number in 1..SITES {
        let lab = Lab::start(hierarchy(number)).await.unwrap();
        let directory = rig.directory.path().join(format!("site-{number}"));
        let written = lab.write_config(&directory, ALL, "").unwrap();
        let written = std::fs::read_to_string(written).unwrap();
        let (_, connection) = written.split_once("[connections.lab]").unwrap();
        let connection = format!("\n[connections.lab]{connection}");
        text += &connection.replace("connections.lab", &format!("connections.site-{number}"));
        labs.push(lab);
    }
    std::fs::write(&rig.config, text).unwrap();
    labs[STALLS].faults().stalls = (u32::MAX, Duration::from_secs(3_600));
    labs[FAILS].faults().site_status = (u32::MAX, 500, false);
    labs[DEADLOCKS].faults().sql.errors = (u32::MAX, 1205);
    let is_broken = |number: usize| [STALLS, FAILS, DEADLOCKS].contains(&number);
    let others_are_equal = || {
        let mut others = labs.iter().enumerate().filter(|(number, _)| !is_broken(*number));
        others.all(|(_, lab)| is_equal(lab)).then_some(())
    };
    rig.start();
    rig.until(others_are_equal).await;
    // Changes too arrive while three sites give nothing.
    for (number, lab) in labs.iter().enumerate() {
        lab.world().change_members("PS100001", &[cmsync_lab::world::CLIENTS + number as u32], &[]);
    }
    rig.until(others_are_equal).await;
    for number in [STALLS, FAILS, DEADLOCKS] {
        assert_eq!(labs[number].counts().bodies, 0, "site {number}");
    }
    labs[FAILS].faults().site_status.0 = 0;
    labs[DEADLOCKS].faults().sql.errors.0 = 0;
    rig.until(|| (is_equal(&labs[FAILS]) && is_equal(&labs[DEADLOCKS])).then_some(())).await;
}
