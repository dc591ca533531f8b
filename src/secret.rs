//! `cmsync secret`: which credential a connection signs in to Azure with, until when, and whether it
//! is accepted.

use std::path::Path;

use anyhow::Context as _;
use cmsync_azure::{Identity, Proof};
use cmsync_http::Secret;
use secrecy::SecretString;
use serde::Serialize;

use crate::cli::SecretCommand;
use crate::config::{Config, Connection, Workspace};
use crate::connect::write;
use crate::{connections, expiry};

#[derive(Serialize)]
struct View<'a> {
    connection: &'a str,
    kind: &'static str,
    tenant: &'a str,
    client: &'a str,
    /// Seconds since 1970; `None` where it is not known.
    expires: Option<i64>,
    /// Whether it was tried and accepted.
    is_accepted: Option<bool>,
    detail: String,
}

/// Shows or tries a credential; false when it is refused.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(crate) async fn run(
    config: &Config,
    path: &Path,
    command: SecretCommand,
    as_json: bool,
) -> anyhow::Result<bool> {
    let (name, is_tried) = match &command {
        SecretCommand::Show { connection } => (connection, false),
        SecretCommand::Verify { connection } => (connection, true),
        SecretCommand::Renew { connection, from_file, expires } => {
            // Before a person types it.
            config.connection(connection)?;
            let new = match from_file {
                Some(path) => Secret::File(path.clone()).read()?,
                None => asked("New client secret")?,
            };
            let said = renew(config, path, connection, (new, *expires)).await?;
            eprintln!("{said}");
            return Ok(true);
        }
        SecretCommand::Protect { connection } => {
            eprintln!("{}", protect(config.connection(connection)?)?);
            return Ok(true);
        }
    };
    let connection = config.connection(name)?;
    let workspace = &connection.workspace;
    let mut view = view(name, workspace);
    if is_tried {
        let outcome = verify(workspace).await;
        view.is_accepted = Some(outcome.is_ok());
        view.detail = outcome.map_or_else(|e| e.to_string(), |()| "accepted".into());
    }
    if as_json {
        println!("{}", serde_json::to_string_pretty(&view)?);
    } else {
        let until = view.expires.and_then(|at| jiff::Timestamp::from_second(at).ok());
        let until = until.map_or("not known".to_owned(), |at| at.strftime("%Y-%m-%d").to_string());
        println!("connection  {name}\nidentity    {}", view.kind);
        println!("tenant      {}\nclient      {}\nends        {until}", view.tenant, view.client);
        println!("{}", view.detail);
    }
    Ok(view.is_accepted != Some(false))
}

/// Tries a credential.
pub(crate) async fn verify(workspace: &Workspace) -> anyhow::Result<()> {
    let credential = connections::credential(workspace)?;
    credential.token(&workspace.endpoints.ingestion_audience).await?;
    Ok(())
}

/// Puts what a connection signs in to Azure with under this machine's key, where it stands.
fn protect(connection: &Connection) -> anyhow::Result<String> {
    let file = match &connection.workspace.identity {
        Identity::Application { proof: Proof::Secret(Secret::File(file)), .. } => file.as_path(),
        Identity::Application { proof: Proof::Certificate(file), .. } => file.key_path(),
        _ => anyhow::bail!("it signs in to Azure with nothing that is in a file"),
    };
    let shown = file.display();
    if cmsync_files::is_protected(file) {
        return Ok(format!("`{shown}` is under this machine's key already"));
    }
    let sealed = cmsync_files::read_secret(file).and_then(|text| cmsync_files::protect(&text));
    sealed
        .and_then(|sealed| cmsync_files::replace(file, sealed.as_bytes()))
        .with_context(|| format!("`{shown}`"))?;
    Ok(format!("`{shown}` is under this machine's key now: a copy of it is of no use elsewhere"))
}

/// Takes a new secret in, once it was accepted; until then the old one stays. A running process reads
/// the file with its next request for a token.
pub(crate) async fn renew(
    config: &Config,
    path: &Path,
    name: &str,
    (new, expires): (SecretString, Option<jiff::civil::Date>),
) -> anyhow::Result<String> {
    let connection = config.connection(name)?;
    let mut workspace = connection.workspace.clone();
    let Identity::Application { tenant, client, proof: Proof::Secret(held) } =
        workspace.identity.clone()
    else {
        anyhow::bail!(
            "connection `{name}` has no client secret; a certificate or a token is renewed by \
             writing its file anew, which is read at each use"
        );
    };
    let Secret::File(file) = held else {
        anyhow::bail!(
            "the secret of connection `{name}` is given by the environment: change it there"
        );
    };
    let proof = Proof::Secret(Secret::Given(new.clone()));
    workspace.identity = Identity::Application { tenant, client: client.clone(), proof };
    let credential = connections::credential(&workspace)?;
    let outcome = credential.token(&workspace.endpoints.ingestion_audience).await;
    outcome.context("the new secret is not used; the old one stays")?;
    let end = match expires {
        Some(day) => Some(day.to_string()),
        None => expiry::day_in_directory(&workspace, &client, credential).await,
    };
    // Both or neither: the day of the old secret says nothing of the new one.
    write::try_to(path)
        .with_context(|| format!("failed to write `{}`; the old secret stays", path.display()))?;
    crate::connect::write_secret(&file, &new)?;
    write::change(path, |document| {
        let table = write::existing(document, name)?;
        let workspace = table.get_mut("workspace").and_then(toml_edit::Item::as_table_like_mut);
        if let Some(workspace) = workspace {
            match end {
                Some(day) => drop(workspace.insert("client_secret_expires", toml_edit::value(day))),
                // The old secret's day says nothing of the new one.
                None => drop(workspace.remove("client_secret_expires")),
            }
        }
        Ok(())
    })?;
    Ok(format!("accepted and written to {}; a running cmsync uses it from now on", file.display()))
}

/// A secret from the terminal, unseen, or from standard input.
pub(crate) fn asked(prompt: &str) -> anyhow::Result<SecretString> {
    use std::io::{IsTerminal as _, Read as _};
    if std::io::stdin().is_terminal() {
        let asked = inquire::Password::new(prompt).without_confirmation();
        return Ok(tokio::task::block_in_place(|| asked.prompt())?.into());
    }
    let mut text = String::new();
    std::io::stdin().take(64 * 1024).read_to_string(&mut text)?;
    anyhow::ensure!(
        !text.trim().is_empty(),
        "nothing on standard input: pipe it in, or run this on a terminal"
    );
    Ok(text.trim().to_owned().into())
}

/// What an identity is, its tenant and its client.
pub(crate) fn kind(workspace: &Workspace) -> (&'static str, &str, &str) {
    match &workspace.identity {
        Identity::Application { tenant, client, proof } => {
            let kind = match proof {
                Proof::Secret(_) => "client secret",
                Proof::Certificate(_) => "certificate",
                Proof::Federated(_) => "workload identity",
            };
            (kind, tenant.as_str(), client.as_str())
        }
        Identity::Managed(managed) => {
            ("managed identity", "", managed.client.as_deref().unwrap_or_default())
        }
        Identity::AzureCli { tenant } => ("Azure CLI", tenant.as_deref().unwrap_or_default(), ""),
        Identity::FixedToken(_) => ("token file", "", ""),
    }
}

fn view<'a>(name: &'a str, workspace: &'a Workspace) -> View<'a> {
    let (kind, tenant, client) = kind(workspace);
    let end = expiry::of(workspace);
    let now = jiff::Timestamp::now().as_second();
    let detail = match (kind, end) {
        (_, Some((what, at))) => expiry::warning(what, at, now).unwrap_or_default(),
        ("client secret", None) => {
            "give its end as `client_secret_expires`, and cmsync warns of it".into()
        }
        _ => String::new(),
    };
    let expires = end.map(|(_, at)| at);
    View { connection: name, kind, tenant, client, expires, is_accepted: None, detail }
}
