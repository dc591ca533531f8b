//! Azure as cmsync uses it: clouds, credentials, Logs Ingestion, Logs Query.

mod cloud;
mod credential;
mod ingestion;
mod query;

pub use cloud::{Cloud, Endpoints};
pub use credential::{Credential, Identity, TokenError};
pub use ingestion::{Ingestion, Rule, Verdict};
pub use query::Query;
