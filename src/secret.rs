//! `cmsync secret`: which credential a connection signs in to Azure with, until when, and whether it
//! is accepted.

use cmsync_azure::{Identity, Proof};
use serde::Serialize;

use crate::cli::SecretCommand;
use crate::config::{Config, Workspace};
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
    command: SecretCommand,
    as_json: bool,
) -> anyhow::Result<bool> {
    let (name, is_tried) = match &command {
        SecretCommand::Show { connection } => (connection, false),
        SecretCommand::Verify { connection } => (connection, true),
    };
    let Some(connection) = config.connections.get(name) else {
        eprintln!("cmsync: there is no connection `{name}` in the configuration");
        return Ok(false);
    };
    let workspace = &connection.workspace;
    let mut view = view(name, workspace);
    if is_tried {
        let credential = connections::credential(workspace)?;
        let outcome = credential.token(&workspace.endpoints.ingestion_audience).await;
        view.is_accepted = Some(outcome.is_ok());
        view.detail = outcome.map_or_else(|e| e.to_string(), |_| "accepted".into());
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

fn view<'a>(name: &'a str, workspace: &'a Workspace) -> View<'a> {
    let (kind, tenant, client) = match &workspace.identity {
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
    };
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
