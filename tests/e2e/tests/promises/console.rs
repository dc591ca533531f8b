//! The console: what its pages show, and that nobody who looks slows the pipeline.

use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use crate::browser::{Answer, Browser, until_read};
use crate::console_settings::said;
use crate::rig::{Rig, listening, small};

/// A rig whose copy serves its pages, and a browser on its machine.
pub(crate) async fn shown() -> (Rig, Browser) {
    let mut rig = Rig::new(small()).await;
    let (config, port): (PathBuf, u16) = listening(&rig.config);
    rig.config = config;
    rig.start();
    rig.until_all_equal().await;
    (rig, Browser::here(port))
}

/// Signs in as whoever may use the queue's directory.
pub(crate) async fn signed_in(rig: &Rig, browser: &Browser) -> Browser {
    let output = rig.run(&["console"]).await;
    assert!(output.status.success(), "{output:?}");
    let link = String::from_utf8(output.stdout).unwrap();
    let (_, ticket) = link.trim().split_once("?ticket=").unwrap();
    let mut browser = browser.clone();
    let answer = browser.sign_in(&format!("ticket={ticket}"));
    assert_eq!(answer.status, 303, "{answer:?}");
    browser
}

fn plain(answer: &Answer) -> String {
    answer.body.replace('\u{202f}', "")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_says_that_the_workspace_is_true_and_what_it_is_made_of() {
    let (mut rig, browser) = shown().await;
    rig.two_polls().await;
    let answer = browser.get("/");
    assert_eq!(answer.status, 200, "{answer:?}");
    let status = rig.json(&["status"]).await;
    let members = status[0]["members"].to_string();
    for part in [
        "<h2 id=\"c-lab\"><a id=\"a-lab\" href=\"/connections/lab\">lab</a>",
        "site CAS",
        "everything that changed was taken",
    ] {
        assert!(answer.body.contains(part), "`{part}` is missing: {}", answer.body);
    }
    let said = plain(&answer);
    assert!(said.contains(&format!("<dt>Memberships</dt><dd>{members}</dd>")), "{said}");
    let judged: serde_json::Value =
        serde_json::from_str(&browser.get("/api/v1/connections").body).unwrap();
    assert_eq!(judged[0]["truth"]["verdict"], "true", "{judged:#}");
    assert_eq!(judged[0]["members"], status[0]["members"]);
    let own = browser.get("/connections/lab");
    assert!(own.body.contains("Reads the site") && own.body.contains("Sends records"), "{own:?}");
    assert_eq!(browser.get("/connections/other").status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_asks_no_other_host_and_all_that_it_names_is_there() {
    let (_rig, browser) = shown().await;
    let text = browser.get("/").body;
    assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("<style"));
    let named = text.split(['"', '\'']).filter(|part| part.starts_with("/assets/"));
    let named: std::collections::BTreeSet<&str> = named.collect();
    assert!(named.len() >= 4, "{named:?}");
    let mut weight = text.len();
    for path in named {
        let asset = browser.get(path);
        assert_eq!(asset.status, 200, "{path}");
        weight += asset.head.len() + asset.body.len();
        let tag = asset.header("etag").unwrap();
        assert_eq!(browser.with(&format!("If-None-Match: {tag}")).get(path).status, 304, "{path}");
    }
    assert!(weight < 200_000, "{weight} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_computers_and_their_groups_are_found_on_their_pages() {
    let (rig, browser) = shown().await;
    let listed = rig.json(&["groups", "list"]).await;
    let text = browser.get("/groups").body;
    for group in listed["groups"].as_array().unwrap() {
        let link = format!("/groups/lab/{}", group["collection"].as_str().unwrap());
        assert!(text.contains(&link), "{link}");
    }
    let members = rig.json(&["groups", "members", "lab", "PS100003"]).await;
    let computer = members[0]["computer"].as_str().unwrap();
    let page = browser.get(&format!("/groups/lab/PS100003?q={}", computer.to_uppercase()));
    assert!(page.body.contains(&format!(">{computer}</a></th>")), "{}", page.body);
    assert!(page.body.contains("Heartbeat | where Computer in~ (CMG_CAS_PS100003)"));
    let whole = browser.get("/computers/lab");
    let count = listed["computers"].to_string();
    assert!(plain(&whole).contains(&format!("<b>{count}</b> computers in one")), "{}", whole.body);
    let own = browser.get(&format!("/computer/lab/{computer}"));
    let of = rig.json(&["groups", "of", "lab", computer]).await;
    for group in of.as_array().unwrap() {
        assert!(own.body.contains(group["alias"].as_str().unwrap()), "{}", own.body);
    }
    for path in [
        "/groups/lab/PS1XXXXX",
        "/groups/other/PS100003",
        "/groups/lab/..%2f..%2fetc",
        "/computers/other",
        "/computer/lab/nobody",
        "/assets/..%2fCargo.toml",
    ] {
        assert_eq!(browser.get(path).status, 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_saved_whole_as_csv() {
    let (rig, browser) = shown().await;
    let file = browser.get("/groups/groups.csv");
    assert_eq!(file.header("content-type"), Some("text/csv; charset=utf-8"));
    let groups = rig.json(&["groups", "list"]).await;
    let groups = groups["groups"].as_array().unwrap();
    // With the line of titles; the transfer's own lines hold no quote.
    let lines = |answer: &Answer| answer.body.lines().filter(|l| l.contains("\",\"")).count();
    assert_eq!(lines(&file), groups.len() + 1, "{}", file.body);
    let members = rig.json(&["groups", "members", "lab", "PS100003"]).await;
    let file = browser.get("/groups/lab/PS100003/computers.csv");
    assert_eq!(lines(&file), members.as_array().unwrap().len() + 1);
    for member in members.as_array().unwrap() {
        assert!(file.body.contains(&format!("\"{}\"", member["computer"].as_str().unwrap())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_removal_is_decided_as_it_was_shown_and_not_otherwise() {
    let (mut rig, browser) = shown().await;
    let members = rig.lab.world().computers("PS100003");
    let going = rig.hold_removal("PS100003").await;
    let need = "href=\"/removals\">1 removal waits for a decision</a>";
    assert!(browser.get("/").body.contains(need));
    let browser = signed_in(&rig, &browser).await;
    let page = browser.get("/removals");
    let first = &members[&going[0]];
    let name = first.fqdn().unwrap_or(first.name.clone());
    assert!(page.body.contains("4 members") && page.body.contains(&name), "{}", page.body);
    let path = "/removals/lab/PS100003";
    assert!(page.body.contains(&format!("action=\"{path}\"")), "{}", page.body);
    let seen = page.field("seen").unwrap();
    // What would go grew since it was shown.
    let more: Vec<u32> = members.keys().copied().skip(4).take(2).collect();
    rig.lab.world().change_members("PS100003", &[], &more);
    rig.two_polls().await;
    rig.two_polls().await;
    let stale = browser.order("/removals", path, &format!("seen={seen}&decision=approve"));
    assert!(stale.status == 409 && stale.body.contains("changed since it was shown"), "{stale:?}");
    assert!(!rig.report().equal);
    for (path, form, status) in [
        ("/removals/lab/PS1XXXXX", "seen=0&decision=approve", 409),
        ("/removals/lab/*", "seen=0&decision=approve", 404),
        (path, "decision=approve", 404),
    ] {
        assert_eq!(browser.order("/removals", path, form).status, status, "{path} {form}");
    }
    let seen = browser.get("/removals").field("seen").unwrap();
    let taken = browser.order("/removals", path, &format!("seen={seen}&decision=approve"));
    assert_eq!(taken.status, 303, "{taken:?}");
    assert_eq!(taken.header("location"), Some("/removals"));
    assert_eq!(said(&browser, &taken), "Approved: the removal goes with the next poll.");
    assert_eq!(said(&browser, &taken), "", "once");
    rig.until_all_equal().await;
    assert!(rig.log().contains("order=\"approve PS100003\""), "{}", rig.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_paused_resumed_and_sent_again_on_its_page() {
    let (mut rig, browser) = shown().await;
    let browser = signed_in(&rig, &browser).await;
    let order = |order: &str| browser.order("/connections/lab", "/connections/lab", order).status;
    assert_eq!(order("order=pause"), 303);
    rig.until_status("producer", "Paused").await;
    assert!(browser.get("/connections/lab").body.contains("value=\"resume\""));
    assert_eq!(order("order=resume"), 303);
    rig.until_status("producer", "Working").await;
    let sent = |rig: &Rig| rig.lab.counts().bodies;
    let before = sent(&rig);
    let path = "/groups/lab/PS100003";
    let resent = browser.order(path, &format!("{path}/resend"), "");
    assert_eq!(resent.header("location"), Some(path));
    assert_eq!(said(&browser, &resent), "It is sent whole from the state.");
    let lab = std::sync::Arc::clone(&rig.lab);
    rig.until(move || (lab.counts().bodies > before).then_some(())).await;
    rig.until_all_equal().await;
    assert_eq!(order("order=nonsense"), 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_looks_sees_a_pause_without_asking_again() {
    let (mut rig, browser) = shown().await;
    let mut stream = browser.open("/events");
    assert!(rig.run(&["connection", "pause", "lab"]).await.status.success());
    let told = tokio::task::spawn_blocking(move || until_read(&mut stream, "Paused")).await;
    assert!(told.unwrap().contains("event: cards"));
    assert!(rig.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_beyond_a_hundred_are_refused_and_none_delays_changes_or_the_end() {
    let (mut rig, browser) = shown().await;
    let own = browser.clone();
    let open = tokio::task::spawn_blocking(move || {
        let mut streams: Vec<TcpStream> = (0..120).map(|_| own.open("/events")).collect();
        let heads: Vec<String> =
            streams.iter_mut().map(|stream| until_read(stream, "\r\n\r\n")).collect();
        (streams, heads)
    });
    let (streams, heads) = open.await.unwrap();
    let count = |code: &str| heads.iter().filter(|head| head.starts_with(code)).count();
    assert_eq!((count("HTTP/1.1 200"), count("HTTP/1.1 503")), (100, 20));
    rig.lab.world().change_members("PS100003", &[cmsync_lab::world::CLIENTS], &[]);
    rig.until_all_equal().await;
    assert_eq!(browser.get("/").status, 200);
    let ended = tokio::time::timeout(Duration::from_secs(25), rig.terminate()).await;
    assert!(ended.expect("it drains while pages are open").success());
    drop(streams);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_nothing_delay_no_change_and_are_ended() {
    let (mut rig, browser) = shown().await;
    let silent: Vec<TcpStream> = (0..300).map(|_| browser.silent()).collect();
    rig.lab.world().change_members("PS100003", &[cmsync_lab::world::CLIENTS], &[]);
    rig.until_all_equal().await;
    // Their places are free again though none of them was closed here.
    let answer = tokio::task::spawn_blocking(move || browser.until_answered("/live")).await;
    assert_eq!(answer.unwrap().status, 200);
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_is_too_large_or_never_ends_is_refused() {
    let (rig, browser) = shown().await;
    let browser = signed_in(&rig, &browser).await;
    let large = "x".repeat(100_000);
    let path = "/removals/lab/PS100003";
    let refused = browser.post(path, &format!("decision={large}"));
    assert_eq!(refused.status, 413, "{refused:?}");
    // A body of which the rest never comes holds up nobody.
    let _endless = browser.begun(path, 60_000, "decision=");
    assert_eq!(browser.get("/").status, 200);
}
