//! `cmsync support-bundle`: what whoever helps needs to see, in one file. It holds no secret: those of
//! the configuration stand in files of their own, which are not read, and accounts in addresses are taken
//! out.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use cmsync_control::{Answer, Question};
use flate2::Compression;
use flate2::write::GzEncoder;
use toml::{Table, Value};

use crate::config::{self, Config};
use crate::{commands, ready};

/// Lines of the system's journal.
const JOURNAL_LINES: &str = "2000";

/// The parts of a bundle.
#[derive(Default)]
struct Bundle {
    parts: Vec<(&'static str, String)>,
    /// What could not be had, and why.
    missing: String,
}

impl Bundle {
    fn add(&mut self, name: &'static str, part: Result<String, String>) {
        match part {
            Ok(text) => self.parts.push((name, text)),
            // Writing to a string does not fail.
            Err(error) => drop(writeln!(self.missing, "{name}: {error}")),
        }
    }

    /// Writes it as a compressed archive, which its owner alone can read.
    fn write(mut self, path: &Path) -> std::io::Result<Vec<&'static str>> {
        if !self.missing.is_empty() {
            self.parts.push(("missing.txt", std::mem::take(&mut self.missing)));
        }
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut archive =
            tar::Builder::new(GzEncoder::new(options.open(path)?, Compression::new(6)));
        for (name, text) in &self.parts {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o600);
            archive.append_data(&mut header, format!("cmsync-support/{name}"), text.as_bytes())?;
        }
        archive.into_inner()?.finish()?;
        Ok(self.parts.into_iter().map(|(name, _)| name).collect())
    }
}

/// Gathers a bundle, also where the configuration has mistakes or nothing runs.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(crate) async fn run(path: &Path, output: Option<PathBuf>) -> anyhow::Result<bool> {
    let now = jiff::Zoned::now();
    let output = output.unwrap_or_else(|| {
        PathBuf::from(format!("cmsync-support-{}.tar.gz", now.strftime("%Y%m%d-%H%M%S")))
    });
    let mut bundle = Bundle::default();
    bundle.add("about.txt", Ok(about(&now)));
    bundle.add("configuration.toml", configuration(path));
    match config::load(path, &[crate::cli::StageName::Transformer]) {
        Ok(config) => running(&config, &mut bundle).await,
        Err(mistakes) => bundle.add("configuration-mistakes.txt", Ok(mistakes.to_string())),
    }
    let shown = output.display().to_string();
    let names = bundle.write(&output).with_context(|| format!("failed to write `{shown}`"))?;
    println!("wrote `{shown}`: {}", names.join(", "));
    println!(
        "It names sites, collections and hosts, and holds no secret. Look through it before it goes out of the house."
    );
    Ok(true)
}

/// Version, machine, and the names of the variables that override the configuration.
fn about(now: &jiff::Zoned) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let line = |path: &str, start: &str| {
        read(path).lines().find(|l| l.starts_with(start)).unwrap_or_default().to_owned()
    };
    let variables = std::env::vars().map(|(name, _)| name).filter(|n| n.starts_with("CMSYNC_"));
    let lines = [
        format!("cmsync {}", env!("CARGO_PKG_VERSION")),
        format!("kerberos: {}", cfg!(feature = "kerberos")),
        format!("at {now}"),
        line("/etc/os-release", "PRETTY_NAME="),
        read("/proc/version").trim().to_owned(),
        format!("{} processors", std::thread::available_parallelism().map_or(0, usize::from)),
        line("/proc/meminfo", "MemTotal:"),
        format!("variables: {}", variables.collect::<Vec<_>>().join(" ")),
    ];
    lines.join("\n") + "\n"
}

/// The configuration file without comments, and without accounts in addresses.
fn configuration(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("`{}`: {e}", path.display()))?;
    // What cannot be read is not shown: its mistakes are told by their place.
    let table: Table = text.parse().map_err(|_| format!("`{}` is no TOML", path.display()))?;
    let shown = without_accounts(Value::Table(table));
    toml::to_string_pretty(&shown).map_err(|e| e.to_string())
}

/// Takes what stands before the `@` of an address, and anything under a key that names a secret.
fn without_accounts(value: Value) -> Value {
    const SECRET: [&str; 4] = ["password", "secret", "token", "key"];
    let is_secret = |key: &str| {
        let names_file = key.ends_with("_file") || key.ends_with("_expires");
        SECRET.iter().any(|word| key.contains(word)) && !names_file
    };
    match value {
        Value::String(text) => Value::String(without_account(&text)),
        Value::Array(values) => Value::Array(values.into_iter().map(without_accounts).collect()),
        Value::Table(table) => Value::Table(
            table
                .into_iter()
                .map(|(key, value)| match value {
                    Value::String(_) if is_secret(&key) => (key, Value::String("***".into())),
                    value => (key, without_accounts(value)),
                })
                .collect(),
        ),
        other => other,
    }
}

fn without_account(text: &str) -> String {
    let parts = text.split_once("://").and_then(|(scheme, rest)| {
        let (account, place) = rest.split_once('@')?;
        (!account.contains('/')).then(|| format!("{scheme}://***@{place}"))
    });
    parts.unwrap_or_else(|| text.to_owned())
}

/// What the running process says, or the queue where none runs.
async fn running(config: &Config, bundle: &mut Bundle) {
    let json = |answer: &Answer| serde_json::to_string_pretty(answer).map_err(|e| e.to_string());
    let questions = [
        ("status.json", Question::Status),
        ("removals.json", Question::Removals),
        ("dead-letters.json", Question::DeadLetters),
    ];
    for (name, question) in questions {
        let answer = commands::ask(config, question).await.map_err(|e| format!("{e:#}"));
        // Records themselves are nobody's business.
        let answer = answer.map(|answer| match answer {
            Answer::DeadLetters(mut letters) => {
                letters.iter_mut().for_each(|letter| letter.payload.clear());
                Answer::DeadLetters(letters)
            }
            other => other,
        });
        bundle.add(name, answer.and_then(|answer| json(&answer)));
    }
    for (name, page) in [("metrics.txt", "/metrics"), ("ready.txt", "/ready")] {
        let got = ready::get(config, page).await.map(|(_, text)| text);
        bundle.add(name, got.map_err(|e| format!("{e:#}")));
    }
    bundle.add("log.txt", log(config).await);
    if config.kafka.is_none() {
        let directory = &config.queue_directory;
        let files = std::fs::read_dir(directory).map_err(|e| e.to_string()).map(|files| {
            let line = |file: std::fs::DirEntry| {
                let size = file.metadata().map_or(0, |metadata| metadata.len());
                format!("{size:>14} {}\n", file.file_name().display())
            };
            files.filter_map(Result::ok).map(line).collect()
        });
        bundle.add("queue.txt", files);
    }
}

/// The last lines of the running process, else those of the system's journal.
async fn log(config: &Config) -> Result<String, String> {
    if let Ok(Answer::Log(lines)) = commands::ask(config, Question::Log).await {
        return Ok(lines.join("\n") + "\n");
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_and_secrets_are_taken_out_and_names_of_files_stay() {
        let table: Table = r#"
            proxy = "http://me:hidden@proxy:8080"
            brokers = "a:9092,b:9092"
            nested = [{ password = "hidden", client_secret_file = "/etc/x", url = "https://a/b@c" }]
        "#
        .parse()
        .unwrap();
        let shown = toml::to_string(&without_accounts(Value::Table(table))).unwrap();
        assert!(!shown.contains("hidden"), "{shown}");
        for kept in ["http://***@proxy:8080", "a:9092", "/etc/x", "https://a/b@c"] {
            assert!(shown.contains(kept), "{kept}: {shown}");
        }
    }
}
