//! `cmsync connection list|show`: what a connection is.

use cmsync_azure::{Identity, Proof, WorkspaceId};
use cmsync_control::{Answer, IdentityView, Properties, Question, WorkspaceView};
use secrecy::ExposeSecret as _;
use serde::Serialize;

use crate::config::{Config, Connection};
use crate::{commands, connections, expiry, output, secret};

#[derive(Serialize)]
struct Line<'a> {
    connection: &'a str,
    description: &'a str,
    cloud: String,
    import: bool,
    state: String,
}

/// What each connection is called, for, and doing.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(crate) async fn list(config: &Config, as_json: bool) -> anyhow::Result<bool> {
    let known = match commands::ask(config, Question::Status).await? {
        Answer::Status(views) => views,
        _ => Vec::new(),
    };
    let mut lines = Vec::new();
    for (name, connection) in &config.connections {
        let view = known.iter().find(|v| v.connection == *name);
        let worst = view.and_then(|v| {
            let stages = v.stages.iter();
            stages.max_by_key(|s| s.state)
        });
        let state = worst.map_or_else(
            || "never run".to_owned(),
            |s| match s.reason.as_str() {
                "" => s.state.text().to_lowercase(),
                reason => format!("{}: {reason}", s.state.text().to_lowercase()),
            },
        );
        let written = connection.written();
        lines.push(Line {
            connection: name,
            description: &written.description,
            cloud: cloud(connection),
            import: written.import,
            state,
        });
    }
    if as_json {
        println!("{}", serde_json::to_string_pretty(&lines)?);
        return Ok(true);
    }
    let rows = lines.iter().map(|l| {
        let import = if l.import { "yes" } else { "no" };
        [l.connection, l.description, &l.cloud, import, &l.state].map(ToOwned::to_owned).to_vec()
    });
    let titles = ["connection", "description", "cloud", "import", "state"];
    println!("{}", output::table(&titles, rows, "no connection"));
    Ok(true)
}

fn cloud(connection: &Connection) -> String {
    let cloud = connection.written().workspace.cloud;
    serde_json::to_value(cloud).ok().and_then(|v| v.as_str().map(Into::into)).unwrap_or_default()
}

/// A connection's identity and workspace.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(crate) async fn show(config: &Config, name: &str, as_json: bool) -> anyhow::Result<bool> {
    let connection = config.connection(name)?;
    let shown = properties(name, connection).await;
    if as_json {
        println!("{}", serde_json::to_string_pretty(&shown)?);
        return Ok(true);
    }
    let Properties { identity, workspace, .. } = &shown;
    let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "not known".into());
    let sites: Vec<&str> = shown.site.iter().map(String::as_str).collect();
    for (title, text) in [
        ("connection", shown.connection.clone()),
        ("description", shown.description.clone()),
        ("import", if shown.import { "yes" } else { "no" }.to_owned()),
        ("site", sites.join(", ")),
        ("cloud", identity.cloud.clone()),
        ("identity", identity.kind.clone()),
        ("tenant", identity.tenant.clone()),
        ("client", identity.client.clone()),
        ("secret", identity.secret_hint.as_ref().map_or("-".into(), |h| format!("{h}…"))),
        ("ends", or(&identity.expires)),
        ("subscription", or(&workspace.subscription)),
        ("resource group", or(&workspace.resource_group)),
        ("workspace", or(&workspace.workspace)),
        ("workspace id", or(&workspace.workspace_id)),
        ("rules", workspace.rules.join(", ")),
        ("collections", shown.collections.join(", ")),
        ("groups", shown.groups.clone()),
    ] {
        println!("{title:<15} {text}");
    }
    Ok(true)
}

/// A connection's properties.
pub(crate) async fn properties(name: &str, connection: &Connection) -> Properties {
    let (written, workspace) = (connection.written(), &connection.workspace);
    let id = written.workspace.resource_id.as_deref().and_then(|t| t.parse::<WorkspaceId>().ok());
    let of = |get: fn(&WorkspaceId) -> &String| id.as_ref().map(|id| get(id).clone());
    let (kind, tenant, client) = secret::kind(workspace);
    let hint = match &workspace.identity {
        Identity::Application { proof: Proof::Secret(secret), .. } => {
            secret.read().ok().map(|s| s.expose_secret().chars().take(3).collect::<String>())
        }
        _ => None,
    };
    let selectors = written.collections.iter();
    Properties {
        seen: String::new(),
        connection: name.to_owned(),
        description: written.description.clone(),
        import: written.import,
        site: connection.site.places(),
        identity: IdentityView {
            cloud: cloud(connection),
            kind: kind.to_owned(),
            tenant: tenant.to_owned(),
            client: client.to_owned(),
            secret_hint: hint,
            expires: end(connection, client).await,
        },
        workspace: WorkspaceView {
            subscription: of(|id| &id.subscription),
            resource_group: of(|id| &id.resource_group),
            workspace: of(|id| &id.name),
            workspace_id: workspace.workspace_id.clone(),
            rules: workspace.rules.iter().map(|r| format!("{} ({})", r.id, r.endpoint)).collect(),
        },
        collections: selectors
            .filter_map(|s| toml::Value::try_from(s).ok())
            .map(|v| v.to_string())
            .collect(),
        groups: written.groups.kind.text().to_owned(),
    }
}

/// From Graph where that may be asked, else as the file or the certificate says.
async fn end(connection: &Connection, client: &str) -> Option<String> {
    let workspace = &connection.workspace;
    let is_secret =
        matches!(workspace.identity, Identity::Application { proof: Proof::Secret(_), .. });
    let from_directory = match connections::credential(workspace) {
        Ok(credential) if is_secret => {
            expiry::day_in_directory(workspace, client, credential).await
        }
        _ => None,
    };
    let known = || expiry::of(workspace).and_then(|(_, at)| jiff::Timestamp::from_second(at).ok());
    from_directory.or_else(|| known().map(expiry::day))
}
