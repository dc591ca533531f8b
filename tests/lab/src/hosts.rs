//! Where services are: all at the lab's own address, or each at its own name in a cloud, reached
//! through the lab as a proxy.

/// A cloud's shape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Shape {
    /// Everything at the lab's own address.
    #[default]
    Alone,
    Public,
    UsGovernment,
    /// Government's services with the public cloud's directory.
    UsGovernmentPublicLogin,
    China,
}

/// A service of Azure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Authority,
    Manager,
    Ingestion,
    Query,
    Graph,
}

pub(crate) const SERVICES: [Service; 5] =
    [Service::Authority, Service::Manager, Service::Ingestion, Service::Query, Service::Graph];

impl Shape {
    /// Host of a service; ingestion's is that of the lab's rules.
    pub(crate) fn host(self, service: Service) -> Option<&'static str> {
        let hosts = match self {
            Self::Alone => return None,
            Self::Public => [
                "login.microsoftonline.com",
                "management.azure.com",
                "lab-a1b2-westeurope.logs.z1.ingest.monitor.azure.com",
                "api.loganalytics.azure.com",
                "graph.microsoft.com",
            ],
            Self::UsGovernmentPublicLogin if service == Service::Authority => {
                return Self::Public.host(service);
            }
            Self::UsGovernment | Self::UsGovernmentPublicLogin => [
                "login.microsoftonline.us",
                "management.usgovcloudapi.net",
                "lab-a1b2-usgovvirginia.logs.z1.ingest.monitor.azure.us",
                "api.loganalytics.us",
                "graph.microsoft.us",
            ],
            Self::China => [
                "login.chinacloudapi.cn",
                "management.chinacloudapi.cn",
                "lab-a1b2-chinanorth3.logs.z1.ingest.monitor.azure.cn",
                "api.loganalytics.azure.cn",
                "microsoftgraph.chinacloudapi.cn",
            ],
        };
        let at = SERVICES.iter().position(|s| *s == service)?;
        hosts.get(at).copied()
    }

    /// The cloud's name in a configuration.
    pub(crate) fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::Alone => return None,
            Self::Public => "public",
            Self::UsGovernment | Self::UsGovernmentPublicLogin => "us-government",
            Self::China => "china",
        })
    }

    /// What a token for ingestion is asked for.
    pub(crate) fn ingestion_audience(self) -> Option<&'static str> {
        Some(match self {
            Self::Alone => return None,
            Self::Public => "https://monitor.azure.com",
            Self::UsGovernment | Self::UsGovernmentPublicLogin => "https://monitor.azure.us",
            Self::China => "https://monitor.azure.cn",
        })
    }

    /// Names that the lab's certificate is good for.
    pub(crate) fn all_hosts() -> impl Iterator<Item = String> {
        [Self::Public, Self::UsGovernment, Self::China]
            .into_iter()
            .flat_map(|shape| SERVICES.into_iter().filter_map(move |s| shape.host(s)))
            .map(Into::into)
    }
}

/// The service that a path belongs to; `None` for the site and the lab's own pages.
pub(crate) fn service_of(path: &str) -> Option<Service> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts[..] {
        [_, "oauth2", "v2.0", "token"] => Some(Service::Authority),
        ["dataCollectionRules", ..] => Some(Service::Ingestion),
        ["v1", "workspaces", ..] => Some(Service::Query),
        ["subscriptions", ..] => Some(Service::Manager),
        ["v1.0", ..] => Some(Service::Graph),
        _ => None,
    }
}
