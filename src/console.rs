//! The console's part of a running process, and `cmsync console`: how one signs in to it.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use cmsync_console::{AllConfigured, Configured, Elsewhere, Role, User};
use cmsync_control::{Answer, Question, local_api};
use cmsync_openid::{OpenId, Secret};
use secrecy::ExposeSecret as _;

use crate::cli::{ConsoleCommand, ConsoleRole};
use crate::config::{Config, Connection};
use crate::connect::write_secret;
use crate::{expiry, groups, secret};

/// What pages say of the connections of a configuration.
pub(crate) fn configured(config: &Config) -> AllConfigured {
    let of = |(name, connection): (&String, &Connection)| {
        let written = connection.written();
        let configured = Configured {
            description: written.description.clone(),
            portal: groups::portal(connection),
            poll: config.producer.poll_interval,
            snapshots: config.producer.snapshot_interval,
            import: connection.producer.import,
            expires: expiry::of(&connection.workspace),
        };
        (name.clone(), configured)
    };
    config.connections.iter().map(of).collect()
}

/// Listens for people who are elsewhere, where the configuration says so.
pub(crate) async fn elsewhere(config: &Config) -> anyhow::Result<Option<Elsewhere>> {
    let Some(elsewhere) = &config.console.elsewhere else { return Ok(None) };
    let address = elsewhere.listen;
    let listener = tokio::net::TcpListener::bind(address).await;
    let listener =
        listener.with_context(|| format!("failed to listen on {address} (`console.listen`)"))?;
    let tls = match &elsewhere.certificate {
        Some((certificate, key)) => {
            Some(cmsync_console::tls(certificate, key).map_err(anyhow::Error::msg)?)
        }
        None => None,
    };
    Ok(Some(Elsewhere { listener, beyond: elsewhere.beyond.clone(), tls }))
}

/// Where people who are elsewhere sign in, if anywhere.
pub(crate) fn openid(config: &Config) -> anyhow::Result<Option<Arc<OpenId>>> {
    let Some(written) = config.console.openid.clone() else { return Ok(None) };
    let crate::config::OpenId { issuer, client_id, secret_file, http } = written;
    let secret = secret_file.map(Secret::File);
    let provider = OpenId::new(cmsync_openid::Settings { issuer, client_id, secret, http });
    Ok(Some(Arc::new(provider.context("failed to prepare `console.openid`")?)))
}

/// Prints a link that signs in, or keeps the file of users.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(crate) async fn run(config: &Config, command: Option<ConsoleCommand>) -> anyhow::Result<bool> {
    match command {
        None => {
            println!("{}", link(config).await?);
            eprintln!("signs in once, within five minutes, as an operator on this machine");
        }
        Some(ConsoleCommand::Password { user, role }) => {
            let file = passwords_file(config)?;
            let password = secret::asked("New password of the console")?;
            let new = User::new(&user, of(role), password.expose_secret());
            keep(file, &user, Some(new.map_err(anyhow::Error::msg)?))?;
            eprintln!("kept in {}; it counts from now on", file.display());
        }
        Some(ConsoleCommand::Token { name, role }) => {
            let file = passwords_file(config)?;
            let (new, token) = User::with_token(&name, of(role)).map_err(anyhow::Error::msg)?;
            keep(file, &name, Some(new))?;
            println!("{}", token.expose_secret());
            eprintln!("shown this once, and its hash kept in {}", file.display());
        }
        Some(ConsoleCommand::Forget { user }) => {
            let file = passwords_file(config)?;
            keep(file, &user, None)?;
            eprintln!("forgotten; whoever is signed in so is signed out");
        }
    }
    Ok(true)
}

fn of(role: ConsoleRole) -> Role {
    match role {
        ConsoleRole::Reader => Role::Reader,
        ConsoleRole::Operator => Role::Operator,
    }
}

fn passwords_file(config: &Config) -> anyhow::Result<&Path> {
    let file = config.console.passwords.as_deref();
    file.context("`console.passwords_file` is not set: say there which file keeps the users")
}

/// Writes the file of users anew, with another one in the place of that name.
fn keep(file: &Path, name: &str, new: Option<User>) -> anyhow::Result<()> {
    let mut users = match file.exists() {
        true => cmsync_console::users(file).map_err(anyhow::Error::msg)?,
        false => Vec::new(),
    };
    let same = users.iter().find(|user| user.name.eq_ignore_ascii_case(name));
    if let (Some(same), Some(new)) = (same, &new)
        && same.has_token() != new.has_token()
    {
        let what = if same.has_token() { "a script's token" } else { "a user's password" };
        anyhow::bail!(
            "`{name}` is {what}: take another name, or `cmsync console forget` that first"
        );
    }
    let before = users.len();
    users.retain(|user| !user.name.eq_ignore_ascii_case(name));
    anyhow::ensure!(new.is_some() || users.len() < before, "there is no user `{name}`");
    users.extend(new);
    let mut text =
        b"# name:role:hash, kept by `cmsync console password`, `token` and `forget`\n".to_vec();
    for user in &users {
        writeln!(text, "{user}")?;
    }
    write_secret(file, &String::from_utf8(text)?.into())
}

async fn link(config: &Config) -> anyhow::Result<String> {
    let listen = config.listen.context("`http.listen` is empty: there are no pages here")?;
    anyhow::ensure!(
        config.console.loopback != cmsync_console::Loopback::Off,
        "`console.loopback` is off: there are no pages here"
    );
    anyhow::ensure!(
        config.kafka.is_none(),
        "on brokers a process takes no orders from its machine: sign in with a password \
         (`cmsync console password`)"
    );
    let question = Question::Ticket;
    let asked = local_api::ask(&config.queue_directory, &question).await?;
    match asked.with_context(|| {
        let queue = config.queue();
        format!(
            "no cmsync runs with the queue `{queue}`: start it with `cmsync run`, or its service"
        )
    })? {
        Answer::Ticket(ticket) => {
            Ok(format!("http://localhost:{}/sign-in?ticket={ticket}", listen.port()))
        }
        Answer::Refused(reason) => anyhow::bail!(reason),
        _ => anyhow::bail!("the running cmsync is of another version: restart it"),
    }
}

/// Waits a moment for answers that were begun.
pub(crate) async fn end(serving: tokio::task::JoinHandle<()>) {
    drop(tokio::time::timeout(std::time::Duration::from_secs(1), serving).await);
}
