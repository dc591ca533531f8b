//! The console: who sees it, who gives orders, and what hostile pages, names and guessers get.

use std::path::PathBuf;

use crate::browser::Browser;
use crate::console::{shown, signed_in};
use crate::rig::{Rig, listening, small, stderr};
use cmsync_broker::free_port;

/// A rig whose console people elsewhere reach through a proxy on this machine; with the proxy's port.
async fn proxied(loopback: &str) -> (Rig, Browser, u16) {
    let far = free_port().unwrap();
    let mut rig = Rig::new(small()).await;
    let (config, near): (PathBuf, u16) = listening(&rig.config);
    let passwords = rig.directory.path().join("passwords");
    let table = format!(
        "\n[console]\nloopback = \"{loopback}\"\nlisten = \"127.0.0.1:{far}\"\nproxies = [\"127.0.0.1\"]\n\
         url = \"https://cmsync.example\"\npasswords_file = \"{}\"\n",
        passwords.display()
    );
    let text = std::fs::read_to_string(&config).unwrap() + &table;
    std::fs::write(&config, text).unwrap();
    rig.config = config;
    for (user, role, password) in
        [("alice", "operator", "correct horse"), ("bob", "reader", "battery staple")]
    {
        let output = piped(&rig, &["console", "password", user, "--role", role], password).await;
        assert!(output.status.success(), "{}", stderr(&output));
    }
    rig.start();
    rig.until_all_equal().await;
    (rig, Browser::here(near), far)
}

/// Runs a command with something on its standard input.
pub(crate) async fn piped(rig: &Rig, arguments: &[&str], text: &str) -> std::process::Output {
    use std::io::Write as _;
    let mut command = rig.command(arguments);
    let text = text.to_owned();
    let piped = tokio::task::spawn_blocking(move || {
        let pipe = std::process::Stdio::piped;
        let mut child = command.stdin(pipe()).stdout(pipe()).stderr(pipe()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    });
    piped.await.unwrap()
}

const ALICE: &str = "name=alice&password=correct+horse";
const BOB: &str = "name=bob&password=battery+staple";
const PAGES: [&str; 7] = [
    "/",
    "/groups",
    "/groups/lab/PS100003",
    "/computers/lab",
    "/removals",
    "/dead-letters",
    "/connections/lab",
];
const DATA: [&str; 4] =
    ["/events", "/api/v1/connections", "/groups/groups.csv", "/computers/lab/computers.csv"];

#[tokio::test(flavor = "multi_thread")]
async fn on_the_machine_itself_pages_are_for_its_own_users_and_probes_for_all() {
    let (_rig, browser) = shown().await;
    let foreign = [
        browser.by("cm01.contoso.com"),
        browser.by("localhost.evil.example"),
        browser.with("X-Forwarded-For: 10.0.0.7"),
        browser.with("Forwarded: for=10.0.0.7"),
        browser.with("Via: 1.1 proxy"),
        browser.with("X-Real-IP: 10.0.0.7"),
        browser.old(),
    ];
    for path in PAGES.iter().chain(&DATA).chain(&["/assets/console.css", "/nothing", "/sign-in"]) {
        for other in &foreign {
            assert_eq!(other.get(path).status, 403, "{path}");
        }
    }
    for path in ["/metrics", "/live", "/ready"] {
        assert_eq!(foreign[0].get(path).status, 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_tells_browsers_to_run_and_to_frame_nothing_else() {
    let (_rig, browser) = shown().await;
    for path in
        ["/", "/sign-in", "/api/v1/connections", "/assets/htmx.min.js", "/nothing", "/assets/../x"]
    {
        let head = browser.get(path).head.to_lowercase();
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self';",
            "frame-ancestors 'none'",
            "form-action 'self'",
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
            "referrer-policy: same-origin",
        ] {
            assert!(head.contains(header), "{path} lacks `{header}`: {head}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_taken_from_an_operators_own_page_and_from_nowhere_else() {
    let (mut rig, browser) = shown().await;
    let path = "/connections/lab";
    // Whoever has not signed in is asked to, and what was sent is kept.
    let asked = browser.post(path, "order=pause");
    assert_eq!(asked.status, 401, "{asked:?}");
    assert_eq!(asked.field("order").as_deref(), Some("pause"), "{}", asked.body);
    let operator = signed_in(&rig, &browser).await;
    let csrf = operator.get("/").field("csrf").unwrap();
    for line in [
        "Origin: https://evil.example",
        "Origin: null",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
    ] {
        let refused = operator.with(line).post(path, &format!("csrf={csrf}&order=pause"));
        assert_eq!(refused.status, 403, "{line}");
    }
    // From a page of another session, or of none: it is shown again instead of done.
    for form in
        ["order=pause", "csrf=&order=pause", &format!("csrf={}&order=pause", "0".repeat(64))]
    {
        let again = operator.post(path, form);
        assert_eq!(again.status, 409, "{form}");
        assert_eq!(again.field("order").as_deref(), Some("pause"), "{}", again.body);
    }
    for method in ["/connections/lab?order=pause", "/sign-out"] {
        assert!(operator.get(method).status != 303, "{method}");
    }
    let status = rig.json(&["status"]).await;
    assert_eq!(status[0]["is_paused"], false);
    assert_eq!(operator.order(path, path, "order=pause").status, 303);
    rig.until_status("producer", "Paused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_signs_in_once_and_a_sign_out_ends_it() {
    let (rig, browser) = shown().await;
    let output = rig.run(&["console"]).await;
    let link = String::from_utf8(output.stdout).unwrap();
    let (_, ticket) = link.trim().split_once("?ticket=").unwrap();
    // Who only follows the link, as a mail scanner does, uses nothing up.
    let page = browser.get(&format!("/sign-in?ticket={ticket}"));
    assert_eq!((page.status, page.field("ticket").as_deref()), (200, Some(ticket)));
    let mut operator = browser.clone();
    let signed = operator.sign_in(&format!("ticket={ticket}&next=/groups"));
    assert_eq!((signed.status, signed.header("location")), (303, Some("/groups")));
    let cookie = signed.header("set-cookie").unwrap();
    assert!(cookie.contains("; HttpOnly; SameSite=Lax") && !cookie.contains("Secure"), "{cookie}");
    assert!(operator.get("/").body.contains("on this machine"));
    assert_eq!(browser.clone().sign_in(&format!("ticket={ticket}")).status, 401);
    assert_eq!(operator.order("/", "/sign-out", "").header("location"), Some("/sign-in"));
    assert_eq!(operator.get("/").field("csrf"), None);
    assert_eq!(operator.post("/connections/lab", "order=pause").status, 401);
    // However many tickets somebody guesses, the next one signs in.
    for n in 0..40 {
        assert_eq!(browser.clone().sign_in(&format!("ticket=guess{n}")).status, 401);
    }
    signed_in(&rig, &browser).await;
    let log = rig.log();
    assert!(log.contains("signed in") && log.contains("signed out"), "{log}");
    assert!(log.contains("an order is not taken"), "{log}");
    assert!(!log.contains(ticket), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn from_elsewhere_nothing_is_shown_without_a_sign_in() {
    let (_rig, _near, far) = proxied("read").await;
    let browser = Browser::elsewhere(far, "10.1.1.1");
    for path in PAGES {
        let answer = browser.get(path);
        assert_eq!(answer.status, 303, "{path}: {answer:?}");
        assert!(answer.header("location").unwrap().starts_with("/sign-in?next=%2F"), "{answer:?}");
        assert!(answer.body.is_empty());
    }
    for path in DATA.iter().take(2) {
        assert_eq!(browser.get(path).status, 401, "{path}");
    }
    assert_eq!(browser.post("/connections/lab", "order=pause").status, 401);
    for path in ["/metrics", "/live", "/ready"] {
        assert_ne!(browser.get(path).status, 200, "{path}");
    }
    assert_eq!(browser.get("/assets/console.css").status, 200);
    // Another name, another proxy's word, and no word at all.
    let plain = Browser::here(far);
    for other in
        [browser.by("localhost"), browser.by("cmsync.example:8443"), plain.by("cmsync.example")]
    {
        assert_eq!(other.get("/sign-in").status, 403);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_reads_and_an_operator_orders() {
    let (mut rig, _near, far) = proxied("read").await;
    let (mut bob, mut alice) =
        (Browser::elsewhere(far, "10.1.1.1"), Browser::elsewhere(far, "10.1.1.2"));
    let signed = bob.sign_in(BOB);
    let cookie = signed.header("set-cookie").unwrap();
    assert!(cookie.starts_with("__Host-cmsync=") && cookie.contains("; Secure"), "{cookie}");
    assert!(signed.head.to_lowercase().contains("strict-transport-security"), "{signed:?}");
    alice.sign_in(ALICE);
    for path in PAGES.iter().chain(&DATA[1..]) {
        assert_eq!((bob.get(path).status, alice.get(path).status), (200, 200), "{path}");
    }
    assert!(!bob.get("/connections/lab").body.contains("value=\"pause\""));
    assert_eq!(bob.order("/", "/connections/lab", "order=pause").status, 403);
    assert_eq!(alice.order("/", "/connections/lab", "order=pause").status, 303);
    rig.until_status("producer", "Paused").await;
    assert!(rig.log().contains("alice"));
    assert_eq!(bob.order("/", "/sign-out", "").status, 303);
    assert_eq!(bob.get("/").status, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ended_while_a_form_was_filled_in_loses_nothing() {
    let (mut rig, _near, far) = proxied("read").await;
    let mut alice = Browser::elsewhere(far, "10.1.1.2");
    alice.sign_in(ALICE);
    let csrf = alice.get("/").field("csrf").unwrap();
    assert_eq!(alice.order("/", "/sign-out", "").status, 303);
    let form = format!("csrf={csrf}&order=pause&client_secret=s3cret");
    let ended = alice.post("/connections/lab", &form);
    assert_eq!(ended.status, 401);
    let (next, fields) = (ended.field("next").unwrap(), ended.field("fields").unwrap());
    assert_eq!((&*next, &*fields), ("/connections/lab", "order=pause"));
    let again = alice.sign_in(&format!("{ALICE}&next={next}&fields=order%3Dpause"));
    assert_eq!(again.status, 409, "{again:?}");
    assert!(again.body.contains("action=\"/connections/lab\"") && !again.body.contains("s3cret"));
    let csrf = again.field("csrf").unwrap();
    let done = alice.post("/connections/lab", &format!("csrf={csrf}&order=pause"));
    assert_eq!(done.status, 303, "{done:?}");
    rig.until_status("producer", "Paused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_new_with_each_sign_in_and_leads_nowhere_else() {
    let (rig, _near, far) = proxied("read").await;
    let mut alice = Browser::elsewhere(far, "10.1.1.2");
    // What an attacker planted is not what one is known by afterwards.
    alice.cookie = Some("__Host-cmsync=planted".into());
    alice.sign_in(ALICE);
    let first = alice.cookie.clone().unwrap();
    assert!(!first.contains("planted"));
    alice.sign_in(ALICE);
    let mut old = alice.clone();
    old.cookie = Some(first);
    assert_eq!((old.get("/").status, alice.get("/").status), (303, 200));
    for next in
        ["https%3A%2F%2Fevil.example", "%2F%2Fevil.example", "%2F%5Cevil.example", "javascript%3Ax"]
    {
        let answer = alice.sign_in(&format!("{ALICE}&next={next}"));
        assert_eq!(answer.header("location"), Some("/"), "{next}");
    }
    // Whoever has another password, or is gone, is signed in no longer.
    let again = ["console", "password", "alice", "--role", "operator"];
    assert!(piped(&rig, &again, "correct horse").await.status.success());
    assert_eq!(alice.get("/").status, 303);
    alice.sign_in(ALICE);
    assert_eq!(alice.get("/").status, 200);
    assert!(rig.run(&["console", "forget", "alice"]).await.status.success());
    assert_eq!(alice.get("/").status, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_passwords_is_stopped_and_nobody_else_is() {
    let (rig, _near, far) = proxied("read").await;
    let mut guesser = Browser::elsewhere(far, "10.6.6.6");
    let tried: Vec<u16> =
        (0..12).map(|n| guesser.sign_in(&format!("name=alice&password=guess{n}")).status).collect();
    assert_eq!(tried, [[401; 10].as_slice(), &[429; 2]].concat());
    // Not even with the right one; what stands before the proxy's word changes nothing.
    assert_eq!(guesser.sign_in(ALICE).status, 429);
    for client in ["10.9.9.9, 10.6.6.6", "10.9.9.9\r\nX-Forwarded-For: 10.6.6.6"] {
        assert_eq!(Browser::elsewhere(far, client).sign_in(ALICE).status, 429, "{client}");
    }
    let mut alice = Browser::elsewhere(far, "10.1.1.2");
    assert_eq!(alice.sign_in(ALICE).status, 303);
    let log = rig.log();
    assert!(log.contains("a sign-in failed") && !log.contains("guess3"), "{log}");
    assert!(!log.contains("correct horse"));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_machine_with_many_users_pages_can_ask_for_a_sign_in_or_be_off() {
    let (rig, near, _) = proxied("sign-in").await;
    assert_eq!((near.get("/").status, near.get("/live").status), (303, 200));
    assert_eq!(signed_in(&rig, &near).await.get("/").status, 200);
    drop(rig);
    let (rig, near, _) = proxied("off").await;
    assert_eq!((near.get("/").status, near.get("/live").status), (403, 200));
    let refused = rig.run(&["console"]).await;
    assert!(stderr(&refused).contains("`console.loopback` is off"), "{}", stderr(&refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_that_nobody_could_use_safely_is_refused_before_it_starts() {
    let rig = Rig::new(small()).await;
    let config = std::fs::read_to_string(&rig.config).unwrap();
    for (table, wanted) in [
        (
            "listen = \"0.0.0.0:1\"",
            &["console.url", "console.passwords_file", "console.listen"][..],
        ),
        ("listen = \"nowhere\"", &["console.listen: `nowhere` is no address and port"]),
        ("listen = \"0.0.0.0:1\"\nurl = \"http://x.example\"", &["must begin with https://"]),
        ("listen = \"0.0.0.0:1\"\nurl = \"https://x.example/cm\"", &["the console has no folder"]),
        (
            "certificate_file = \"/x\"\nlisten = \"0.0.0.0:1\"",
            &["console.key_file: is needed beside"],
        ),
        ("loopback = \"open\"", &["console.loopback", "open"]),
    ] {
        std::fs::write(&rig.config, format!("{config}\n[console]\n{table}\n")).unwrap();
        let refused = rig.run(&["check", "--offline"]).await;
        let text = stderr(&refused);
        assert_eq!(refused.status.code(), Some(2), "{table}: {text}");
        for part in wanted {
            assert!(text.contains(part), "{table}: `{part}` is missing: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_the_console_shows_its_certificate_and_takes_a_renewed_one() {
    let mut rig = Rig::new(small()).await;
    let (config, _): (PathBuf, u16) = listening(&rig.config);
    let port = free_port().unwrap();
    let directory = rig.directory.path().to_owned();
    let files = [directory.join("console.pem"), directory.join("console.key")];
    let renew = |files: &[PathBuf; 2]| {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&files[0], made.cert.pem()).unwrap();
        std::fs::write(&files[1], made.signing_key.serialize_pem()).unwrap();
    };
    renew(&files);
    let passwords = directory.join("passwords");
    std::fs::write(&passwords, "").unwrap();
    let [certificate, key] = files.each_ref().map(|file| file.display().to_string());
    let text = std::fs::read_to_string(&config).unwrap();
    let table = format!(
        "\n[console]\nlisten = \"127.0.0.1:{port}\"\nurl = \"https://localhost:{port}\"\n\
         passwords_file = \"{}\"\ncertificate_file = \"{certificate}\"\nkey_file = \"{key}\"\n",
        passwords.display()
    );
    std::fs::write(&config, text + &table).unwrap();
    rig.config = config;
    rig.start();
    rig.until_all_equal().await;
    let get = async || {
        let settings = cmsync_http::Settings {
            ca_file: Some(files[0].clone()),
            direct: true,
            ..cmsync_http::Settings::default()
        };
        let client = cmsync_http::Client::new("test", &settings).unwrap();
        let url = format!("https://localhost:{port}/sign-in").parse().unwrap();
        client.send(client.request(cmsync_http::Method::GET, url)).await.unwrap().status.as_u16()
    };
    assert_eq!(get().await, 200);
    renew(&files);
    assert_eq!(get().await, 200);
    // Half of a renewal changes nothing; and who speaks no TLS gets nothing.
    std::fs::write(&files[1], "nonsense").unwrap();
    assert_eq!(get().await, 200);
    let plain = Browser::here(port);
    assert_eq!(plain.get("/sign-in").status, 0);
}
