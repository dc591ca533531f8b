//! The real program beside the lab: one process of all stages, or on Kafka several of each.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cmsync_broker::Broker;

use crate::Lab;

/// Copies on Kafka: one producer and its standby, two transformers, three uploaders.
pub const COPIES: [(&str, usize); 3] = [("producer", 2), ("transformer", 2), ("uploader", 3)];

/// The release build beside this program.
pub fn binary() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.with_file_name("cmsync")
}

/// A broker, where `QUEUE` asks for Kafka.
pub async fn asked_broker() -> anyhow::Result<Option<Broker>> {
    match std::env::var("QUEUE").as_deref() {
        Ok("kafka") => Ok(Some(tokio::task::spawn_blocking(|| Broker::start(1)).await??)),
        _ => Ok(None),
    }
}

/// How cmsync reaches the broker.
pub fn kafka_table(broker: &Broker) -> String {
    let brokers = broker.brokers();
    format!(
        "[queue.kafka]\nbrokers = \"{brokers}\"\nreplication = 1\nmin_in_sync = 1\n\
         session_timeout = \"3s\"\n"
    )
}

/// Lets the last changes arrive; false where workspace and site are not equal within that time.
pub async fn wait_until_equal(lab: &Lab, within: Duration) -> bool {
    let started = Instant::now();
    let collections = lab.device_collections();
    let mut taken = lab.workspace.taken();
    while !lab.compare(&collections).equal {
        if started.elapsed() > within {
            return false;
        }
        drop(tokio::time::timeout(Duration::from_secs(1), taken.changed()).await);
    }
    true
}

/// Processes of cmsync, each with its log.
pub struct Copies {
    config: PathBuf,
    running: Vec<(String, Child, PathBuf)>,
    started: usize,
}

impl Copies {
    /// None yet.
    pub fn new(config: PathBuf) -> Self {
        Self { config, running: Vec::new(), started: 0 }
    }

    /// One of all stages, or on Kafka [`COPIES`].
    pub fn start_all(&mut self, on_kafka: bool) -> anyhow::Result<()> {
        if !on_kafka {
            return self.start(&[]);
        }
        for (stage, count) in COPIES {
            (0..count).try_for_each(|_| self.start(&["--stage", stage]))?;
        }
        Ok(())
    }

    /// Starts one.
    pub fn start(&mut self, arguments: &[&str]) -> anyhow::Result<()> {
        let stage = arguments.last().copied().unwrap_or("run");
        let log = self.config.with_file_name(format!("{stage}-{}.log", self.started));
        let child = Command::new(binary())
            .arg("--config")
            .arg(&self.config)
            .arg("run")
            .args(arguments)
            // As deploy/ sets them.
            .env("MIMALLOC_PURGE_DELAY", "0")
            .env("MIMALLOC_ARENA_EAGER_COMMIT", "0")
            .env("MIMALLOC_PAGE_FULL_RETAIN", "0")
            .env("MIMALLOC_GENERIC_COLLECT", "1000")
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .spawn()?;
        self.started += 1;
        self.running.push((stage.to_owned(), child, log));
        Ok(())
    }

    /// The processes that run, by stage.
    pub fn processes(&self) -> impl Iterator<Item = (&str, u32)> {
        self.running.iter().map(|(stage, child, _)| (stage.as_str(), child.id()))
    }

    /// The log of a copy that ended by itself.
    pub fn ended(&mut self) -> anyhow::Result<Option<PathBuf>> {
        for (_, child, log) in &mut self.running {
            if child.try_wait()?.is_some() {
                return Ok(Some(log.clone()));
            }
        }
        Ok(None)
    }

    /// Kills the first copy of a stage as `kill -9` does.
    pub fn kill_one(&mut self, stage: &str) -> anyhow::Result<()> {
        if let Some(at) = self.running.iter().position(|(of, ..)| of == stage) {
            let (_, mut child, _) = self.running.remove(at);
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Asks all to stop, and waits.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        for (_, child, _) in &self.running {
            Command::new("kill").arg(child.id().to_string()).status()?;
        }
        for (name, mut child, _) in self.running.drain(..) {
            let ended = child.wait()?;
            anyhow::ensure!(ended.success(), "{name} did not drain: {ended}");
        }
        Ok(())
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        for (_, child, _) in &mut self.running {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
