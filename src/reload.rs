//! The configuration file while it is followed.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::cli::StageName;
use crate::config::{self, Config, Mistakes};
use crate::metrics::ProcessMetrics;
use crate::platform::Hangup;

/// How often the file is looked at.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);

/// Follows the configuration file.
pub(crate) struct Reload {
    path: PathBuf,
    stages: Vec<StageName>,
    seen: Option<(SystemTime, u64)>,
    /// Why the file as it stands is not used: what it lacks may lie beside it, and come later.
    refused: Option<Mistakes>,
    /// The file is looked at without waiting.
    asked: Hangup,
}

impl Reload {
    pub(crate) fn new(path: PathBuf, stages: Vec<StageName>) -> std::io::Result<Self> {
        let seen = stamp(&path);
        Ok(Self { path, stages, seen, refused: None, asked: Hangup::listen()? })
    }

    /// Whether the connections of the file as it stands are followed.
    pub(crate) fn accepted(&self, is_so: bool) {
        // Made here: this is older than what counts.
        ProcessMetrics::new().configuration_accepted.set(if is_so { 1.0 } else { 0.0 });
    }

    /// The next version of the file that can be used.
    pub(crate) async fn changed(&mut self) -> Config {
        loop {
            tokio::select! {
                () = tokio::time::sleep(RELOAD_INTERVAL) => {}
                // However many come, the file is looked at once and then again.
                () = self.asked.came() => self.seen = None,
            }
            let now = stamp(&self.path);
            // An empty one is about to be written.
            let is_there = now.is_some_and(|(_, length)| length > 0);
            if !is_there || (now == self.seen && self.refused.is_none()) {
                continue;
            }
            self.seen = now;
            match config::load(&self.path, &self.stages) {
                Ok(config) => {
                    self.refused = None;
                    tracing::info!("configuration changed");
                    return config;
                }
                Err(mistakes) if self.refused.as_ref() == Some(&mistakes) => {}
                Err(mistakes) => {
                    self.accepted(false);
                    tracing::error!(%mistakes, "the changed configuration is not used");
                    self.refused = Some(mistakes);
                }
            }
        }
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
