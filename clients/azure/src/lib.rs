//! Azure as cmsync uses it: clouds, credentials, Resource Manager, Logs Ingestion, Logs Query.

mod azure_cli;
mod certificate;
mod cloud;
mod credential;
mod entra;
mod identity;
mod ingestion;
mod managed_identity;
mod query;
mod resource_manager;

pub use certificate::{Certificate, CertificateFile};
pub use cloud::{Cloud, Endpoints, Hosts};
pub use credential::{Credential, Principal, TokenError};
pub use identity::{Identity, Proof};
pub use ingestion::{Ingestion, Rule, Verdict};
pub use managed_identity::ManagedIdentity;
pub use query::Query;
pub use resource_manager::{
    ArmError, Refusal, ResourceManager, SavedSearch, Tag, Workspace, WorkspaceId,
};
