//! `cmsync verify` finds what is wrong in a workspace, sends it again, and says nothing when all is
//! right.

use std::sync::Arc;

use cmsync_lab::arm::WORKSPACE;
use serde_json::{Value, json};

use crate::rig::{Rig, options, small, stderr};

async fn rig() -> Rig {
    let mut rig = Rig::with(options(small()), r#"[{ name = "*" }]"#, "").await;
    let text = std::fs::read_to_string(&rig.config).unwrap();
    std::fs::write(&rig.config, format!("verify_settle = \"0s\"\n{text}")).unwrap();
    rig.start();
    rig.until_all_equal().await;
    until_groups(&mut rig).await;
    rig
}

async fn until_groups(rig: &mut Rig) {
    let lab = Arc::clone(&rig.lab);
    let all = lab.device_collections();
    rig.until(move || lab.compare_groups(&all).is_empty().then_some(())).await;
}

/// The report of one look, and whether all was right.
async fn verify(rig: &Rig, arguments: &[&str]) -> (Value, bool) {
    let output = rig.run(&[&["verify", "--json"], arguments].concat()).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let report: Value =
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{}", stderr(&output)));
    (report[0].clone(), output.status.success())
}

fn kinds(report: &Value) -> Vec<&str> {
    let findings = report["report"]["findings"].as_array().unwrap();
    findings.iter().map(|f| f["kind"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_workspace_gives_no_finding_and_how_many_computers_report() {
    let rig = rig().await;
    let (report, is_right) = verify(&rig, &[]).await;
    assert!(is_right && kinds(&report).is_empty(), "{report:#}");
    let heartbeats = &report["report"]["heartbeats"];
    let reports =
        heartbeats["by_fqdn"].as_u64().unwrap() + heartbeats["by_netbios"].as_u64().unwrap();
    let computers = heartbeats["computers"].as_u64().unwrap();
    assert!(reports > computers / 2 && reports < computers, "{heartbeats}");
    let text = rig.run(&["verify"]).await;
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("11 collections, right") && text.contains("send heartbeats"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_lost_after_its_204_is_found_and_sent_again() {
    let mut rig = rig().await;
    let lost = *rig.lab.world().computers("PS100001").keys().next().unwrap();
    rig.lab.workspace.lose("PS100001", lost);
    let (looked, _) = verify(&rig, &["--dry-run"]).await;
    assert_eq!(looked["sent_again"], json!([]));
    let (report, is_right) = verify(&rig, &[]).await;
    let finding = &report["report"]["findings"][0];
    assert!(!is_right && kinds(&report) == ["members"], "{report:#}");
    assert_eq!(
        (&finding["collection"], &finding["missing"], &finding["extra"], &finding["wrong"]),
        (&json!("PS100001"), &json!(1), &json!(0), &json!(0))
    );
    assert_eq!(report["sent_again"], json!(["PS100001"]));
    rig.until_all_equal().await;
    assert!(verify(&rig, &[]).await.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extra_row_is_found_and_a_snapshot_takes_it_out() {
    let mut rig = rig().await;
    let seq = rig.lab.workspace.highest_seq("CAS").unwrap();
    rig.lab.workspace.plant_member("CAS", "PS100002", 16_900_000, seq);
    let (report, is_right) = verify(&rig, &[]).await;
    let finding = &report["report"]["findings"][0];
    assert!(!is_right, "{report:#}");
    assert_eq!((&finding["collection"], &finding["extra"]), (&json!("PS100002"), &json!(1)));
    rig.until_all_equal().await;
    assert!(verify(&rig, &[]).await.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_were_deleted_changed_or_left_over_are_found_and_mended() {
    let mut rig = rig().await;
    let lab = Arc::clone(&rig.lab);
    assert!(lab.resources().remove("cmsync-cmg_cas_ps100001"));
    let stale = format!("{WORKSPACE}/savedSearches/cmsync-cmg_cas_ps100002");
    lab.resources().get_mut(&stale).unwrap()["properties"]["query"] =
        json!("datatable(Computer:string)['OLD'] | distinct Computer");
    let (report, is_right) = verify(&rig, &[]).await;
    assert!(!is_right);
    let texts = report["report"]["findings"].to_string();
    assert_eq!(kinds(&report), ["groups", "groups"], "{texts}");
    for part in ["CMG_CAS_PS100001 is not there", "CMG_CAS_PS100002 says something else"] {
        assert!(texts.contains(part), "{texts}");
    }
    until_groups(&mut rig).await;
    assert!(verify(&rig, &[]).await.1);
    let mut left = json!({"category": "ConfigMgr", "displayName": "Old", "query": "print 1", "functionAlias": "CMG_CAS_PS199999"});
    left["tags"] = json!([{"name": "cmsync", "value": "CAS"}]);
    lab.resources().insert("cmsync-cmg_cas_ps199999", &left);
    let (report, _) = verify(&rig, &["--dry-run"]).await;
    assert!(
        report["report"]["findings"].to_string().contains("CMG_CAS_PS199999 is of no collection"),
        "{report:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_column_is_found_and_connect_named_as_the_remedy() {
    let rig = rig().await;
    let table = format!("{WORKSPACE}/tables/ConfigMgrCollectionMember_CL");
    {
        let mut resources = rig.lab.resources();
        let table = resources.get_mut(&table).unwrap();
        let columns = table["properties"]["schema"]["columns"].as_array_mut().unwrap();
        columns.retain(|c| c["name"] != "NetbiosName");
    }
    let (report, is_right) = verify(&rig, &[]).await;
    let texts = report["report"]["findings"].to_string();
    assert!(
        !is_right && texts.contains("it lacks NetbiosName") && texts.contains("cmsync connect"),
        "{texts}"
    );
    assert!(kinds(&report).contains(&"query"), "{texts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_installation_and_a_rules_errors_are_told() {
    let rig = rig().await;
    let seq = rig.lab.workspace.highest_seq("CAS").unwrap();
    rig.lab.workspace.plant_marker("CAS", "PS100003", "0123456789abcdef", seq - 1_000_000_000);
    rig.lab.faults().rule_errors.push("InvalidRecord: a record is not valid".into());
    let (report, is_right) = verify(&rig, &["--dry-run"]).await;
    let texts = report["report"]["findings"].to_string();
    assert!(!is_right && texts.contains("another installation (0123456789abcdef)"), "{texts}");
    assert!(texts.contains("1 errors within a day: InvalidRecord"), "{texts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_read_by_ranges_within_the_limit_of_an_answer() {
    let rig = rig().await;
    let lost = *rig.lab.world().computers("SMS00001").keys().last().unwrap();
    rig.lab.workspace.lose("SMS00001", lost);
    rig.lab.faults().query_rows = Some(50);
    let (report, _) = verify(&rig, &["--dry-run"]).await;
    let finding = &report["report"]["findings"][0];
    assert_eq!(
        (&finding["collection"], &finding["missing"]),
        (&json!("SMS00001"), &json!(1)),
        "{report:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_daily_cap_sending_pauses_until_the_reset_and_goes_on() {
    let mut rig = rig().await;
    let reset = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(20);
    let capping = json!({"dailyQuotaGb": 1.0, "dataIngestionStatus": "OverQuota", "quotaNextResetTime": reset.to_string()});
    rig.lab.resources().get_mut(WORKSPACE).unwrap()["properties"]["workspaceCapping"] = capping;
    let (report, is_right) = verify(&rig, &[]).await;
    assert!(!is_right && kinds(&report) == ["cap"], "{report:#}");
    let status = rig.until_status("uploader", "Paused").await;
    assert!(status["reason"].as_str().unwrap().contains("over its daily cap"), "{status}");
    let bodies = rig.lab.counts().bodies;
    let first = *rig.lab.world().computers("PS100001").keys().next().unwrap();
    rig.lab.world().change_members("PS100001", &[], &[first]);
    rig.two_polls().await;
    assert!(rig.lab.counts().bodies == bodies || jiff::Timestamp::now() >= reset);
    rig.until_all_equal().await;
    assert!(jiff::Timestamp::now() >= reset, "it went on before the reset");
    rig.until_status("uploader", "Working").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_itself_it_finds_and_sends_again() {
    let mut rig = Rig::with(options(small()), r#"[{ name = "*" }]"#, "").await;
    let text = std::fs::read_to_string(&rig.config).unwrap();
    let often = "verify_interval = \"1s\"\nverify_settle = \"0s\"\n";
    std::fs::write(&rig.config, format!("{often}{text}")).unwrap();
    rig.start();
    rig.until_all_equal().await;
    let lost = *rig.lab.world().computers("PS100001").keys().next().unwrap();
    rig.lab.workspace.lose("PS100001", lost);
    assert!(!rig.report().equal);
    rig.until_all_equal().await;
    assert!(rig.log().contains("verification: sent again whole"), "{}", rig.log());
}
