//! A lab, a configuration and the binary.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cmsync_broker::{Broker, free_port};
use cmsync_lab::workspace::Report;
use cmsync_lab::world::Plan;
use cmsync_lab::{Lab, Options, Source};

/// How long anything may take before a test gives up. Nothing takes this long when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Options that make faults pass quickly.
pub(crate) const QUICK: &str = r#"
[http]
listen = ""
[producer]
poll_interval = "300ms"
[uploader]
linger = "50ms"
probe_first = "100ms"
probe_max = "1s"
"#;

pub(crate) struct Rig {
    pub(crate) lab: Arc<Lab>,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) config: PathBuf,
    running: Option<Child>,
    /// Another program than the one under test.
    pub(crate) program: Option<PathBuf>,
}

pub(crate) fn small() -> Plan {
    Plan { devices: 400, collections: 8, memberships: 1_200, ..Plan::default() }
}

/// About 500,000 records.
pub(crate) fn large() -> Plan {
    Plan { devices: 50_000, collections: 40, memberships: 450_000, ..Plan::default() }
}

pub(crate) fn options(plan: Plan) -> Options {
    Options { plan, ..Options::default() }
}

/// Whether the binary under test is the one for Windows, which Wine runs.
pub(crate) fn is_windows() -> bool {
    std::env::var("CMSYNC_ON").is_ok_and(|on| on == "windows")
}

/// The binary under test: the release build, or what `CMSYNC_BIN` names.
pub(crate) fn binary() -> PathBuf {
    let built = || {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
        match is_windows() {
            true => target.join("x86_64-pc-windows-gnu/debug/cmsync.exe"),
            false => target.join("release/cmsync"),
        }
    };
    let path = std::env::var_os("CMSYNC_BIN").map_or_else(built, PathBuf::from);
    assert!(
        path.exists(),
        "{} is missing: run `make test`, or `cargo build --release` first",
        path.display()
    );
    path
}

/// The variables that this machine's environment has for cmsync: they must not reach a test.
pub(crate) fn own_variables() -> impl Iterator<Item = String> {
    std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("CMSYNC_"))
}

/// A command of a program, as the system under test runs it.
fn command_of(program: &Path) -> Command {
    if !is_windows() {
        return Command::new(program);
    }
    let prefix = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/wine");
    let mut command = Command::new("wine");
    command.env("WINEPREFIX", prefix.canonicalize().unwrap()).env("WINEDEBUG", "-all");
    command.arg(program);
    command
}

/// Puts the queue on a broker: every fault is to do as little there.
pub(crate) fn use_brokers(config: &Path, broker: &Broker) -> String {
    let prefix = format!("e{:016x}.", rand::random::<u64>());
    let (brokers, copies) = (broker.brokers(), broker.len());
    let in_sync = copies.div_ceil(2).min(2);
    let table = format!(
        "[queue.kafka]\nbrokers = \"{brokers}\"\nprefix = \"{prefix}\"\nreplication = {copies}\n\
         min_in_sync = {in_sync}\nsession_timeout = \"2s\"\ntransaction_timeout = \"2s\"\n"
    );
    let text = std::fs::read_to_string(config).unwrap();
    std::fs::write(config, format!("{text}\n{table}")).unwrap();
    prefix
}

/// The same configuration for a copy that serves its pages; with the port.
pub(crate) fn listening(config: &Path) -> (PathBuf, u16) {
    let port = free_port().unwrap();
    let text = std::fs::read_to_string(config).unwrap();
    let own = config.with_file_name(format!("listens-{port}.toml"));
    let text = text.replace("listen = \"\"", &format!("listen = \"127.0.0.1:{port}\""));
    std::fs::write(&own, text).unwrap();
    (own, port)
}

/// What a copy answers to `GET`, with its head.
pub(crate) fn served(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// What a copy counts under a name.
pub(crate) fn metric(port: u16, name: &str) -> f64 {
    let text = served(port, "/metrics");
    let of_name =
        |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let values = text.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next());
    values.filter_map(|value| value.parse::<f64>().ok()).sum()
}

impl Rig {
    /// A lab that keeps all collections in one connection.
    pub(crate) async fn new(plan: Plan) -> Self {
        Self::with(options(plan), r#"[{ name = "*" }]"#, "").await
    }

    pub(crate) async fn with(options: Options, collections: &str, extra: &str) -> Self {
        // The producer's promises hold whatever a site is read through.
        let source = match Source::named("CMSYNC_SOURCE") {
            Source::AdminService => options.source,
            other => other,
        };
        let lab = Lab::start(Options { source, ..options }).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let config = lab.write_config(directory.path(), collections, &merged(extra)).unwrap();
        if std::env::var("CMSYNC_ON").is_ok_and(|on| on == "kafka") {
            let broker = tokio::task::spawn_blocking(Broker::shared).await.unwrap();
            use_brokers(&config, &broker);
        }
        Self { lab, directory, config, running: None, program: None }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_with(&self.config, arguments)
    }

    /// The same, with another file.
    pub(crate) fn command_with(&self, config: &Path, arguments: &[&str]) -> Command {
        let mut command = command_of(&self.program.clone().unwrap_or_else(binary));
        command.arg("--config").arg(config).args(arguments);
        own_variables().for_each(|name| {
            command.env_remove(name);
        });
        command
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// Runs a command to its end and parses the JSON that it prints.
    pub(crate) async fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.run(&[arguments, &["--json"]].concat()).await;
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub(crate) async fn once(&self) -> Output {
        self.run(&["run", "--once"]).await
    }

    /// Starts `cmsync run`, with its log in a file.
    pub(crate) fn start(&mut self) {
        self.start_with(&["run"]);
    }

    pub(crate) fn start_with(&mut self, arguments: &[&str]) {
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let child = self.command(arguments).stderr(log).stdout(Stdio::null()).spawn().unwrap();
        self.running = Some(child);
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.directory.path().join("cmsync.log")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub(crate) fn queue_file(&self) -> PathBuf {
        self.directory.path().join("queue/queue.redb")
    }

    /// Of the process.
    pub(crate) fn id(&self) -> u32 {
        self.running.as_ref().unwrap().id()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        let mut child = self.running.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, and how it ended.
    pub(crate) async fn terminate(&mut self) -> std::process::ExitStatus {
        let mut child = self.running.take().unwrap();
        // Of signals Wine hands on what a terminal's Ctrl-C sends.
        let signal = if is_windows() { "-INT" } else { "-TERM" };
        let id = child.id().to_string();
        let status = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(status.success());
        tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap()
    }

    /// Whether the process is still there.
    pub(crate) fn is_running(&mut self) -> bool {
        self.running.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    pub(crate) fn report(&self) -> Report {
        self.lab.compare(&self.lab.device_collections())
    }

    /// Waits until the workspace equals the site over these collections.
    pub(crate) async fn until_equal(&mut self, collections: &[String]) -> Report {
        let lab = Arc::clone(&self.lab);
        let wanted = collections.to_vec();
        self.until(move || {
            let report = lab.compare(&wanted);
            report.equal.then_some(report)
        })
        .await
    }

    /// Waits until the workspace equals the site over all visible collections.
    pub(crate) async fn until_all_equal(&mut self) -> Report {
        let all = self.lab.device_collections();
        self.until_equal(&all).await
    }

    /// Waits until `found` gives something; looked at after every body that the workspace takes, and
    /// now and then.
    pub(crate) async fn until<T>(&mut self, mut found: impl FnMut() -> Option<T>) -> T {
        let mut taken = self.lab.workspace.taken();
        let started = std::time::Instant::now();
        loop {
            taken.borrow_and_update();
            // Comparing costs more than waiting for a burst of bodies to end.
            while started.elapsed() < PATIENCE && self.is_busy(&mut taken).await {}
            if let Some(found) = found() {
                return found;
            }
            let ended = self.running.as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(ended.is_none(), "cmsync ended, {}:\n{}", ended.unwrap(), self.log());
            let differences = || self.report().differences;
            assert!(
                started.elapsed() < PATIENCE,
                "waited in vain; {:#?}\n{}",
                differences(),
                self.log()
            );
            drop(tokio::time::timeout(Duration::from_millis(200), taken.changed()).await);
        }
    }

    /// Waits until a stage says that it is so; what it says then.
    pub(crate) async fn until_status(&mut self, stage: &str, state: &str) -> serde_json::Value {
        let mut taken = self.lab.workspace.taken();
        let started = std::time::Instant::now();
        loop {
            let status = self.json(&["status"]).await;
            let stages = status[0]["stages"].as_array().cloned().unwrap_or_default();
            let found = stages.into_iter().find(|s| s["stage"] == stage && s["state"] == state);
            if let Some(found) = found {
                return found;
            }
            assert!(started.elapsed() < PATIENCE, "{stage} is never {state}: {status:#}");
            drop(tokio::time::timeout(Duration::from_millis(200), taken.changed()).await);
        }
    }

    /// Has the site lose four members of a collection and the account's rights: their removal is held. Gives
    /// who they are.
    pub(crate) async fn hold_removal(&mut self, collection: &str) -> Vec<u32> {
        self.two_polls().await;
        self.lab.faults().role = "Nothing much".into();
        let members = self.lab.world().computers(collection);
        let going: Vec<u32> = members.keys().copied().take(4).collect();
        self.lab.world().change_members(collection, &[], &going);
        self.two_polls().await;
        self.two_polls().await;
        going
    }

    /// Gives the lab's application one more secret; when it ends.
    pub(crate) fn give_secret(&self, value: &str) -> jiff::Timestamp {
        let client = self.lab.options.client_id.clone();
        let end = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 200);
        let key_id = "5ec5e700-0000-4000-8000-000000000002".into();
        let secret = cmsync_lab::directory::Secret { key_id, value: value.into(), end };
        self.lab.directory().application(&client).unwrap().secrets.push(secret);
        end
    }

    /// Rows that the workspace took more than once.
    pub(crate) fn repeats(&self) -> usize {
        let (mut seen, mut count) = (BTreeSet::new(), 0);
        self.lab.workspace.rows(
            0,
            |_, row| {
                let row = (row.group_id.to_string(), row.resource_id, row.seq);
                count += usize::from(!seen.insert(row));
            },
            |_, _| {},
        );
        count
    }

    /// Whether another body was taken within a moment.
    async fn is_busy(&self, taken: &mut tokio::sync::watch::Receiver<u64>) -> bool {
        tokio::time::timeout(Duration::from_millis(60), taken.changed()).await.is_ok()
    }

    /// Waits until a poll of the site began after now and another after it.
    pub(crate) async fn two_polls(&mut self) {
        let lab = Arc::clone(&self.lab);
        let before = lab.counts().lists;
        self.until(move || (lab.counts().lists >= before + 3).then_some(())).await;
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(mut child) = self.running.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// The quick options with `extra` tables; keys of a table that both have are joined.
fn merged(extra: &str) -> String {
    let mut text = QUICK.to_owned();
    for table in extra.split("\n[").filter(|t| !t.trim().is_empty()) {
        let (name, keys) = table.trim_start_matches('[').split_once(']').unwrap();
        let head = format!("[{name}]\n");
        match text.find(&head) {
            Some(at) => text.insert_str(at + head.len(), &format!("{}\n", keys.trim())),
            None => text.push_str(&format!("{head}{}\n", keys.trim())),
        }
    }
    text
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
