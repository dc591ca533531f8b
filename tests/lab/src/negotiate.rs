//! The site's side of Kerberos: real tickets, judged by MIT Kerberos' GSSAPI.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use libgssapi::context::{SecurityContext as _, ServerCtx};
use libgssapi::credential::{Cred, CredUsage};
use libgssapi::error::Error;
use libgssapi::name::Name;
use libgssapi::oid::{GSS_MECH_KRB5, GSS_MECH_SPNEGO, GSS_NT_HOSTBASED_SERVICE, OidSet};

/// How the bytes of an NTLM message begin.
const NTLM: &[u8] = b"NTLMSSP";

/// Lets `principal` in: the value of `WWW-Authenticate`, or why not.
pub(crate) fn accept(header: &str, principal: &str) -> Result<String, String> {
    let token = header.strip_prefix("Negotiate ").ok_or("no ticket")?;
    let token = BASE64_STANDARD.decode(token).map_err(|e| e.to_string())?;
    if token.starts_with(NTLM) {
        return Err("Rejecting NTLM authentication.".into());
    }
    let (source, answer) = judge(&token).map_err(|e| e.to_string())?;
    if source != principal {
        return Err(format!("{source} is no administrative user"));
    }
    Ok(format!("Negotiate {}", BASE64_STANDARD.encode(answer)))
}

fn judge(token: &[u8]) -> Result<(String, Vec<u8>), Error> {
    let service = Name::new(b"HTTP@localhost", Some(GSS_NT_HOSTBASED_SERVICE))?;
    let mut mechanisms = OidSet::new();
    mechanisms.add(GSS_MECH_KRB5)?;
    mechanisms.add(GSS_MECH_SPNEGO)?;
    let own = Cred::acquire(Some(&service), None, CredUsage::Accept, Some(&mechanisms))?;
    let mut context = ServerCtx::new(Some(own));
    let answer = context.step(token, None)?.map(|a| a.to_vec()).unwrap_or_default();
    Ok((context.source_name()?.to_string(), answer))
}
