//! Set-up in every cloud at its own addresses, and with every identity.

use cmsync_lab::Options;
use cmsync_lab::hosts::Shape;
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};

use crate::connect::{BY_CLI, Desk, assert_done};
use crate::rig::{options, small};

/// One run in a cloud whose services have its names, each with an audience of its own.
async fn equal_in(shape: Shape, more: &[&str]) {
    let desk = Desk::with_workspace(Options { shape, ..options(small()) }).await;
    assert_done(&desk.connect(more).await);
    desk.assert_equal();
    let check = desk.run(&["check"]).await;
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_cloud_is_set_up_at_its_own_addresses() {
    equal_in(Shape::Public, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn us_government_is_set_up_at_its_own_addresses() {
    equal_in(Shape::UsGovernment, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn us_government_with_the_public_directory_needs_one_address() {
    let authority = "workspace.endpoints.authority=https://login.microsoftonline.com";
    equal_in(Shape::UsGovernmentPublicLogin, &["--set", authority]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn china_is_set_up_at_its_own_addresses() {
    equal_in(Shape::China, &[]).await;
}

/// A desk whose answers say another way to sign in.
async fn with_identity(options: Options, line: &str) -> Desk {
    let desk = Desk::new(options, BY_CLI).await;
    desk.lab.resources().put_workspace("Enabled");
    let text = std::fs::read_to_string(&desk.answers).unwrap();
    let old = text.lines().find(|l| l.starts_with("client_secret_file")).unwrap();
    std::fs::write(&desk.answers, text.replace(old, line)).unwrap();
    desk
}

async fn equal(desk: &Desk, variables: &[(&str, String)]) {
    let answers = desk.answers.to_str().unwrap();
    let mut command = desk.command(&["connect", "--answers", answers]);
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_done(&output);
    desk.assert_equal();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_set_up() {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let params = CertificateParams::new(vec!["cmsync".into()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    let both = certificate.clone() + &key.serialize_pem();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), both).unwrap();
    let line = format!("certificate_file = \"{}\"", file.path().display());
    let options = Options { certificate: Some(certificate), ..options(small()) };
    equal(&with_identity(options, &line).await, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_identity_is_set_up() {
    let options = Options { federated_token: Some("of-the-cluster".into()), ..options(small()) };
    let desk = with_identity(options, "workload_identity = true").await;
    let token = desk.directory.path().join("federated");
    std::fs::write(&token, "of-the-cluster\n").unwrap();
    equal(&desk, &[("AZURE_FEDERATED_TOKEN_FILE", token.display().to_string())]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_managed_identity_is_set_up() {
    let desk = with_identity(options(small()), "managed_identity = true").await;
    equal(&desk, &[("AZURE_POD_IDENTITY_AUTHORITY_HOST", desk.lab.url())]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_registration_is_made_by_the_login_that_may() {
    let desk = with_identity(options(small()), "").await;
    let text = std::fs::read_to_string(&desk.answers).unwrap();
    let kept = text.lines().filter(|l| !l.starts_with("client_id") && !l.starts_with("tenant_id"));
    std::fs::write(&desk.answers, kept.collect::<Vec<_>>().join("\n")).unwrap();
    assert_done(&desk.connect(&["--create-app", "cmsync for Contoso"]).await);
    desk.assert_equal();
    let made = desk.lab.directory().applications.last().cloned().unwrap();
    assert_eq!(made.name, "cmsync for Contoso");
    assert_eq!(desk.lab.resources().roles_of(&made.principal_id).len(), 3);
    let config = std::fs::read_to_string(&desk.config).unwrap();
    assert!(config.contains(&made.client_id) && !config.contains(&made.secrets[0].value));
    assert_done(&desk.run(&["connect", "lab", "--yes"]).await);
    assert_eq!(desk.lab.directory().applications.len(), 2, "a second run makes no other");
}
