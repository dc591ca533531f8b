//! What each command does.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use cmsync_control::{Answer, Desk, Note, Question, activity, local_api};
use cmsync_queue::Queue;

use crate::cli::{Cli, Command, ConnectionCommand, DeadLettersCommand, RemovalsCommand};
use crate::config::{self, Config};
use crate::host::Host;
use crate::{
    check, collections, connect, connection, console, disconnect, groups, import, kerberos,
    logging, output, pipeline, platform, queue, ready, secret, support, topics, verify,
};

/// `cmsync.toml` here, else the system's.
pub(crate) fn default_config() -> PathBuf {
    let here = PathBuf::from("cmsync.toml");
    if here.exists() { here } else { platform::configuration() }
}

/// Executes a command; false when it failed and has said why.
pub(crate) async fn execute(cli: Cli, path: PathBuf) -> anyhow::Result<bool> {
    match cli.command {
        Command::Connect(args) => connect::run(&args, &path).await,
        Command::SupportBundle { output } => support::run(&path, output).await,
        Command::Ready => ready::run(&path).await,
        Command::Service(command) => {
            let done = tokio::task::block_in_place(|| platform::manage(&command, &path))?;
            output::say(&done);
            Ok(true)
        }
        _ => with_configuration(cli, path).await,
    }
}

/// Executes a command that needs a configuration.
async fn with_configuration(cli: Cli, path: PathBuf) -> anyhow::Result<bool> {
    let config = configuration(&cli, &path)?;
    kerberos::enter(&config, cli.command.needs_site())?;
    let question = match cli.command {
        Command::Run { once, stage } => {
            let logging = logging::start(config.log_format, &config.log_level, None);
            return pipeline::run(config, path, (once, stage), (&logging, Host::default())).await;
        }
        Command::Check { offline: true, .. } => return check::offline(&config, cli.json),
        Command::Check { stage, .. } => return check::run(&config, &stage, cli.json).await,
        Command::Console { command } => return console::run(&config, command).await,
        Command::Topics(command) => return topics::run(&config, command, cli.json).await,
        Command::Connect(_)
        | Command::Completions { .. }
        | Command::SupportBundle { .. }
        | Command::Service(_)
        | Command::Ready => return Ok(true),
        Command::Secret(command) => {
            return secret::run(&config, &path, command, cli.json).await;
        }
        Command::Disconnect(args) => return disconnect::run(config, &path, &args).await,
        Command::Verify(args) => return verify::run(&config, &args, cli.json).await,
        Command::Import(command) => return import::run(&config, &path, command).await,
        Command::Collections(command) => {
            return collections::run(&config, &path, command, cli.json).await;
        }
        Command::DeadLetters(DeadLettersCommand::Show { id }) => {
            return show_dead_letter(&config, id, cli.json).await;
        }
        Command::Groups(command) => return groups::run(&config, command, cli.json).await,
        Command::Status => Question::Status,
        Command::Connection(command) => match command {
            ConnectionCommand::List => return connection::list(&config, cli.json).await,
            ConnectionCommand::Show { connection } => {
                return connection::show(&config, &connection, cli.json).await;
            }
            ConnectionCommand::Pause { connection } => Question::Pause { connection },
            ConnectionCommand::Resume { connection } => Question::Resume { connection },
        },
        Command::Removals(command) => removals(command),
        Command::DeadLetters(DeadLettersCommand::List) => Question::DeadLetters,
        Command::DeadLetters(DeadLettersCommand::Replay { id }) => {
            Question::DecideDeadLetter { id, replay: true }
        }
        Command::DeadLetters(DeadLettersCommand::Drop { id }) => {
            Question::DecideDeadLetter { id, replay: false }
        }
    };
    output::print(&ask(&config, question).await?, cli.json)
}

/// The configuration that a command needs. A process that serves the console may begin without a
/// connection: one is set up there.
fn configuration(cli: &Cli, path: &Path) -> Result<Config, config::Mistakes> {
    let stages = cli.command.stages();
    match cli.command {
        Command::Run { once: false, .. }
        | Command::Console { .. }
        | Command::Check { offline: true, .. } => config::load(path, stages),
        _ => config::load_with_connections(path, stages),
    }
}

fn removals(command: RemovalsCommand) -> Question {
    match command {
        RemovalsCommand::List => Question::Removals,
        RemovalsCommand::Approve { connection, collection } => {
            Question::DecideRemoval { connection, collection, approve: true, seen: None }
        }
        RemovalsCommand::Dismiss { connection, collection } => {
            Question::DecideRemoval { connection, collection, approve: false, seen: None }
        }
    }
}

/// Asks the running process, or goes to the queue itself: where none runs, and on Kafka.
pub(crate) async fn ask(config: &Config, question: Question) -> anyhow::Result<Answer> {
    let started = Instant::now();
    loop {
        if config.kafka.is_none()
            && let Some(answer) = local_api::ask(&config.queue_directory, &question).await?
        {
            return Ok(answer);
        }
        if let Some(queue) = queue::open_if_free(config).await? {
            if config.kafka.is_none() && matches!(question, Question::Status) {
                let queue = config.queue();
                eprintln!(
                    "no cmsync runs with the queue `{queue}`: so it was when the last one stopped"
                );
            }
            topics::declare_shared(config, &*queue).await?;
            return Ok(answer_alone(queue, question).await?);
        }
        if started.elapsed() > queue::LOCK_PATIENCE {
            return Err(cmsync_queue::Error::Locked(config.queue_directory.clone()).into());
        }
        tokio::time::sleep(queue::LOOK_AGAIN).await;
    }
}

/// Answers where no process runs, and writes down what was ordered.
async fn answer_alone(
    queue: Arc<dyn Queue>,
    question: Question,
) -> Result<Answer, cmsync_queue::Error> {
    let noted = Arc::new(Mutex::new(Vec::new()));
    let own = Arc::clone(&noted);
    let note: Note =
        Arc::new(move |entry| own.lock().unwrap_or_else(PoisonError::into_inner).push(entry));
    let desk = Desk::new(Arc::clone(&queue), pipeline::clock()).with_note(note);
    let answer = desk.answer_as(&this_user(), question).await?;
    let entries = std::mem::take(&mut *noted.lock().unwrap_or_else(PoisonError::into_inner));
    // It is done, whether or not it is written down.
    if let Err(error) = activity::write(&*queue, entries).await {
        eprintln!("what was ordered is not written down: {error}");
    }
    Ok(answer)
}

/// Whoever runs this, as the running process would name them.
fn this_user() -> String {
    let names = ["SUDO_USER", "USER", "USERNAME"];
    let name = names.into_iter().find_map(|name| std::env::var(name).ok());
    name.map_or_else(|| "a command on this machine".into(), |n| format!("{n} on this machine"))
}

async fn show_dead_letter(config: &Config, id: String, as_json: bool) -> anyhow::Result<bool> {
    let answer = match ask(config, Question::DeadLetters).await? {
        Answer::DeadLetters(all) => match all.into_iter().find(|letter| letter.id == id) {
            Some(letter) if as_json => Answer::DeadLetters(vec![letter]),
            Some(letter) => {
                Answer::Taken(format!("{}: {}\n{}", letter.reason, letter.error, letter.payload))
            }
            None => Answer::Refused(format!(
                "there is no dead letter `{id}`; see `cmsync dead-letters list`"
            )),
        },
        other => other,
    };
    output::print(&answer, as_json)
}
