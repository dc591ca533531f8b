//! MIT Kerberos' GSSAPI: it finds keytab and ticket cache in `KRB5_CLIENT_KTNAME` and `KRB5CCNAME`, asks for
//! tickets itself, and renews them when they end.

use async_trait::async_trait;
use cmsync_http::header::HeaderValue;
use libgssapi::context::{ClientCtx, CtxFlags};
use libgssapi::credential::{Cred, CredUsage};
use libgssapi::name::Name;
use libgssapi::oid::{
    GSS_MECH_KRB5, GSS_MECH_SPNEGO, GSS_NT_HOSTBASED_SERVICE, GSS_NT_KRB5_PRINCIPAL, OidSet,
};

use super::{NEEDS_NAME, REFUSAL, Tickets, header, is_address};
use crate::authentication::Authenticate;
use crate::{Error, Nature};

/// Whose tickets this build can show.
pub const TICKETS: Tickets = Tickets::OfPrincipals;

struct Principal(String);

/// Signs in as `principal`, for example `svc-cmsync@CONTOSO.COM`.
///
/// # Errors
/// Without one.
pub fn kerberos(principal: Option<&str>) -> Result<Box<dyn Authenticate>, &'static str> {
    match principal {
        Some(principal) => Ok(Box::new(Principal(principal.to_owned()))),
        None => Err("the account that runs cmsync signs in on Windows alone"),
    }
}

#[async_trait]
impl Authenticate for Principal {
    async fn authorization(&self, host: &str) -> Result<HeaderValue, Error> {
        let (principal, name) = (self.0.clone(), host.to_owned());
        header(host, &self.0, move || token(&principal, &name)).await
    }

    fn is_negotiated(&self) -> bool {
        true
    }

    fn refusal(&self) -> &'static str {
        REFUSAL
    }
}

/// How long the ticket of `principal` lasts still. Waits, as the library may ask the realm's servers.
///
/// # Errors
/// When there is no ticket, with what to do.
pub fn ticket_lasts(principal: &str) -> Result<std::time::Duration, String> {
    let told = |error: libgssapi::error::Error| remedy(&error.to_string(), "HTTP/<server>");
    credential(principal).and_then(|credential| credential.lifetime()).map_err(told)
}

fn credential(principal: &str) -> Result<Cred, libgssapi::error::Error> {
    let name = Name::new(principal.as_bytes(), Some(GSS_NT_KRB5_PRINCIPAL))?;
    let mut mechanisms = OidSet::new();
    mechanisms.add(GSS_MECH_KRB5)?;
    mechanisms.add(GSS_MECH_SPNEGO)?;
    Cred::acquire(Some(&name), None, CredUsage::Initiate, Some(&mechanisms))
}

/// A token for one request to `host`.
fn token(principal: &str, host: &str) -> Result<Vec<u8>, String> {
    if is_address(host) {
        return Err(NEEDS_NAME.into());
    }
    let told = |error: libgssapi::error::Error| remedy(&error.to_string(), "HTTP/<server>");
    let credential = credential(principal).map_err(told)?;
    let service = format!("HTTP@{host}");
    let service = Name::new(service.as_bytes(), Some(GSS_NT_HOSTBASED_SERVICE)).map_err(told)?;
    let flags = CtxFlags::GSS_C_MUTUAL_FLAG;
    let mut context = ClientCtx::new(Some(credential), service, flags, Some(GSS_MECH_SPNEGO));
    match context.step(None, None).map_err(told)? {
        Some(token) => Ok(token.to_vec()),
        None => Err("the library gave no token".into()),
    }
}

/// The library's words with what to do, where a server signs in clients under this name.
fn remedy(text: &str, service: &str) -> String {
    let unknown =
        format!("check the principal and its realm, and that {service} is registered (setspn)");
    let known = [
        (
            "find client principal",
            "neither keytab (`klist -k`) nor ticket cache (`klist`) holds this principal: check its spelling and realm; kinit gets a ticket",
        ),
        ("not found in Kerberos database", &*unknown),
        (
            "Cannot contact any KDC",
            "the realm's domain controllers cannot be reached: check the network and /etc/krb5.conf",
        ),
        (
            "Cannot find KDC",
            "the realm is unknown here: check the principal's realm and /etc/krb5.conf",
        ),
        (
            "No key table entry",
            "the keytab holds no key of this principal: `klist -k` lists what it holds",
        ),
        ("keytab", "check `keytab`: `klist -k` lists what it holds"),
        (
            "Preauthentication failed",
            "the keytab's key is old: the account's password was changed since; make it anew",
        ),
        ("Clock skew", "set this machine's clock right"),
        ("expired", "the ticket has ended: sign in anew with kinit, or use a keytab"),
        (
            "redentials",
            "neither keytab (`klist -k`) nor ticket cache (`klist`) can be used: kinit gets a ticket",
        ),
    ];
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match known.iter().find(|(part, _)| text.contains(part)) {
        Some((_, remedy)) => format!("{text}; {remedy}"),
        None => text,
    }
}

/// Whether the library says that the realm's servers are away.
pub(super) fn is_away(message: &str) -> bool {
    message.contains("contact any KDC")
}

/// What a failure towards a site's database is, where the library says it.
pub(crate) fn of_sql(error: &tiberius::error::Error) -> Option<(String, Nature)> {
    let tiberius::error::Error::Gssapi(message) = error else { return None };
    let text = remedy(message, "MSSQLSvc/<server>:<port>");
    let nature = if is_away(message) { Nature::Transient } else { Nature::Credentials };
    Some((text, nature))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_refused_with_the_reason() {
        for host in ["10.0.0.1", "[::1]"] {
            assert!(token("a@B", host).unwrap_err().contains("full name"), "{host}");
        }
    }
}
