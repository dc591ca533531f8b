//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::config;
use crate::connect::ConnectArgs;
use crate::platform::{self, ServiceCommand};

/// The version, and what this build has.
pub(crate) const LONG_VERSION: &str = match (cfg!(feature = "kafka"), cfg!(feature = "kerberos")) {
    (true, true) => concat!(env!("CARGO_PKG_VERSION"), " with Kafka and Kerberos"),
    (true, false) => concat!(env!("CARGO_PKG_VERSION"), " with Kafka, without Kerberos"),
    (false, true) => concat!(env!("CARGO_PKG_VERSION"), " with Kerberos, without Kafka"),
    (false, false) => concat!(env!("CARGO_PKG_VERSION"), " without Kafka and Kerberos"),
};

/// The options that stand at the end of each page.
const EVERY: &str = "Options of every command";
/// What stands below the list of commands.
const AFTER: &str = "\
The system's configuration is /etc/cmsync/cmsync.toml, on Windows %ProgramData%\\cmsync\\cmsync.toml.
First: cmsync connect NAME, then check, run and status.";

/// Keeps Configuration Manager's device collections present in a Log Analytics workspace.
#[derive(Debug, Parser)]
#[command(name = "cmsync", version, long_version = LONG_VERSION, about, after_help = AFTER)]
pub(crate) struct Cli {
    /// Configuration file [default: cmsync.toml here, else the system's]
    #[arg(long, global = true, env = "CMSYNC_CONFIG", hide_env_values = true, value_name = "FILE", help_heading = EVERY)]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON, where a command lists, shows, checks or verifies
    #[arg(long, global = true, help_heading = EVERY)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Read the sites and keep their workspaces true, until stopped
    Run {
        /// Poll once, send everything, and end
        #[arg(long)]
        once: bool,
        /// Run these stages alone, others elsewhere (with Kafka); more than one with commas
        #[arg(long, value_delimiter = ',')]
        stage: Vec<StageName>,
    },
    /// Check configuration, site, rights and rules, and send a test row
    Check {
        /// Check what these stages need alone; more than one with commas [default: all]
        #[arg(long, value_delimiter = ',')]
        stage: Vec<StageName>,
        /// Check the configuration and its files alone, and ask nobody
        #[arg(long)]
        offline: bool,
    },
    /// Set up a connection, by questions or by answers given
    Connect(Box<ConnectArgs>),
    /// Show each connection's stages, what waits and what needs a person
    Status,
    /// Take a connection back: close its rows, and remove what set-up made
    Disconnect(DisconnectArgs),
    /// List and show connections, pause and resume them
    #[command(subcommand)]
    Connection(ConnectionCommand),
    /// Choose which collections are kept, and send them again
    #[command(subcommand)]
    Collections(CollectionsCommand),
    /// Turn a connection's reading and sending on or off
    #[command(subcommand)]
    Import(ImportCommand),
    /// Decide about removals that are held, because lost rights would explain them
    #[command(subcommand)]
    Removals(RemovalsCommand),
    /// Decide about records that could not be taken and were set aside
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
    /// Ask the workspace whether it is right, and send again what is not
    Verify(VerifyArgs),
    /// Show computer groups, their members, and the groups of a computer
    #[command(subcommand)]
    Groups(GroupsCommand),
    /// Show, try or renew what a connection signs in to Azure with
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Print a link that signs in to the console, or keep its users
    Console {
        #[command(subcommand)]
        command: Option<ConsoleCommand>,
    },
    /// Make and check the topics on Kafka's brokers (a queue in a file needs none)
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Ask the running cmsync whether it is ready (its /ready); exits with 1 if not
    Ready,
    /// Gather configuration, state, metrics and recent logs in one file, without secrets
    SupportBundle {
        /// Where to write it, `-` for standard output [default: cmsync-support-<time>.tar.gz here]
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// The service of Windows that keeps it running
    #[command(subcommand, hide = !platform::IS_WINDOWS)]
    Service(ServiceCommand),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ConsoleCommand {
    /// Give a user of the console a password, from the terminal or standard input
    Password {
        /// The user
        user: String,
        /// What the user may do
        #[arg(long, value_enum, default_value_t = ConsoleRole::Reader)]
        role: ConsoleRole,
    },
    /// Give a script a token for the API; it is printed once
    Token {
        /// The script
        name: String,
        /// What the script may do
        #[arg(long, value_enum, default_value_t = ConsoleRole::Reader)]
        role: ConsoleRole,
    },
    /// Take a user's password or a script's token away
    Forget {
        /// The user or script
        user: String,
    },
}

/// What a user of the console may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ConsoleRole {
    /// See everything
    Reader,
    /// Give orders too
    Operator,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum TopicsCommand {
    /// Make those that are missing, and check all
    Create,
    /// Check that they are there and that their settings lose nothing
    Check,
}

impl Command {
    /// The stages whose secrets it needs; none named: all.
    pub(crate) fn stages(&self) -> &[StageName] {
        match self {
            Self::Run { stage, .. } | Self::Check { stage, .. } => stage,
            // What it has may be gone, or be under another machine's key.
            Self::Secret(SecretCommand::Renew { .. }) => &[StageName::Producer],
            // They ask the queue alone.
            Self::Topics(_)
            | Self::Console { .. }
            | Self::Status
            | Self::Removals(_)
            | Self::DeadLetters(_)
            | Self::Ready
            | Self::Groups(_)
            | Self::Collections(CollectionsCommand::Resend { .. })
            | Self::Connection(
                ConnectionCommand::List
                | ConnectionCommand::Pause { .. }
                | ConnectionCommand::Resume { .. },
            ) => config::NO_SECRETS,
            _ => &[],
        }
    }

    /// Whether it may ask a site.
    pub(crate) fn needs_site(&self) -> bool {
        self.stages().is_empty() || self.stages().contains(&StageName::Producer)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StageName {
    Producer,
    Transformer,
    Uploader,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConnectionCommand {
    /// List the connections
    List,
    /// Show a connection: its identity, its workspace, its collections
    Show {
        /// The connection
        connection: String,
    },
    /// Stop reading a site, for its maintenance
    Pause {
        /// The connection
        connection: String,
    },
    /// Read a site again that was paused, or whose connection was taken back
    Resume {
        /// The connection
        connection: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Show its kind and when it ends, never the secret
    Show {
        /// The connection
        connection: String,
    },
    /// Ask Entra for a token with it
    Verify {
        /// The connection
        connection: String,
    },
    /// Take a new client secret in, from the terminal or standard input, once it is accepted
    Renew {
        /// The connection
        connection: String,
        /// Read it from a file instead
        #[arg(long, value_name = "FILE")]
        from_file: Option<PathBuf>,
        /// The day on which it ends, where Graph may not be asked
        #[arg(long, value_name = "DAY", value_parser = crate::expiry::day_of)]
        expires: Option<jiff::civil::Date>,
    },
    /// Put its file under the key of this machine (Windows, DPAPI): a copy is of no use elsewhere
    #[command(hide = !platform::IS_WINDOWS)]
    Protect {
        /// The connection
        connection: String,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// The connection; without it, all
    pub(crate) connection: Option<String>,
    /// Look alone: send nothing again
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DisconnectArgs {
    /// The connection
    pub(crate) connection: String,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
    /// Delete the tables too, with the history of every collection
    #[arg(long)]
    pub(crate) delete_tables: bool,
    /// Do not wait for the rows to be closed: the site or the workspace is gone for good
    #[arg(long)]
    pub(crate) abandon_rows: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImportCommand {
    /// Read and send, beginning with everything whole
    Enable {
        /// The connection
        connection: String,
    },
    /// Read and send nothing more
    Disable {
        /// The connection
        connection: String,
        /// Take its computer groups out of the workspace
        #[arg(long)]
        remove_groups: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum CollectionsCommand {
    /// List the collections that are kept, as the site shows them
    List {
        /// The connection; without it, of all
        connection: Option<String>,
        /// Also those that are not kept
        #[arg(long)]
        all: bool,
        /// Only those with this in their id, name or folder
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
    },
    /// Keep more: by id, name, pattern of names, or folder
    Add {
        /// The connection
        connection: String,
        /// A collection's id or name, a pattern with * and ?, or a folder that begins with /
        #[arg(required = true)]
        selectors: Vec<String>,
    },
    /// Keep no longer: entries of the list, by id, name, pattern or folder
    Remove {
        /// The connection
        connection: String,
        /// As it was added
        #[arg(required = true)]
        selectors: Vec<String>,
    },
    /// Send a collection whole, or all of a connection
    Resend {
        /// The connection
        connection: String,
        /// The collection's id; without it, all
        collection: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RemovalsCommand {
    /// List held removals
    List,
    /// Let a held removal go to the workspace
    Approve {
        /// The connection
        connection: String,
        /// The collection's id, or `*` for all that are held
        collection: String,
    },
    /// Keep the members of a held removal
    Dismiss {
        /// The connection
        connection: String,
        /// The collection's id, or `*` for all that are held
        collection: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// List dead letters
    List,
    /// Show a dead letter and its record
    Show {
        /// The dead letter's id, as `list` shows it
        id: String,
    },
    /// Send a dead letter again
    Replay {
        /// The dead letter's id, as `list` shows it
        id: String,
    },
    /// Drop a dead letter
    Drop {
        /// The dead letter's id, as `list` shows it
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum GroupsCommand {
    /// List the computer groups
    List,
    /// List the groups of one computer
    Of {
        /// The connection
        connection: String,
        /// Its FQDN or NetBIOS name, in any case
        computer: String,
    },
    /// List the members of a collection's group
    Members {
        /// The connection
        connection: String,
        /// The collection's id
        collection: String,
    },
}
