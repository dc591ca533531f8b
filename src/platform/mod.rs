//! What differs between operating systems in a process as a whole: where its files are, how it is told to
//! stop, and what keeps it running.

#[cfg(windows)]
mod events;
#[cfg(windows)]
mod install;
#[cfg(windows)]
mod manage;
#[cfg(any(windows, test))]
mod rotating;
#[cfg(windows)]
mod service;
#[cfg(unix)]
#[path = "unix.rs"]
mod system;
#[cfg(windows)]
#[path = "windows.rs"]
mod system;
#[cfg(windows)]
mod told;

use clap::Subcommand;

pub(crate) use system::{
    Hangup, about, configuration, kept_log, lock_beside, manage, queue, run_service,
    service_accounts, start_anew, stop_asked,
};

/// Whether there is a service manager to ask.
pub(crate) const IS_WINDOWS: bool = cfg!(windows);

/// What is asked of the service of Windows.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Make the service, or bring the one that is there up to date
    Install {
        /// The account that it runs under: DOMAIN\name$ (group-managed), DOMAIN\name (its password is
        /// asked for, or read from standard input) [default: NT SERVICE\cmsync, or what it has]
        #[arg(long, value_name = "ACCOUNT")]
        account: Option<String>,
    },
    /// Remove it; configuration, queue and logs are kept
    Uninstall {
        /// Delete them too: %ProgramData%\\cmsync with everything in it
        #[arg(long)]
        purge: bool,
    },
    /// Start it, and wait until it runs
    Start {
        /// Only where there is a configuration
        #[arg(long)]
        if_configured: bool,
    },
    /// Stop it, and wait until it is drained
    Stop,
    /// Whether it runs, and as whom
    Status,
    /// Run as the service manager starts it
    #[command(hide = true)]
    Run,
}
