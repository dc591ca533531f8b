//! A real schema registry, Apicurio, with Confluent's API. It keeps schemas as long as it runs.

use std::io;
use std::process::Command;

use crate::running::Running;
use crate::{free_port, tool};

/// The version that the Makefile installs.
const JAR: &str = "apicurio-registry-app-3.0.9-runner.jar";

/// A registry of its own, on loopback.
pub struct SchemaRegistry {
    running: Option<Running>,
    port: u16,
    directory: tempfile::TempDir,
}

impl SchemaRegistry {
    /// Starts one and waits until it answers.
    ///
    /// # Errors
    /// When its files or Java are missing, or it does not start.
    pub fn start() -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("cmsync-registry").tempdir()?;
        let mut registry = Self { running: None, port: free_port()?, directory };
        registry.launch()?;
        Ok(registry)
    }

    /// Where Confluent's API is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/apis/ccompat/v7", self.port)
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.running = None;
    }

    fn launch(&mut self) -> io::Result<()> {
        let mut command = Command::new("java");
        command
            .args(["-Xmx384m", "-XX:+UseSerialGC", "-Dquarkus.http.host=127.0.0.1"])
            .arg(format!("-Dquarkus.http.port={}", self.port))
            .args(["-Dapicurio.storage.kind=sql", "-jar"])
            .arg(tool("registry")?.join(JAR));
        let running = Running::start(&command, &self.directory.path().join("registry"))?;
        running.until_up(self.port)?;
        self.running = Some(running);
        Ok(())
    }
}
