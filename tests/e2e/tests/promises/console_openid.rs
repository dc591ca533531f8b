//! Signing in at an identity provider: a real one (oidc-provider, in Node), a real Chromium, over TLS.

use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::chromium::{MODULES, Scenario};
use crate::console_access::piped;
use crate::rig::{PATIENCE, Rig, listening, small, stderr};
use cmsync_broker::free_port;

/// What a command printed.
fn text(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A provider that runs.
struct Provider(Child);

impl Drop for Provider {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Provider {
    fn start(about: &serde_json::Value) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut child = Command::new("node")
            .arg(root.join("tests/browser/provider.mjs"))
            .arg(about.to_string())
            .env("CMSYNC_NODE_MODULES", root.join(MODULES))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "ready"), "the provider does not start");
        Self(child)
    }
}

/// A rig whose console is asked over TLS, with a provider's address for it.
struct Elsewhere {
    rig: Rig,
    port: u16,
    provider: u16,
    certificate: PathBuf,
    key: PathBuf,
}

impl Elsewhere {
    async fn new() -> Self {
        let mut rig = Rig::new(small()).await;
        let [port, provider] = [free_port().unwrap(), free_port().unwrap()];
        let path = |name: &str| rig.directory.path().join(name);
        let [certificate, key] = [path("console.pem"), path("console.key")];
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        std::fs::write(path("openid-secret"), "s3cret:&~+%").unwrap();
        let (config, _): (PathBuf, u16) = listening(&rig.config);
        let table = format!(
            "\n[console]\nlisten = \"127.0.0.1:{port}\"\nurl = \"https://localhost:{port}\"\n\
             certificate_file = {certificate:?}\nkey_file = {key:?}\npasswords_file = {:?}\n\
             openid = {{ issuer = \"https://localhost:{provider}\", client_id = \"cmsync\", \
             client_secret_file = {:?}, ca_file = {certificate:?} }}\n",
            path("passwords"),
            path("openid-secret"),
        );
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, text + &table).unwrap();
        rig.config = config;
        let user = ["console", "password", "dave", "--role", "reader"];
        let output = piped(&rig, &user, "correct horse").await;
        assert!(output.status.success(), "{}", stderr(&output));
        Self { rig, port, provider, certificate, key }
    }

    fn provider(&self, method: &str) -> Provider {
        let roles: BTreeMap<&str, Vec<&str>> = [
            ("alice", vec!["Reader", "Operator"]),
            ("bob", vec!["Reader"]),
            ("carol", vec!["Administrator"]),
        ]
        .into();
        Provider::start(&json!({
            "port": self.provider, "certificate": self.certificate, "key": self.key,
            "back": format!("https://localhost:{}/sign-in/openid/done", self.port),
            "method": method, "secret": "s3cret:&~+%", "roles": roles,
        }))
    }

    async fn run(&self) {
        let about = json!({
            "base": format!("https://localhost:{}", self.port),
            "provider": format!("https://localhost:{}", self.provider),
        });
        let mut scenario = Scenario::spawn("roles.mjs", about);
        let ended = tokio::task::spawn_blocking(move || scenario.next()).await.unwrap();
        assert_eq!(ended, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_sign_in_at_an_identity_provider_by_their_roles() {
    let mut elsewhere = Elsewhere::new().await;
    let _provider = elsewhere.provider("client_secret_basic");
    elsewhere.rig.start();
    elsewhere.rig.until_all_equal().await;
    elsewhere.run().await;
    let log = elsewhere.rig.log();
    for line in ["who=\"alice@contoso.com\"", "signed in without a role", "role=\"reader\""] {
        assert!(log.contains(line), "`{line}` is missing: {log}");
    }
    assert!(!log.contains("s3cret") && !log.contains("code="), "{log}");
    // What anybody can have a provider say is one line, and no more than a text.
    let said = log.lines().find(|line| line.contains("forged")).unwrap();
    assert!(said.contains("error=\"") && !said.contains('\u{1b}'), "{said}");
    assert!(said.contains("\\\"operator\\\""), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_takes_the_secret_in_the_form_signs_in_too() {
    let mut elsewhere = Elsewhere::new().await;
    let _provider = elsewhere.provider("client_secret_post");
    elsewhere.rig.start();
    elsewhere.rig.until_all_equal().await;
    elsewhere.run().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_does_not_answer_is_named() {
    let mut elsewhere = Elsewhere::new().await;
    elsewhere.rig.start();
    elsewhere.rig.until_all_equal().await;
    let settings = cmsync_http::Settings {
        ca_file: Some(elsewhere.certificate.clone()),
        direct: true,
        ..cmsync_http::Settings::default()
    };
    let client = cmsync_http::Client::new("test", &settings).unwrap();
    let get = async |path: &str| {
        let url = format!("https://localhost:{}{path}", elsewhere.port).parse().unwrap();
        let answer = client.send(client.request(cmsync_http::Method::GET, url)).await.unwrap();
        (answer.status.as_u16(), String::from_utf8(answer.body.to_vec()).unwrap())
    };
    let named = format!("https://localhost:{}", elsewhere.provider);
    let (status, page) = get("/sign-in/openid").await;
    assert_eq!(status, 502);
    assert!(page.contains(&named) && page.contains("Password"), "{page}");
    let check = elsewhere.rig.run(&["check"]).await;
    assert!(!check.status.success());
    assert!(text(&check).contains("console: the identity provider"), "{}", text(&check));
    // From now on it answers, without a restart; a failure is remembered for some seconds.
    let started = std::time::Instant::now();
    let provider = elsewhere.provider("client_secret_basic");
    while get("/sign-in/openid").await.0 != 303 {
        assert!(started.elapsed() < PATIENCE, "the provider is never found");
        tokio::task::yield_now().await;
    }
    let check = elsewhere.rig.run(&["check"]).await;
    assert!(text(&check).contains("people can sign in at localhost"), "{}", text(&check));
    drop(provider);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_provider_that_could_let_anybody_in_is_refused() {
    let rig = Rig::new(small()).await;
    let config = std::fs::read_to_string(&rig.config).unwrap();
    for (table, wanted) in [
        ("client_id = \"x\"", "console.openid.issuer: is missing"),
        ("issuer = \"https://login.example\"", "console.openid.client_id: is missing"),
        ("issuer = \"http://login.example\"\nclient_id = \"x\"", "must begin with https://"),
        (
            "issuer = \"https://login.microsoftonline.com/common/v2.0\"\nclient_id = \"x\"",
            "one directory by its tenant id",
        ),
        (
            "issuer = \"https://sts.windows.net/0/\"\nclient_id = \"x\"",
            "must be the issuer of version 2",
        ),
        (
            "issuer = \"https://login.microsoftonline.com/0\"\nclient_id = \"x\"",
            "must be the issuer of version 2",
        ),
        (
            "issuer = \"https://login.example\"\nclient_id = \"x\"\nclient_secret_file = \"/no\"",
            "console.openid.client_secret_file",
        ),
        (
            "issuer = \"https://login.example\"\nclient_id = \"x\"\nca_file = \"/no\"",
            "console.openid.ca_file",
        ),
    ] {
        let elsewhere =
            "listen = \"127.0.0.1:1\"\nurl = \"https://x.example\"\nproxies = [\"127.0.0.1\"]";
        let text = format!("{config}\n[console]\n{elsewhere}\n[console.openid]\n{table}\n");
        std::fs::write(&rig.config, text).unwrap();
        let refused = rig.run(&["check", "--offline"]).await;
        let text = stderr(&refused);
        assert_eq!(refused.status.code(), Some(2), "{table}: {text}");
        assert!(text.contains(wanted), "{table}: `{wanted}` is missing: {text}");
    }
}
