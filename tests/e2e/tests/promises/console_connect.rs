//! The console sets a connection up, from a process that has none to true computer groups.

use std::process::{Child, Stdio};
use std::time::Duration;

use crate::browser::{Answer, Browser};
use crate::connect::Desk;
use crate::rig::{PATIENCE, listening, options, small};

/// `cmsync run` of somebody who has no connection yet.
pub(crate) struct Begun {
    pub(crate) desk: Desk,
    pub(crate) port: u16,
    child: Child,
}

impl Drop for Begun {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The value of a key of the lab's answers; the first of several, or the last.
fn value(answers: &str, key: &str, last: bool) -> String {
    let mut lines = answers.lines().filter(|line| line.trim_start().starts_with(key));
    let line = if last { lines.next_back() } else { lines.next() };
    let (_, value) = line.unwrap().split_once('=').unwrap();
    value.trim().to_owned()
}

impl Begun {
    pub(crate) async fn new() -> Self {
        let mut desk = Desk::with_workspace(options(small())).await;
        let (config, port) = listening(&desk.config);
        desk.config = config;
        let answers = desk.told();
        // What no page asks for, as somebody at the terminal may have answered it before.
        let draft = format!(
            "[connections.lab.workspace]\nca_file = {}\nendpoints = {}\n",
            value(&answers, "ca_file", true),
            value(&answers, "endpoints", true)
        );
        std::fs::write(desk.config.with_file_name("cmsync-connect-lab.toml"), draft).unwrap();
        let log = std::fs::File::create(desk.directory.path().join("cmsync.log")).unwrap();
        let mut command = desk.command(&["run"]);
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let begun = Self { desk, port, child };
        begun.browser().until_answered("/live");
        begun
    }

    pub(crate) fn browser(&self) -> Browser {
        Browser::here(self.port)
    }

    pub(crate) async fn link(&self) -> String {
        let output = self.desk.run(&["console"]).await;
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// What a person types, by the names of the fields.
    pub(crate) fn typed(&self) -> Vec<(&'static str, String)> {
        let answers = self.desk.told();
        let bare = |key: &str, last| value(&answers, key, last).replace(['"', '[', ']'], "");
        let token = value(&answers, "authentication", false);
        let token = token.split('"').nth(1).unwrap().to_owned();
        let options = &self.desk.lab.options;
        vec![
            ("site.admin_service", bare("admin_service", false)),
            ("site.ca_file", bare("ca_file", false)),
            ("bearer_token_file", token),
            ("workspace.tenant_id", options.tenant.clone()),
            ("workspace.client_id", options.client_id.clone()),
            ("client_secret", options.client_secret.clone()),
        ]
    }

    pub(crate) async fn until_equal(&self) {
        let all = self.desk.lab.device_collections();
        let started = std::time::Instant::now();
        let mut taken = self.desk.lab.workspace.taken();
        loop {
            let is_equal = self.desk.lab.compare(&all).equal;
            if is_equal && self.desk.lab.compare_groups(&all).is_empty() {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{}", self.log());
            drop(tokio::time::timeout(Duration::from_millis(200), taken.changed()).await);
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.desk.directory.path().join("cmsync.log")).unwrap()
    }
}

fn form(fields: &[(&str, String)], names: &[&str]) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields.iter().filter(|(name, _)| names.contains(name)));
    form.finish()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_set_up_page_by_page_until_its_groups_are_true() {
    let begun = Begun::new().await;
    let mut browser = begun.browser();
    assert!(browser.get("/").body.contains("No connection yet"));
    assert_eq!(browser.get("/connect").status, 403, "what looks at sites is for operators");
    let link = begun.link().await;
    let (_, ticket) = link.split_once("?ticket=").unwrap();
    browser.sign_in(&format!("ticket={ticket}"));
    assert!(browser.get("/connect").body.contains("href=\"/connect/lab/site\""), "it is resumed");
    for name in ["", "--yes", "Not+a+name", "..%2f..%2fx", &"x".repeat(33)] {
        let refused = browser.order("/connect", "/connect", &format!("name={name}"));
        assert_eq!(refused.status, 422, "{name}");
    }
    answer_who_and_where(&begun, &browser);
    answer_what_is_kept(&begun, &browser);
    let doing = send(&browser, "summary", "import=true");
    assert_eq!(doing.header("location"), Some("/connect/lab/progress"), "{doing:?}");
    begun.until_equal().await;
    let own = browser.clone();
    let started = std::time::Instant::now();
    let complete = move || loop {
        let page = own.get("/connect/lab/progress").body;
        if !page.contains("hx-trigger") {
            return page;
        }
        assert!(started.elapsed() < PATIENCE, "{page}");
    };
    let page = tokio::task::spawn_blocking(complete).await.unwrap();
    assert!(page.contains("Complete."), "{page}");
    assert!(browser.get("/").body.contains("href=\"/connections/lab\""));
    // From now on nobody sets it up again by chance, nor replaces its secret by trying one.
    for (page, form) in
        [("site", "way=bearer"), ("identity", "way=secret&client_secret=wr0ng"), ("summary", "")]
    {
        let refused = send(&browser, page, form);
        assert!(refused.body.contains("is in the configuration already"), "{page}: {refused:?}");
    }
    let file = begun.desk.config.with_file_name("lab.client-secret");
    let secret = &begun.desk.lab.options.client_secret;
    assert_eq!(&std::fs::read_to_string(file).unwrap(), secret);
    assert!(!begun.log().contains(secret.as_str()) && !page.contains(secret.as_str()));
    let file = std::fs::read_to_string(&begun.desk.config).unwrap();
    assert!(file.contains("[connections.lab") && !file.contains(secret.as_str()), "{file}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_up_that_is_not_wanted_is_forgotten_and_a_look_begins_none() {
    let begun = Begun::new().await;
    let mut browser = begun.browser();
    let link = begun.link().await;
    browser.sign_in(&format!("ticket={}", link.split_once("?ticket=").unwrap().1));
    let beside = |name: &str| begun.desk.config.with_file_name(name).exists();
    for page in ["site", "identity", "workspace", "collections"] {
        browser.get(&format!("/connect/looked-at/{page}"));
    }
    assert!(!beside("cmsync-connect-looked-at.toml"));
    let order = |path: &str, form: &str| browser.order("/connect", path, form);
    assert_eq!(
        order("/connect", "name=unwanted").header("location"),
        Some("/connect/unwanted/site")
    );
    let fields =
        form(&begun.typed(), &["workspace.tenant_id", "workspace.client_id", "client_secret"]);
    let identity = format!("{fields}&workspace.cloud=public&way=secret&setup.login=azure-cli");
    // Nobody is there to take it; it is kept for whoever tries again.
    assert_eq!(order("/connect/unwanted/identity", &identity).status, 422);
    assert!(beside("cmsync-connect-unwanted.toml") && beside("unwanted.client-secret"));
    assert_eq!(order("/connect/unwanted/discard", "").header("location"), Some("/connect"));
    assert!(!beside("cmsync-connect-unwanted.toml") && !beside("unwanted.client-secret"));
    let page = browser.get("/connect").body;
    assert!(
        page.contains("unwanted is discarded") && !page.contains("/connect/unwanted/site"),
        "{page}"
    );
    // Nothing of another name goes, and nobody who may only read discards.
    assert!(beside("cmsync-connect-lab.toml"));
    assert_eq!(order("/connect/..%2fx/discard", "").status, 409);
    assert_eq!(begun.browser().post("/connect/lab/discard", "").status, 401);
    assert!(beside("cmsync-connect-lab.toml"));
}

fn send(browser: &Browser, page: &str, form: &str) -> Answer {
    browser.order("/connect", &format!("/connect/lab/{page}"), form)
}

/// The site and the identity, with mistakes on the way.
fn answer_who_and_where(begun: &Begun, browser: &Browser) {
    let fields = begun.typed();
    let send = |page: &str, form: &str| send(browser, page, form);
    let site = form(&fields, &["site.admin_service", "site.ca_file", "bearer_token_file"]);
    // What is wrong is said on the page, with what was typed.
    let nowhere = "site.admin_service=https%3A%2F%2Flocalhost%3A1%2FAdminService&way=bearer";
    let wrong = send("site", nowhere);
    assert_eq!(wrong.status, 422, "{wrong:?}");
    assert!(wrong.body.contains("role=\"alert\"") && wrong.body.contains("localhost:1"));
    let looked = send("site", &format!("{site}&way=bearer&then=verify"));
    assert!(looked.status == 200 && looked.body.contains("✓ site CAS"), "{looked:?}");
    let next = send("site", &format!("{site}&way=bearer"));
    assert_eq!(next.header("location"), Some("/connect/lab/identity"), "{next:?}");
    let identity = form(&fields, &["workspace.tenant_id", "workspace.client_id"]);
    let identity = format!("{identity}&workspace.cloud=public&way=secret&setup.login=azure-cli");
    let wrong = send("identity", &format!("{identity}&client_secret=wr0ng"));
    assert!(wrong.status == 422 && !wrong.body.contains("wr0ng"), "{wrong:?}");
    let secret = form(&fields, &["client_secret"]);
    let next = send("identity", &format!("{identity}&{secret}"));
    assert_eq!(next.header("location"), Some("/connect/lab/workspace"), "{next:?}");
}

/// The workspace and the collections, and what will be done.
fn answer_what_is_kept(begun: &Begun, browser: &Browser) {
    let send = |page: &str, form: &str| send(browser, page, form);
    let next = send("workspace", "setup.pricing_tier=PerGB2018&setup.rules=1");
    assert_eq!(next.header("location"), Some("/connect/lab/collections"), "{next:?}");
    let none = send("collections", "entry=PS1XXXXX&then=next");
    assert!(none.status == 422 && none.body.contains("PS1XXXXX"), "{none:?}");
    let next = send("collections", "remove=PS1XXXXX&pattern=*&then=next");
    assert_eq!(next.header("location"), Some("/connect/lab/summary"), "{next:?}");
    let summary = browser.get("/connect/lab/summary").body;
    for part in ["data collection rule: would be made", "GB a month", "value=\"true\" checked"] {
        assert!(summary.contains(part), "`{part}` is missing: {summary}");
    }
    assert_eq!(begun.desk.writes(), 0, "looking makes nothing");
    let draft = begun.desk.config.with_file_name("cmsync-connect-lab.toml");
    let draft = std::fs::read_to_string(draft).unwrap();
    assert!(draft.contains("Servers") || draft.contains("name = \"*\""), "{draft}");
    assert!(!draft.contains(begun.desk.lab.options.client_secret.as_str()), "{draft}");
}
