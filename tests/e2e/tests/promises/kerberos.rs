//! Kerberos towards the site, with a real realm: MIT's servers, in a folder of their own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use cmsync_http::{Client, Method, Settings};
use serde_json::{Value, json};

use crate::rig::{QUICK, binary, stderr};

const REALM: &str = "TEST.LOCAL";
const PRINCIPAL: &str = "svc-cmsync@TEST.LOCAL";
const PATIENCE: Duration = Duration::from_secs(60);

/// A realm with the site's service and an account, and a lab whose site asks for its tickets.
struct Realm {
    directory: tempfile::TempDir,
    running: Vec<Child>,
    url: String,
}

impl Drop for Realm {
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

impl Realm {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut realm = Self { directory, running: Vec::new(), url: String::new() };
        realm.write_files(port);
        realm.tool("kdb5_util", &["create", "-s", "-r", REALM, "-P", "x"]);
        for line in [
            "addprinc -randkey HTTP/localhost".to_owned(),
            format!("addprinc -randkey {PRINCIPAL}"),
            "addprinc -randkey nobody".to_owned(),
            format!("ktadd -k {} HTTP/localhost", realm.path("http.keytab").display()),
            format!("ktadd -norandkey -k {} {PRINCIPAL}", realm.path("svc.keytab").display()),
            format!("ktadd -norandkey -k {} nobody", realm.path("nobody.keytab").display()),
        ] {
            realm.tool("kadmin.local", &["-r", REALM, "-q", &line]);
        }
        let server = realm.command("krb5kdc").args(["-n", "-r", REALM]).spawn().unwrap();
        realm.running.push(server);
        until(|| std::net::TcpStream::connect(("127.0.0.1", port)).ok()).await;
        let lab = binary().with_file_name("cmsync-lab");
        let child = realm
            .command(lab.to_str().unwrap())
            .args(["--directory", realm.path("lab").to_str().unwrap(), "--principal", PRINCIPAL])
            .args(["--devices", "400", "--collections", "8", "--memberships", "1200"])
            .env("KRB5_KTNAME", format!("FILE:{}", realm.path("http.keytab").display()))
            .spawn()
            .unwrap();
        realm.running.push(child);
        let url = realm.path("lab/lab-url");
        realm.url = until(|| std::fs::read_to_string(&url).ok().filter(|u| !u.is_empty())).await;
        realm
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write_files(&self, port: u16) {
        let at = self.directory.path().display();
        let client = format!(
            "[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n dns_canonicalize_hostname = false\n rdns = false\n udp_preference_limit = 1\n clockskew = 1\n\
             [realms]\n {REALM} = {{\n  kdc = 127.0.0.1:{port}\n }}\n"
        );
        let server = format!(
            "[logging]\n kdc = FILE:{at}/kdc.log\n\
             [kdcdefaults]\n kdc_listen = 127.0.0.1:{port}\n kdc_tcp_listen = 127.0.0.1:{port}\n\
             [realms]\n {REALM} = {{\n  database_name = {at}/principal\n  key_stash_file = {at}/stash\n  acl_file = {at}/acl\n }}\n"
        );
        std::fs::write(self.path("krb5.conf"), client).unwrap();
        std::fs::write(self.path("kdc.conf"), server).unwrap();
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("PATH", format!("{path}:/usr/sbin:/sbin"))
            .env("KRB5_CONFIG", self.path("krb5.conf"))
            .env("KRB5_KDC_PROFILE", self.path("kdc.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn tool(&self, program: &str, arguments: &[&str]) {
        let output = self.command(program).args(arguments).stderr(Stdio::piped()).output();
        let output =
            output.unwrap_or_else(|e| panic!("{program}: {e}: run `make test`, which installs it"));
        assert!(output.status.success(), "{program} {arguments:?}: {}", stderr(&output));
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
        let mut command = self.command(binary().to_str().unwrap());
        command.arg("--config").arg(config).args(arguments);
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
    let realm = Realm::new().await;
    let config = realm.config(&realm.with_keytab(PRINCIPAL, "svc.keytab"));
    let output = realm.cmsync(&config, &["run", "--once"]).await;
    assert!(output.status.success(), "{}", stderr(&output));
    let report = realm.lab(Method::GET, "report", &json!({})).await;
    assert_eq!(report["report"]["equal"], true, "{report:#}");
    let check = realm.cmsync(&config, &["check"]).await;
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.status.success() && text.contains("CAS is the top tier"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_renewed_before_it_ends() {
    let mut realm = Realm::new().await;
    // Of all tickets the site takes those alone that have not ended, to a second.
    let short = format!("modprinc -maxlife \"6 seconds\" {PRINCIPAL}");
    realm.tool("kadmin.local", &["-r", REALM, "-q", &short]);
    let config = realm.config(&realm.with_keytab(PRINCIPAL, "svc.keytab"));
    let log = std::fs::File::create(realm.path("cmsync.log")).unwrap();
    let mut command = realm.command(binary().to_str().unwrap());
    let child = command.arg("--config").arg(&config).arg("run").stderr(log).spawn().unwrap();
    realm.running.push(child);
    let issued = |realm: &Realm| {
        let text = std::fs::read_to_string(realm.path("kdc.log")).unwrap_or_default();
        let is_first = |line: &&str| line.contains("AS_REQ") && line.contains("ISSUE");
        text.lines().filter(is_first).filter(|line| line.contains("svc-cmsync")).count()
    };
    until(|| Some(()).filter(|()| issued(&realm) >= 4)).await;
    let asked = async |realm: &Realm| {
        let report = realm.lab(Method::GET, "report", &json!({})).await;
        report["counts"]["site"].to_string()
    };
    let before = asked(&realm).await;
    let started = Instant::now();
    while asked(&realm).await == before {
        assert!(started.elapsed() < PATIENCE, "no poll any longer");
    }
    let told = std::fs::read_to_string(realm.path("cmsync.log")).unwrap();
    assert!(!told.contains("WARN") && !told.contains("ERROR"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_cache_carries_a_run_until_its_ticket_is_gone() {
    let realm = Realm::new().await;
    let cache = realm.path("tickets").display().to_string();
    let keytab = realm.path("svc.keytab");
    realm.tool("kinit", &["-k", "-t", keytab.to_str().unwrap(), "-c", &cache, PRINCIPAL]);
    let authentication = format!(
        "authentication = {{ kerberos = {{ principal = \"{PRINCIPAL}\", ticket_cache = \"FILE:{cache}\" }} }}"
    );
    let config = realm.config(&authentication);
    let output = realm.cmsync(&config, &["run", "--once"]).await;
    assert!(output.status.success(), "{}", stderr(&output));
    realm.tool("kdestroy", &["-c", &cache]);
    let check = realm.cmsync(&config, &["check", "--stage", "producer"]).await;
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(!check.status.success() && text.contains("kinit"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_an_account_is_told_with_its_remedy() {
    let realm = Realm::new().await;
    for (authentication, part) in [
        (realm.with_keytab("nobody@TEST.LOCAL", "nobody.keytab"), "must be an administrative user"),
        (realm.with_keytab("nobody@TEST.LOCAL", "svc.keytab"), "klist -k"),
        (realm.with_keytab("svc-cmsync@OTHER.LOCAL", "svc.keytab"), "klist -k"),
        (realm.with_keytab("svc-cmsync", "svc.keytab"), "name and realm"),
        (realm.with_keytab(PRINCIPAL, "missing.keytab"), "missing.keytab"),
        ("authentication = { ntlm = true }".to_owned(), "since version 2509 reject NTLM"),
        (
            "authentication = { kerberos = { principal = \"a@B\" } }".to_owned(),
            "exactly one of `keytab` and `ticket_cache`",
        ),
    ] {
        let config = realm.config(&authentication);
        let output = realm.cmsync(&config, &["check", "--stage", "producer"]).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
        assert!(!output.status.success() && text.contains(part), "{authentication}: {text}");
    }
    realm.lab(Method::POST, "faults", &json!({"offers_ntlm": true})).await;
    let config = realm.config(&realm.with_keytab(PRINCIPAL, "svc.keytab"));
    let output = realm.cmsync(&config, &["check", "--stage", "producer"]).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("offers NTLM alone"), "{text}");
}
