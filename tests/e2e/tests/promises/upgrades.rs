//! Two versions side by side: today's build, and one that stands for a version to come, whose messages have
//! a field more (`make next`).

use std::path::{Path, PathBuf};

use cmsync_queue::Queue as _;
use cmsync_schemas::{SCHEMAS, fingerprint, topics, unframed};

use crate::kafka::Cluster;
use crate::rig::{Rig, served, small, stderr};

/// The build that stands for a version to come.
fn newer() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/next/cmsync");
    assert!(path.exists(), "{} is missing: run `make next`", path.display());
    path
}

/// Takes a member out of a collection.
fn change(rig: &Rig) {
    let mut world = rig.lab.world();
    let member = *world.computers("PS100003").keys().next().unwrap();
    world.change_members("PS100003", &[], &[member]);
}

/// Whether the newer version wrote the state: with schemas that today's does not have.
async fn writes_newer(cluster: &Cluster) -> bool {
    let known: Vec<u64> = SCHEMAS.iter().filter_map(|(_, text)| fingerprint(text)).collect();
    let mut entries = cluster.queue().await.scan(topics::STATE).await.unwrap();
    entries.any(|entry| unframed(&entry.unwrap().1).is_some_and(|(by, _)| !known.contains(&by)))
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_are_upgraded_one_by_one_from_the_last_stage_to_the_first_and_nothing_waits() {
    let mut cluster = Cluster::new().await;
    let stages = ["uploader", "transformer", "producer"];
    let old = stages.map(|stage| cluster.start(stage));
    cluster.until_equal().await;
    for (former, stage) in old.into_iter().zip(stages) {
        let next = cluster.start_program(stage, &newer());
        cluster.stop(former).await;
        change(&cluster.rig);
        assert!(!cluster.rig.report().equal);
        cluster.until_equal().await;
        assert!(cluster.is_running(next), "{}", cluster.log(stage, next));
    }
    assert!(writes_newer(&cluster).await, "the newer version wrote nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_wrong_order_the_older_copy_waits_says_so_and_loses_nothing() {
    let mut cluster = Cluster::new().await;
    let uploader = cluster.start("uploader");
    let (transformer, port) = cluster.start_listening("transformer").await;
    let producer = cluster.start("producer");
    cluster.until_equal().await;
    cluster.start_program("producer", &newer());
    cluster.stop(producer).await;
    change(&cluster.rig);
    let waits = || served(port, "/ready").contains("upgrade this copy").then_some(());
    cluster.rig.until(waits).await;
    assert!(served(port, "/ready").starts_with("HTTP/1.1 503"));
    assert!(!cluster.rig.report().equal);
    // The uploader would meet what it does not know next.
    cluster.start_program("uploader", &newer());
    cluster.start_program("transformer", &newer());
    cluster.stop(transformer).await;
    cluster.stop(uploader).await;
    cluster.until_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_version_goes_on_with_the_queue_of_an_older_one_and_the_way_back_loses_nothing() {
    let mut rig = Rig::new(small()).await;
    rig.start();
    rig.until_all_equal().await;
    assert!(rig.terminate().await.success());
    rig.program = Some(newer());
    change(&rig);
    rig.start();
    rig.until_all_equal().await;
    assert!(rig.terminate().await.success());
    // What is delivered is behind it; what the state holds in the newer form it cannot read, and says so.
    rig.program = None;
    let output = rig.once().await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("upgrade this copy"), "{}", stderr(&output));
    // The way that the guide names: a fresh queue, everything whole, above what the workspace has.
    std::fs::remove_dir_all(rig.queue_file().parent().unwrap()).unwrap();
    change(&rig);
    rig.start();
    rig.until_all_equal().await;
}
