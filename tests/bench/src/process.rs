//! A process and what it costs, as `/proc` counts it.

use std::process::{Child, Command};

use anyhow::Context as _;

/// Clock ticks a second of `/proc/<pid>/stat`, fixed on Linux.
const TICKS: f64 = 100.0;

pub(crate) struct Process {
    child: Child,
}

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> anyhow::Result<Self> {
        Ok(Self { child: command.spawn()? })
    }

    /// CPU seconds so far, user and system.
    pub(crate) fn cpu(&self) -> anyhow::Result<f64> {
        cpu(self.child.id())
    }

    /// The largest resident size so far, in MiB.
    pub(crate) fn peak_mib(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).context("no VmHWM")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// SIGTERM, and the end.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        Command::new("kill").arg(self.child.id().to_string()).status()?;
        let ended = self.child.wait()?;
        anyhow::ensure!(ended.success(), "it did not drain: {ended}");
        Ok(())
    }
}

/// CPU seconds of a process so far, user and system.
pub(crate) fn cpu(id: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    let after = stat.rsplit_once(") ").context("no stat")?.1;
    let field = |n: usize| after.split(' ').nth(n).and_then(|f| f.parse::<f64>().ok());
    // utime and stime are fields 14 and 15 of the line, 11 and 12 after the name and the state.
    Ok((field(11).unwrap_or(0.0) + field(12).unwrap_or(0.0)) / TICKS)
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
