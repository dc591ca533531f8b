//! Windows' own Kerberos (SSPI): tickets of the account that runs the process, which the system keeps and
//! renews. A group-managed service account has no password that anybody knows.
//!
//! Tried against Wine alone, which has no tickets: that none can be had is told there.

use async_trait::async_trait;
use cmsync_http::header::HeaderValue;
use cross_krb5::{ClientCtx, InitiateFlags};

use super::{NEEDS_NAME, REFUSAL, Tickets, header, is_address};
use crate::Error;
use crate::authentication::Authenticate;

/// Whose tickets this build can show.
pub const TICKETS: Tickets = Tickets::OfThisAccount;

/// What a token begins with that is of NTLM, bare or in SPNEGO's wrapping.
const NTLM: &[u8] = b"NTLMSSP\0";
const NO_CREDENTIALS: u32 = 0x8009_030E;
const NO_SERVER: u32 = 0x8009_0311;

struct ThisAccount;

/// Signs in as the account that runs this process.
///
/// # Errors
/// When another is asked for.
pub fn kerberos(principal: Option<&str>) -> Result<Box<dyn Authenticate>, &'static str> {
    match principal {
        None => Ok(Box::new(ThisAccount)),
        Some(_) => Err("on Windows the account that runs cmsync signs in, and no other"),
    }
}

/// # Errors
/// Always: the system keeps tickets, and renews them.
pub fn ticket_lasts(_: &str) -> Result<std::time::Duration, String> {
    Err("Windows keeps this account's tickets and renews them".into())
}

#[async_trait]
impl Authenticate for ThisAccount {
    async fn authorization(&self, host: &str) -> Result<HeaderValue, Error> {
        let name = host.to_owned();
        header(host, "the account that runs cmsync", move || token(&name)).await
    }

    fn is_negotiated(&self) -> bool {
        true
    }

    fn refusal(&self) -> &'static str {
        REFUSAL
    }
}

/// A token for one request to `host`.
fn token(host: &str) -> Result<Vec<u8>, String> {
    if is_address(host) {
        return Err(NEEDS_NAME.into());
    }
    let service = format!("HTTP/{host}");
    let begun = begin(InitiateFlags::NEGOTIATE_TOKEN, &service)?;
    let is_ntlm = begun.windows(NTLM.len()).any(|part| part == NTLM);
    if !is_ntlm {
        return Ok(begun);
    }
    // Towards its own machine Windows negotiates NTLM by design, which sites since version 2509 reject.
    begin(InitiateFlags::empty(), &service)
}

fn begin(flags: InitiateFlags, service: &str) -> Result<Vec<u8>, String> {
    let begun = ClientCtx::new(flags, None, service, None);
    let (_, token) = begun.map_err(|error| remedy(&format!("{error:#}"), service))?;
    Ok(token.to_vec())
}

/// What the system says of a code, in its own language.
fn words(code: u32) -> String {
    let text = std::io::Error::from_raw_os_error(code.cast_signed()).to_string();
    text.split(" (os error").next().unwrap_or_default().trim().to_owned()
}

/// Whether a text is about a code: some errors come with it, others in the system's words alone.
fn is_it(text: &str, code: u32) -> bool {
    let words = words(code);
    text.to_uppercase().contains(&format!("{code:X}"))
        || (!words.is_empty() && text.contains(&words))
}

/// Whether the system says that the domain's controllers are away.
pub(super) fn is_away(message: &str) -> bool {
    is_it(message, NO_SERVER)
}

/// The system's words with what to do.
fn remedy(text: &str, service: &str) -> String {
    let unknown = format!(
        "check that {service} is registered (setspn -Q), and that a domain controller can be reached"
    );
    let known = [
        (
            NO_CREDENTIALS,
            "the account has no tickets: run cmsync as a domain account, best a group-managed one \
             (cmsync service install --account CONTOSO\\svc-cmsync$)",
        ),
        (0x8009_0303, &*unknown),
        (0x8009_0322, &*unknown),
        (NO_SERVER, "no domain controller can be reached: check the network and DNS"),
        (0x8009_0324, "set this machine's clock right"),
        (0x8009_0304, "the system's security service does not answer: restart the machine"),
    ];
    match known.iter().find(|(code, _)| is_it(text, *code)) {
        Some((_, remedy)) => format!("{text}; {remedy}"),
        None => text.to_owned(),
    }
}

pub(crate) fn of_sql(_: &tiberius::error::Error) -> Option<(String, crate::Nature)> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_refused_with_the_reason() {
        for host in ["10.0.0.1", "[::1]"] {
            assert!(token(host).unwrap_err().contains("full name"), "{host}");
        }
    }

    #[test]
    fn what_the_system_says_comes_with_what_to_do() {
        let code = remedy("failed: 0x8009030e", "HTTP/cm01");
        let text = remedy(&format!("step failed {}", words(NO_CREDENTIALS)), "HTTP/cm01");
        for told in [code, text] {
            assert!(told.contains("run cmsync as a domain account"), "{told}");
        }
        assert_eq!(remedy("something else", "HTTP/cm01"), "something else");
    }
}
