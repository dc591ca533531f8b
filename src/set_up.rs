//! Set-up as the console does it: `cmsync connect` in a process of its own, page by page.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use cmsync_control::{Connect, Plan, Progress, SettingsError, Step, StepView};
use secrecy::SecretString;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::sync::{Semaphore, watch};

use crate::{config, connect};

/// Pages that are looked at, at a time.
const AT_ONCE: usize = 4;
/// How long a look may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(25);
/// Set-ups whose progress is kept.
const KEPT: usize = 16;
/// Lines of one that are kept.
const LINES: usize = 500;

/// Set-ups of a configuration file.
pub(crate) struct SetUp {
    path: PathBuf,
    turn: Semaphore,
    begun: Mutex<BTreeMap<String, Arc<Mutex<Progress>>>>,
    /// How many run.
    running: watch::Sender<usize>,
}

fn refused(error: impl std::fmt::Display) -> SettingsError {
    SettingsError::Refused(error.to_string())
}

impl SetUp {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            turn: Semaphore::new(AT_ONCE),
            begun: Mutex::default(),
            running: watch::Sender::new(0),
        }
    }

    /// Waits until no set-up runs that was begun here.
    pub(crate) async fn idle(&self) {
        // The sender is here: it does not fail.
        self.running.subscribe().wait_for(|running| *running == 0).await.ok();
    }

    /// A connection that is kept already is changed on its own pages: here, its secret and its lists would
    /// be replaced by what somebody tries.
    fn must_be_new(&self, name: &str) -> Result<(), SettingsError> {
        match connect::write::holds(&self.path, name) {
            Ok(false) => Ok(()),
            Ok(true) => Err(refused(format!(
                "`{name}` is in the configuration already: change it on its properties, or go over it \
                 again with `cmsync connect {name}`"
            ))),
            Err(error) => Err(refused(format!("{error:#}"))),
        }
    }

    /// `cmsync connect` of a name, which asks nobody.
    fn command(&self, name: &str, arguments: &[&str]) -> Result<Command, SettingsError> {
        config::is_name(name).map_err(refused)?;
        let program = std::env::current_exe().map_err(refused)?;
        let mut command = Command::new(program);
        command.arg("--config").arg(&self.path).args(["connect", name]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        Ok(command)
    }

    /// Its output, within a moment.
    async fn output(
        &self,
        name: &str,
        arguments: &[&str],
    ) -> Result<std::process::Output, SettingsError> {
        let _turn = self.turn.acquire().await.map_err(refused)?;
        let output = self.command(name, arguments)?.output();
        match tokio::time::timeout(PATIENCE, output).await {
            Ok(output) => output.map_err(refused),
            Err(_) => Err(refused("it took too long: whoever was asked does not answer")),
        }
    }
}

/// What the command said, without its head lines.
fn said(stderr: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(stderr);
    let lines = text.lines().filter_map(|line| line.strip_prefix("  "));
    lines.map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

/// Answers as options: one of several values is a list. What is set on a command line, others on the
/// machine can see: secrets come by files.
fn options(answers: &[(String, String)]) -> Vec<String> {
    let mut values: Vec<(&str, Vec<&str>)> = Vec::new();
    for (key, value) in answers {
        match values.iter_mut().find(|(known, _)| known == key) {
            Some((_, all)) => all.push(value),
            None => values.push((key, vec![value])),
        }
    }
    let is_list = |key: &str| ["collections", "site.admin_service"].contains(&key);
    let text = |key: &str, value: &str| match key {
        // Entries as the file has them.
        "collections" if !value.starts_with('{') => connect::selector(value).to_string(),
        "collections" | "site.authentication" => value.to_owned(),
        "import" | "workspace.managed_identity" | "workspace.workload_identity" => value.to_owned(),
        "setup.rules" if value.bytes().all(|b| b.is_ascii_digit()) => value.to_owned(),
        _ => toml::Value::from(value).to_string(),
    };
    let option = |(key, all): (&str, Vec<&str>)| {
        let all: Vec<&str> = all.into_iter().filter(|value| !value.is_empty()).collect();
        match (is_list(key), all.as_slice()) {
            (_, []) => format!("{key}="),
            (false, [.., last]) => format!("{key}={}", text(key, last)),
            (true, all) => {
                let texts: Vec<String> = all.iter().map(|value| text(key, value)).collect();
                format!("{key}=[{}]", texts.join(", "))
            }
        }
    };
    values.into_iter().flat_map(|pair| ["--set".to_owned(), option(pair)]).collect()
}

#[async_trait]
impl Connect for SetUp {
    async fn drafts(&self) -> Vec<String> {
        connect::drafts(&self.path)
    }

    async fn discard(&self, name: &str) -> Result<(), SettingsError> {
        config::is_name(name).map_err(refused)?;
        self.must_be_new(name)?;
        if self.progress(name).await.is_some_and(|progress| progress.ended.is_none()) {
            return Err(refused(format!("`{name}` is being set up: wait for its end")));
        }
        connect::discard(&self.path, name).map_err(|error| refused(format!("{error:#}")))
    }

    async fn step(
        &self,
        name: &str,
        step: Step,
        answers: &[(String, String)],
    ) -> Result<StepView, SettingsError> {
        self.must_be_new(name)?;
        let options = options(answers);
        let mut arguments = vec!["--step", step.text()];
        arguments.extend(options.iter().map(String::as_str));
        let output = self.output(name, &arguments).await?;
        let view = serde_json::from_slice::<StepView>(&output.stdout);
        let Ok(mut view) = view else {
            return Err(refused(String::from_utf8_lossy(&output.stderr).trim()));
        };
        view.said = said(&output.stderr);
        if view.answers.is_empty() {
            // What was typed stays in the page though it could not be taken in.
            view.answers = answers.to_vec();
        }
        Ok(view)
    }

    async fn keep_secret(&self, name: &str, secret: SecretString) -> Result<(), SettingsError> {
        config::is_name(name).map_err(refused)?;
        self.must_be_new(name)?;
        let file = connect::keep_secret(&self.path, name, &secret);
        let file = file.map_err(|error| refused(format!("{error:#}")))?;
        let file = file.display().to_string();
        let answer = ("workspace.client_secret_file".to_owned(), file);
        self.step(name, Step::Answers, &[answer]).await.map(drop)
    }

    async fn plan(&self, name: &str) -> Result<Plan, SettingsError> {
        self.must_be_new(name)?;
        let output = self.output(name, &["--plan"]).await?;
        if output.stdout.is_empty() {
            return Err(refused(String::from_utf8_lossy(&output.stderr).trim()));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let steps = text.lines().map(ToOwned::to_owned).collect();
        Ok(Plan { said: said(&output.stderr), steps })
    }

    async fn begin(&self, name: &str) -> Result<(), SettingsError> {
        self.must_be_new(name)?;
        // The process that serves this sends what there is to send.
        let mut command = self.command(name, &["--yes", "--no-sync"])?;
        let is_running = |p: &Arc<Mutex<Progress>>| {
            p.lock().unwrap_or_else(PoisonError::into_inner).ended.is_none()
        };
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if begun.get(name).is_some_and(&is_running) {
            return Ok(());
        }
        if begun.len() >= KEPT {
            let ended = begun.iter().find(|(_, known)| !is_running(known));
            let ended = ended.map(|(name, _)| name.clone());
            let ended = ended.ok_or_else(|| refused("too many set-ups run at once"))?;
            begun.remove(&ended);
        }
        let child = command.stdout(Stdio::null()).spawn().map_err(refused)?;
        let progress = Arc::new(Mutex::new(Progress::default()));
        begun.insert(name.to_owned(), Arc::clone(&progress));
        self.running.send_modify(|running| *running += 1);
        tokio::spawn(follow(name.to_owned(), child, progress, self.running.clone()));
        Ok(())
    }

    async fn progress(&self, name: &str) -> Option<Progress> {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let progress = begun.get(name)?;
        let progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
        Some(progress.clone())
    }
}

/// Keeps what a set-up says until it ends.
async fn follow(
    name: String,
    mut child: tokio::process::Child,
    progress: Arc<Mutex<Progress>>,
    running: watch::Sender<usize>,
) {
    let with = |change: &dyn Fn(&mut Progress)| {
        change(&mut progress.lock().unwrap_or_else(PoisonError::into_inner));
    };
    if let Some(stderr) = child.stderr.take() {
        let mut lines = BufReader::new(stderr).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            with(&|progress| {
                if !line.trim().is_empty() {
                    progress.lines.push(line.trim().to_owned());
                }
                // The last ones say how it ended.
                let more = progress.lines.len().saturating_sub(LINES);
                progress.lines.drain(..more);
            });
        }
    }
    let is_well = child.wait().await.is_ok_and(|status| status.success());
    with(&|progress| progress.ended = Some(is_well));
    tracing::info!(connection = name, is_well, "a set-up ended");
    running.send_modify(|running| *running -= 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn answers_are_options_and_none_is_more_than_one() {
        let options = options(&[
            pair("site.admin_service", "https://cm01.contoso.com/AdminService"),
            pair("site.authentication", "{ kerberos = { principal = \"a@B\" } }"),
            pair("workspace.tenant_id", "x\" --plan"),
            pair("description", "true"),
            pair("workspace.managed_identity", "true"),
            pair("setup.rules", "2"),
            pair("workspace.client_secret_file", ""),
            pair("collections", "PS100014"),
            pair("collections", "Servers - *"),
        ]);
        let sets: Vec<&str> = options.iter().skip(1).step_by(2).map(String::as_str).collect();
        assert_eq!(
            sets,
            [
                "site.admin_service=[\"https://cm01.contoso.com/AdminService\"]",
                "site.authentication={ kerberos = { principal = \"a@B\" } }",
                "workspace.tenant_id='x\" --plan'",
                "description=\"true\"",
                "workspace.managed_identity=true",
                "setup.rules=2",
                "workspace.client_secret_file=",
                "collections=[\"PS100014\", { name = \"Servers - *\" }]",
            ]
        );
    }
}
