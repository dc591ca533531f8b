//! A site that fails, stalls or cuts its answers loses nothing.

use std::time::Duration;

use cmsync_lab::Source;

use crate::rig::{Rig, listening, metric, options, small};

const SHORT: &str = "[producer]\npage_size = 100";

async fn survives(fault: impl Fn(&mut cmsync_lab::faults::Faults)) {
    let mut rig = Rig::with(options(small()), r#"[{ name = "*" }]"#, SHORT).await;
    let text = std::fs::read_to_string(&rig.config).unwrap();
    let quick = text.replacen(
        "[connections.lab.site]",
        "[connections.lab.site]\nread_timeout = \"500ms\"",
        1,
    );
    std::fs::write(&rig.config, quick).unwrap();
    rig.start();
    rig.until_all_equal().await;
    for round in 0..3_u32 {
        fault(&mut rig.lab.faults());
        {
            let mut world = rig.lab.world();
            let gone: Vec<u32> = world.collections["PS100001"].members.iter().take(2).collect();
            world.change_members("PS100001", &[cmsync_lab::world::CLIENTS + 350 + round], &gone);
        }
        rig.until_all_equal().await;
    }
    let mut removed = 0;
    rig.lab.workspace.rows(0, |_, row| removed += usize::from(row.action == "Remove"), |_, _| {});
    assert!(removed <= 6, "{removed} removals for 6 members that went");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_only_an_evaluations_time_tells_arrives() {
    let mut rig = Rig::with(options(small()), r#"[{ name = "*" }]"#, SHORT).await;
    rig.start();
    rig.until_all_equal().await;
    {
        let mut world = rig.lab.world();
        let collection = world.collection_mut("PS100001");
        collection.last_change = Some(collection.version);
        let gone: Vec<u32> = collection.members.iter().take(1).collect();
        let new = (cmsync_lab::world::CLIENTS..).find(|id| !collection.members.contains(*id));
        // The count stays as it was, and so does the time of the last change.
        world.change_members("PS100001", &[new.unwrap()], &gone);
    }
    rig.until_all_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_collections_are_read_in_one_pass_and_each_where_that_fails() {
    let plan = cmsync_lab::world::Plan { collections: 90, ..small() };
    let mut rig = Rig::new(plan).await;
    rig.start();
    rig.until_all_equal().await;
    let lab = std::sync::Arc::clone(&rig.lab);
    let asked = || lab.counts().site["SMS_FullCollectionMembership"];
    if lab.options.source == Source::AdminService {
        assert_eq!(asked(), 1, "requests for 90 collections");
    }
    let change_all = || {
        let mut world = lab.world();
        let ids: Vec<String> = world.collections.keys().cloned().collect();
        for id in ids {
            let gone: Vec<u32> = world.collections[&id].members.iter().take(1).collect();
            world.change_members(&id, &[], &gone);
        }
    };
    let faults: [fn(&mut cmsync_lab::faults::Faults); 4] = [
        |f| f.link_pages = Some(30),
        |f| (f.link_pages, f.unordered) = (None, true),
        |f| (f.unordered, f.cut_answers) = (false, 2),
        |f| f.site_status = (2, 500, false),
    ];
    for fault in faults {
        change_all();
        fault(&mut lab.faults());
        rig.until_all_equal().await;
    }
    let mut removed = 0;
    lab.workspace.rows(0, |_, row| removed += usize::from(row.action == "Remove"), |_, _| {});
    assert!(removed <= 4 * 93, "{removed} removals");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_cut_in_their_middle() {
    survives(|f| f.cut_answers = 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_404_as_json() {
    survives(|f| f.site_status = (3, 404, false)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_404_as_a_web_page() {
    survives(|f| f.site_status = (3, 404, true)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_the_site() {
    survives(|f| f.site_status = (5, 500, false)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_stall() {
    survives(|f| f.stalls = (2, Duration::from_secs(3))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_in_an_order_of_their_own() {
    survives(|f| f.unordered = true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_with_links() {
    survives(|f| f.link_pages = Some(37)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_becomes_a_child_stops_with_the_reason_and_removes_nothing() {
    let rig = Rig::new(small()).await;
    assert!(rig.once().await.status.success());
    rig.lab.world().reports_to = "NEW".into();
    let output = rig.once().await;
    assert_eq!(output.status.code(), Some(1));
    let text = crate::rig::stderr(&output);
    assert!(
        text.contains("site `CAS` reports to `NEW`")
            && text.contains("or the site database, of `NEW`"),
        "{text}"
    );
    assert!(rig.report().equal);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_replication_link_is_said() {
    let mut rig = Rig::new(small()).await;
    rig.lab.world().link_states.insert("PS2".into(), 9);
    rig.start();
    rig.until_all_equal().await;
    rig.two_polls().await;
    let status = rig.json(&["status"]).await;
    let warnings = status[0]["warnings"].as_array().unwrap();
    assert!(
        warnings
            .iter()
            .any(|w| w.as_str().unwrap().contains("replication from site PS2 has failed")),
        "{status}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_says_who_must_do_what_and_a_new_one_counts_at_once() {
    let mut rig = Rig::new(small()).await;
    let (file, told) = match rig.lab.options.source {
        Source::AdminService => ("site-token", ["401", "bearer_token_file"]),
        Source::Sql | Source::Tracked => {
            ("sql-password", ["18456", "check the login's name and password"])
        }
    };
    let token = rig.directory.path().join(file);
    let good = std::fs::read_to_string(&token).unwrap();
    std::fs::write(&token, "an-old-token").unwrap();
    let output = rig.once().await;
    assert_eq!(output.status.code(), Some(1));
    let text = crate::rig::stderr(&output);
    assert!(told.iter().all(|part| text.contains(part)), "{text}");
    assert!(!text.contains("an-old-token"), "{text}");
    rig.start();
    std::fs::write(&token, good).unwrap();
    rig.until_all_equal().await;
}

/// Sites differ in the columns that they know; a query that a site once refuses says nothing of that.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_is_refused_once_leads_to_no_other_columns() {
    let mut rig = Rig::new(small()).await;
    rig.start();
    rig.until_all_equal().await;
    let reads = |rig: &Rig| rig.lab.counts().site["SMS_FullCollectionMembership"];
    let before = reads(&rig);
    for _ in 0..2 {
        rig.lab.faults().site_status = (1, 400, false);
        rig.two_polls().await;
    }
    rig.until_status("producer", "Working").await;
    assert_eq!(reads(&rig), before, "every collection was taken for changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_an_hour_off_is_told_and_nothing_is_read_until_it_is_right() {
    let mut rig = Rig::new(small()).await;
    rig.lab.faults().behind = 3_600;
    // A producer alone has no secret of the workspace, and asks nobody but the site.
    let secret = rig.directory.path().join("client-secret");
    std::fs::remove_file(&secret).unwrap();
    rig.start_with(&["run", "--stage", "producer"]);
    let status = rig.until_status("producer", "Paused").await;
    let reason = status["reason"].as_str().unwrap();
    assert!(reason.contains("clock is 36") && reason.contains("ahead of the site's"), "{reason}");
    assert_eq!(rig.lab.counts().site.get("SMS_FullCollectionMembership"), None);
    rig.lab.faults().behind = 0;
    rig.until_status("producer", "Working").await;
    rig.terminate().await;
    // With state there is much that could be sent, with the wrong time.
    rig.lab.faults().behind = 3_600;
    let (config, port) = listening(&rig.config);
    rig.config = config;
    rig.start_with(&["run", "--stage", "producer"]);
    rig.until_status("producer", "Paused").await;
    assert!(rig.run(&["collections", "resend", "lab"]).await.status.success());
    // Each poll asks which site this is, and goes no further.
    let lab = std::sync::Arc::clone(&rig.lab);
    let asked = move || lab.counts().site.get("SMS_Identification").copied().unwrap_or(0);
    let before = asked();
    rig.until(|| (asked() >= before + 3).then_some(())).await;
    assert_eq!(metric(port, "cmsync_producer_devices_published_total"), 0.0);
    rig.terminate().await;
    // One that uploads compares with the token endpoint before it starts, and does not wait for what
    // it will not send.
    let mut rig = Rig::new(small()).await;
    rig.start_with(&["run", "--stage", "producer,transformer"]);
    rig.until_status("producer", "Working").await;
    rig.two_polls().await;
    rig.terminate().await;
    rig.lab.faults().behind = -3_600;
    let all = rig.once().await;
    let told = crate::rig::stderr(&all);
    assert!(!all.status.success() && told.contains("s behind the token endpoint's"), "{told}");
    assert!(told.contains("were not delivered; they stay in the queue"), "{told}");
    let check = rig.run(&["check"]).await;
    let told = String::from_utf8_lossy(&check.stdout);
    let told_by = |server| told.contains(&format!("s behind the {server}'s: set it right"));
    assert!(!check.status.success() && told_by("site") && told_by("token endpoint"), "{told}");
}
