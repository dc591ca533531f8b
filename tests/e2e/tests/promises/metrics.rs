//! What `/metrics` shows: all of it from the start, little of each connection, and nothing of one that
//! is gone.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::rig::{Rig, listening, metric, served, small};

/// The page without its head.
fn page(port: u16) -> String {
    let answer = served(port, "/metrics");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    body.to_owned()
}

/// Names and labels of the series.
fn series(page: &str) -> BTreeSet<String> {
    let series = page.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    series.filter_map(|line| line.rsplit_once(' ').map(|(name, _)| name.to_owned())).collect()
}

async fn started() -> (Rig, u16) {
    let mut rig = Rig::new(small()).await;
    let (config, port) = listening(&rig.config);
    rig.config = config;
    rig.start();
    let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).ok().map(drop);
    rig.until(listens).await;
    (rig, port)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_series_is_there_from_the_start_and_a_connection_has_few() {
    let (mut rig, port) = started().await;
    let starts = rig.until(|| Some(page(port)).filter(|page| page.contains("_owner{"))).await;
    rig.until_all_equal().await;
    let ends = page(port);
    let ours = |page: &str| -> BTreeSet<String> {
        series(page).into_iter().filter(|s| s.starts_with("cmsync_")).collect()
    };
    let (before, after) = (ours(&starts), ours(&ends));
    let late: Vec<_> = after.difference(&before).collect();
    assert!(late.is_empty(), "{late:#?}");
    let of_lab = after.iter().filter(|series| series.contains("connection=\"lab\"")).count();
    let said = include_str!("../../../../docs/metrics.md").split_once("are at most ").unwrap().1;
    let most: usize = said.split(' ').next().unwrap().parse().unwrap();
    assert!((20..=most).contains(&of_lab), "{of_lab}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_linter_of_prometheus_finds_nothing() {
    let (mut rig, port) = started().await;
    rig.until_all_equal().await;
    let mut linter = Command::new("promtool");
    let linter = linter.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut linter = linter.stdout(Stdio::piped()).spawn().unwrap();
    linter.stdin.take().unwrap().write_all(page(port).as_bytes()).unwrap();
    let output = linter.wait_with_output().unwrap();
    let found = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && found.is_empty(), "{}", String::from_utf8_lossy(&found));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_left_the_file_is_shown_no_longer() {
    let (mut rig, port) = started().await;
    rig.until_all_equal().await;
    let text = std::fs::read_to_string(&rig.config).unwrap();
    std::fs::write(&rig.config, text.replace("[connections.lab", "[connections.other")).unwrap();
    let has = |name: &str| page(port).contains(&format!("connection=\"{name}\""));
    rig.until(|| (has("other") && !has("lab")).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scrapes_without_a_rest_disturb_nothing() {
    let (mut rig, port) = started().await;
    let stop = tokio_util::sync::CancellationToken::new();
    let stopped = stop.clone();
    let scrapes = tokio::task::spawn_blocking(move || {
        let mut count = 0_u32;
        while !stopped.is_cancelled() {
            assert!(page(port).contains("cmsync_build_info"));
            count += 1;
        }
        count
    });
    rig.until_all_equal().await;
    stop.cancel();
    assert!(scrapes.await.unwrap() > 10);
    assert!(rig.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mended_configuration_leaves_nothing_of_what_was_wrong() {
    let mut rig = Rig::new(small()).await;
    let (config, port) = listening(&rig.config);
    let right = std::fs::read_to_string(&config).unwrap();
    let rule = rig.lab.options.rules[0].clone();
    std::fs::write(&config, right.replace(&rule, "dcr-ffffffffffffffffffffffffffffffff")).unwrap();
    rig.config = config.clone();
    rig.start();
    rig.until_status("uploader", "Paused").await;
    let blocked = "cmsync_connection_stages_blocked{connection=\"lab\",cause=\"rights\"}";
    rig.until(|| (metric(port, blocked) == 1.0).then_some(())).await;
    std::fs::write(&config, right).unwrap();
    rig.until_all_equal().await;
    rig.until_status("uploader", "Working").await;
    rig.until(|| (metric(port, blocked) == 0.0).then_some(())).await;
    // What was on its way when the former uploader ended is on its way no longer.
    let in_flight = || metric(port, "cmsync_uploader_bodies_in_flight");
    rig.until(|| (in_flight() == 0.0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_followed_is_shown_as_that() {
    let (mut rig, port) = started().await;
    rig.until_all_equal().await;
    let accepted = || metric(port, "cmsync_configuration_accepted");
    assert_eq!(accepted(), 1.0);
    let right = std::fs::read_to_string(&rig.config).unwrap();
    let other = right.replacen("[queue]\n", "[queue]\npartitions = 3\n", 1);
    for wrong in [other, format!("drain_deadline = \"0s\"\n{right}")] {
        assert_ne!(wrong, right);
        std::fs::write(&rig.config, wrong).unwrap();
        rig.until(|| (accepted() == 0.0).then_some(())).await;
        std::fs::write(&rig.config, &right).unwrap();
        rig.until(|| (accepted() == 1.0).then_some(())).await;
    }
}
