//! Every identity towards Azure against the lab's Entra, which judges audience, scope, signature and
//! time as the real one does.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cmsync_azure::{CertificateFile, Credential, Identity, ManagedIdentity, Proof, TokenError};
use cmsync_http::{Client, Secret, Settings};
use cmsync_lab::server::ARC_KEY;
use cmsync_lab::{Lab, Options};
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use secrecy::SecretString;

const AUDIENCE: &str = "https://monitor.azure.com";

struct Made {
    certificate: String,
    key: String,
}

fn rsa_certificate(days: (i64, i64)) -> Made {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let mut params = CertificateParams::new(vec!["cmsync".into()]).unwrap();
    let now = std::time::SystemTime::now();
    let day = |n: i64| {
        let span = std::time::Duration::from_secs(n.unsigned_abs() * 86_400);
        if n < 0 { now - span } else { now + span }
    };
    (params.not_before, params.not_after) = (day(days.0).into(), day(days.1).into());
    let certificate = params.self_signed(&key).unwrap().pem();
    Made { certificate, key: key.serialize_pem() }
}

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn credential(lab: &Lab, directory: &Path, identity: Identity) -> Credential {
    let ca_file = Some(write(directory, "ca.pem", &lab.ca_pem));
    let client = Client::new("token", &Settings { ca_file, ..Settings::default() }).unwrap();
    Credential::new(client, lab.url().parse().unwrap(), identity)
}

fn application(options: &Options, proof: Proof) -> Identity {
    let (tenant, client) = (options.tenant.clone(), options.client_id.clone());
    Identity::Application { tenant, client, proof }
}

async fn lab(options: Options) -> (Arc<Lab>, tempfile::TempDir) {
    (Lab::start(options).await.unwrap(), tempfile::tempdir().unwrap())
}

fn refusal(outcome: Result<SecretString, TokenError>) -> String {
    outcome.map(|_| ()).unwrap_err().to_string()
}

#[tokio::test]
async fn a_secret_is_granted_for_a_known_audience_and_refused_in_plain_words() {
    let (lab, directory) = lab(Options::default()).await;
    let at = |secret: &str| {
        let proof = Proof::Secret(Secret::Given(SecretString::from(secret)));
        credential(&lab, directory.path(), application(&lab.options, proof))
    };
    let right = at(&lab.options.client_secret);
    right.token(AUDIENCE).await.unwrap();
    let who = right.principal(AUDIENCE).await.unwrap();
    assert_eq!(
        (who.object_id, who.tenant),
        (lab.options.object_id.clone(), lab.options.tenant.clone())
    );
    let foreign = refusal(right.token("https://vault.azure.net").await);
    assert!(foreign.contains("AADSTS500011") && foreign.contains("`cloud`"), "{foreign}");
    let id_of_the_secret =
        refusal(at("5f8e6a3e-0000-4000-8000-000000000001").token(AUDIENCE).await);
    assert!(id_of_the_secret.contains("value, not its id"), "{id_of_the_secret}");
    lab.faults().secret_expired = true;
    let expired = refusal(at(&lab.options.client_secret).token(AUDIENCE).await);
    assert!(expired.contains("AADSTS7000222") && expired.contains("has expired"), "{expired}");
}

#[tokio::test]
async fn a_certificate_signs_an_assertion_that_entra_accepts() {
    let made = rsa_certificate((-1, 30));
    let certificate = Some(made.certificate.clone());
    let (lab, directory) = lab(Options { certificate, ..Options::default() }).await;
    let one_file = write(directory.path(), "one.pem", &(made.key.clone() + &made.certificate));
    let path = write(directory.path(), "certificate.pem", &made.certificate);
    let key = Some(write(directory.path(), "key.pem", &made.key));
    for file in [CertificateFile { path: one_file, key: None }, CertificateFile { path, key }] {
        let identity = application(&lab.options, Proof::Certificate(file));
        credential(&lab, directory.path(), identity).token(AUDIENCE).await.unwrap();
    }
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_says_why() {
    let known = rsa_certificate((-1, 30));
    let certificate = Some(known.certificate.clone());
    let (lab, directory) = lab(Options { certificate, ..Options::default() }).await;
    let (other, expired) = (rsa_certificate((-1, 30)), rsa_certificate((-9, -1)));
    let curve = KeyPair::generate().unwrap();
    let cases = [
        (other.key.clone() + &other.certificate, "upload the certificate to the application"),
        (expired.key.clone() + &expired.certificate, "has expired"),
        (other.key.clone() + &known.certificate, "does not belong to the certificate"),
        (known.certificate.clone(), "holds no private key"),
        (curve.serialize_pem() + &known.certificate, "Entra takes RSA certificates"),
        (known.key.clone(), "holds no certificate"),
        ("nothing".into(), "holds no certificate"),
    ];
    for (text, expected) in cases {
        let path = write(directory.path(), "case.pem", &text);
        let proof = Proof::Certificate(CertificateFile { path, key: None });
        let identity = application(&lab.options, proof);
        let said = refusal(credential(&lab, directory.path(), identity).token(AUDIENCE).await);
        assert!(said.contains(expected), "{said}");
        assert!(!said.contains("PRIVATE KEY-----"), "{said}");
    }
}

#[tokio::test]
async fn workload_identity_reads_its_token_anew() {
    let federated_token = Some("token-of-the-cluster".to_owned());
    let (lab, directory) = lab(Options { federated_token, ..Options::default() }).await;
    let path = write(directory.path(), "federated", "an-old-token");
    let proof = Proof::Federated(path.clone());
    let credential = credential(&lab, directory.path(), application(&lab.options, proof));
    let said = refusal(credential.token(AUDIENCE).await);
    assert!(said.contains("AADSTS"), "{said}");
    std::fs::write(path, "token-of-the-cluster\n").unwrap();
    credential.token(AUDIENCE).await.unwrap();
}

#[tokio::test]
async fn a_machine_signs_in_with_its_managed_identity() {
    let directory = tempfile::tempdir().unwrap();
    let key_file = write(directory.path(), "agent.key", ARC_KEY);
    let options = Options { arc_key_file: key_file, ..Options::default() };
    let lab = Lab::start(options).await.unwrap();
    let host = lab.url();
    let arc = format!("{host}/arc/token");
    let machine = |client: Option<&str>, variables: &[(&str, &str)]| {
        let find = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        ManagedIdentity::from_environment(client.map(Into::into), find).unwrap()
    };
    let virtual_machine = [("AZURE_POD_IDENTITY_AUTHORITY_HOST", host.as_str())];
    let connected = [("IDENTITY_ENDPOINT", arc.as_str()), ("IMDS_ENDPOINT", host.as_str())];
    let keys = directory.path().to_owned();
    for identity in [machine(None, &virtual_machine), machine(None, &connected).with_arc_keys(keys)]
    {
        let credential = credential(&lab, directory.path(), Identity::Managed(identity));
        credential.token(AUDIENCE).await.unwrap();
    }
    let elsewhere = machine(None, &connected);
    let said = refusal(
        credential(&lab, directory.path(), Identity::Managed(elsewhere)).token(AUDIENCE).await,
    );
    assert!(said.contains("none of its key files"), "{said}");
    let unassigned = machine(Some("no-such-client"), &virtual_machine);
    let said = refusal(
        credential(&lab, directory.path(), Identity::Managed(unassigned)).token(AUDIENCE).await,
    );
    assert!(said.contains("assign a managed identity"), "{said}");
}
