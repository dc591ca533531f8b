//! Azure as cmsync uses it: clouds, credentials, Resource Manager, Graph, Logs Ingestion,
//! Logs Query.
//!
//! Reads and tokens are repeated by `cmsync-http`; writes and POSTs are tried once and judged ([`Verdict`],
//! [`AzureError`]). What goes into a body, when it leaves and what a refusal leads to is the uploader's; what
//! set-up makes is control's.

mod api;
mod azure_cli;
mod certificate;
mod cloud;
mod credential;
mod entra;
mod graph;
mod identity;
mod ingestion;
mod managed_identity;
mod metrics;
mod query;
mod resource_manager;

pub use api::{AzureError, Refusal};
pub use certificate::{Certificate, CertificateFile};
pub use cloud::{Cloud, Endpoints, Hosts};
pub use credential::{Credential, Principal, TokenError};
pub use graph::{Application, Graph, NewPassword, Organization, Password, ServicePrincipal};
pub use identity::{Identity, Proof};
pub use ingestion::{Ingestion, Rule, Verdict};
pub use managed_identity::ManagedIdentity;
pub use metrics::METRICS;
pub use query::{Query, QueryError};
pub use resource_manager::{
    Capping, CollectionEndpoint, CollectionRule, Column, DiagnosticSetting, EndpointWanted,
    Location, ResourceGroup, ResourceManager, Role, RoleAssignment, RuleWanted, SavedSearch,
    Stream, Subscription, Table, Tag, Tags, Workspace, WorkspaceId, WorkspaceItem,
};
