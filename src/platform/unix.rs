//! Signals, `/etc` and `/var`; an init system or a container keeps the process running.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::ServiceCommand;

/// Lines of the journal in a support bundle.
const JOURNAL_LINES: &str = "2000";

const NO_SERVICE: &str = "`cmsync service` is for Windows: here systemd or a container keeps cmsync \
     running (docs/where-to-run.md)";

/// Where the configuration is, unless it is told.
pub(crate) fn configuration() -> PathBuf {
    "/etc/cmsync/cmsync.toml".into()
}

/// Where the queue is, unless it is told.
pub(crate) fn queue() -> PathBuf {
    "/var/lib/cmsync".into()
}

/// From here on SIGTERM and SIGINT end nothing by themselves; ends when one comes.
pub(crate) fn stop_asked() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// SIGHUP.
pub(crate) struct Hangup(Signal);

impl Hangup {
    pub(crate) fn listen() -> io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    pub(crate) async fn came(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// Starts this program anew with these variables; comes back with an error alone.
pub(crate) fn start_anew(variables: &BTreeMap<&'static str, String>) -> io::Error {
    match std::env::current_exe() {
        Ok(program) => {
            let arguments = std::env::args_os().skip(1);
            std::process::Command::new(program).args(arguments).envs(variables).exec()
        }
        Err(error) => error,
    }
}

/// Whoever changes a file of a folder holds this meanwhile; the lock goes with it.
pub(crate) fn lock_beside(path: &Path) -> Option<File> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = File::open(folder.unwrap_or(Path::new("."))).ok()?;
    folder.lock().ok()?;
    Some(folder)
}

/// The machine in a few lines.
pub(crate) fn about() -> Vec<String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let line = |path: &str, start: &str| {
        read(path).lines().find(|l| l.starts_with(start)).unwrap_or_default().to_owned()
    };
    vec![
        line("/etc/os-release", "PRETTY_NAME="),
        read("/proc/version").trim().to_owned(),
        line("/proc/meminfo", "MemTotal:"),
    ]
}

/// What an earlier process logged, where the system keeps it.
pub(crate) async fn kept_log(_: &Path) -> Result<String, String> {
    let journal = tokio::process::Command::new("journalctl")
        .args(["--unit", "cmsync", "--lines", JOURNAL_LINES, "--no-pager"])
        .output()
        .await
        .map_err(|e| format!("nothing runs here, and no journal: {e}"))?;
    match journal.status.success() && !journal.stdout.is_empty() {
        true => Ok(String::from_utf8_lossy(&journal.stdout).into_owned()),
        false => {
            Err("nothing runs here, and the journal has nothing: add the container's log".into())
        }
    }
}

/// Accounts that the service runs under, beside its own identity.
pub(crate) fn service_accounts() -> Vec<String> {
    Vec::new()
}

pub(crate) fn manage(_: &ServiceCommand, _: &Path) -> anyhow::Result<String> {
    anyhow::bail!(NO_SERVICE)
}

/// Runs as a service.
pub(crate) fn run_service(_: PathBuf) -> ExitCode {
    eprintln!("cmsync: {NO_SERVICE}");
    ExitCode::from(crate::BAD_USE)
}
