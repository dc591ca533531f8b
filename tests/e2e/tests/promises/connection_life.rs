//! A connection's life after set-up: its collections, its import, its secret, its end.

use cmsync_lab::Options;
use cmsync_lab::arm::{GROUP, SUBSCRIPTION, WORKSPACE};

use crate::connect::{Desk, assert_done};
use crate::rig::{Rig, options, small, stderr};

fn text(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A change at the site.
fn lose_a_member(rig: &Rig) {
    let mut world = rig.lab.world();
    let first = *world.computers("PS100001").keys().next().unwrap();
    world.change_members("PS100001", &[], &[first]);
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_are_added_and_removed_while_it_runs_and_the_file_keeps_its_comments() {
    let mut rig = Rig::with(options(small()), r#"[ "PS100001" ] # the first"#, "").await;
    rig.start();
    rig.until_equal(&["PS100001".into()]).await;
    let name = rig.lab.world().collections["PS100002"].name.clone();
    assert_done(&rig.run(&["collections", "add", "lab", &name, "PS100003"]).await);
    let all: Vec<String> = ["PS100001", "PS100002", "PS100003"].map(Into::into).into();
    rig.until_equal(&all).await;
    let file = std::fs::read_to_string(&rig.config).unwrap();
    assert!(
        file.contains(r#"collections = [ "PS100001" , "PS100002", "PS100003"] # the first"#)
            || file.contains(r#"collections = [ "PS100001", "PS100002", "PS100003" ] # the first"#),
        "{file}"
    );
    let kept = rig.json(&["collections", "list", "lab"]).await;
    assert_eq!(kept.as_array().unwrap().len(), 3);
    let found = rig.json(&["collections", "list", "--all", "--search", "ps100004"]).await;
    assert_eq!(
        (&found[0]["collection"], &found[0]["is_kept"]),
        (&"PS100004".into(), &false.into())
    );

    assert_done(&rig.run(&["collections", "remove", "lab", "PS100001", &name]).await);
    rig.until_equal(&["PS100003".into()]).await;
    let lab = std::sync::Arc::clone(&rig.lab);
    rig.until(move || (lab.compare_groups(&["PS100003".into()]).is_empty()).then_some(())).await;
    assert!(rig.is_running());

    for (arguments, part) in [
        (vec!["collections", "add", "lab", "PS199999"], "fits none"),
        (vec!["collections", "add", "lab", "Nothing*"], "fits none"),
        (vec!["collections", "remove", "lab", "PS100001"], "no entry"),
        (vec!["collections", "remove", "lab", "PS100003"], "cmsync disconnect lab"),
        (vec!["collections", "add", "other", "PS100001"], "no connection `other`"),
    ] {
        let output = rig.run(&arguments).await;
        assert!(!output.status.success() && stderr(&output).contains(part), "{}", stderr(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn import_disabled_stops_and_removes_groups_and_enabled_again_sends_whole() {
    let mut rig = Rig::new(small()).await;
    rig.start();
    rig.until_all_equal().await;
    let all = rig.lab.device_collections();
    let lab = std::sync::Arc::clone(&rig.lab);
    let wanted = all.clone();
    rig.until(move || lab.compare_groups(&wanted).is_empty().then_some(())).await;

    assert_done(&rig.run(&["import", "disable", "lab", "--remove-groups"]).await);
    rig.until_status("producer", "Paused").await;
    let lab = std::sync::Arc::clone(&rig.lab);
    rig.until(move || lab.resources().aliases().is_empty().then_some(())).await;
    lose_a_member(&rig);
    assert_done(&rig.run(&["import", "enable", "lab"]).await);
    rig.until_all_equal().await;
    let lab = std::sync::Arc::clone(&rig.lab);
    rig.until(move || lab.compare_groups(&all).is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_secret_pauses_and_a_renewed_one_goes_on_without_a_restart() {
    let mut rig =
        Rig::with(Options { token_lifetime: 1, ..options(small()) }, r#"[{ name = "*" }]"#, "")
            .await;
    rig.start();
    rig.until_all_equal().await;
    let client = rig.lab.options.client_id.clone();
    let past = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1);
    rig.lab.directory().application(&client).unwrap().secrets[0].end = past;
    rig.lab.expire_tokens();
    lose_a_member(&rig);
    let status = rig.until_status("uploader", "Paused").await;
    assert!(
        status["reason"].as_str().unwrap().contains("the client secret has expired"),
        "{status}"
    );

    let file = rig.directory.path().join("new-secret");
    std::fs::write(&file, "not~the~right~one").unwrap();
    let renew = ["secret", "renew", "lab", "--from-file", file.to_str().unwrap()];
    let refused = rig.run(&renew).await;
    assert!(stderr(&refused).contains("the old one stays"), "{}", stderr(&refused));
    let end = rig.give_secret("renewed~Q");
    rig.lab.directory().permissions.insert("Application.Read.All".into());
    std::fs::write(&file, "renewed~Q").unwrap();
    assert_done(&rig.run(&renew).await);
    rig.until_all_equal().await;
    assert!(rig.is_running());
    let day = end.strftime("%Y-%m-%d").to_string();
    let shown = rig.json(&["connection", "show", "lab"]).await;
    assert_eq!(
        (&shown["identity"]["secret_hint"], &shown["identity"]["expires"]),
        (&"ren".into(), &day.as_str().into())
    );
    let config = std::fs::read_to_string(&rig.config).unwrap();
    assert!(config.contains(&format!("client_secret_expires = \"{day}\"")), "{config}");
    assert!(!rig.log().contains("renewed~Q") && !shown.to_string().contains("renewed~Q"));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_listed_and_shown() {
    let mut rig = Rig::new(small()).await;
    rig.start();
    rig.until_all_equal().await;
    let list = rig.json(&["connection", "list"]).await;
    assert_eq!(
        (&list[0]["connection"], &list[0]["description"], &list[0]["cloud"], &list[0]["state"]),
        (&"lab".into(), &"The lab".into(), &"public".into(), &"working".into())
    );
    let shown = rig.json(&["connection", "show", "lab"]).await;
    assert_eq!(shown["workspace"]["workspace"], "lab-workspace");
    assert_eq!(shown["identity"]["client"], rig.lab.options.client_id.as_str());
    assert_eq!(shown["collections"][0], "{ name = \"*\" }");
    let plain = text(&rig.run(&["connection", "show", "lab"]).await);
    assert!(plain.contains("secret          sec…"), "{plain}");
}

#[tokio::test(flavor = "multi_thread")]
async fn disconnect_takes_back_what_it_made_and_only_that() {
    let desk = Desk::with_workspace(options(small())).await;
    let before = desk.ids();
    let mine = serde_json::json!({"category": "c", "displayName": "Mine", "query": "print 1"});
    desk.lab.resources().insert("mine", &mine);
    assert_done(&desk.connect(&[]).await);
    desk.assert_equal();
    let asked = desk.run(&["disconnect", "lab"]).await;
    assert!(stderr(&asked).contains("--yes"), "{}", stderr(&asked));
    desk.assert_equal();

    let output = desk.run(&["disconnect", "lab", "--yes"]).await;
    assert_done(&output);
    assert!(
        stderr(&output).contains("stays: table ConfigMgrCollectionMember_CL"),
        "{}",
        stderr(&output)
    );
    let left: Vec<String> = desk.ids().into_iter().filter(|id| !before.contains(id)).collect();
    let workspace = WORKSPACE.to_lowercase();
    let tables = ["configmgrcollection_cl", "configmgrcollectionmember_cl"];
    let mut expected: Vec<String> =
        tables.iter().map(|name| format!("{workspace}/tables/{name}")).collect();
    expected.push(format!("{workspace}/savedsearches/mine"));
    expected.sort();
    let operations = |id: &String| !id.contains("/operations/");
    assert_eq!(left.into_iter().filter(operations).collect::<Vec<_>>(), expected);
    assert_eq!(desk.lab.resources().roles_of(&desk.lab.options.object_id), []);
    let none = desk.lab.compare(&[]);
    assert!(none.equal, "a reader sees no group: {:?}", none.differences);
    assert!(!std::fs::read_to_string(&desk.config).unwrap().contains("lab-workspace"));

    // Set up again, everything is as it was.
    assert_done(&desk.connect(&[]).await);
    desk.assert_equal();
    assert_done(&desk.run(&["disconnect", "lab", "--yes", "--delete-tables"]).await);
    let rules = format!("{}/providers/microsoft.insights", GROUP.to_lowercase());
    let left =
        desk.ids().into_iter().filter(|id| id.contains("/tables/") || id.starts_with(&rules));
    assert_eq!(left.collect::<Vec<_>>(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_taken_back_from_a_running_process_is_sent_no_more() {
    let mut rig = Rig::new(small()).await;
    rig.start();
    rig.until_all_equal().await;
    let (config, port) = crate::rig::listening(&rig.config);
    rig.terminate().await;
    rig.config = config;
    rig.start();
    rig.until_all_equal().await;
    let application = rig.lab.options.object_id.clone();
    rig.lab.resources().grant(&application, "Owner", &format!("/subscriptions/{SUBSCRIPTION}"));
    assert_done(&rig.run(&["disconnect", "lab", "--yes"]).await);
    assert!(!std::fs::read_to_string(&rig.config).unwrap().contains("[connections.lab"));
    let lists = |rig: &Rig| rig.lab.counts().lists;
    // It follows the file that names no connection any longer, and reads nothing meanwhile.
    let polls = || crate::rig::metric(port, "cmsync_configuration_accepted");
    rig.until(|| (polls() == 1.0).then_some(())).await;
    let log = rig.log_path();
    let told = move || std::fs::read_to_string(&log).unwrap_or_default();
    rig.until(|| told().contains("no longer in the configuration").then_some(())).await;
    let before = lists(&rig);
    let none = rig.lab.compare(&[]);
    assert!(none.equal, "a reader sees no group: {:?}", none.differences);
    assert!(rig.terminate().await.success());
    assert_eq!(lists(&rig), before);
}
