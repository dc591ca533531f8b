//! Who asks for tokens.

use std::path::PathBuf;

use cmsync_http::Secret;

use crate::certificate::CertificateFile;
use crate::managed_identity::ManagedIdentity;

/// Who asks for tokens.
#[derive(Debug, Clone)]
pub enum Identity {
    /// An application in Microsoft Entra ID.
    Application {
        /// Directory (tenant) id.
        tenant: String,
        /// Application (client) id.
        client: String,
        /// How it shows that it is the one.
        proof: Proof,
    },
    /// The identity of the machine, which Azure keeps.
    Managed(ManagedIdentity),
    /// Whoever signed in with the Azure CLI: for set-up by a person.
    AzureCli {
        /// Directory (tenant) id; the login's own without it.
        tenant: Option<String>,
    },
    /// A token that somebody else renews.
    FixedToken(Secret),
}

/// How an application shows that it is the one.
#[derive(Debug, Clone)]
pub enum Proof {
    /// A client secret.
    Secret(Secret),
    /// A certificate and its key.
    Certificate(CertificateFile),
    /// A file with a token of another issuer that the application trusts (workload identity), which
    /// is written anew before it ends.
    Federated(PathBuf),
}
