//! What goes wrong when somebody signs in at a provider.

/// Why nobody signed in. No text holds a code, a token or a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The provider does not answer as one.
    #[error("the identity provider {issuer} cannot be used: {detail}")]
    Provider {
        /// Which.
        issuer: String,
        /// Why.
        detail: String,
    },
    /// The provider sent the browser back without a sign-in: somebody gave up, or may not.
    #[error("the identity provider says: {0}")]
    Declined(String),
    /// The provider does not take the code.
    #[error("the identity provider refuses: {0}")]
    Refused(String),
    /// What the provider says of who signed in is not to be believed.
    #[error("the identity provider's token is not accepted: {0}")]
    Token(String),
    /// The answer belongs to no sign-in that was begun here, or to an old one.
    #[error("the answer of the identity provider belongs to another sign-in: begin again")]
    Foreign,
    /// This side is not set up.
    #[error(transparent)]
    Settings(#[from] cmsync_http::Error),
}
