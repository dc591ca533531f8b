//! Who signs in to Azure, from what the file and the environment say.

use std::path::PathBuf;

use cmsync_azure::{CertificateFile, Endpoints, Identity, ManagedIdentity, Proof};
use cmsync_http::{Secret, Settings};
use secrecy::SecretString;

use super::EntraTokens;
use super::check::endpoints;
use super::checker::Checker;
use super::raw::Workspace;
use crate::expiry;

/// The ways to sign in, as the file names them.
const WAYS: &str = "exactly one must be given of `client_secret_file`, `certificate_file`, \
     `managed_identity` and `workload_identity`";

/// The identity of a workspace's connection.
pub(super) fn identity(
    checker: &mut Checker,
    path: &str,
    written: &Workspace,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<Identity> {
    let ways = [
        written.client_secret_file.is_some(),
        written.client_secret.is_some(),
        written.certificate_file.is_some(),
        written.managed_identity,
        written.workload_identity,
        written.token_file.is_some(),
    ];
    if ways.iter().filter(|way| **way).count() != 1 {
        let key = path.to_uppercase().replace('.', "__");
        // Kafka's identity has none of these.
        let more = path.starts_with("connections.");
        let more =
            more.then(|| format!("; or `token_file`; or the variable CMSYNC_{key}__CLIENT_SECRET"));
        checker.wrong(path, format!("{WAYS}{}", more.unwrap_or_default()));
        return None;
    }
    if let Some(file) = &written.token_file {
        return Some(Identity::FixedToken(checker.secret(&format!("{path}.token_file"), file)));
    }
    if written.managed_identity {
        let client = Some(written.client_id.clone()).filter(|id| !id.is_empty());
        let found = ManagedIdentity::from_environment(client, variable);
        return found
            .map_err(|error| checker.wrong(&format!("{path}.managed_identity"), error))
            .ok()
            .map(Identity::Managed);
    }
    let from = |text: &str, name: &str| match text {
        "" if written.workload_identity => variable(name).unwrap_or_default(),
        text => text.to_owned(),
    };
    let tenant = from(&written.tenant_id, "AZURE_TENANT_ID");
    let client = from(&written.client_id, "AZURE_CLIENT_ID");
    for (key, value, what) in [
        ("tenant_id", &tenant, "directory (tenant)"),
        ("client_id", &client, "application (client)"),
    ] {
        let message = format!("is missing: the {what} id");
        checker.require(!value.is_empty(), &format!("{path}.{key}"), &message);
    }
    let proof = proof(checker, path, written, variable("AZURE_FEDERATED_TOKEN_FILE"))?;
    Some(Identity::Application { tenant, client, proof })
}

/// Tokens of such an identity for an audience.
pub(super) fn tokens(
    checker: &mut Checker,
    path: &str,
    written: &Workspace,
    audience: String,
) -> Option<EntraTokens> {
    let identity = identity(checker, path, written, |name| std::env::var(name).ok())?;
    let (endpoints, http) = reached(checker, path, written)?;
    Some(EntraTokens { audience, identity, endpoints, http })
}

/// Where a cloud is, and how it is reached.
pub(super) fn reached(
    checker: &mut Checker,
    path: &str,
    written: &Workspace,
) -> Option<(Endpoints, Settings)> {
    let endpoints = endpoints(checker, path, written);
    let timeouts = (written.connect_timeout, written.read_timeout);
    let (ca, proxy) = (written.ca_file.as_ref(), written.proxy.as_ref());
    let http = checker.http(path, ca, proxy, timeouts);
    Some((endpoints?, http))
}

/// The day on which a secret ends, as its last second.
pub(super) fn secret_expires(
    checker: &mut Checker,
    path: &str,
    written: &Workspace,
) -> Option<i64> {
    let text = written.client_secret_expires.as_deref()?;
    match expiry::day_of(text) {
        Ok(day) => expiry::end_of(day),
        Err(message) => {
            checker.wrong(&format!("{path}.client_secret_expires"), message);
            None
        }
    }
}

fn proof(
    checker: &mut Checker,
    path: &str,
    written: &Workspace,
    federated: Option<String>,
) -> Option<Proof> {
    if let Some(file) = &written.client_secret_file {
        let secret = checker.secret(&format!("{path}.client_secret_file"), file);
        return Some(Proof::Secret(secret));
    }
    if let Some(file) = &written.certificate_file {
        let key = written.certificate_key_file.clone();
        let file = CertificateFile { path: file.clone(), key };
        checker.readable(&format!("{path}.certificate_file"), || file.read().map(drop));
        checker.private.push(file.key_path().to_owned());
        return Some(Proof::Certificate(file));
    }
    if written.workload_identity {
        let Some(file) = federated else {
            let message = "needs AZURE_FEDERATED_TOKEN_FILE in the environment, which Azure's \
                           workload identity webhook sets";
            checker.wrong(&format!("{path}.workload_identity"), message);
            return None;
        };
        return Some(Proof::Federated(PathBuf::from(file)));
    }
    let given = SecretString::from(written.client_secret.clone().unwrap_or_default());
    Some(Proof::Secret(Secret::Given(given)))
}
