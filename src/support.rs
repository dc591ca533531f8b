//! `cmsync support-bundle`: what whoever helps needs to see, in one file. It holds no secret: those of
//! the configuration stand in files of their own, which are not read, and accounts in addresses are taken
//! out.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use cmsync_control::{Answer, Question, local_api};
use flate2::Compression;
use flate2::write::GzEncoder;
use toml::{Table, Value};

use crate::config::{self, Config};
use crate::{commands, kerberos, platform, ready};

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

    /// Writes it as a compressed archive; the names of its parts.
    fn pack<W: std::io::Write>(mut self, to: W) -> std::io::Result<(W, Vec<&'static str>)> {
        if !self.missing.is_empty() {
            self.parts.push(("missing.txt", std::mem::take(&mut self.missing)));
        }
        let mut archive = tar::Builder::new(GzEncoder::new(to, Compression::new(6)));
        for (name, text) in &self.parts {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o600);
            archive.append_data(&mut header, format!("cmsync-support/{name}"), text.as_bytes())?;
        }
        let to = archive.into_inner()?.finish()?;
        Ok((to, self.parts.into_iter().map(|(name, _)| name).collect()))
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
    let config = config::load(path, config::NO_SECRETS);
    let place = match &config {
        Ok(config) => {
            kerberos::enter(config, false)?;
            Place::of(config)
        }
        Err(mistakes) => {
            bundle.add("configuration-mistakes.txt", Ok(mistakes.to_string()));
            // A process that was started before goes on with what the file said then.
            Place::guess(path)
        }
    };
    running(&place, (path, config.as_ref().ok()), &mut bundle).await;
    if output.as_os_str() == "-" {
        let archive = bundle.pack(Vec::new())?;
        std::io::stdout().write_all(&archive.0)?;
        return Ok(true);
    }
    let shown = output.display().to_string();
    let written = || -> std::io::Result<Vec<&'static str>> {
        Ok(bundle.pack(cmsync_files::create_private(&output)?)?.1)
    };
    let names = written().with_context(|| format!("failed to write `{shown}`"))?;
    println!("wrote `{shown}`: {}", names.join(", "));
    println!(
        "It names sites, collections and hosts, and holds no secret. Look through it before it goes \
         out of the house."
    );
    Ok(true)
}

/// Where a running process is found.
struct Place {
    /// Its pages.
    listen: Option<SocketAddr>,
    /// Its queue's directory; none on brokers.
    directory: Option<PathBuf>,
}

impl Place {
    fn of(config: &Config) -> Self {
        let directory = config.kafka.is_none().then(|| config.queue_directory.clone());
        Self { listen: config.listen, directory }
    }

    /// From a file with mistakes: what can be read of it, else the defaults.
    fn guess(path: &Path) -> Self {
        let file = config::as_far_as_read(path);
        let directory = file.queue.kafka.is_none().then_some(file.queue.embedded.directory);
        Self { listen: file.http.listen.parse().ok(), directory }
    }

    /// Asks the running process, or where there is a configuration the queue.
    async fn ask(&self, config: Option<&Config>, question: Question) -> Result<Answer, String> {
        if let Some(directory) = &self.directory
            && let Ok(Some(answer)) = local_api::ask(directory, &question).await
        {
            return Ok(answer);
        }
        let config = config.ok_or("no process answers, and the configuration has mistakes")?;
        commands::ask(config, question).await.map_err(|e| format!("{e:#}"))
    }
}

/// Version, machine, and the names of the variables that override the configuration.
fn about(now: &jiff::Zoned) -> String {
    let variables =
        config::environment().map(|(name, _)| name).filter(|n| n.starts_with("CMSYNC_"));
    let mut lines = vec![
        format!("cmsync {}", crate::cli::LONG_VERSION),
        format!("at {now}"),
        format!("{} processors", std::thread::available_parallelism().map_or(0, usize::from)),
        format!("variables: {}", variables.collect::<Vec<_>>().join(" ")),
    ];
    lines.extend(platform::about());
    lines.join("\n") + "\n"
}

/// The configuration file without comments, and without accounts in addresses.
fn configuration(path: &Path) -> Result<String, String> {
    let text = config::text_of(path).map_err(|e| format!("`{}`: {e}", path.display()))?;
    // What cannot be read is not shown: its mistakes are told by their place.
    let table: Table = text.parse().map_err(|_| format!("`{}` is no TOML", path.display()))?;
    let shown = without_accounts(Value::Table(table));
    toml::to_string_pretty(&shown).map_err(|e| e.to_string())
}

/// Takes what stands before the `@` of an address, and anything under a key that names a secret.
fn without_accounts(value: Value) -> Value {
    let is_secret = |key: &str| {
        let is_word = |word: &str| matches!(word, "secret" | "token" | "key" | "pem");
        key.contains("password") || key.split(['_', '.']).any(is_word)
    };
    match value {
        Value::String(text) => Value::String(without_account(&text)),
        Value::Array(values) => Value::Array(values.into_iter().map(without_accounts).collect()),
        Value::Table(table) => {
            let shown = |(key, value): (String, Value)| {
                let hidden = Value::String("***".into());
                let value = match value {
                    Value::String(_) if is_secret(&key) && !names_more(&key) => hidden,
                    // With or without a scheme, whatever the password holds.
                    Value::String(text) if key == "proxy" => match text.rsplit_once('@') {
                        Some((_, place)) => Value::String(format!("***@{place}")),
                        None => Value::String(text),
                    },
                    value => without_accounts(value),
                };
                (key, value)
            };
            Value::Table(table.into_iter().map(shown).collect())
        }
        other => other,
    }
}

/// A file, or a day, is no secret.
fn names_more(key: &str) -> bool {
    key.ends_with("_file") || key.ends_with("_expires")
}

fn without_account(text: &str) -> String {
    let parts = text.split_once("://").and_then(|(scheme, rest)| {
        // Whatever the password holds, what follows the last one is the host.
        let (_, place) = rest.rsplit_once('@')?;
        Some(format!("{scheme}://***@{place}"))
    });
    parts.unwrap_or_else(|| text.to_owned())
}

/// What the running process says, or the queue where none runs.
async fn running(place: &Place, (path, config): (&Path, Option<&Config>), bundle: &mut Bundle) {
    let json = |answer: &Answer| serde_json::to_string_pretty(answer).map_err(|e| e.to_string());
    let questions = [
        ("status.json", Question::Status),
        ("removals.json", Question::Removals),
        ("dead-letters.json", Question::DeadLetters),
    ];
    for (name, question) in questions {
        let answer = place.ask(config, question).await;
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
        let got = ready::get(place.listen, page).await.map(|(_, text)| text);
        bundle.add(name, got.map_err(|e| format!("{e:#}")));
    }
    bundle.add("log.txt", log(place, (path, config)).await);
    if let Some(directory) = &place.directory {
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

/// The last lines of the running process, else what the system kept of an earlier one.
async fn log(place: &Place, (path, config): (&Path, Option<&Config>)) -> Result<String, String> {
    if let Ok(Answer::Log(lines)) = place.ask(config, Question::Log).await {
        return Ok(lines.join("\n") + "\n");
    }
    platform::kept_log(path).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_and_secrets_are_taken_out_and_names_of_files_stay() {
        let table: Table = r#"
            proxy = "http://me:hid/den@x@proxy:8080"
            bare = { proxy = "me:hidden@proxy:8080" }
            keytab = "/etc/cmsync/keytab"
            brokers = "a:9092,b:9092"
            nested = [{ password = "hidden", client_secret_file = "/etc/x", url = "https://a/b", other = "https://u:hid/x@den@c/x" }]
            settings = { "ssl.key.pem" = "hid", "sasl.oauthbearer.client.secret" = "hid", "client.id" = "kept" }
        "#
        .parse()
        .unwrap();
        let shown = toml::to_string(&without_accounts(Value::Table(table))).unwrap();
        assert!(!shown.contains("hid") && !shown.contains("den"), "{shown}");
        for kept in [
            "***@proxy:8080",
            "/etc/cmsync/keytab",
            "a:9092",
            "/etc/x",
            "https://a/b",
            "https://***@c/x",
            "kept",
        ] {
            assert!(shown.contains(kept), "{kept}: {shown}");
        }
    }
}
