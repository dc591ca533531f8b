//! Kerberos towards the site, with a real realm: MIT's servers, in a folder of their own.

use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use cmsync_http::{Client, Method, Settings};
use serde_json::{Value, json};

use crate::rig::{QUICK, binary, own_variables, stderr};
use cmsync_broker::Realm;

const PRINCIPAL: &str = "svc-cmsync@TEST.LOCAL";
const PATIENCE: Duration = Duration::from_secs(60);

/// A realm with the site's service and an account, and a lab whose site asks for its tickets.
struct Site {
    running: Vec<Child>,
    url: String,
    realm: Realm,
}

impl Drop for Site {
    fn drop(&mut self) {
        for child in &mut self.running {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Waits until `found` gives something.
async fn until<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Site {
    async fn new() -> Self {
        let realm = tokio::task::spawn_blocking(Realm::start).await.unwrap().unwrap();
        for (principal, keytab) in [
            ("HTTP/localhost", "http.keytab"),
            (PRINCIPAL, "svc.keytab"),
            ("nobody", "nobody.keytab"),
        ] {
            realm.add(principal, keytab).unwrap();
        }
        let lab = binary().with_file_name("cmsync-lab");
        let child = realm
            .command(lab.to_str().unwrap())
            .args(["--directory", realm.path("lab").to_str().unwrap(), "--principal", PRINCIPAL])
            .args(["--devices", "400", "--collections", "8", "--memberships", "1200"])
            .env("KRB5_KTNAME", format!("FILE:{}", realm.path("http.keytab").display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let url = realm.path("lab/lab-url");
        let url = until(|| std::fs::read_to_string(&url).ok().filter(|u| !u.is_empty())).await;
        Self { running: vec![child], url, realm }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.realm.path(name)
    }

    /// A configuration with these words for the authentication.
    fn config(&self, authentication: &str) -> PathBuf {
        let written = std::fs::read_to_string(self.path("lab/cmsync.toml")).unwrap();
        let head = written.split("[producer]").next().unwrap();
        let old = head.lines().find(|l| l.starts_with("authentication")).unwrap();
        let text =
            head.replace(old, authentication).replace("AdminService_TokenAuth", "AdminService");
        let path = self.path("cmsync.toml");
        std::fs::write(&path, format!("{text}\n{QUICK}")).unwrap();
        path
    }

    async fn cmsync(&self, config: &Path, arguments: &[&str]) -> Output {
        let mut command = self.realm.command(binary().to_str().unwrap());
        command.arg("--config").arg(config).args(arguments);
        own_variables().for_each(|name| {
            command.env_remove(name);
        });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    async fn lab(&self, method: Method, path: &str, body: &Value) -> Value {
        let settings =
            Settings { ca_file: Some(self.path("lab/lab-ca.pem")), ..Settings::default() };
        let client = Client::new("lab", &settings).unwrap();
        let url = format!("{}/lab/{path}", self.url).parse().unwrap();
        let answer = client.send(client.request(method, url).json(body)).await.unwrap();
        serde_json::from_slice(&answer.body).unwrap_or_default()
    }

    fn with_keytab(&self, principal: &str, keytab: &str) -> String {
        let keytab = self.path(keytab);
        format!(
            "authentication = {{ kerberos = {{ principal = \"{principal}\", keytab = \"{}\" }} }}",
            keytab.display()
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keytab_carries_a_run_with_a_ticket_for_each_request() {
    let site = Site::new().await;
    let config = site.config(&site.with_keytab(PRINCIPAL, "svc.keytab"));
    let output = site.cmsync(&config, &["run", "--once"]).await;
    assert!(output.status.success(), "{}", stderr(&output));
    let report = site.lab(Method::GET, "report", &json!({})).await;
    assert_eq!(report["report"]["equal"], true, "{report:#}");
    let check = site.cmsync(&config, &["check"]).await;
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.status.success() && text.contains("CAS is the top tier"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_site_database_takes_the_same_account_and_no_other() {
    let site = Site::new().await;
    let port = std::fs::read_to_string(site.path("lab/lab-sql")).unwrap();
    site.realm.add(&format!("MSSQLSvc/localhost:{port}"), "http.keytab").unwrap();
    let with = |principal: &str, keytab: &str| {
        let account = site.with_keytab(principal, keytab);
        let sql = format!("server = \"localhost\", port = {port}, database = \"CM_CAS\"");
        site.config(&format!("{account}\nsql = {{ {sql} }}"))
    };
    let config = with(PRINCIPAL, "svc.keytab");
    let output = site.cmsync(&config, &["run", "--once"]).await;
    assert!(output.status.success(), "{}", stderr(&output));
    let report = site.lab(Method::GET, "report", &json!({})).await;
    let queries = report["counts"]["site"]["v_Collections"].as_u64().unwrap_or(0);
    assert!(report["report"]["equal"] == true && queries > 0, "{report:#}");
    let check = site.cmsync(&with("nobody@TEST.LOCAL", "nobody.keytab"), &["check"]).await;
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(!check.status.success() && text.contains("the account must have a login"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_renewed_before_it_ends() {
    let mut site = Site::new().await;
    // Of all tickets the site takes those alone that have not ended, to a second.
    let short = format!("modprinc -maxlife \"6 seconds\" {PRINCIPAL}");
    site.realm.administer(&short).unwrap();
    let config = site.config(&site.with_keytab(PRINCIPAL, "svc.keytab"));
    let log = std::fs::File::create(site.path("cmsync.log")).unwrap();
    let mut command = site.realm.command(binary().to_str().unwrap());
    own_variables().for_each(|name| {
        command.env_remove(name);
    });
    let child = command.arg("--config").arg(&config).arg("run").stderr(log).spawn().unwrap();
    site.running.push(child);
    let issued = |site: &Site| {
        let text = std::fs::read_to_string(site.path("kdc.log")).unwrap_or_default();
        let is_first = |line: &&str| line.contains("AS_REQ") && line.contains("ISSUE");
        text.lines().filter(is_first).filter(|line| line.contains("svc-cmsync")).count()
    };
    until(|| Some(()).filter(|()| issued(&site) >= 4)).await;
    let asked = async |site: &Site| {
        let report = site.lab(Method::GET, "report", &json!({})).await;
        report["counts"]["site"].to_string()
    };
    let before = asked(&site).await;
    let started = Instant::now();
    while asked(&site).await == before {
        assert!(started.elapsed() < PATIENCE, "no poll any longer");
    }
    let told = std::fs::read_to_string(site.path("cmsync.log")).unwrap();
    assert!(!told.contains("WARN") && !told.contains("ERROR"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_cache_carries_a_run_until_its_ticket_is_gone() {
    let site = Site::new().await;
    let cache = site.path("tickets").display().to_string();
    let keytab = site.path("svc.keytab");
    site.realm
        .run("kinit", &["-k", "-t", keytab.to_str().unwrap(), "-c", &cache, PRINCIPAL])
        .unwrap();
    let authentication = format!(
        "authentication = {{ kerberos = {{ principal = \"{PRINCIPAL}\", ticket_cache = \"FILE:{cache}\" }} }}"
    );
    let config = site.config(&authentication);
    let output = site.cmsync(&config, &["run", "--once"]).await;
    assert!(output.status.success(), "{}", stderr(&output));
    site.realm.run("kdestroy", &["-c", &cache]).unwrap();
    let check = site.cmsync(&config, &["check", "--stage", "producer"]).await;
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(!check.status.success() && text.contains("kinit"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_an_account_is_told_with_its_remedy() {
    let site = Site::new().await;
    for (authentication, part) in [
        (site.with_keytab("nobody@TEST.LOCAL", "nobody.keytab"), "must be an administrative user"),
        (site.with_keytab("nobody@TEST.LOCAL", "svc.keytab"), "klist -k"),
        (site.with_keytab("svc-cmsync@OTHER.LOCAL", "svc.keytab"), "klist -k"),
        (site.with_keytab("svc-cmsync", "svc.keytab"), "name and realm"),
        (site.with_keytab(PRINCIPAL, "missing.keytab"), "missing.keytab"),
        ("authentication = { ntlm = true }".to_owned(), "since version 2509 reject NTLM"),
        (
            "authentication = { kerberos = { principal = \"a@B\" } }".to_owned(),
            "exactly one of `keytab` and `ticket_cache`",
        ),
    ] {
        let config = site.config(&authentication);
        let output = site.cmsync(&config, &["check", "--stage", "producer"]).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
        assert!(!output.status.success() && text.contains(part), "{authentication}: {text}");
    }
    site.lab(Method::POST, "faults", &json!({"offers_ntlm": true})).await;
    let config = site.config(&site.with_keytab(PRINCIPAL, "svc.keytab"));
    let output = site.cmsync(&config, &["check", "--stage", "producer"]).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("offers NTLM alone"), "{text}");
}
