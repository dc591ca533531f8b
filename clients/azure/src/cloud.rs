//! The Azure clouds and where each has its services.
//!
//! Hosts: Microsoft's pages on national clouds and on the Logs Ingestion API.

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
}

/// Where a cloud's services are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// Where tokens come from.
    pub authority: Url,
    /// What a token for ingestion is asked for.
    pub ingestion_audience: String,
    /// Where a workspace is queried.
    pub query: Url,
}

impl Cloud {
    /// The cloud's authority, ingestion audience and query address, as texts.
    #[must_use]
    pub fn hosts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Public => (
                "https://login.microsoftonline.com",
                "https://monitor.azure.com",
                "https://api.loganalytics.azure.com",
            ),
            Self::UsGovernment => (
                "https://login.microsoftonline.us",
                "https://monitor.azure.us",
                "https://api.loganalytics.us",
            ),
            Self::China => (
                "https://login.chinacloudapi.cn",
                "https://monitor.azure.cn",
                "https://api.loganalytics.azure.cn",
            ),
        }
    }
}
