//! Each identity towards Azure carries a whole run, rows and computer groups.

use std::path::Path;

use cmsync_lab::Options;
use cmsync_lab::server::SITE_AUDIENCE;
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};

use crate::rig::{Rig, options, small, stderr};

/// The rig's configuration with another way to sign in.
async fn rig(options: Options, identity: impl Fn(&Path) -> String) -> Rig {
    let rig = Rig::with(options, r#"[{ name = "*" }]"#, "").await;
    let written = std::fs::read_to_string(&rig.config).unwrap();
    let line = written.lines().find(|line| line.starts_with("client_secret_file")).unwrap();
    let text = written.replace(line, &identity(rig.directory.path()));
    std::fs::write(&rig.config, text).unwrap();
    rig
}

/// One run with these variables; it must end well and leave the workspace equal to the site.
async fn syncs(rig: &Rig, variables: &[(&str, String)]) {
    let mut command = rig.command(&["run", "--once"]);
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(rig.report().equal, "{:?}", rig.report().differences);
    assert_eq!(rig.lab.compare_groups(&rig.lab.device_collections()), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_carries_a_run() {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let params = CertificateParams::new(vec!["cmsync".into()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    let one_file = certificate.clone() + &key.serialize_pem();
    let options = Options { certificate: Some(certificate), ..options(small()) };
    let rig = rig(options, |directory| {
        let path = directory.join("application.pem");
        std::fs::write(&path, &one_file).unwrap();
        format!("certificate_file = \"{}\"", path.display())
    })
    .await;
    syncs(&rig, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_identity_carries_a_run() {
    let options = Options { federated_token: Some("of-the-cluster".into()), ..options(small()) };
    let rig = rig(options, |_| "workload_identity = true".into()).await;
    let token = rig.directory.path().join("federated");
    std::fs::write(&token, "of-the-cluster\n").unwrap();
    syncs(&rig, &[("AZURE_FEDERATED_TOKEN_FILE", token.display().to_string())]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_managed_identity_carries_a_run() {
    let rig = rig(options(small()), |_| "managed_identity = true".into()).await;
    syncs(&rig, &[("AZURE_POD_IDENTITY_AUTHORITY_HOST", rig.lab.url())]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_entra_for_the_site_carries_a_run() {
    let rig = Rig::new(small()).await;
    let written = std::fs::read_to_string(&rig.config).unwrap();
    let old = written.lines().find(|line| line.starts_with("authentication")).unwrap();
    let with =
        |audience: &str| format!("authentication = {{ entra = {{ audience = \"{audience}\" }} }}");
    std::fs::write(&rig.config, written.replace(old, &with(SITE_AUDIENCE))).unwrap();
    syncs(&rig, &[]).await;
    // A token for something else is refused, and said so.
    std::fs::write(&rig.config, written.replace(old, &with(&rig.lab.options.audience))).unwrap();
    let output = rig.run(&["check", "--stage", "producer"]).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success() && text.contains("its audience must be"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_which_role_the_workspace_lacks_and_what_it_is() {
    let rig = Rig::new(small()).await;
    let fine = rig.run(&["check"]).await;
    let text = String::from_utf8_lossy(&fine.stdout).into_owned();
    assert!(fine.status.success(), "{text}");
    assert!(
        text.contains("lab-workspace in westeurope") && text.contains("saved searches"),
        "{text}"
    );
    let roles = ["Log Analytics Reader".to_owned(), "Log Analytics Contributor".to_owned()];
    rig.lab.faults().missing_roles.extend(roles);
    let output = rig.run(&["check"]).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success(), "{text}");
    let scope = format!("--scope {}", cmsync_lab::arm::WORKSPACE);
    for part in
        ["FAILED lab: workspace", "Log Analytics Reader", "az role assignment create", &scope]
    {
        assert!(text.contains(part), "`{part}` is missing from: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_ends_soon_is_told_and_never_shown() {
    let end = jiff::Zoned::now().date().checked_add(jiff::Span::new().days(10)).unwrap();
    let mut rig = rig(options(small()), |directory| {
        let file = directory.join("client-secret");
        format!("client_secret_file = \"{}\"\nclient_secret_expires = \"{end}\"", file.display())
    })
    .await;
    let shown = rig.json(&["secret", "show", "lab"]).await;
    assert_eq!(
        (&shown["kind"], &shown["client"]),
        (&"client secret".into(), &rig.lab.options.client_id.clone().into())
    );
    assert!(shown["detail"].as_str().unwrap().contains(&format!("ends on {end}")), "{shown}");
    assert!(!shown.to_string().contains(&rig.lab.options.client_secret));
    assert_eq!(rig.json(&["secret", "verify", "lab"]).await["is_accepted"], true);
    rig.start();
    rig.until_all_equal().await;
    let status = rig.json(&["status"]).await[0]["warnings"].to_string();
    assert!(status.contains(&format!("the client secret ends on {end}")), "{status}");
    assert!(rig.log().contains("the client secret ends on"), "{}", rig.log());

    rig.lab.faults().secret_expired = true;
    let expired = rig.run(&["secret", "verify", "lab"]).await;
    let text = String::from_utf8_lossy(&expired.stdout).into_owned();
    assert!(!expired.status.success() && text.contains("the client secret has expired"), "{text}");
    let unknown = rig.run(&["secret", "show", "other"]).await;
    assert!(stderr(&unknown).contains("there is no connection `other`; there is lab"));
    let no_day = rig.run(&["secret", "renew", "lab", "--expires", "soon"]).await;
    assert!(stderr(&no_day).contains("`soon` is no day"), "{}", stderr(&no_day));
    // As a mistake in the file.
    assert_eq!([unknown, no_day].map(|output| output.status.code()), [Some(2); 2]);
}
