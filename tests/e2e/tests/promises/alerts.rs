//! What an operator is woken by: the real binary, a real Prometheus that scrapes it, and the rules of
//! `deploy/prometheus`, of which each alert waits for a second only.

use cmsync_lab::world::Plan;

use crate::guard::hide;
use crate::prometheus::Prometheus;
use crate::rig::{Rig, listening, small};

/// Every collection at least is a message.
fn many_messages() -> Plan {
    Plan { devices: 600, collections: 80, memberships: 2_400, ..Plan::default() }
}

/// A rig that is scraped.
async fn watched(plan: Plan) -> (Rig, Prometheus) {
    let mut rig = Rig::new(plan).await;
    let (config, port) = listening(&rig.config);
    rig.config = config;
    (rig, Prometheus::start(&[port]))
}

/// Waits until an alert fires, with `true`, or has cleared.
async fn until(rig: &mut Rig, prometheus: &Prometheus, alert: &str, fires: bool) {
    let is_so = || (prometheus.firing().contains(alert) == fires).then_some(());
    rig.until(is_so).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_does_not_answer_is_an_alert_until_it_does() {
    let (mut rig, prometheus) = watched(small()).await;
    rig.start();
    rig.until_all_equal().await;
    let polls = || !prometheus.query("cmsync:answer_age_seconds < 3").is_empty();
    rig.until(|| polls().then_some(())).await;
    assert!(!prometheus.firing().contains("CmsyncConnectionStalled lab"));
    rig.lab.faults().site_status = (u32::MAX, 503, false);
    until(&mut rig, &prometheus, "CmsyncConnectionStalled lab", true).await;
    rig.lab.faults().site_status = (0, 0, false);
    until(&mut rig, &prometheus, "CmsyncConnectionStalled lab", false).await;
    rig.until_all_equal().await;
    let left = rig.until(|| Some(prometheus.firing()).filter(|f| f.is_empty())).await;
    assert!(left.is_empty(), "{left:?} {}", prometheus.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_is_an_alert_of_its_own_until_it_is_granted() {
    let (mut rig, prometheus) = watched(small()).await;
    let rules = rig.lab.options.rules.clone();
    rig.lab.faults().refused_rules.extend(rules);
    rig.start();
    until(&mut rig, &prometheus, "CmsyncPausedOnRights lab", true).await;
    assert!(!prometheus.firing().contains("CmsyncPausedOnCredential lab"));
    rig.lab.faults().refused_rules.clear();
    until(&mut rig, &prometheus, "CmsyncPausedOnRights lab", false).await;
    rig.until_all_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_growing_lag_is_an_alert_until_the_workspace_takes_it() {
    let (mut rig, prometheus) = watched(many_messages()).await;
    rig.lab.faults().ingestion_status = (u32::MAX, 503);
    rig.start();
    until(&mut rig, &prometheus, "CmsyncLagGrows lab", true).await;
    rig.lab.faults().ingestion_status = (0, 0);
    rig.until_all_equal().await;
    until(&mut rig, &prometheus, "CmsyncLagGrows lab", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_an_alert_until_somebody_decides() {
    let (mut rig, prometheus) = watched(Plan { devices: 3_000, ..small() }).await;
    rig.lab.faults().bad_rows = Some(1_009);
    rig.start();
    until(&mut rig, &prometheus, "CmsyncDeadLetters lab", true).await;
    rig.lab.faults().bad_rows = None;
    let letters = rig.json(&["dead-letters", "list"]).await;
    for letter in letters.as_array().unwrap() {
        let id = letter["id"].as_str().unwrap();
        assert!(rig.run(&["dead-letters", "replay", id]).await.status.success());
    }
    until(&mut rig, &prometheus, "CmsyncDeadLetters lab", false).await;
    rig.until_all_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_removal_is_an_alert_until_somebody_decides() {
    let (mut rig, prometheus) = watched(small()).await;
    rig.start();
    rig.until_all_equal().await;
    rig.lab.faults().hides_account = true;
    let hidden = hide(&rig, 6);
    until(&mut rig, &prometheus, "CmsyncRemovalHeld lab", true).await;
    for id in &hidden {
        assert!(rig.run(&["removals", "approve", "lab", id]).await.status.success());
    }
    until(&mut rig, &prometheus, "CmsyncRemovalHeld lab", false).await;
    let seen = rig.lab.device_collections();
    rig.until_equal(&seen).await;
}
