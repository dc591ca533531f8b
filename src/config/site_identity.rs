//! Who signs in to a site.

use super::SiteIdentity;
use super::checker::Checker;
use super::raw::{Kerberos, Site};

const WAYS: &str = "must hold exactly one of { bearer_token_file = \"…\" } and \
     { kerberos = { principal = \"svc-cmsync@CONTOSO.COM\", keytab = \"…\" } }";
const NO_NTLM: &str = "is not spoken: sites since version 2509 reject NTLM; use `kerberos`";

/// The identity of a site's connection.
pub(super) fn check(checker: &mut Checker, path: &str, written: &Site) -> Option<SiteIdentity> {
    let at = format!("{path}.authentication");
    let authentication = written.authentication.clone().unwrap_or_default();
    if authentication.ntlm {
        checker.wrong(&format!("{at}.ntlm"), NO_NTLM);
        return None;
    }
    match (authentication.bearer_token_file, authentication.kerberos) {
        (Some(file), None) => {
            let secret = checker.secret(&format!("{at}.bearer_token_file"), &file);
            Some(SiteIdentity::Bearer(secret))
        }
        (None, Some(kerberos)) => self::kerberos(checker, &format!("{at}.kerberos"), kerberos),
        _ => {
            checker.wrong(&at, WAYS);
            None
        }
    }
}

fn kerberos(checker: &mut Checker, path: &str, written: Kerberos) -> Option<SiteIdentity> {
    if !cfg!(feature = "kerberos") {
        checker.wrong(path, "is not in this build: build with the feature `kerberos`");
    }
    let has_realm = written
        .principal
        .split_once('@')
        .is_some_and(|(name, realm)| !name.is_empty() && !realm.is_empty() && !realm.contains('@'));
    let message =
        "must be name and realm, for example svc-cmsync@CONTOSO.COM (the realm is in capitals)";
    checker.require(has_realm, &format!("{path}.principal"), message);
    match (&written.keytab, &written.ticket_cache) {
        (Some(file), None) => {
            if let Err(error) = std::fs::File::open(file) {
                checker.wrong(&format!("{path}.keytab"), format!("`{}`: {error}", file.display()));
            }
        }
        (None, Some(_)) => {}
        _ => checker.wrong(path, "must hold exactly one of `keytab` and `ticket_cache`"),
    }
    Some(SiteIdentity::Kerberos(written))
}
