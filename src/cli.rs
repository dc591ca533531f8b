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

/// Keeps Configuration Manager's device collections present in a Log Analytics workspace.
#[derive(Debug, Parser)]
#[command(name = "cmsync", version, long_version = LONG_VERSION, about)]
pub(crate) struct Cli {
    /// Configuration file [default: cmsync.toml, then /etc/cmsync/cmsync.toml; on Windows
    /// cmsync.toml, then %ProgramData%\\cmsync\\cmsync.toml]
    #[arg(long, global = true, env = "CMSYNC_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run
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
        /// Check what these stages need
        #[arg(long, value_delimiter = ',')]
        stage: Vec<StageName>,
        /// Check the configuration and its files alone, and ask nobody
        #[arg(long)]
        offline: bool,
    },
    /// Set up a connection, by questions or by answers given
    Connect(Box<ConnectArgs>),
    /// Show how everything is
    Status,
    /// Take back what set-up made, and close what was sent
    Disconnect(DisconnectArgs),
    /// Connections: what they are, and whether their sites are read
    #[command(subcommand)]
    Connection(ConnectionCommand),
    /// Collections that are kept
    #[command(subcommand)]
    Collections(CollectionsCommand),
    /// Whether a connection sends
    #[command(subcommand)]
    Import(ImportCommand),
    /// Removals that wait for a person
    #[command(subcommand)]
    Removals(RemovalsCommand),
    /// Records that were set aside
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
    /// Ask the workspace whether it is right, and send again what is not
    Verify(VerifyArgs),
    /// Computer groups
    #[command(subcommand)]
    Groups(GroupsCommand),
    /// The credential that a connection signs in to Azure with
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Print a link that signs in to the console, or keep its users
    Console {
        #[command(subcommand)]
        command: Option<ConsoleCommand>,
    },
    /// The queue's topics
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Whether the running process is well: what its /ready says
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
    /// List them
    List,
    /// Show one: its identity, its workspace, its collections
    Show {
        /// The connection
        connection: String,
    },
    /// Stop reading a site, for its maintenance
    Pause {
        /// The connection
        connection: String,
    },
    /// Read it again
    Resume {
        /// The connection
        connection: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Show what it is and when it ends, never the secret
    Show {
        /// The connection
        connection: String,
    },
    /// Ask for a token with it
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
        #[arg(long, value_name = "DAY")]
        expires: Option<String>,
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
    /// Send, beginning with everything whole
    Enable {
        /// The connection
        connection: String,
    },
    /// Send nothing more
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
    /// List those that are kept, as the site shows them
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
    /// List them
    List,
    /// Let one go
    Approve {
        /// The connection
        connection: String,
        /// The collection's id, or `*` for all that are held
        collection: String,
    },
    /// Keep the members
    Dismiss {
        /// The connection
        connection: String,
        /// The collection's id, or `*` for all that are held
        collection: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// List them
    List,
    /// Show one with what it holds
    Show {
        /// Its id
        id: String,
    },
    /// Send one again
    Replay {
        /// Its id
        id: String,
    },
    /// Drop one
    Drop {
        /// Its id
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum GroupsCommand {
    /// List them
    List,
    /// List the groups of one computer
    Of {
        /// The connection
        connection: String,
        /// Its FQDN or NetBIOS name, in any case
        computer: String,
    },
    /// List the members of one
    Members {
        /// The connection
        connection: String,
        /// The collection's id
        collection: String,
    },
}
