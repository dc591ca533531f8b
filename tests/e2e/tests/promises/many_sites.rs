//! One process for many hierarchies: each is read in its own time, whatever the others do.

use std::sync::Arc;
use std::time::Duration;

use cmsync_lab::world::Plan;
use cmsync_lab::{Lab, Options, Source};

use crate::rig::{Rig, options, small, stderr};

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

/// A table of a configuration.
fn table(text: &str, name: &str) -> String {
    let (_, rest) = text.split_once(name).unwrap();
    format!("{name}{}\n", rest.split("\n[").next().unwrap())
}

/// Adds a connection, first by its name, from another hierarchy with the same site code to the same
/// workspace.
fn add_twin(rig: &Rig, other: &Lab) {
    let written = other.write_config(&rig.directory.path().join("other"), ALL, "").unwrap();
    let written = std::fs::read_to_string(written).unwrap();
    let text = std::fs::read_to_string(&rig.config).unwrap();
    let site = table(&written, "[connections.lab.site]");
    let workspace = table(&text, "[connections.lab.workspace]");
    let twin = format!("[connections.lab]\ncollections = {ALL}\n\n{site}\n{workspace}\n");
    let twin = twin.replace("connections.lab", "connections.a-twin");
    std::fs::write(&rig.config, format!("{text}\n{twin}")).unwrap();
}

/// How often a hierarchy was asked which one it is.
fn looks(lab: &Lab) -> u64 {
    lab.counts().site.get("SMS_Identification").copied().unwrap_or(0)
}

const QUICK_SWEEP: &str = "[producer]\ndevice_sweep_interval = \"300ms\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_second_hierarchy_with_the_same_site_code_never_writes_into_a_workspace() {
    let mut rig = Rig::with(hierarchy(0), ALL, QUICK_SWEEP).await;
    let other = Lab::start(hierarchy(2)).await.unwrap();
    rig.start();
    rig.until_all_equal().await;
    let alone = std::fs::read_to_string(&rig.config).unwrap();
    // Its name comes first, and its site answers: it is the later one all the same.
    add_twin(&rig, &other);
    let said = rig.until_status("producer", "Stopped").await;
    let reason = said["reason"].as_str().unwrap();
    assert!(reason.contains("connection `lab` has site code `CAS`"), "{reason}");
    assert!(rig.terminate().await.success());
    let before = looks(&other);
    rig.start();
    rig.lab.world().change_members("PS100001", &[cmsync_lab::world::CLIENTS], &[]);
    rig.until_all_equal().await;
    rig.until(|| (looks(&other) > before + 3).then_some(())).await;
    for class in ["SMS_Collection", "SMS_R_System"] {
        assert!(!other.counts().site.contains_key(class), "{class} is not even read");
    }
    let count = |lab: &Lab| lab.resources().aliases().len();
    let groups = count(&rig.lab);
    let bin = rig.directory.path().join("bin");
    rig.lab.write_az(&bin).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut command = rig.command(&["disconnect", "a-twin", "--yes"]);
    let taken = tokio::task::spawn_blocking(move || command.env("PATH", path).output().unwrap());
    let taken = taken.await.unwrap();
    assert!(taken.status.success(), "{}", stderr(&taken));
    assert_eq!(count(&rig.lab), groups, "the groups are those of the other connection");
    assert_eq!(std::fs::read_to_string(&rig.config).unwrap().trim(), alone.trim());
    assert!(rig.report().equal, "{:#?}", rig.report());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_free_once_its_connection_is_renamed_in_the_file_of_a_running_process() {
    let mut rig = Rig::with(hierarchy(0), ALL, "").await;
    rig.start();
    rig.until_all_equal().await;
    let text = std::fs::read_to_string(&rig.config).unwrap();
    std::fs::write(&rig.config, text.replace("connections.lab", "connections.renamed")).unwrap();
    rig.lab.world().change_members("PS100001", &[cmsync_lab::world::CLIENTS], &[]);
    rig.until_all_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hierarchies_with_one_site_code_that_begin_at_once_one_writes() {
    let rig = Rig::with(hierarchy(0), ALL, "").await;
    let other = Lab::start(hierarchy(2)).await.unwrap();
    add_twin(&rig, &other);
    for _ in 0..2 {
        let output = rig.once().await;
        assert!(!output.status.success());
        let status = rig.json(&["status"]).await;
        let sends: Vec<bool> = (0..2).map(|c| status[c]["members"].as_i64() > Some(0)).collect();
        assert_eq!(sends.iter().filter(|sends| **sends).count(), 1, "{status:#}");
        assert!(
            status.to_string().contains("rows are told apart by that code alone"),
            "{status:#}"
        );
        assert_eq!(rig.report().equal, sends[1], "{:#?}", rig.report());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_another_site_is_taken_for_the_devices_of_the_kept_one() {
    let mut rig = Rig::with(hierarchy(0), ALL, QUICK_SWEEP).await;
    rig.start();
    rig.until_all_equal().await;
    assert!(rig.terminate().await.success());
    let plan = Plan { seed: 2, site: "XYZ".into(), ..small() };
    let other = Lab::start(options(plan)).await.unwrap();
    let written = other.write_config(&rig.directory.path().join("other"), ALL, "").unwrap();
    let written = std::fs::read_to_string(written).unwrap();
    let text = std::fs::read_to_string(&rig.config).unwrap();
    let site = |text: &str| table(text, "[connections.lab.site]");
    std::fs::write(&rig.config, text.replace(&site(&text), &site(&written))).unwrap();
    rig.start();
    let said = rig.until_status("producer", "Stopped").await;
    assert!(said["reason"].as_str().unwrap().contains("site `XYZ`"), "{said}");
    let before = looks(&other);
    rig.until(|| (looks(&other) > before + 3).then_some(())).await;
    assert!(!other.counts().site.contains_key("SMS_R_System"), "its devices are not read");
    assert!(rig.report().equal, "{:#?}", rig.report());
}
