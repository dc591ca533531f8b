//! A short or failed read of the site never becomes a removal.

use std::collections::BTreeSet;

use cmsync_lab::world::CLIENTS;

use crate::rig::{Rig, small};

pub(crate) fn hide(rig: &Rig, count: usize) -> BTreeSet<String> {
    let mut world = rig.lab.world();
    let ids =
        world.collections.keys().filter(|id| id.starts_with("PS1")).take(count).cloned().collect();
    world.hidden.clone_from(&ids);
    ids
}

async fn synced() -> Rig {
    let mut rig = Rig::new(small()).await;
    rig.start();
    rig.until_all_equal().await;
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_shortened_by_rights_removes_nothing_even_when_the_account_cannot_be_seen() {
    let mut rig = synced().await;
    rig.lab.faults().hides_account = true;
    let all = rig.lab.device_collections();
    let hidden = hide(&rig, 6);
    rig.two_polls().await;
    rig.two_polls().await;
    assert!(rig.lab.compare(&all).equal, "{:#?}", rig.lab.compare(&all));
    let held = rig.json(&["removals", "list"]).await;
    let named: BTreeSet<String> = held
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["collection"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(named, hidden);
    // Visible again, nothing is held any longer.
    rig.lab.world().hidden.clear();
    rig.two_polls().await;
    assert_eq!(rig.json(&["removals", "list"]).await.as_array().unwrap().len(), 0);
    assert!(rig.lab.compare(&all).equal);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_role_holds_even_a_single_removal() {
    let mut rig = synced().await;
    rig.lab.faults().role = "Nothing much".into();
    let all = rig.lab.device_collections();
    hide(&rig, 1);
    rig.two_polls().await;
    rig.two_polls().await;
    assert!(rig.lab.compare(&all).equal);
    let held = rig.json(&["removals", "list"]).await;
    assert!(held[0]["reason"].as_str().unwrap().contains("administrative user"), "{held}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_removal_names_the_computers_that_would_go() {
    let mut rig = synced().await;
    rig.lab.faults().role = "Nothing much".into();
    let members = rig.lab.world().computers("PS100003");
    let going: Vec<u32> = members.keys().copied().take(4).collect();
    let name = |id: &u32| members[id].fqdn().unwrap_or(members[id].name.clone());
    let names: Vec<String> = going.iter().map(name).collect();
    rig.lab.world().change_members("PS100003", &[], &going);
    rig.two_polls().await;
    rig.two_polls().await;
    let held = rig.json(&["removals", "list"]).await;
    assert_eq!(held[0]["computers"], serde_json::json!(names), "{held}");
    assert_eq!(held[0]["members"], 4);
    let text = String::from_utf8(rig.run(&["removals", "list"]).await.stdout).unwrap();
    assert!(text.contains(&format!("{} and 1 more", names[..3].join(", "))), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_of_the_members_once_removes_nothing() {
    for also_counts in [false, true] {
        let mut rig = synced().await;
        {
            let mut faults = rig.lab.faults();
            faults.half_counts = also_counts;
            faults.half_members.insert("PS100003".into(), 1);
        }
        // Something else changes, so that the collection is read.
        rig.lab.world().change_members("PS100003", &[], &[]);
        rig.two_polls().await;
        rig.two_polls().await;
        assert!(rig.report().equal, "{:#?}", rig.report());
        let mut removed = 0;
        rig.lab.workspace.rows(
            0,
            |_, row| removed += usize::from(row.action == "Remove"),
            |_, _| {},
        );
        assert_eq!(removed, 0, "{}", rig.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_deletion_of_up_to_five_collections_arrives() {
    let mut rig = Rig::new(cmsync_lab::world::Plan { collections: 40, ..small() }).await;
    rig.start();
    rig.until_all_equal().await;
    let ids: Vec<String> = rig
        .lab
        .world()
        .collections
        .keys()
        .filter(|id| id.starts_with("PS1"))
        .take(5)
        .cloned()
        .collect();
    for id in &ids {
        rig.lab.world().collections.remove(id);
    }
    let before = rig.lab.counts().lists;
    rig.until_all_equal().await;
    let polls = rig.lab.counts().lists - before;
    // Two polls decide; more begin while the bodies are on their way. What is held waits for hours.
    assert!(polls <= 20, "{polls} polls");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_removal_is_dismissed_and_approved_by_command() {
    let mut rig = synced().await;
    let all = rig.lab.device_collections();
    hide(&rig, 6);
    rig.two_polls().await;
    rig.two_polls().await;
    assert!(rig.run(&["removals", "dismiss", "lab", "PS100000"]).await.status.success());
    rig.two_polls().await;
    let held = rig.json(&["removals", "list"]).await;
    let dismissed: Vec<_> =
        held.as_array().unwrap().iter().filter(|r| r["is_dismissed"] == true).collect();
    assert_eq!(dismissed.len(), 1, "{held}");
    assert!(rig.lab.compare(&all).equal);
    assert!(rig.run(&["removals", "approve", "lab", "*"]).await.status.success());
    rig.until_all_equal().await;
    assert!(!rig.run(&["removals", "approve", "lab", "*"]).await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_once_a_held_removal_makes_the_exit_code_non_zero() {
    let rig = Rig::new(small()).await;
    assert!(rig.once().await.status.success());
    let all = rig.lab.device_collections();
    hide(&rig, 7);
    let output = rig.once().await;
    assert_eq!(output.status.code(), Some(1), "{}", crate::rig::stderr(&output));
    assert!(crate::rig::stderr(&output).contains("removals are held"));
    assert!(rig.lab.compare(&all).equal);
}

#[tokio::test(flavor = "multi_thread")]
async fn most_members_going_at_once_needs_a_second_read_and_then_goes() {
    let mut rig = synced().await;
    let members: Vec<u32> = rig.lab.world().collections["PS100001"].members.iter().collect();
    rig.lab.world().change_members(
        "PS100001",
        &[CLIENTS + 1],
        members.get(..members.len() / 2).unwrap(),
    );
    rig.until_all_equal().await;
}

async fn held(rig: &Rig) -> serde_json::Value {
    rig.json(&["removals", "list"]).await
}

fn take_away(rig: &Rig, collection: &str, count: usize) {
    let mut world = rig.lab.world();
    // Computers: what is none was never a member of the group.
    let gone: Vec<u32> = world.computers(collection).into_keys().take(count).collect();
    assert_eq!(gone.len(), count);
    world.change_members(collection, &[], &gone);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_removal_stays_held_though_its_set_changes() {
    let mut rig = synced().await;
    rig.lab.faults().role = "Nothing much".into();
    take_away(&rig, "PS100001", 3);
    rig.two_polls().await;
    assert_eq!(held(&rig).await[0]["members"], 3);
    rig.lab.faults().role = String::new();
    take_away(&rig, "PS100001", 1);
    rig.two_polls().await;
    assert_eq!(held(&rig).await[0]["members"], 4);
    assert_eq!(rig.report().extra, 4);
    assert!(rig.run(&["removals", "approve", "lab", "PS100001"]).await.status.success());
    rig.until_all_equal().await;
    assert_eq!(held(&rig).await.as_array().unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_systems_that_went_in_a_quiet_hour_is_missed_when_something_goes() {
    let list = r#"[{ name = "*group*" }]"#;
    let mut rig = Rig::with(crate::rig::options(small()), list, "").await;
    let kept: Vec<String> =
        rig.lab.device_collections().into_iter().filter(|id| id.starts_with("PS1")).collect();
    rig.start();
    rig.until_equal(&kept).await;
    rig.two_polls().await;
    rig.lab.world().hidden.insert("SMS00001".into());
    rig.two_polls().await;
    take_away(&rig, "PS100001", 2);
    rig.two_polls().await;
    let held = held(&rig).await;
    assert!(held[0]["reason"].as_str().unwrap().contains("All Systems"), "{held}");
    assert_eq!(rig.lab.compare(&kept).extra, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_approval_the_rights_of_then_are_what_counts() {
    let mut rig = synced().await;
    rig.lab.faults().role = "Full Administrator".into();
    take_away(&rig, "PS100001", 1);
    rig.two_polls().await;
    assert_eq!(held(&rig).await.as_array().unwrap().len(), 1);
    assert!(rig.run(&["removals", "approve", "lab", "*"]).await.status.success());
    rig.until_all_equal().await;
    take_away(&rig, "PS100002", 1);
    rig.until_all_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_approved_while_nothing_can_be_published_goes_later() {
    let extra = "[producer]\nmax_backlog = \"1kB\"";
    let mut rig = Rig::with(crate::rig::options(small()), r#"[{ name = "*" }]"#, extra).await;
    rig.start();
    rig.until_all_equal().await;
    rig.lab.faults().role = "Nothing much".into();
    take_away(&rig, "PS100001", 3);
    rig.two_polls().await;
    assert_eq!(held(&rig).await[0]["members"], 3);
    let rule = rig.lab.options.rules[0].clone();
    rig.lab.faults().refused_rules.insert(rule);
    let more: Vec<u32> = (0..200).map(|n| CLIENTS + n).collect();
    rig.lab.world().change_members("PS100002", &more, &[]);
    let log = rig.log_path();
    let is_paused = move || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.contains("uploads are paused").then_some(())
    };
    rig.until(is_paused).await;
    assert!(rig.run(&["removals", "approve", "lab", "PS100001"]).await.status.success());
    rig.two_polls().await;
    rig.lab.faults().refused_rules.clear();
    rig.until_all_equal().await;
}
