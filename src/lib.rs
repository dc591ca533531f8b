//! The binary: command line, configuration, wiring, drain. A library only so that what reads a configuration can be
//! fuzzed (`tests/fuzz`).

mod asks;
mod check;
mod cli;
mod collections;
mod commands;
mod config;
mod connect;
mod connection;
mod connections;
mod console;
mod delivered;
mod disconnect;
#[cfg(test)]
mod docs;
mod expiry;
mod framing;
mod groups;
mod history;
mod host;
mod import;
mod installation;
mod journal;
mod kerberos;
mod logging;
mod meter;
mod metrics;
mod output;
mod pipeline;
mod platform;
mod progress;
mod queue;
mod ready;
mod reload;
mod revision;
mod secret;
mod set_up;
mod settings;
mod status_board;
mod supervisor;
mod support;
mod topics;
mod traces;
mod verify;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use cli::{Cli, Command};
use platform::ServiceCommand;

/// Bad use or configuration, as clap has it too.
const BAD_USE: u8 = 2;

/// What was asked for cannot be: the words to mend are on the command line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct BadUse(String);

/// How a command ends that failed so.
fn code_of(error: &anyhow::Error) -> u8 {
    match error.is::<config::Mistakes>() || error.is::<BadUse>() {
        true => BAD_USE,
        false => 1,
    }
}

/// How long what still waits at the end is waited for.
const LAST_WAIT: std::time::Duration = std::time::Duration::from_secs(1);

/// Whoever reads what is printed may have enough of it (`cmsync … | head`): that is no fault.
fn end_with_the_reader() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.to_string();
        // On Windows a pipe that ended, and one that is being closed.
        let ends = ["Broken pipe", "(os error 109)", "(os error 232)"];
        let is_end = ends.into_iter().any(|end| text.contains(end));
        if text.contains("failed printing to stdout") && is_end {
            std::process::exit(0);
        }
        tell(panic);
    }));
}

#[expect(clippy::print_stdout, reason = "this is what the command is for")]
fn complete(shell: clap_complete::Shell) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "cmsync", &mut text);
    print!("{}", String::from_utf8_lossy(&text));
    ExitCode::SUCCESS
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

/// Does what the command line asks for.
pub fn main() -> ExitCode {
    end_with_the_reader();
    let cli = Cli::parse();
    if let Command::Completions { shell } = cli.command {
        return complete(shell);
    }
    let path = cli.config.clone().unwrap_or_else(|| match cli.command {
        // What happens to lie where one stands is no service's.
        Command::Service(_) => platform::configuration(),
        _ => commands::default_config(),
    });
    if let Command::Service(ServiceCommand::Run) = cli.command {
        return platform::run_service(path);
    }
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cmsync: failed to start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(commands::execute(cli, path));
    // Threads that wait for brokers which are down must not hold up the end.
    runtime.shutdown_timeout(LAST_WAIT);
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cmsync: {error:#}");
            ExitCode::from(code_of(&error))
        }
    }
}

/// Reads a configuration.
///
/// # Errors
/// Every mistake in it, with the place of each and the remedy.
pub fn check_configuration(path: &std::path::Path) -> Result<(), String> {
    config::load(path, &[]).map(drop).map_err(|mistakes| mistakes.to_string())
}
