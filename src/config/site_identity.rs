//! Who signs in to a site.

use super::SiteIdentity;
use super::checker::Checker;
use super::identity::tokens;
use super::raw::{Connection, Kerberos};

const WAYS: &str = "must hold exactly one of { bearer_token_file = \"…\" }, \
     { kerberos = { principal = \"svc-cmsync@CONTOSO.COM\", keytab = \"…\" } } and \
     { entra = { audience = \"api://…\" } }";
const NO_NTLM: &str = "is not spoken: sites since version 2509 reject NTLM; use `kerberos`";

/// The identity of a site's connection.
pub(super) fn check(
    checker: &mut Checker,
    connection: &str,
    written: &Connection,
) -> Option<SiteIdentity> {
    let at = format!("{connection}.site.authentication");
    let authentication = written.site.authentication.clone().unwrap_or_default();
    if authentication.ntlm {
        checker.wrong(&format!("{at}.ntlm"), NO_NTLM);
        return None;
    }
    match (authentication.bearer_token_file, authentication.kerberos, authentication.entra) {
        (Some(file), None, None) => {
            let secret = checker.secret(&format!("{at}.bearer_token_file"), &file);
            Some(SiteIdentity::Bearer(secret))
        }
        (None, Some(account), None) => kerberos(checker, &format!("{at}.kerberos"), account),
        (None, None, Some(entra)) => {
            let message = "is missing: what the site's server application is called, api://…";
            checker.require(!entra.audience.is_empty(), &format!("{at}.entra.audience"), message);
            // What is wrong with the identity is told where it stands.
            let (path, mut aside) = (format!("{connection}.workspace"), Checker::default());
            let tokens = tokens(&mut aside, &path, &written.workspace, entra.audience)?;
            Some(SiteIdentity::Entra(Box::new(tokens)))
        }
        _ => {
            checker.wrong(&at, WAYS);
            None
        }
    }
}

pub(super) fn kerberos(
    checker: &mut Checker,
    path: &str,
    written: Kerberos,
) -> Option<SiteIdentity> {
    if !cfg!(feature = "kerberos") {
        checker.wrong(path, "is not in this build: build with the feature `kerberos`");
    }
    account(checker, path, &written);
    Some(SiteIdentity::Kerberos(written))
}

/// An account's name and where its keys are.
pub(super) fn account(checker: &mut Checker, path: &str, written: &Kerberos) {
    let has_realm = written
        .principal
        .split_once('@')
        .is_some_and(|(name, realm)| !name.is_empty() && !realm.is_empty() && !realm.contains('@'));
    let message =
        "must be name and realm, for example svc-cmsync@CONTOSO.COM (the realm is in capitals)";
    checker.require(has_realm, &format!("{path}.principal"), message);
    match (&written.keytab, &written.ticket_cache) {
        (Some(file), None) => {
            let open = || std::fs::File::open(file).map(drop);
            let told = |e| format!("`{}`: {e}", file.display());
            checker.readable(&format!("{path}.keytab"), || open().map_err(told));
        }
        (None, Some(_)) => {}
        _ => checker.wrong(path, "must hold exactly one of `keytab` and `ticket_cache`"),
    }
}
