//! What goes into the `Authorization` header.

use async_trait::async_trait;
use cmsync_http::{Secret, header::HeaderValue};
use secrecy::ExposeSecret;

use crate::Error;

/// Gives each request its `Authorization` header.
#[async_trait]
pub trait Authenticate: Send + Sync {
    /// The header for a request to `host`.
    ///
    /// # Errors
    /// When there is no valid credential.
    async fn authorization(&self, host: &str) -> Result<HeaderValue, Error>;

    /// Whether it negotiates (Kerberos) rather than shows a token.
    fn is_negotiated(&self) -> bool {
        false
    }

    /// What the site's refusal means for this kind of credential.
    fn refusal(&self) -> &'static str;
}

/// A bearer token, for `AdminService_TokenAuth` and the cloud management gateway.
pub struct Bearer {
    token: Secret,
}

impl Bearer {
    /// The token, from a file that whoever renews it writes anew.
    #[must_use]
    pub fn new(token: Secret) -> Self {
        Self { token }
    }
}

#[async_trait]
impl Authenticate for Bearer {
    async fn authorization(&self, _host: &str) -> Result<HeaderValue, Error> {
        let token = self.token.read()?;
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
            .map_err(|_| cmsync_http::Error::Settings {
                key: "bearer_token_file",
                detail: "the token holds characters that no header can".into(),
            })?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn refusal(&self) -> &'static str {
        ": renew the token in `bearer_token_file`; it is read at every request"
    }
}
