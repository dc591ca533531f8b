//! Activity and plots: what happened, with who asked for it; and what the process sampled.

use crate::console::{shown, signed_in};

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_is_on_one_page_with_who_asked_and_outlasts_a_restart() {
    let (mut rig, browser) = shown().await;
    let operator = signed_in(&rig, &browser).await;
    drop(rig.hold_removal("PS100003").await);
    assert!(rig.run(&["removals", "approve", "lab", "PS100003"]).await.status.success());
    assert_eq!(operator.order("/connections/lab", "/connections/lab", "order=pause").status, 303);
    let wanted = [
        ("", "collections sent whole"),
        ("snapshots", "collections sent whole"),
        ("removal", "held: "),
        ("order", "approve PS100003"),
        ("removal", "that waited goes: approved"),
        ("order", "<td class=\"words\">pause</td><td>uid "),
        ("changes", "(PS100003) +0"),
        ("stage", "waits: paused by `connection pause`"),
    ];
    let page = |kind: &str| browser.get(&format!("/activity?connection=lab&kind={kind}")).body;
    for (kind, text) in wanted {
        rig.until(|| page(kind).contains(text).then_some(())).await;
    }
    assert!(!page("order").contains("held: ") && !page("removal").contains("pause"));
    assert!(!browser.get("/activity?connection=other").body.contains("<tbody>"));
    assert!(
        browser.get("/activity?item=PS100003").body.contains("/groups/lab/PS100003\">PS100003")
    );
    assert!(rig.terminate().await.success());
    rig.start();
    rig.until(|| page("removal").contains("held: ").then_some(())).await;
    for page in ["/activity?page=999999", "/activity?kind=%3Cscript%3E&item=%22%3E%3Ci%3E"] {
        let answer = browser.get(page);
        assert_eq!(answer.status, 200, "{page}");
        assert!(!answer.body.contains("<i>") && !answer.body.contains("<script>\""), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_without_a_running_process_is_written_down_too() {
    let (mut rig, browser) = shown().await;
    assert!(rig.terminate().await.success());
    assert!(rig.run(&["collections", "resend", "lab", "PS100003"]).await.status.success());
    rig.start();
    let page = || browser.until_answered("/activity?kind=order").body;
    rig.until(|| page().contains("send PS100003 whole again").then_some(())).await;
    assert!(page().contains("on this machine</td>"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_plots_what_it_samples_of_itself() {
    let (mut rig, browser) = shown().await;
    // A rate takes two samples.
    let data = |of: &str| -> serde_json::Value {
        serde_json::from_str(&browser.get(&format!("/api/v1/samples?connection={of}")).body)
            .unwrap()
    };
    let last = |data: &serde_json::Value, plot: usize, line: usize| {
        data["plots"][plot]["lines"][line]["values"].as_array().unwrap().last().cloned().unwrap()
    };
    let is_there =
        |data: &serde_json::Value| last(data, 0, 0).is_number() && last(data, 0, 1).is_number();
    let process = rig.until(|| Some(data("")).filter(is_there)).await;
    let own = data("lab");
    assert!(last(&process, 2, 0).as_f64() > Some(0.0) && last(&process, 3, 0).as_f64() > Some(1e6));
    let members = rig.json(&["status"]).await[0]["members"].as_f64();
    assert_eq!(last(&own, 3, 0).as_f64(), members, "{own}");
    assert!(data("nobody")["plots"][0]["lines"][0]["values"][0].is_null());
    // As numbers, for whoever has no scripts.
    let page = browser.get("/plots?connection=lab&span=hour").body;
    assert!(page.contains("Memberships") && page.contains("<td class=\"number\">"), "{page}");
    let overview = browser.get("/").body;
    assert!(overview.contains("<small>for ") && overview.contains("so far</dd>"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_workspace_says_what_was_of_a_collection_and_of_a_computer() {
    let (mut rig, browser) = shown().await;
    rig.two_polls().await;
    let members = rig.json(&["groups", "members", "lab", "PS100003"]).await;
    let (id, name) = (&members[0]["resource_id"], members[0]["computer"].as_str().unwrap());
    let id = u32::try_from(id.as_u64().unwrap()).unwrap();
    rig.lab.world().change_members("PS100003", &[], &[id]);
    let page = || browser.get("/groups/lab/PS100003/history").body;
    let went = format!("<td>went</td><td>{name}</td>");
    rig.until(|| page().contains(&went).then_some(())).await;
    let page = page();
    assert!(page.contains("A snapshot is complete") && page.contains("over 7 days"), "{page}");
    let of_computer = browser.get(&format!("/computer/lab/{}/history", name.to_uppercase())).body;
    let group = "<td>went</td><td><a href=\"/groups/lab/PS100003\">";
    assert!(of_computer.contains(group), "{of_computer}");
    // One that nobody has a row of, and one that could end the text of a question.
    for other in ["nobody", "a%27%20or%20true%20%2F%2F", "%5C%27", "%C3%BC"] {
        let answer = browser.get(&format!("/computer/lab/{other}/history"));
        assert!(answer.status == 200 && answer.body.contains("Nobody since then"), "{answer:?}");
    }
    assert!(browser.get("/groups/lab/PS1XXXXX/history").body.contains("None yet"));
    assert_eq!(browser.get("/groups/other/PS100003/history").status, 404);
    assert_eq!(browser.get("/computer/other/nobody/history").status, 404);
    // A workspace that may not be asked says so, and everything else goes on.
    let roles = ["Log Analytics Reader".to_owned(), "Log Analytics Contributor".to_owned()];
    rig.lab.faults().missing_roles.extend(roles);
    rig.until(|| {
        let page = browser.get("/groups/lab/PS100003/history").body;
        page.contains("The workspace does not say").then_some(())
    })
    .await;
}
