//! The page of the identity: whom cmsync is in Azure at run time, and who sets it up.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use cmsync_azure::{Credential, Graph, Identity, Principal};
use cmsync_http::Client;
use secrecy::SecretString;

use super::Page;
use super::answers::{Answers, Login};
use super::ask::{Ask, Choice, Prompt};
use crate::config::{self, Connection, raw};
use crate::{connections, expiry};

/// A new secret's life.
const SECRET_DAYS: i64 = 365;

/// Who is who in Azure.
pub(crate) struct Identities {
    /// The connection, checked as far as it is known.
    pub(crate) connection: Connection,
    /// Who sends rows and keeps groups at run time.
    pub(crate) runtime: Principal,
    /// Who sets up.
    pub(crate) caller: Arc<Credential>,
}

/// Asks for the identity until one signs in.
pub(super) async fn page(page: &Page<'_>, answers: &mut Answers) -> anyhow::Result<Identities> {
    page.title("Identity in Azure");
    loop {
        ask(page, answers).await?;
        match sign_in(page, answers).await {
            Ok(found) => return Ok(found),
            Err(error) => page.again(error)?,
        }
        forget(&mut answers.connection.workspace);
    }
}

fn forget(workspace: &mut raw::Workspace) {
    workspace.tenant_id.clear();
    workspace.client_id.clear();
    (workspace.client_secret_file, workspace.certificate_file) = (None, None);
    (workspace.managed_identity, workspace.workload_identity) = (false, false);
}

fn has_proof(workspace: &raw::Workspace) -> bool {
    workspace.client_secret_file.is_some()
        || workspace.client_secret.is_some()
        || workspace.certificate_file.is_some()
        || workspace.managed_identity
        || workspace.workload_identity
        || workspace.token_file.is_some()
}

const WAYS: [&str; 6] = [
    "a client secret",
    "a certificate",
    "the machine's managed identity (in Azure, or with Azure Arc)",
    "another issuer's token (workload identity)",
    "there is no app registration: make one now",
    "there is no app registration: show the commands that make one",
];

/// Asks for what is not known of the identity.
pub(super) async fn ask(page: &Page<'_>, answers: &mut Answers) -> anyhow::Result<()> {
    if let Some(name) = &page.args.create_app {
        if !has_proof(&answers.connection.workspace) {
            create(page, answers, name).await?;
        }
        return Ok(());
    }
    if !has_proof(&answers.connection.workspace) {
        let prompt = Prompt {
            text: "How does cmsync sign in?",
            key: "workspace.client_secret_file",
            help: "--client-secret-file or --certificate-file (with --tenant-id and --client-id), --managed-identity, \
                   --workload-identity, or --create-app NAME",
        };
        if !page.ask.is_terminal() {
            return Ask::refuse(&prompt);
        }
        match page.ask.choose(&prompt, &WAYS.map(Choice::plain))? {
            0 => ask_secret(page, answers)?,
            1 => {
                let prompt = Prompt {
                    text: "Certificate and key",
                    key: "workspace.certificate_file",
                    help: "a PEM file with both",
                };
                let file = page.ask.text(&prompt, "", super::file)?;
                answers.connection.workspace.certificate_file = Some(file.into());
            }
            2 => answers.connection.workspace.managed_identity = true,
            3 => answers.connection.workspace.workload_identity = true,
            4 => return create(page, answers, "cmsync").await,
            _ => {
                page.say(COMMANDS);
                return Box::pin(ask(page, answers)).await;
            }
        }
    }
    let workspace = &mut answers.connection.workspace;
    if workspace.managed_identity || workspace.workload_identity || workspace.token_file.is_some() {
        return Ok(());
    }
    for (text, key, value) in [
        ("Directory (tenant) id", "workspace.tenant_id", &mut workspace.tenant_id),
        ("Application (client) id", "workspace.client_id", &mut workspace.client_id),
    ] {
        if value.is_empty() {
            let prompt = Prompt { text, key, help: "as the app registration's overview shows it" };
            *value = page.ask.text(&prompt, "", super::not_empty)?;
        }
    }
    Ok(())
}

/// What a person with rights in the directory runs.
const COMMANDS: &str = "\
  az ad app create --display-name cmsync --sign-in-audience AzureADMyOrg
  az ad sp create --id <appId of the answer>
  az ad app credential reset --id <appId> --display-name cmsync --years 1";

fn ask_secret(page: &Page<'_>, answers: &mut Answers) -> anyhow::Result<()> {
    let prompt = Prompt {
        text: "Client secret",
        key: "workspace.client_secret_file",
        help: "its value, not its id; it is kept in a file of its own that only you can read",
    };
    let secret = page.ask.secret(&prompt)?.into();
    let path = keep_secret(page.config, &answers.name, &secret)?;
    answers.connection.workspace.client_secret_file = Some(path);
    if answers.connection.workspace.client_secret_expires.is_none() {
        let prompt = Prompt {
            text: "Day on which it ends",
            key: "workspace.client_secret_expires",
            help: "for example 2027-11-30, to be warned in time; empty where you do not know",
        };
        let is_day = |text: &str| match text {
            "" => Ok(()),
            text => expiry::day_of(text).map(drop),
        };
        let day = page.ask.text(&prompt, "", is_day)?;
        answers.connection.workspace.client_secret_expires = Some(day).filter(|d| !d.is_empty());
    }
    Ok(())
}

/// Writes a secret into a file that its owner alone can read.
pub(crate) fn keep_secret(
    config: &Path,
    name: &str,
    secret: &SecretString,
) -> anyhow::Result<std::path::PathBuf> {
    let path = std::path::absolute(secret_path(config, name))?;
    write_secret(&path, secret)?;
    Ok(path)
}

/// Where a client secret that was typed is kept.
pub(super) fn secret_path(config: &Path, name: &str) -> std::path::PathBuf {
    config.with_file_name(format!("{name}.client-secret"))
}

/// Replaces a file that holds a secret.
pub(crate) fn write_secret(path: &Path, secret: &SecretString) -> anyhow::Result<()> {
    cmsync_files::replace_secret(path, secret)
        .with_context(|| format!("failed to write `{}`", path.display()))
}

/// Makes an app registration with the Azure CLI's login, and a secret of it.
async fn create(page: &Page<'_>, answers: &mut Answers, name: &str) -> anyhow::Result<()> {
    let workspace = &answers.connection.workspace;
    let (endpoints, http) = config::check_endpoints(&answers.name, workspace)?;
    let tenant = Some(workspace.tenant_id.clone()).filter(|t| !t.is_empty());
    let credential = connections::credential_of(&http, &endpoints, Identity::AzureCli { tenant })?;
    let graph = Graph::new(Client::new("graph", &http)?, endpoints.graph, credential);
    let directory = graph.principal().await?.tenant;
    let application = graph.create_application(name).await?;
    graph.create_service_principal(&application.app_id).await?;
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * SECRET_DAYS);
    let secret = graph.add_password(&application.id, "cmsync", end).await?;
    let path = keep_secret(page.config, &answers.name, &secret.secret_text)?;
    page.say(&format!("✓ made the app registration {name} ({})", application.app_id));
    page.say(&format!("✓ its secret is in {}", path.display()));
    let workspace = &mut answers.connection.workspace;
    workspace.tenant_id = directory;
    workspace.client_id = application.app_id;
    workspace.client_secret_file = Some(path);
    let end = secret.end_date_time.unwrap_or(end);
    workspace.client_secret_expires = Some(expiry::day(end));
    answers.keep(page.config)?;
    Ok(())
}

async fn sign_in(page: &Page<'_>, answers: &mut Answers) -> anyhow::Result<Identities> {
    let mut connection = config::check_connection(&answers.name, &answers.connection)?;
    let credential = connections::credential(&connection.workspace)?;
    let audience = connection.workspace.endpoints.ingestion_audience.clone();
    let runtime = credential.principal(&audience).await?;
    if runtime.object_id.is_empty() {
        bail!("the token does not tell whom it is for: roles cannot be assigned");
    }
    let caller = caller(page, answers, &connection, &credential).await?;
    // Whoever sets up sees more of the directory than the application does.
    let named = name(&connection, &caller, &runtime).await;
    page.say(&format!("✓ signed in as {}", named.words));
    if answers.connection.workspace.client_secret_expires.is_none()
        && let Some(end) = named.secret_ends
    {
        answers.connection.workspace.client_secret_expires = Some(end);
        connection = config::check_connection(&answers.name, &answers.connection)?;
    }
    Ok(Identities { connection, runtime, caller })
}

/// Who sets up: as answered; unasked, whoever signed in with the Azure CLI, or else the identity.
async fn caller(
    page: &Page<'_>,
    answers: &mut Answers,
    connection: &Connection,
    own: &Arc<Credential>,
) -> anyhow::Result<Arc<Credential>> {
    let workspace = &connection.workspace;
    let tenant = &answers.connection.workspace.tenant_id;
    let cli = connections::azure_cli(workspace, tenant)?;
    let login = match answers.setup.login {
        Some(login) => login,
        None if page.ask.is_terminal() => {
            let prompt = Prompt { text: "Who sets up in Azure?", key: "setup.login", help: "" };
            let choices = ["you, by the Azure CLI's login", "the identity above"];
            match page.ask.choose(&prompt, &choices.map(Choice::plain))? {
                0 => Login::AzureCli,
                _ => Login::Application,
            }
        }
        None if connections::may_manage(workspace, &cli).await => Login::AzureCli,
        None => Login::Application,
    };
    answers.setup.login = Some(login);
    let (caller, who) = match login {
        Login::Application => (Arc::clone(own), "the same identity"),
        Login::AzureCli => (cli, "the Azure CLI's login"),
    };
    page.say(&format!("- set up by {who}"));
    Ok(caller)
}

struct Named {
    words: String,
    secret_ends: Option<String>,
}

/// Tenant and application by name where Graph allows.
async fn name(connection: &Connection, caller: &Arc<Credential>, who: &Principal) -> Named {
    let workspace = &connection.workspace;
    let mut words = format!("application {} in tenant {}", who.client, who.tenant);
    let mut secret_ends = None;
    let Ok(graph) = connections::graph(workspace, Arc::clone(caller)) else {
        return Named { words, secret_ends };
    };
    if let Ok(Some(application)) = graph.application(&who.client).await {
        words =
            words.replace(&who.client, &format!("{} ({})", application.display_name, who.client));
        secret_ends = expiry::of_secret(workspace, &application).map(expiry::day);
    }
    if let Ok(Some(organization)) = graph.organization().await {
        words =
            words.replace(&who.tenant, &format!("{} ({})", organization.display_name, who.tenant));
    }
    Named { words, secret_ends }
}
