//! `/api/v1`: what scripts get, and that the document says it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::browser::{Answer, Browser};
use crate::console::signed_in;
use crate::rig::{Rig, listening, small, stderr};

/// A rig whose API takes tokens alone, also on its own machine.
struct Api {
    rig: Rig,
    browser: Browser,
    reader: String,
    operator: String,
}

impl Api {
    async fn new() -> Self {
        let mut rig = Rig::new(small()).await;
        let (config, port) = listening(&rig.config);
        let passwords = rig.directory.path().join("passwords");
        let table =
            format!("\n[console]\nloopback = \"sign-in\"\npasswords_file = {passwords:?}\n");
        let text = std::fs::read_to_string(&config).unwrap() + &table;
        std::fs::write(&config, text).unwrap();
        rig.config = config;
        let [reader, operator] =
            [token(&rig, "reads", "reader"), token(&rig, "orders", "operator")];
        let (reader, operator) = (reader.await, operator.await);
        rig.start();
        rig.until_all_equal().await;
        Self { rig, browser: Browser::here(port), reader, operator }
    }

    fn by(&self, token: &str) -> Browser {
        self.browser.with(&format!("Authorization: Bearer {token}"))
    }
}

/// A script's token.
async fn token(rig: &Rig, name: &str, role: &str) -> String {
    let output = rig.run(&["console", "token", name, "--role", role]).await;
    assert!(output.status.success(), "{}", stderr(&output));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{answer:?}"))
}

fn sent(browser: &Browser, path: &str, body: &str) -> Answer {
    browser.post_as("application/json", path, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_read_with_a_token_and_order_with_an_operators() {
    let mut api = Api::new().await;
    let held = api.rig.hold_removal("PS100003").await;
    let (reader, operator) = (api.by(&api.reader), api.by(&api.operator));
    let page = signed_in(&api.rig, &api.browser).await;
    // Without one nothing is said, and with a wrong one neither, whoever signed in.
    for browser in [&api.browser, &api.by("x"), &page.with("Authorization: Bearer x")] {
        let refused = browser.get("/api/v1/connections");
        assert_eq!(refused.status, 401, "{refused:?}");
        assert!(
            refused.header("www-authenticate").is_some() && json(&refused)["error"].is_string()
        );
    }
    let listed = json(&reader.get("/api/v1/groups?q=PS100003&limit=1"));
    assert_eq!(
        (&listed["total"], &listed["items"][0]["collection"]),
        (&1.into(), &"PS100003".into())
    );
    let members = json(
        &reader
            .get("/api/v1/connections/lab/collections/PS100003/members?limit=2&sort=resource-id"),
    );
    assert_eq!(members["items"].as_array().unwrap().len(), 2);
    let computer = members["items"][0]["computer"].as_str().unwrap();
    let of = json(&reader.get(&format!("/api/v1/connections/lab/computers/{computer}")));
    assert!(of.as_array().unwrap().iter().any(|group| group["collection"] == "PS100003"), "{of}");
    // Orders are an operator's, by a token: a browser's session gives none.
    let order = "/api/v1/connections/lab/pause";
    assert_eq!(sent(&reader, order, "").status, 403);
    assert_eq!(sent(&page, order, "").status, 401);
    assert_eq!(sent(&operator.with("Origin: https://evil.example"), order, "").status, 403);
    let status = api.rig.json(&["status"]).await;
    assert_eq!(status[0]["is_paused"], false);
    assert_eq!(sent(&operator, "/api/v1/connections/other/pause", "").status, 404);
    // A decision is about what was seen.
    let removals = json(&reader.get("/api/v1/removals"));
    let print = removals["items"][0]["print"].as_str().unwrap();
    assert_eq!(removals["items"][0]["members"], held.len());
    let removal = "/api/v1/connections/lab/removals/PS100003";
    let decided = |seen: &str| format!("{{\"decision\":\"approve\",\"seen\":\"{seen}\"}}");
    assert_eq!(sent(&operator, removal, &decided("other")).status, 409);
    for wrong in ["", "{}", "{\"decision\":\"approve\"}", "{\"decision\":\"burn\",\"seen\":\"\"}"] {
        let refused = sent(&operator, removal, wrong);
        assert_eq!(refused.status, 400, "{wrong}");
        assert!(json(&refused)["error"].is_string());
    }
    assert_eq!(operator.post(removal, "decision=approve&seen=x").status, 415);
    let taken = sent(&operator, removal, &decided(print));
    assert_eq!(taken.status, 200, "{taken:?}");
    let told = "/api/v1/activity?kind=order&item=PS100003";
    api.rig
        .until(|| (json(&reader.get(told))["items"][0]["who"] == "orders (token)").then_some(()))
        .await;
    // A token that was taken away is none.
    assert!(api.rig.run(&["console", "forget", "reads"]).await.status.success());
    assert_eq!(reader.get("/api/v1/connections").status, 401);
    assert_eq!(operator.get("/api/v1/connections").status, 200);
    // It is no key to pages, and its name is no user's.
    assert_eq!(operator.get("/").status, 303);
    let password = ["console", "password", "orders"];
    let refused = crate::console_access::piped(&api.rig, &password, "correct horse").await;
    assert!(stderr(&refused).contains("is a script's token"), "{}", stderr(&refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_of_the_api_is_true() {
    let mut api = Api::new().await;
    drop(api.rig.hold_removal("PS100003").await);
    let schemathesis =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/python/bin/schemathesis");
    assert!(schemathesis.exists(), "{} is missing: run `make e2e`", schemathesis.display());
    let base = format!("http://localhost:{}/api/v1", api.browser.port());
    let mut command = Command::new(schemathesis);
    command
        .args(["run", &format!("{base}/openapi.json"), "--url", &base, "--no-color"])
        .args(["--header", &format!("Authorization: Bearer {}", api.operator)])
        .args(["--checks", "all", "--generation-deterministic", "--continue-on-failure"])
        .args(["--max-examples", "30", "--workers", "1", "--request-timeout", "30"])
        .current_dir(api.rig.directory.path());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", stderr(&output));
    // It asked, and was answered.
    assert!(said.contains("No issues found") || said.contains("passed"), "{said}");
    assert!(api.rig.is_running());
}
