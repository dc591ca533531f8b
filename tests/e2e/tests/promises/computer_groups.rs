//! Computer groups in the workspace are those of the site.

use std::collections::BTreeSet;
use std::sync::Arc;

use cmsync_lab::arm::{GROUP, WORKSPACE};

use crate::rig::{Rig, options, small, stderr};

const ROLE: &str = "Log Analytics Contributor";

impl Rig {
    /// Waits until the computer groups are those of the site's visible collections.
    async fn until_groups_equal(&mut self) {
        let lab = Arc::clone(&self.lab);
        let equal = move || lab.compare_groups(&lab.device_collections()).is_empty().then_some(());
        self.until(equal).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_collection_is_a_computer_group_and_follows_its_collection() {
    let groups = "[producer]\ndevice_sweep_interval = \"1s\"\n[connections.lab.groups]\nstatic_up_to = 100\n";
    let mut rig = Rig::with(options(small()), r#"[{ name = "*" }]"#, groups).await;
    rig.start();
    rig.until_all_equal().await;
    rig.until_groups_equal().await;
    let is_static = |rig: &Rig, id: &str| {
        let resources = rig.lab.resources();
        let search = resources.by_alias(&format!("CMG_CAS_{id}")).unwrap();
        search["query"].as_str().unwrap().starts_with("datatable")
    };
    let ids = rig.lab.device_collections();
    let (statics, functions): (Vec<_>, Vec<_>) =
        ids.iter().partition(|id| is_static(&rig, id.as_str()));
    assert!(!statics.is_empty() && !functions.is_empty(), "{statics:?}");

    let more: Vec<u32> = (0..101).map(|number| cmsync_lab::world::CLIENTS + number).collect();
    rig.lab.world().change_members(statics[1], &more, &[]);
    rig.until_all_equal().await;
    rig.until_groups_equal().await;
    assert!(!is_static(&rig, statics[1]));
    let told = format!("collection=\"{}\" members=", statics[1]);
    let log = rig.log();
    assert!(log.contains("has outgrown `groups.static_up_to`") && log.contains(&told), "{log}");

    // All that could end a literal or turn a line around.
    let odd = "It's \\ \"quoted\" | take 1; // /* \t";
    rig.lab.world().collection_mut(statics[0]).name = odd.trim_end().into();
    rig.until_all_equal().await;
    rig.until_groups_equal().await;

    let first = *rig.lab.world().computers(statics[0]).keys().next().unwrap();
    rig.lab.world().rename_device(first, "RENAMED");
    rig.until_groups_equal().await;

    rig.lab.start_churn(std::time::Duration::from_millis(100), 2);
    rig.two_polls().await;
    rig.lab.stop_churn();
    rig.until_all_equal().await;
    rig.until_groups_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_is_no_longer_chosen_takes_its_group_away() {
    let chosen = r#"["PS100003", "PS100004"]"#;
    let mut rig = Rig::with(options(small()), chosen, "").await;
    rig.start();
    let both = ["PS100003".to_owned(), "PS100004".to_owned()];
    rig.until_equal(&both).await;
    let lab = Arc::clone(&rig.lab);
    let kept = both.clone();
    rig.until(move || lab.compare_groups(&kept).is_empty().then_some(())).await;
    rig.lab.world().collections.remove("PS100004").unwrap();
    let lab = Arc::clone(&rig.lab);
    rig.until(move || lab.compare_groups(&both[..1]).is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_rights_on_the_workspace_hold_up_groups_and_no_row() {
    let mut rig = Rig::new(small()).await;
    rig.lab.faults().missing_roles.insert(ROLE.into());
    rig.start();
    rig.until_all_equal().await;
    let status = rig.until_status("groups", "Paused").await;
    let reason = status["reason"].as_str().unwrap();
    for part in ["AuthorizationFailed", ROLE, "az role assignment create", "lab-workspace"] {
        assert!(reason.contains(part), "{reason}");
    }
    rig.lab.faults().missing_roles.clear();
    rig.until_groups_equal().await;
    rig.until_status("groups", "Working").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_rights_are_enough_and_nothing_else_is_asked_for() {
    let mut rig = Rig::new(small()).await;
    let application = rig.lab.options.object_id.clone();
    let rule = format!("{GROUP}/providers/Microsoft.Insights/dataCollectionRules/lab-0");
    let least = [
        ("Log Analytics Reader", WORKSPACE),
        ("Monitoring Metrics Publisher", rule.as_str()),
        ("cmsync groups", WORKSPACE),
    ];
    rig.lab.resources().revoke_all(&application);
    for (role, scope) in least {
        rig.lab.resources().grant(&application, role, scope);
    }
    assert_eq!(rig.lab.resources().roles_of(&application).len(), least.len());
    let text = std::fs::read_to_string(&rig.config).unwrap();
    std::fs::write(&rig.config, format!("verify_settle = \"0s\"\n{text}")).unwrap();
    rig.start();
    rig.until_all_equal().await;
    rig.until_groups_equal().await;
    rig.lab.churn_once(3);
    rig.lab.world().collection_mut("PS100003").name = "Renamed".into();
    rig.until_all_equal().await;
    rig.until_groups_equal().await;
    for command in [&["check"][..], &["verify"], &["status"], &["secret", "verify", "lab"]] {
        let output = rig.run(command).await;
        assert!(output.status.success(), "{command:?}: {}", stderr(&output));
    }
    // When a secret ends can be read with one more; without it, it is written down.
    let mut forbidden = rig.lab.counts().forbidden.clone();
    forbidden.remove("Application.Read.All");
    assert_eq!(forbidden, BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_run_writes_every_group_and_another_writes_none() {
    let rig = Rig::new(small()).await;
    let output = rig.once().await;
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(rig.lab.compare_groups(&rig.lab.device_collections()), Vec::<String>::new());
    let writes = rig.lab.resources().writes.len();
    assert!(rig.once().await.status.success());
    assert_eq!(rig.lab.resources().writes.len(), writes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_search_of_somebody_else_is_left_alone_and_named() {
    let mut rig = Rig::new(small()).await;
    let theirs = serde_json::json!({"category": "Mine", "displayName": "Mine", "query": "Heartbeat", "functionAlias": "CMG_CAS_PS100003"});
    rig.lab.resources().insert("mine", &theirs);
    rig.start();
    rig.until_all_equal().await;
    let lab = Arc::clone(&rig.lab);
    rig.until(move || lab.resources().by_alias("CMG_CAS_PS100004").map(|_| ())).await;
    let found = rig.lab.resources().by_alias("CMG_CAS_PS100003").cloned();
    assert_eq!(found, Some(theirs));
    let warnings = rig.json(&["status"]).await[0]["warnings"].to_string();
    assert!(
        warnings.contains("`CMG_CAS_PS100003`") && warnings.contains("rename it"),
        "{warnings}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_listed_with_their_functions_and_a_computer_with_its_groups() {
    let groups = "[connections.lab.groups]\nstatic_up_to = 100\n";
    let rig = Rig::with(options(small()), r#"[{ name = "*" }]"#, groups).await;
    assert!(rig.once().await.status.success());
    let listed = rig.json(&["groups", "list"]).await;
    let ids = rig.lab.device_collections();
    let members: Vec<_> = {
        let world = rig.lab.world();
        ids.iter().map(|id| world.computers(id)).collect()
    };
    let all: BTreeSet<u32> = members.iter().flat_map(|m| m.keys().copied()).collect();
    assert_eq!(listed["collections"], ids.len());
    assert_eq!(listed["computers"], all.len());
    for (id, members) in ids.iter().zip(&members) {
        let groups = listed["groups"].as_array().unwrap();
        let group = groups.iter().find(|g| g["collection"] == **id).unwrap();
        assert_eq!(group["alias"], format!("CMG_CAS_{id}"));
        assert_eq!(group["members"], members.len());
        assert_eq!(group["is_static"], members.len() <= 100);
    }
    let (first, device) = members[0].iter().next().unwrap();
    let wanted: Vec<&String> =
        ids.iter().zip(&members).filter(|(_, m)| m.contains_key(first)).map(|(id, _)| id).collect();
    for name in [device.name.to_lowercase(), device.fqdn().unwrap_or(device.name.clone())] {
        let found = rig.json(&["groups", "of", "lab", &name]).await;
        let found: Vec<_> = found.as_array().unwrap().iter().map(|g| &g["collection"]).collect();
        assert_eq!(found, wanted, "{name}");
    }
    let unknown = rig.run(&["groups", "of", "lab", "NOBODY"]).await;
    assert!(!unknown.status.success() && stderr(&unknown).contains("no computer `NOBODY`"));
    let unknown = rig.run(&["groups", "of", "other", "X"]).await;
    assert!(stderr(&unknown).contains("of a connection `other`"), "{}", stderr(&unknown));
    let text = String::from_utf8(rig.run(&["groups", "list"]).await.stdout).unwrap();
    assert!(text.contains("computers with memberships") && text.contains("CMG_CAS_PS100003"));
}
