//! A real Prometheus that scrapes copies and follows the rules of `deploy/prometheus`.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cmsync_broker::free_port;
use serde_json::Value;

pub(crate) struct Prometheus {
    child: Child,
    port: u16,
    directory: tempfile::TempDir,
}

/// A folder of this project.
pub(crate) fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// The rules, with which an alert fires a second after its condition holds, and what may take a
/// quarter of an hour may take three seconds.
fn hasty_rules() -> String {
    let rules = std::fs::read_to_string(project("deploy/prometheus/cmsync.rules.yml")).unwrap();
    let hasty = |line: &str| match line.split_once("for: ") {
        Some((before, _)) if before.trim().is_empty() => format!("{before}for: 1s\n"),
        _ => format!("{}\n", line.replace("> 900", "> 3").replace(" 900 + 2 *", " 3 + 2 *")),
    };
    rules.lines().map(hasty).collect()
}

impl Prometheus {
    /// Scrapes the copies that listen on `ports`.
    pub(crate) fn start(ports: &[u16]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let targets: Vec<String> = ports.iter().map(|port| format!("'127.0.0.1:{port}'")).collect();
        let config = format!(
            "global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}\nrule_files: [rules.yml]\n\
             scrape_configs:\n  - job_name: cmsync\n    static_configs: [{{targets: [{}]}}]\n",
            targets.join(", ")
        );
        std::fs::write(directory.path().join("prometheus.yml"), config).unwrap();
        std::fs::write(directory.path().join("rules.yml"), hasty_rules()).unwrap();
        let port = free_port().unwrap();
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", directory.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stderr(log)
            .stdout(Stdio::null())
            .spawn();
        let child = child.unwrap_or_else(|e| panic!("prometheus (Debian: apt-get install): {e}"));
        Self { child, port, directory }
    }

    /// What it answers to `GET`; `None` while it starts.
    fn get(&self, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        // Without 1.1 there are no chunks.
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        serde_json::from_str(body).ok()
    }

    /// The alerts that fire, each with what it is about: `CmsyncPaused lab`.
    pub(crate) fn firing(&self) -> BTreeSet<String> {
        let answer = self.get("/api/v1/alerts").unwrap_or_default();
        let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
        let fires = alerts.iter().filter(|alert| alert["state"] == "firing");
        let text = |alert: &Value| {
            let label = |name: &str| alert["labels"][name].as_str().unwrap_or_default().to_owned();
            format!("{} {}", label("alertname"), label("connection")).trim().to_owned()
        };
        fires.map(text).collect()
    }

    /// What an expression gives now.
    pub(crate) fn query(&self, expression: &str) -> Vec<Value> {
        let encoded: String = url::form_urlencoded::byte_serialize(expression.as_bytes()).collect();
        let answer = self.get(&format!("/api/v1/query?query={encoded}")).unwrap_or_default();
        assert_ne!(answer["status"], "error", "{expression}: {answer}");
        answer["data"]["result"].as_array().cloned().unwrap_or_default()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
