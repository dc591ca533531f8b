//! From a connection's configuration to what its stages are given.

use std::sync::Arc;
use std::time::Duration;

use cmsync_azure::{
    Credential, Endpoints, Graph, Identity, Ingestion, Query, ResourceManager, WorkspaceId,
};
use cmsync_configmgr::{AdminService, Authenticate, Bearer, Nature, SqlSite};
use cmsync_http::header::HeaderValue;
use cmsync_http::{Client, Settings};
use cmsync_producer::HighestSeq;
use cmsync_queue::{TopicKind, TopicSpec};
use cmsync_schemas::{questions, topics};
use cmsync_uploader::Target;
use cmsync_uploader::groups::{InAzure, SavedSearches};

use secrecy::ExposeSecret as _;

use crate::config::{self, Connection, Site, SiteIdentity, Source, Workspace};

/// How long a start waits for what the workspace holds.
const SEQ_PATIENCE: Duration = Duration::from_secs(60);

/// Shares of a connection's part of the queue, in percent: what waits to be transformed, what waits
/// for the workspace, what was set aside. The rest is for what is compacted.
const SHARES: (u64, u64, u64) = (40, 40, 10);

/// The topics of a connection, each within its part of `share` bytes.
pub(crate) fn topics_of(name: &str, partitions: u32, share: u64) -> Vec<TopicSpec> {
    let part = |percent: u64| share / 100 * percent;
    let log =
        |name: String, max_bytes| TopicSpec { name, partitions, kind: TopicKind::Log, max_bytes };
    let compacted = |name: String, max_bytes| TopicSpec {
        name,
        partitions: 1,
        kind: TopicKind::Compacted,
        max_bytes,
    };
    vec![
        log(topics::changes(name), part(SHARES.0)),
        log(topics::records(name), part(SHARES.1)),
        compacted(topics::dead_letters(name), part(SHARES.2)),
        compacted(topics::groups(name), u64::MAX),
    ]
}

/// Bytes that may wait before the producer holds back: well within the changes' part.
pub(crate) fn backlog_within(share: u64, wanted: u64) -> u64 {
    wanted.min(share / 100 * SHARES.0 / 2)
}

fn authenticate(identity: &SiteIdentity) -> Result<Box<dyn Authenticate>, cmsync_http::Error> {
    let tickets = |principal: Option<&str>| {
        cmsync_configmgr::kerberos(principal).map_err(|detail| cmsync_http::Error::Settings {
            key: "authentication",
            detail: detail.into(),
        })
    };
    Ok(match identity {
        SiteIdentity::Bearer(token) => Box::new(Bearer::new(token.clone())),
        SiteIdentity::Entra(tokens) => Box::new(FromEntra {
            credential: credential_of(&tokens.http, &tokens.endpoints, tokens.identity.clone())?,
            audience: tokens.audience.clone(),
        }),
        SiteIdentity::Kerberos(account) => tickets(Some(&account.principal))?,
        SiteIdentity::Integrated => tickets(None)?,
    })
}

/// Tokens of Microsoft Entra ID for `AdminService_TokenAuth` and the cloud management gateway.
struct FromEntra {
    credential: Arc<Credential>,
    audience: String,
}

#[async_trait::async_trait]
impl Authenticate for FromEntra {
    async fn authorization(&self, host: &str) -> Result<HeaderValue, cmsync_configmgr::Error> {
        let fail = |detail: String, nature| cmsync_configmgr::Error::NoCredential {
            host: host.to_owned(),
            detail,
            nature,
        };
        let token = self.credential.token(&self.audience).await.map_err(|error| {
            let nature = if error.is_transient() { Nature::Transient } else { Nature::Credentials };
            fail(error.to_string(), nature)
        })?;
        let text = format!("Bearer {}", token.expose_secret());
        let mut value = HeaderValue::from_str(&text)
            .map_err(|error| fail(error.to_string(), Nature::Credentials))?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn refusal(&self) -> &'static str {
        ": the site does not take the token: its audience must be the site's server application, and \
         the identity an administrative user of the site"
    }
}

/// The site behind a connection.
pub(crate) fn site(site: &Site) -> Result<Arc<dyn cmsync_configmgr::Site>, cmsync_http::Error> {
    Ok(match &site.source {
        Source::AdminService(service) => admin_service(service)?,
        Source::Sql(sql) => {
            let finder = sql.finder.as_ref().map(admin_service).transpose()?;
            Arc::new(SqlSite::new(sql.settings.clone(), site.page_size, finder))
        }
    })
}

fn admin_service(
    service: &config::AdminService,
) -> Result<Arc<dyn cmsync_configmgr::Site>, cmsync_http::Error> {
    let client = Client::new("site", &service.http)?;
    let authenticate = authenticate(&service.authentication)?;
    Ok(Arc::new(AdminService::new(client, authenticate, service.settings.clone())))
}

/// Tokens for a workspace.
pub(crate) fn credential(workspace: &Workspace) -> Result<Arc<Credential>, cmsync_http::Error> {
    credential_of(&workspace.http, &workspace.endpoints, workspace.identity.clone())
}

/// Tokens for an identity.
pub(crate) fn credential_of(
    http: &Settings,
    endpoints: &Endpoints,
    identity: Identity,
) -> Result<Arc<Credential>, cmsync_http::Error> {
    let direct = matches!(identity, Identity::Managed(_));
    let client = Client::new("token", &Settings { direct, ..http.clone() })?;
    Ok(Arc::new(Credential::new(client, endpoints.authority.clone(), identity)))
}

/// Whoever signed in with the Azure CLI, as a connection's workspace is reached.
pub(crate) fn azure_cli(
    workspace: &Workspace,
    tenant: &str,
) -> Result<Arc<Credential>, cmsync_http::Error> {
    let tenant = Some(tenant.to_owned()).filter(|t| !t.is_empty());
    credential_of(&workspace.http, &workspace.endpoints, Identity::AzureCli { tenant })
}

/// Whether a credential gives tokens to manage resources with.
pub(crate) async fn may_manage(workspace: &Workspace, credential: &Credential) -> bool {
    let manager = workspace.endpoints.resource_manager.as_str().trim_end_matches('/');
    credential.token(manager).await.is_ok()
}

/// Where rows go.
pub(crate) fn ingestion(workspace: &Workspace) -> Result<Ingestion, cmsync_http::Error> {
    Ok(Ingestion::new(Client::new("ingestion", &workspace.http)?))
}

/// Graph, as an identity may ask it.
pub(crate) fn graph(
    workspace: &Workspace,
    credential: Arc<Credential>,
) -> Result<Graph, cmsync_http::Error> {
    let client = Client::new("graph", &workspace.http)?;
    Ok(Graph::new(client, workspace.endpoints.graph.clone(), credential))
}

/// The workspace behind a connection, for its uploader.
pub(crate) fn target(
    workspace: &Workspace,
    credential: Arc<Credential>,
) -> Result<Target, cmsync_http::Error> {
    Ok(Target {
        ingestion: ingestion(workspace)?,
        credential,
        audience: workspace.endpoints.ingestion_audience.clone(),
        rules: workspace.rules.clone(),
    })
}

/// Where a connection's computer groups are kept.
pub(crate) fn searches(
    workspace: &Workspace,
    id: &WorkspaceId,
    credential: Arc<Credential>,
) -> Result<Arc<dyn SavedSearches>, cmsync_http::Error> {
    let manager = manager(workspace, credential)?;
    Ok(Arc::new(InAzure { manager, workspace: id.clone() }))
}

/// Resource Manager, as a connection's identity may use it.
pub(crate) fn manager(
    workspace: &Workspace,
    credential: Arc<Credential>,
) -> Result<ResourceManager, cmsync_http::Error> {
    let client = Client::new("resource-manager", &workspace.http)?;
    let endpoint = workspace.endpoints.resource_manager.clone();
    Ok(ResourceManager::new(client, endpoint, credential))
}

/// A connection's workspace, as its identity may ask it, with the workspace's id for queries.
///
/// # Errors
/// Where the configuration does not say which it is, or how it is reached.
pub(crate) fn asked(
    connection: &Connection,
    credential: Arc<Credential>,
) -> anyhow::Result<(Query, String)> {
    let workspace = &connection.workspace;
    let Some(id) = workspace.workspace_id.clone() else {
        anyhow::bail!("`workspace.workspace_id` is missing: the workspace cannot be asked");
    };
    let resource_id = connection.written().workspace.resource_id.as_deref();
    Ok((query(workspace, resource_id, credential)?, id))
}

/// The workspace, as a connection's identity may ask it; a refusal names `resource_id` where it is
/// known.
pub(crate) fn query(
    workspace: &Workspace,
    resource_id: Option<&str>,
    credential: Arc<Credential>,
) -> Result<Query, cmsync_http::Error> {
    // The service answers within three minutes, where no more is asked for.
    let read_timeout = workspace.http.read_timeout.max(Duration::from_secs(200));
    let http = Settings { read_timeout, ..workspace.http.clone() };
    let client = Client::new("query", &http)?;
    let query = Query::new(client, workspace.endpoints.query.clone(), credential);
    Ok(match resource_id {
        Some(id) => query.on(id),
        None => query,
    })
}

/// Asks the workspace for the highest seq that it holds.
pub(crate) struct WorkspaceSeq {
    query: Option<(Query, String)>,
    connection: String,
}

impl WorkspaceSeq {
    pub(crate) fn new(
        connection: &Connection,
        credential: Arc<Credential>,
    ) -> Result<Self, cmsync_http::Error> {
        let workspace = &connection.workspace;
        let resource_id = connection.written().workspace.resource_id.as_deref();
        let query = query(workspace, resource_id, credential)?;
        let query = workspace.workspace_id.clone().map(|id| (query, id));
        Ok(Self { query, connection: connection.producer.name.clone() })
    }
}

#[async_trait::async_trait]
impl HighestSeq for WorkspaceSeq {
    async fn highest_seq(&self, site_code: &str) -> Option<i64> {
        let (query, workspace) = self.query.as_ref()?;
        let question = questions::highest_seq(site_code);
        let asked = tokio::time::timeout(SEQ_PATIENCE, query.rows(workspace, &question)).await;
        let error = match asked {
            Ok(Ok(rows)) => return rows.first()?.first()?.as_i64(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", SEQ_PATIENCE.as_secs()),
        };
        let connection = &self.connection;
        tracing::warn!(
            connection,
            error,
            "cannot ask the workspace what it holds; an old copy of the queue would not be noticed"
        );
        None
    }
}
