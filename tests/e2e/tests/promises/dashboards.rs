//! Every panel of the dashboards shows something of the real binary.

use std::cell::RefCell;

use serde_json::Value;

use crate::kafka::Cluster;
use crate::prometheus::{Prometheus, project};
use crate::rig::{Rig, listening, small};

/// Every expression of these dashboards, with where it stands.
fn expressions(dashboards: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for name in dashboards {
        let path = project(&format!("deploy/grafana/dashboards/cmsync-{name}.json"));
        let dashboard: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let text = target["expr"].as_str().unwrap();
                let text = text.replace("$__rate_interval", "30s").replace("$connection", "lab");
                found.push((format!("{name}: {}", panel["title"]), text));
            }
        }
    }
    assert!(found.len() > 10);
    found
}

/// Whether a panel would draw something.
fn shows(answer: &[Value]) -> bool {
    let number =
        |value: &Value| value["value"][1].as_str().and_then(|text| text.parse::<f64>().ok());
    answer.iter().filter_map(number).any(f64::is_finite)
}

/// Waits until every panel has shown something; `meanwhile` keeps the site changing.
async fn until_all_show(
    rig: &mut Rig,
    prometheus: &Prometheus,
    dashboards: &[&str],
    mut meanwhile: impl FnMut(&mut u32),
) {
    let left = RefCell::new(expressions(dashboards));
    let mut turn = 0;
    let started = std::time::Instant::now();
    rig.until(|| {
        meanwhile(&mut turn);
        left.borrow_mut().retain(|(_, text)| !shows(&prometheus.query(text)));
        let is_late = started.elapsed() > crate::rig::PATIENCE / 2;
        assert!(!is_late, "empty: {:#?} {}", left.borrow(), prometheus.log());
        left.borrow().is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_panel_is_empty_and_none_asks_for_a_metric_that_is_not_there() {
    let mut rig = Rig::new(small()).await;
    let text = std::fs::read_to_string(&rig.config).unwrap();
    let text = text.replacen(
        "client_secret_file",
        "client_secret_expires = \"2030-01-31\"\nclient_secret_file",
        1,
    );
    assert!(text.contains("client_secret_expires"), "{text}");
    let often = "verify_interval = \"2s\"\nverify_settle = \"0s\"\n";
    std::fs::write(&rig.config, format!("{often}{text}")).unwrap();
    let (config, port) = listening(&rig.config);
    rig.config = config;
    let prometheus = Prometheus::start(&[port]);
    rig.start();
    let lab = std::sync::Arc::clone(&rig.lab);
    let dashboards = ["overview", "pipeline", "connection", "azure"];
    until_all_show(&mut rig, &prometheus, &dashboards, |turn| {
        *turn += 1;
        let member = 16_777_220 + *turn;
        lab.world().change_members("PS100003", &[member], &[member - 1]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_panel_about_brokers_is_empty() {
    let mut cluster = Cluster::new().await;
    let stages = "producer,transformer,uploader";
    let first = cluster.start_listening(stages).await.1;
    cluster.until_equal().await;
    // Partitions move to the second, and what was on its way is waited for.
    let second = cluster.start_listening(stages).await.1;
    let prometheus = Prometheus::start(&[first, second]);
    let lab = std::sync::Arc::clone(&cluster.rig.lab);
    until_all_show(&mut cluster.rig, &prometheus, &["kafka"], |turn| {
        *turn += 1;
        let member = 16_777_220 + *turn;
        lab.world().change_members("PS100003", &[member], &[member - 1]);
    })
    .await;
}
