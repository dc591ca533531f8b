//! The options of `cmsync connect`, each an answer to one of its questions.

use std::path::PathBuf;
use std::time::Duration;

use cmsync_configmgr::is_collection_id;
use cmsync_control::Step;
use toml::{Table, Value};

/// What stands below the options.
const EXAMPLES: &str = "\
Examples:
  cmsync connect contoso
  cmsync connect contoso --plan --admin-service https://cm01.contoso.com/AdminService \\
      --principal svc-cmsync@CONTOSO.COM --keytab /etc/cmsync/cmsync.keytab \\
      --managed-identity --workspace contoso-logs --collection 'Servers - *'";

/// Set up a connection: by questions on the terminal, or without any by answers given here.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ConnectArgs {
    /// The connection's name: small letters, digits and hyphens
    pub(crate) name: Option<String>,
    /// Ask nothing: take the answers from a file (a configuration with one connection and [setup])
    #[arg(long, value_name = "FILE")]
    pub(crate) answers: Option<PathBuf>,
    /// Ask nothing: what is not answered is an error
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
    /// Show what would be done, and change nothing
    #[arg(long)]
    pub(crate) plan: bool,
    /// Write an ARM template that somebody with the rights can deploy, and change nothing in Azure
    #[arg(long, value_name = "FILE")]
    pub(crate) template: Option<PathBuf>,
    /// Forget what was answered in a set-up that is not complete, and the secret that was typed for it
    #[arg(long, requires = "name", conflicts_with_all = ["answers", "yes", "plan", "template", "step"])]
    pub(crate) discard: bool,
    /// Do not synchronise at the end
    #[arg(long)]
    pub(crate) no_sync: bool,
    /// How long new roles are waited for
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = humantime::parse_duration)]
    pub(crate) wait: Duration,
    /// What the connection is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// The site's administration service, for example https://cm01.contoso.com/AdminService; more than one is failover
    #[arg(long, value_name = "URL")]
    admin_service: Vec<String>,
    /// The site's certificate authority, PEM
    #[arg(long, value_name = "FILE")]
    site_ca_file: Option<String>,
    /// Kerberos account that reads the site
    #[arg(long, value_name = "NAME@REALM")]
    principal: Option<String>,
    /// Keytab with its key
    #[arg(long, value_name = "FILE")]
    keytab: Option<String>,
    /// File with a bearer token for the site
    #[arg(long, value_name = "FILE")]
    bearer_token_file: Option<String>,
    /// The account as the site has it: whether its rights are as before is looked at
    #[arg(long, value_name = "DOMAIN\\NAME")]
    account: Option<String>,
    /// public, us-government, china or custom [default: public]
    #[arg(long, value_name = "NAME")]
    cloud: Option<String>,
    /// Directory (tenant) id
    #[arg(long, value_name = "ID")]
    tenant_id: Option<String>,
    /// Application (client) id
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// File with the application's secret
    #[arg(long, value_name = "FILE")]
    client_secret_file: Option<String>,
    /// The application's certificate and key, PEM
    #[arg(long, value_name = "FILE")]
    certificate_file: Option<String>,
    /// Sign in to Azure as this machine's managed identity
    #[arg(long)]
    managed_identity: bool,
    /// Sign in to Azure as this pod's workload identity (Kubernetes)
    #[arg(long)]
    workload_identity: bool,
    /// Make an app registration of this name, with the Azure CLI's login
    #[arg(long, value_name = "NAME")]
    pub(crate) create_app: Option<String>,
    /// Who sets up in Azure: azure-cli, or application for the connection's own identity [default: azure-cli, where
    /// somebody is signed in]
    #[arg(long, value_name = "WHO")]
    login: Option<String>,
    /// Subscription
    #[arg(long, value_name = "NAME or ID")]
    subscription: Option<String>,
    /// Resource group of the workspace
    #[arg(long, value_name = "NAME")]
    resource_group: Option<String>,
    /// The workspace
    #[arg(long, value_name = "NAME")]
    workspace: Option<String>,
    /// Region in which what is missing is made
    #[arg(long, value_name = "REGION")]
    location: Option<String>,
    /// Pricing tier of a new workspace [default: PerGB2018]
    #[arg(long, value_name = "TIER")]
    pricing_tier: Option<String>,
    /// A collection: its id, a pattern of names, or a folder that begins with /; may be given more than once
    #[arg(long = "collection", value_name = "SELECTOR")]
    collections: Vec<String>,
    /// Set up, but do not read and send yet (`cmsync import enable` later)
    #[arg(long)]
    no_import: bool,
    /// Any other answer, by its key in the file: --set site.read_timeout=2m; may be given more than once
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) set: Vec<(String, String)>,
    /// Take one page of the set-up alone, and say as JSON what came of it: the console does
    #[arg(long, hide = true)]
    pub(crate) step: Option<Step>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(key, _)| !key.trim().is_empty());
    let (key, value) = parts.ok_or("must be KEY=VALUE, for example site.read_timeout=2m")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

/// A selector as the file has it.
pub(crate) fn selector(text: &str) -> Value {
    let of = |key: &str| Value::Table(Table::from_iter([(key.to_owned(), text.into())]));
    if text.starts_with('/') {
        return of("folder");
    }
    if is_collection_id(text) { text.into() } else { of("name") }
}

impl ConnectArgs {
    /// The answers that were given, by their keys in the file.
    pub(crate) fn given(&self) -> Vec<(String, Value)> {
        let texts = [
            ("description", &self.description),
            ("site.ca_file", &self.site_ca_file),
            ("site.authentication.kerberos.principal", &self.principal),
            ("site.authentication.kerberos.keytab", &self.keytab),
            ("site.authentication.bearer_token_file", &self.bearer_token_file),
            ("site.account", &self.account),
            ("workspace.cloud", &self.cloud),
            ("workspace.tenant_id", &self.tenant_id),
            ("workspace.client_id", &self.client_id),
            ("workspace.client_secret_file", &self.client_secret_file),
            ("workspace.certificate_file", &self.certificate_file),
            ("setup.login", &self.login),
            ("setup.subscription", &self.subscription),
            ("setup.resource_group", &self.resource_group),
            ("setup.workspace", &self.workspace),
            ("setup.location", &self.location),
            ("setup.pricing_tier", &self.pricing_tier),
        ];
        let mut given: Vec<(String, Value)> = texts
            .into_iter()
            .filter_map(|(key, text)| Some((key.to_owned(), text.clone()?.into())))
            .collect();
        for (key, is_given) in [
            ("workspace.managed_identity", self.managed_identity),
            ("workspace.workload_identity", self.workload_identity),
        ] {
            given.extend(is_given.then(|| (key.to_owned(), true.into())));
        }
        if self.no_import {
            given.push(("import".into(), false.into()));
        }
        if !self.admin_service.is_empty() {
            given.push(("site.admin_service".into(), self.admin_service.clone().into()));
        }
        if !self.collections.is_empty() {
            let all: Vec<Value> = self.collections.iter().map(|text| selector(text)).collect();
            given.push(("collections".into(), all.into()));
        }
        let value = |(key, text): &(String, String)| (key.clone(), crate::config::value_of(text));
        given.extend(self.set.iter().map(value));
        given
    }
}
