//! Kerberos towards a site: SPNEGO, by whatever the system has for it.
//!
//! Sites since version 2509 reject NTLM ("AdminService now rejects NTLM authentication", What's new in
//! 2509), so there is none here. Each request carries a token of its own, which is right whether the
//! server keeps the sign-in for the connection or asks anew.

#[cfg(all(feature = "kerberos", unix))]
#[path = "mit.rs"]
mod system;
#[cfg(not(feature = "kerberos"))]
#[path = "none.rs"]
mod system;
#[cfg(all(feature = "kerberos", windows))]
#[path = "sspi.rs"]
mod system;

pub(crate) use system::of_sql;
pub use system::{TICKETS, kerberos, ticket_lasts};

/// Whose tickets a build can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tickets {
    /// Those of principals with a keytab or a ticket cache (MIT Kerberos).
    OfPrincipals,
    /// Those of the account that runs the process (Windows).
    OfThisAccount,
    /// Nobody's: it was built without Kerberos.
    Nobodys,
}

/// Why a name cannot be signed in to.
#[cfg(feature = "kerberos")]
fn is_address(host: &str) -> bool {
    host.parse::<std::net::IpAddr>().is_ok() || host.starts_with('[')
}

/// What is said of a server that is named by its address.
#[cfg(feature = "kerberos")]
const NEEDS_NAME: &str = "Kerberos needs the server's full name instead of its address";

/// What the site's refusal of a ticket means.
#[cfg(feature = "kerberos")]
const REFUSAL: &str = ": the site does not take the ticket: the account must be an administrative user, and the \
     server's name must be the one that HTTP/<server> is registered for";

/// The header with a token of so many bytes.
#[cfg(feature = "kerberos")]
fn negotiate(token: &[u8]) -> Result<cmsync_http::header::HeaderValue, String> {
    use base64::Engine as _;
    let text = format!("Negotiate {}", base64::prelude::BASE64_STANDARD.encode(token));
    let mut value = cmsync_http::header::HeaderValue::from_str(&text).map_err(|e| e.to_string())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Asks the library, which may wait for the realm's servers.
#[cfg(feature = "kerberos")]
async fn header(
    host: &str,
    who: &str,
    token: impl FnOnce() -> Result<Vec<u8>, String> + Send + 'static,
) -> Result<cmsync_http::header::HeaderValue, crate::Error> {
    let asked = tokio::task::spawn_blocking(token).await;
    let token = asked.map_err(|error| error.to_string()).and_then(|token| token);
    token.and_then(|token| negotiate(&token)).map_err(|detail| {
        let (host, detail) = (host.to_owned(), format!("{who}: {detail}"));
        let nature = match system::is_away(&detail) {
            true => crate::Nature::Transient,
            false => crate::Nature::Credentials,
        };
        crate::Error::NoCredential { host, detail, nature }
    })
}
