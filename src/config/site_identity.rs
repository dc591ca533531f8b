//! Who signs in to a site.

use cmsync_configmgr::{TICKETS, Tickets};

use super::SiteIdentity;
use super::checker::Checker;
use super::identity::tokens;
use super::raw::{Authentication, Connection, Kerberos};

const WAYS: &str = "must hold exactly one of { bearer_token_file = \"…\" }, \
     { kerberos = { principal = \"svc-cmsync@CONTOSO.COM\", keytab = \"…\" } }, \
     { integrated = true } (on Windows) and { entra = { audience = \"api://…\" } }";
const NO_NTLM: &str =
    "is not spoken: sites since version 2509 reject NTLM; use `kerberos`, on Windows `integrated`";
const NO_KERBEROS: &str = "is not in this build: build with the feature `kerberos`";

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
    let Authentication { bearer_token_file, kerberos, entra, integrated, ntlm: _ } = authentication;
    match (bearer_token_file, kerberos, entra, integrated) {
        (Some(file), None, None, false) => {
            let secret = checker.secret(&format!("{at}.bearer_token_file"), &file);
            Some(SiteIdentity::Bearer(secret))
        }
        (None, Some(account), None, false) => {
            principal(checker, &format!("{at}.kerberos"), &account);
            Some(SiteIdentity::Kerberos(account))
        }
        (None, None, None, true) => {
            this_account(checker, &format!("{at}.integrated"));
            Some(SiteIdentity::Integrated)
        }
        (None, None, Some(entra), false) => {
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

/// An account that signs in with its keytab or ticket cache.
pub(super) fn principal(checker: &mut Checker, path: &str, written: &Kerberos) {
    match TICKETS {
        Tickets::OfPrincipals => account(checker, path, written),
        Tickets::OfThisAccount => checker.wrong(
            path,
            "is for other systems than Windows, where the account that runs the service signs in: \
             write { integrated = true }",
        ),
        Tickets::Nobodys => checker.wrong(path, NO_KERBEROS),
    }
}

/// The account that runs this process.
pub(super) fn this_account(checker: &mut Checker, path: &str) {
    match TICKETS {
        Tickets::OfThisAccount => {}
        Tickets::OfPrincipals => checker.wrong(
            path,
            "is for Windows, where the account that runs the service signs in: write { kerberos = { \
             principal = \"svc-cmsync@CONTOSO.COM\", keytab = \"…\" } }",
        ),
        Tickets::Nobodys => checker.wrong(path, NO_KERBEROS),
    }
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
