//! `ProgramData`, the console's signals, and the service manager.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown};
use winsafe::{ExpandEnvironmentStrings, HKEY, RegistryValue, co};

pub(crate) use super::manage::{manage, service_accounts};
pub(crate) use super::service::run_service;

/// Bytes of the kept log in a support bundle.
const KEPT: usize = 1024 * 1024;

/// Where the system says where `ProgramData` is; a process's environment may say something else.
const FOLDERS: &str = r"SOFTWARE\Microsoft\Windows NT\CurrentVersion\ProfileList";

fn home() -> PathBuf {
    let found =
        HKEY::LOCAL_MACHINE.RegGetValue(Some(FOLDERS), Some("ProgramData"), co::RRF::RT_ANY);
    let found = match found {
        Ok(RegistryValue::Sz(path)) => Some(path),
        Ok(RegistryValue::ExpandSz(path)) => ExpandEnvironmentStrings(&path).ok(),
        _ => None,
    };
    found.map_or_else(|| PathBuf::from(r"C:\ProgramData"), PathBuf::from).join("cmsync")
}

/// Where the configuration is, unless it is told.
pub(crate) fn configuration() -> PathBuf {
    home().join("cmsync.toml")
}

/// Where the queue is, unless it is told.
pub(crate) fn queue() -> PathBuf {
    home().join("queue")
}

/// Where the service logs to: beside its configuration.
pub(super) fn log_file(config: &Path) -> PathBuf {
    config.with_file_name("log").join("cmsync.log")
}

/// From here on Ctrl-C, Ctrl-Break, a closed window and the system's end do not end it at once; ends
/// when one comes.
pub(crate) fn stop_asked() -> io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut stop) = (ctrl_c()?, ctrl_break()?);
    let (mut close, mut shutdown) = (ctrl_close()?, ctrl_shutdown()?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = stop.recv() => {}
            _ = close.recv() => {}
            _ = shutdown.recv() => {}
        }
    })
}

/// Nothing here asks for the file to be looked at: that is done by itself.
pub(crate) struct Hangup;

impl Hangup {
    #[expect(clippy::unnecessary_wraps, reason = "as on Unix")]
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    pub(crate) async fn came(&mut self) {
        std::future::pending().await
    }
}

/// Never needed: the system finds this account's tickets by itself.
pub(crate) fn start_anew(_: &BTreeMap<&'static str, String>) -> io::Error {
    io::ErrorKind::Unsupported.into()
}

/// Whoever changes a file of a folder holds this meanwhile; the lock goes with it. Folders cannot be
/// locked here.
pub(crate) fn lock_beside(path: &Path) -> Option<File> {
    let lock = path.with_extension("toml.lock");
    let file = File::options().create(true).truncate(false).write(true).open(lock).ok()?;
    file.lock().ok()?;
    Some(file)
}

/// The machine in a few lines.
pub(crate) fn about() -> Vec<String> {
    let version = std::process::Command::new("cmd").args(["/c", "ver"]).output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    vec![version.unwrap_or_default()]
}

/// What an earlier process logged.
pub(crate) async fn kept_log(config: &Path) -> Result<String, String> {
    let path = log_file(config);
    let text = tokio::fs::read(&path).await;
    let text = text.map_err(|e| format!("nothing runs here, and `{}`: {e}", path.display()))?;
    let from = text.len().saturating_sub(KEPT);
    Ok(String::from_utf8_lossy(text.get(from..).unwrap_or_default()).into_owned())
}
