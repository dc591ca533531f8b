//! The web page: what it shows, to whom, and that nobody who looks slows the pipeline.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use crate::rig::{PATIENCE, Rig, listening, small};

/// A rig whose copy serves its pages; with the port.
async fn shown() -> (Rig, u16) {
    let mut rig = Rig::new(small()).await;
    let (config, port): (PathBuf, u16) = listening(&rig.config);
    rig.config = config;
    rig.start();
    rig.until_all_equal().await;
    (rig, port)
}

fn ask(port: u16, path: &str, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\n{headers}\r\n").unwrap();
    stream
}

/// An answer with its head, as a browser on this machine gets it.
fn page(port: u16, path: &str) -> String {
    answered(port, path, "Host: localhost\r\n")
}

fn answered(port: u16, path: &str, headers: &str) -> String {
    let mut text = String::new();
    let headers = format!("{headers}Connection: close\r\n");
    ask(port, path, &headers).read_to_string(&mut text).unwrap();
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_says_that_the_workspace_is_true_and_what_it_is_made_of() {
    let (mut rig, port) = shown().await;
    rig.two_polls().await;
    let text = page(port, "/");
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    let status = rig.json(&["status"]).await;
    let members = status[0]["members"].to_string();
    for part in ["<h2 id=\"c-lab\">lab", "site CAS", "everything that changed was taken"] {
        assert!(text.contains(part), "`{part}` is missing: {text}");
    }
    let said = text.replace('\u{202f}', "");
    assert!(said.contains(&format!("<dt>Memberships</dt><dd>{members}</dd>")), "{said}");
    let judged = page(port, "/api/v1/connections");
    let (_, body) = judged.split_once("\r\n\r\n").unwrap();
    let judged: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(judged[0]["truth"]["verdict"], "true", "{judged:#}");
    assert_eq!(judged[0]["members"], status[0]["members"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_asks_no_other_host_and_all_that_it_names_is_there() {
    let (_rig, port) = shown().await;
    let text = page(port, "/");
    assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("<style"));
    let named = text.split(['"', '\'']).filter(|part| part.starts_with("/assets/"));
    let named: std::collections::BTreeSet<&str> = named.collect();
    assert!(named.len() >= 4, "{named:?}");
    let mut weight = text.len();
    for path in named {
        let asset = answered(port, path, "Host: localhost\r\n");
        assert!(asset.starts_with("HTTP/1.1 200"), "{path}: {asset}");
        weight += asset.len();
        let tag = asset.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
        let again = answered(port, path, &format!("Host: localhost\r\nIf-None-Match: {tag}\r\n"));
        assert!(again.starts_with("HTTP/1.1 304"), "{path}: {again}");
    }
    assert!(weight < 200_000, "{weight} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_for_this_machine_alone_and_probes_for_all() {
    let (_rig, port) = shown().await;
    let refused = [
        "Host: cm01.contoso.com\r\n",
        "Host: localhost.evil.example\r\n",
        "Host: localhost\r\nX-Forwarded-For: 10.0.0.7\r\n",
        "Host: localhost\r\nForwarded: for=10.0.0.7\r\n",
    ];
    for path in ["/", "/events", "/api/v1/connections", "/assets/console.css", "/nothing"] {
        for headers in refused {
            let answer = answered(port, path, headers);
            assert!(answer.starts_with("HTTP/1.1 403"), "{path} {headers}: {answer}");
        }
    }
    for path in ["/metrics", "/live", "/ready"] {
        let answer = answered(port, path, refused[0]);
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_tells_browsers_to_run_and_to_frame_nothing_else() {
    let (_rig, port) = shown().await;
    for path in ["/", "/api/v1/connections", "/assets/htmx.min.js", "/nothing", "/assets/../x"] {
        let answer = page(port, path).to_lowercase();
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self';",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
            "referrer-policy: no-referrer",
        ] {
            assert!(answer.contains(header), "{path} lacks `{header}`: {answer}");
        }
    }
}

/// Reads until a text has come.
fn until_read(stream: &mut TcpStream, wanted: &str) -> String {
    let (mut text, mut bytes) = (String::new(), [0; 4_096]);
    while !text.contains(wanted) {
        let read = stream.read(&mut bytes).unwrap();
        assert!(read > 0, "ended without `{wanted}`: {text}");
        text += &String::from_utf8_lossy(&bytes[..read]);
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn who_looks_sees_a_pause_without_asking_again() {
    let (mut rig, port) = shown().await;
    let mut stream = ask(port, "/events", "Host: localhost\r\n");
    assert!(rig.run(&["connection", "pause", "lab"]).await.status.success());
    let told = tokio::task::spawn_blocking(move || until_read(&mut stream, "Paused")).await;
    assert!(told.unwrap().contains("event: cards"));
    assert!(rig.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_beyond_a_hundred_are_refused_and_none_delays_changes_or_the_end() {
    let (mut rig, port) = shown().await;
    let open = tokio::task::spawn_blocking(move || {
        let mut streams: Vec<TcpStream> =
            (0..120).map(|_| ask(port, "/events", "Host: localhost\r\n")).collect();
        let heads: Vec<String> =
            streams.iter_mut().map(|stream| until_read(stream, "\r\n\r\n")).collect();
        (streams, heads)
    });
    let (streams, heads) = open.await.unwrap();
    let count = |code: &str| heads.iter().filter(|head| head.starts_with(code)).count();
    assert_eq!((count("HTTP/1.1 200"), count("HTTP/1.1 503")), (100, 20));
    rig.lab.world().change_members("PS100003", &[cmsync_lab::world::CLIENTS], &[]);
    rig.until_all_equal().await;
    assert!(page(port, "/").starts_with("HTTP/1.1 200"));
    let ended = tokio::time::timeout(Duration::from_secs(25), rig.terminate()).await;
    assert!(ended.expect("it drains while pages are open").success());
    drop(streams);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_nothing_delay_no_change_and_are_ended() {
    let (mut rig, port) = shown().await;
    let silent: Vec<TcpStream> =
        (0..300).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    rig.lab.world().change_members("PS100003", &[cmsync_lab::world::CLIENTS], &[]);
    rig.until_all_equal().await;
    // Their places are free again though none of them was closed here.
    let answer = tokio::task::spawn_blocking(move || page(port, "/live")).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(silent);
}

/// Sends a form and gives the answer.
fn send(port: u16, path: &str, form: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\nContent-Length: {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n{headers}\r\n{form}",
        form.len()
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_removal_is_approved_on_the_page_and_by_no_page_of_another_site() {
    let (mut rig, port) = shown().await;
    rig.two_polls().await;
    rig.lab.faults().role = "Nothing much".into();
    let members = rig.lab.world().computers("PS100003");
    let going: Vec<u32> = members.keys().copied().take(4).collect();
    rig.lab.world().change_members("PS100003", &[], &going);
    rig.two_polls().await;
    rig.two_polls().await;
    assert!(page(port, "/").contains("1 removal waits for a decision"));
    let text = page(port, "/removals");
    let first = &members[&going[0]];
    let name = first.fqdn().unwrap_or(first.name.clone());
    assert!(text.contains("4 members") && text.contains(&name), "{text}");
    let path = "/removals/lab/PS100003";
    assert!(text.contains(&format!("action=\"{path}\"")), "{text}");
    for headers in ["Origin: https://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
        let refused = send(port, path, "decision=approve", headers);
        assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    }
    assert!(!rig.report().equal);
    let unknown = send(port, "/removals/lab/PS1XXXXX", "decision=approve", "");
    assert!(unknown.starts_with("HTTP/1.1 404") && unknown.contains("no removal of"), "{unknown}");
    let headers = format!("Origin: http://localhost:{port}\r\n");
    let taken = send(port, path, "decision=approve", &headers);
    assert!(taken.starts_with("HTTP/1.1 303"), "{taken}");
    assert!(taken.contains("location: /removals?done=approve"), "{taken}");
    rig.until_all_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_and_members_are_found_on_their_pages() {
    let (rig, port) = shown().await;
    let listed = rig.json(&["groups", "list"]).await;
    let text = page(port, "/groups").replace('\u{202f}', "");
    for group in listed["groups"].as_array().unwrap() {
        let link = format!("/groups/lab/{}", group["collection"].as_str().unwrap());
        assert!(text.contains(&link), "{link}");
    }
    let members = rig.json(&["groups", "members", "lab", "PS100003"]).await;
    let computer = members[0]["computer"].as_str().unwrap();
    let found = page(port, &format!("/groups/lab/PS100003?q={}", computer.to_uppercase()));
    assert!(found.contains(&format!("<th scope=\"row\">{computer}</th>")), "{found}");
    assert!(found.contains("CMG_CAS_PS100003"), "{found}");
    for path in ["/groups/lab/PS1XXXXX", "/groups/other/PS100003", "/groups/lab/..%2f..%2fx"] {
        assert!(page(port, path).starts_with("HTTP/1.1 404"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_is_too_large_is_refused() {
    let (_rig, port) = shown().await;
    let large = "x".repeat(100_000);
    let refused = send(port, "/removals/lab/PS100003", &format!("decision={large}"), "");
    assert!(refused.starts_with("HTTP/1.1 413"), "{refused}");
}
