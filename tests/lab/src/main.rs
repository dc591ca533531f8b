//! `cmsync-lab`: the lab as a program.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use cmsync_lab::world::Plan;
use cmsync_lab::{Lab, Options};

/// A pretend hierarchy and a pretend Azure, over TLS on loopback.
#[derive(Parser)]
#[command(name = "cmsync-lab")]
struct Arguments {
    /// Directory for the authority's certificate, the secrets and a configuration for cmsync.
    #[arg(long)]
    directory: PathBuf,
    /// Port; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Devices of the hierarchy.
    #[arg(long, default_value_t = 5_000)]
    devices: u32,
    /// Collections of the hierarchy.
    #[arg(long, default_value_t = 120)]
    collections: u32,
    /// Memberships, about.
    #[arg(long, default_value_t = 60_000)]
    memberships: u64,
    /// Data collection rules.
    #[arg(long, default_value_t = 1)]
    rules: u32,
    /// Milliseconds between changes; 0 for none.
    #[arg(long, default_value_t = 0)]
    churn_ms: u64,
    /// Collections that change at once.
    #[arg(long, default_value_t = 3)]
    churn_collections: usize,
    /// Decides everything that is drawn.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Plays captured answers from a folder instead.
    #[arg(long)]
    captures: Option<PathBuf>,
    /// The site asks for Kerberos and lets this principal in, with the keys of `KRB5_KTNAME`.
    #[arg(long)]
    principal: Option<String>,
    /// Milliseconds before each answer to rows.
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// Polls of the written configuration, in seconds.
    #[arg(long, default_value_t = 60)]
    poll_seconds: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let plan = Plan {
        seed: arguments.seed,
        devices: arguments.devices,
        collections: arguments.collections,
        memberships: arguments.memberships,
        ..Plan::default()
    };
    let options = Options {
        plan,
        captures: arguments.captures,
        rules: (1..=arguments.rules).map(|n| format!("dcr-{n:032x}")).collect(),
        port: arguments.port,
        principal: arguments.principal,
        ..Options::default()
    };
    let lab = Lab::start(options).await?;
    lab.faults().latency = Duration::from_millis(arguments.latency_ms);
    let poll = format!("[producer]\npoll_interval = \"{}s\"", arguments.poll_seconds);
    let config = lab.write_config(&arguments.directory, "[{ name = \"*\" }]", &poll)?;
    lab.write_az(&arguments.directory.join("bin"))?;
    if arguments.churn_ms > 0 {
        lab.start_churn(Duration::from_millis(arguments.churn_ms), arguments.churn_collections);
    }
    let site = lab.sql_site(&arguments.directory)?;
    std::fs::write(arguments.directory.join("lab-sql.toml"), site)?;
    std::fs::write(arguments.directory.join("lab-sql"), lab.sql_address.port().to_string())?;
    // Whoever finds this finds it whole, and all the rest.
    let aside = arguments.directory.join("lab-url.new");
    std::fs::write(&aside, lab.url())?;
    std::fs::rename(aside, arguments.directory.join("lab-url"))?;
    eprintln!("lab at {}, configuration in {}", lab.url(), config.display());
    tokio::signal::ctrl_c().await?;
    Ok(())
}
