//! Whatever the workspace answers, nothing is lost: 500,000 records a fault.

use std::time::{Duration, Instant};

use cmsync_lab::Options;
use cmsync_lab::faults::Faults;

use crate::rig::{Rig, large, options, small};

/// Bodies near the wire's limit, so that half a million records are some hundred requests.
const BODIES: &str = "[uploader]\nmax_raw_body = \"400kB\"";

async fn survives(fault: impl FnOnce(&mut Faults)) -> Rig {
    let mut rig = Rig::with(options(large()), r#"[{ name = "*" }]"#, BODIES).await;
    fault(&mut rig.lab.faults());
    rig.start();
    let report = rig.until_all_equal().await;
    assert!(report.memberships > 400_000, "{report:?}");
    assert_eq!(report.lost_bodies, 0);
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn a_429_on_every_tenth_request() {
    let rig = survives(|f| f.throttle_every = Some((10, 0))).await;
    assert!(rig.lab.counts().refused[&429] > 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn ninety_429s_in_a_row() {
    let rig = survives(|f| f.throttle_next = (90, 0)).await;
    assert_eq!(rig.lab.counts().refused[&429], 90);
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_holds_every_request_of_the_rule() {
    let mut rig = Rig::new(small()).await;
    rig.lab.faults().throttle_next = (1, 2);
    let started = Instant::now();
    rig.start();
    rig.until_all_equal().await;
    assert!(started.elapsed() >= Duration::from_secs(2));
    assert_eq!(rig.lab.counts().refused[&429], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lowered_limit_is_learnt_from_its_413s() {
    let rig = survives(|f| f.body_limit = Some(20_000)).await;
    let counts = rig.lab.counts().clone();
    assert!(counts.max_body <= 20_000);
    assert!(counts.refused[&413] < 40, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_record_in_ten_thousand_is_set_aside_alone() {
    let mut rig = Rig::with(options(large()), r#"[{ name = "*" }]"#, BODIES).await;
    let modulus = 9_973;
    rig.lab.faults().bad_rows = Some(modulus);
    rig.start();
    let lab = std::sync::Arc::clone(&rig.lab);
    let bad: usize = {
        let world = lab.world();
        let of = |id: &String| {
            world.computers(id).keys().filter(|r| u64::from(**r) % modulus == 7).count()
        };
        cmsync_lab::Lab::device_collections_of(&world).iter().map(of).sum()
    };
    let all = lab.device_collections();
    let report = rig
        .until(move || {
            let report = lab.compare(&all);
            (report.missing == bad && report.extra == 0 && report.wrong == 0).then_some(report)
        })
        .await;
    assert!(bad > 20 && report.memberships > 400_000, "{bad} of {report:?}");
    let letters = rig.json(&["dead-letters", "list"]).await;
    assert_eq!(letters.as_array().unwrap().len(), bad);
    assert!(
        letters
            .as_array()
            .unwrap()
            .iter()
            .all(|l| l["reason"] == "refused" && l["stage"] == "uploader")
    );
    // Replayed after the cause is mended, they arrive and are gone from the list; dropped, they go.
    rig.lab.faults().bad_rows = None;
    for letter in letters.as_array().unwrap() {
        let id = letter["id"].as_str().unwrap();
        assert!(rig.run(&["dead-letters", "replay", id]).await.status.success());
    }
    rig.until_all_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_400_on_every_body_pauses_and_sets_nothing_aside() {
    let rig = survives(|f| f.ingestion_status = (30, 400)).await;
    assert_eq!(rig.json(&["dead-letters", "list"]).await.as_array().unwrap().len(), 0);
    assert!(rig.log().contains("refuses every row"), "{}", rig.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_5xx_on_every_body() {
    let rig = survives(|f| f.ingestion_status = (25, 503)).await;
    assert_eq!(rig.json(&["dead-letters", "list"]).await.as_array().unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_a_proxy() {
    let rig = survives(|f| f.proxy_pages = 6).await;
    assert!(rig.log().contains("perhaps a proxy"), "{}", rig.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_tokens_are_renewed() {
    let mut rig = Rig::with(options(large()), r#"[{ name = "*" }]"#, BODIES).await;
    rig.start();
    // Once while half a million records are on their way, then before single changes.
    let lab = std::sync::Arc::clone(&rig.lab);
    rig.until(move || (lab.counts().bodies > 3).then(|| lab.expire_tokens())).await;
    rig.until_all_equal().await;
    for _ in 0..3 {
        rig.lab.expire_tokens();
        let members: Vec<u32> =
            rig.lab.world().collections["PS100001"].members.iter().take(2).collect();
        rig.lab.world().change_members("PS100001", &[], &members);
        rig.until_all_equal().await;
    }
    assert!(rig.lab.counts().refused[&401] >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_endpoint_that_is_down_for_six_seconds() {
    let fault = |f: &mut Faults| f.token_down_until = Some(Instant::now() + Duration::from_secs(6));
    survives(fault).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resets_after_the_body_was_taken_repeat_rows_and_nothing_else() {
    let rig = survives(|f| f.resets = 20).await;
    assert!(rig.repeats() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_secret_says_what_to_do_and_a_new_one_goes_on() {
    let mut rig = Rig::new(small()).await;
    rig.lab.faults().secret_expired = true;
    rig.start();
    let log = rig.log_path();
    let said = move || {
        std::fs::read_to_string(&log)
            .unwrap_or_default()
            .contains("the client secret has expired")
            .then_some(())
    };
    rig.until(said).await;
    assert!(!rig.log().contains(&rig.lab.options.client_secret));
    rig.lab.faults().secret_expired = false;
    rig.until_all_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_refused_holds_up_no_other() {
    let rules = ["dcr-00000000000000000000000000000001", "dcr-00000000000000000000000000000002"];
    let lab = Options { rules: rules.map(Into::into).into(), ..options(small()) };
    let mut rig = Rig::with(lab, r#"[{ name = "*" }]"#, "").await;
    let written = std::fs::read_to_string(&rig.config).unwrap();
    let start = written.find("[connections.lab]").unwrap();
    let end = written.find("[http]").unwrap();
    let one = written.get(start..end).unwrap();
    let url = rig.lab.url();
    let rule = |id: &str| format!("{{ endpoint = \"{url}\", id = \"{id}\" }}");
    let both = format!("{}, {}", rule(rules[0]), rule(rules[1]));
    let good = one.replace(&both, &rule(rules[0]));
    let bad = one.replace(&both, &rule(rules[1])).replace("connections.lab", "connections.other");
    // One site may feed two workspaces.
    let bad = bad.replace("lab-workspace", "other-workspace");
    assert_ne!(good, one);
    let text = written.replace(one, &format!("{good}\n{bad}\n"));
    std::fs::write(&rig.config, text).unwrap();
    rig.lab.faults().refused_rules.insert(rules[1].into());
    rig.lab.start_churn(Duration::from_millis(50), 3);
    rig.start();
    rig.two_polls().await;
    rig.lab.stop_churn();
    rig.until_all_equal().await;
    let status = rig.json(&["status"]).await;
    let other = status.as_array().unwrap().iter().find(|c| c["connection"] == "other").unwrap();
    let uploader =
        other["stages"].as_array().unwrap().iter().find(|s| s["stage"] == "uploader").unwrap();
    assert_eq!(uploader["state"], "Paused", "{status}");
    assert!(
        uploader["reason"].as_str().unwrap().contains("Monitoring Metrics Publisher"),
        "{status}"
    );
}
