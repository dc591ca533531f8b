//! The Azure clouds and where each has its services.
//!
//! Hosts: Microsoft's pages on national clouds, on Graph's deployments and on the Logs Ingestion API.

use serde::{Deserialize, Serialize};
use url::Url;

/// An Azure cloud.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cloud {
    /// The public cloud.
    #[default]
    Public,
    /// Azure US Government.
    UsGovernment,
    /// Azure operated by 21Vianet.
    China,
    /// A cloud whose every address is given.
    Custom,
}

/// Where a cloud's services are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// Where tokens come from.
    pub authority: Url,
    /// Where resources are managed; also what a token for it is asked for.
    pub resource_manager: Url,
    /// What a token for ingestion is asked for.
    pub ingestion_audience: String,
    /// Where a workspace is queried; also what a token for it is asked for.
    pub query: Url,
    /// Where applications are looked up; also what a token for it is asked for.
    pub graph: Url,
}

/// A cloud's own addresses, as texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hosts {
    /// See [`Endpoints::authority`].
    pub authority: &'static str,
    /// See [`Endpoints::resource_manager`].
    pub resource_manager: &'static str,
    /// See [`Endpoints::ingestion_audience`].
    pub ingestion_audience: &'static str,
    /// See [`Endpoints::query`].
    pub query: &'static str,
    /// See [`Endpoints::graph`].
    pub graph: &'static str,
}

impl Cloud {
    /// The cloud's own addresses; `None` for one whose every address is given.
    #[must_use]
    pub fn hosts(self) -> Option<Hosts> {
        Some(match self {
            Self::Public => Hosts {
                authority: "https://login.microsoftonline.com",
                resource_manager: "https://management.azure.com",
                ingestion_audience: "https://monitor.azure.com",
                query: "https://api.loganalytics.azure.com",
                graph: "https://graph.microsoft.com",
            },
            Self::UsGovernment => Hosts {
                authority: "https://login.microsoftonline.us",
                resource_manager: "https://management.usgovcloudapi.net",
                ingestion_audience: "https://monitor.azure.us",
                query: "https://api.loganalytics.us",
                graph: "https://graph.microsoft.us",
            },
            Self::China => Hosts {
                authority: "https://login.chinacloudapi.cn",
                resource_manager: "https://management.chinacloudapi.cn",
                ingestion_audience: "https://monitor.azure.cn",
                query: "https://api.loganalytics.azure.cn",
                graph: "https://microsoftgraph.chinacloudapi.cn",
            },
            Self::Custom => return None,
        })
    }
}

/// An address as the audience of a token: without a slash at its end.
pub(crate) fn audience(endpoint: &Url) -> String {
    endpoint.as_str().trim_end_matches('/').to_owned()
}

/// `endpoint` with `path` after its own.
pub(crate) fn join(endpoint: &Url, path: &str) -> Url {
    let mut url = endpoint.clone();
    let base = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{base}/{}", path.trim_start_matches('/')));
    url
}
