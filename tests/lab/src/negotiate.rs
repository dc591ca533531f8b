//! The site's side of Kerberos: real tickets, judged by MIT Kerberos' GSSAPI.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use libgssapi::context::{SecurityContext as _, ServerCtx};
use libgssapi::credential::{Cred, CredUsage};
use libgssapi::error::Error;
use libgssapi::oid::{GSS_MECH_KRB5, GSS_MECH_SPNEGO, OidSet};

/// How the bytes of an NTLM message begin.
const NTLM: &[u8] = b"NTLMSSP";

/// Lets `principal` in: the value of `WWW-Authenticate`, or why not.
pub(crate) fn accept(header: &str, principal: &str) -> Result<String, String> {
    let token = header.strip_prefix("Negotiate ").ok_or("no ticket")?;
    let token = BASE64_STANDARD.decode(token).map_err(|e| e.to_string())?;
    if token.starts_with(NTLM) {
        return Err("Rejecting NTLM authentication.".into());
    }
    Ok(format!("Negotiate {}", BASE64_STANDARD.encode(enter(&token, principal)?)))
}

/// Lets `principal` in with a ticket: what it is answered, or why not.
pub(crate) fn enter(ticket: &[u8], principal: &str) -> Result<Vec<u8>, String> {
    let (source, answer) = judge(ticket).map_err(|e| e.to_string())?;
    if source != principal {
        return Err(format!("{source} is no administrative user"));
    }
    Ok(answer)
}

fn judge(token: &[u8]) -> Result<(String, Vec<u8>), Error> {
    let mut mechanisms = OidSet::new();
    mechanisms.add(GSS_MECH_KRB5)?;
    mechanisms.add(GSS_MECH_SPNEGO)?;
    // Any key of the keytab: `HTTP/…` for the one service, `MSSQLSvc/…` for the other.
    let own = Cred::acquire(None, None, CredUsage::Accept, Some(&mechanisms))?;
    let mut context = ServerCtx::new(Some(own));
    let answer = context.step(token, None)?.map(|a| a.to_vec()).unwrap_or_default();
    Ok((context.source_name()?.to_string(), answer))
}
