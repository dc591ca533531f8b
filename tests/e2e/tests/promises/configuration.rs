//! Bad configuration is refused with every mistake at once and the key's path.

use crate::rig::{Rig, is_windows, small, stderr};

async fn refused(edit: impl Fn(&str) -> String) -> String {
    let rig = Rig::new(small()).await;
    let text = std::fs::read_to_string(&rig.config).unwrap();
    let edited = edit(&text);
    assert_ne!(text, edited, "the edit changes nothing");
    std::fs::write(&rig.config, edited).unwrap();
    let output = rig.run(&["run", "--once"]).await;
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    stderr(&output)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_is_told_at_once() {
    let text = refused(|text| {
        text.replace("tenant_id", "tenant")
            .replace("poll_interval = \"300ms\"", "poll_interval = 5\nmax_removed_share = 3.0")
            .replace("https://localhost", "http://site.contoso.com")
            .replace(r#"[{ name = "*" }]"#, "[]")
    })
    .await;
    for expected in [
        "connections.lab.workspace.tenant: is not a key",
        "connections.lab.workspace.tenant_id: is missing",
        "producer.poll_interval: ",
        "producer.max_removed_share: must lie between 0 and 1",
        "connections.lab.site.admin_service[0]: `http://site.contoso.com",
        "connections.lab.workspace.rules[0].endpoint",
        "connections.lab.collections: is empty",
    ] {
        assert!(text.contains(expected), "`{expected}` is missing from:\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_value_names_its_place_and_its_remedy() {
    let secret = refused(|text| text.replace("/client-secret", "/no-such-file")).await;
    assert!(
        secret.contains("connections.lab.workspace.client_secret_file")
            && secret.contains("no-such-file"),
        "{secret}"
    );
    let inline = refused(|text| {
        text.replace(
            "client_secret_file = ",
            "client_secret = \"very-secret\"\nclient_secret_file = ",
        )
    })
    .await;
    assert!(
        inline.contains("client_secret: must not stand in this file")
            && !inline.contains("very-secret"),
        "{inline}"
    );
    let password =
        refused(|text| text.replace("https://localhost", "http://svc:Passw0rd@localhost")).await;
    assert!(
        password.contains("admin_service[0]: must not hold a user name or a password")
            && !password.contains("Passw0rd"),
        "{password}"
    );
    let ca = refused(|text| text.replace("/lab-ca.pem", "/cmsync.toml")).await;
    assert!(ca.contains("ca_file: ") && ca.contains("holds no PEM certificate"), "{ca}");
    let id = refused(|text| text.replace(r#"[{ name = "*" }]"#, r#"["All Systems"]"#)).await;
    assert!(
        id.contains("connections.lab.collections[0]") && id.contains("{ name = \"All Systems\" }"),
        "{id}"
    );
    for rule in ["dcr-", "dcr-0"] {
        let twins = refused(|text| {
            let start = text.find("[connections.lab]").unwrap();
            let end = text.find("[http]").unwrap();
            let twin =
                text.get(start..end).unwrap().replace("id = \"dcr-", &format!("id = \"{rule}"));
            format!("{text}\n{}", twin.replace("connections.lab", "connections.twin"))
        })
        .await;
        assert!(
            twins.contains("reads the same site into the same workspace as `connections.lab`"),
            "{twins}"
        );
    }
    let same_name =
        refused(|text| format!("{text}\n[connections.lab]\ncollections = [\"SMS00001\"]\n")).await;
    assert!(same_name.contains("duplicate"), "{same_name}");
    let certificate =
        refused(|text| text.replace("[connections.lab]", "[connections.Lab_1]")).await;
    assert!(certificate.contains("connections.Lab_1: a connection's name has"), "{certificate}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_this_system_does_not_have_is_refused_with_the_one_it_has() {
    let tickets = |written: &str| {
        let written = format!("authentication = {{ {written} }}\n#");
        refused(move |text| text.replace("authentication = ", &written))
    };
    let ntlm = tickets("ntlm = true").await;
    assert!(ntlm.contains("site.authentication.ntlm: is not spoken"), "{ntlm}");
    let (foreign, remedy) = match is_windows() {
        true => ("kerberos = { principal = \"a@B\" }", "write { integrated = true }"),
        false => ("integrated = true", "site.authentication.integrated: is for Windows"),
    };
    let told = tickets(foreign).await;
    assert!(told.contains(remedy), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_does_not_verify_says_so() {
    let rig = Rig::new(small()).await;
    let other = cmsync_lab::Lab::start(cmsync_lab::Options::default()).await.unwrap();
    std::fs::write(rig.directory.path().join("lab-ca.pem"), &other.ca_pem).unwrap();
    let output = rig.once().await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("is not trusted") && stderr(&output).contains("`ca_file`"),
        "{}",
        stderr(&output)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_with_a_trailing_line_break_and_a_variable_over_the_file_are_taken() {
    let rig = Rig::new(small()).await;
    let path = rig.directory.path().join("client-secret");
    let secret = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{secret}\n")).unwrap();
    assert!(rig.once().await.status.success());
    let mut command = rig.command(&["status"]);
    command.env("CMSYNC_CONNECTIONS__LAB__SITE__ADMIN_SERVICE", "[\"ftp://x\"]");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(
        stderr(&output).contains("admin_service[0]: `ftp://x` must begin with https://"),
        "{}",
        stderr(&output)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_does_not_exist_or_is_a_user_collection_is_said_and_holds_up_no_other() {
    let list = r#"["PS100001", "PS1FFFFF", "SMS00002"]"#;
    let mut rig = Rig::with(crate::rig::options(small()), list, "").await;
    rig.start();
    rig.until_equal(&["PS100001".to_owned()]).await;
    rig.two_polls().await;
    let status = rig.json(&["status"]).await;
    let warnings = status[0]["warnings"].to_string();
    assert!(
        warnings.contains("PS1FFFFF")
            && warnings.contains("SMS00002")
            && !warnings.contains("PS100001"),
        "{status}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn clouds_workspaces_groups_and_identities_that_cannot_be_are_refused() {
    let custom = refused(|text| {
        text.replace("endpoints = {", "cloud = \"custom\"\nendpoints = {")
            .replace("graph = ", "authority_2 = ")
    })
    .await;
    assert!(custom.contains("endpoints.graph: is missing: with `cloud = \"custom\"`"), "{custom}");
    let workspace = refused(|text| text.replace("/workspaces/", "/somethings/")).await;
    assert!(workspace.contains("resource_id: `/subscriptions/"), "{workspace}");
    let window =
        "\n[connections.lab.groups]\nwindow = \"1h\"\nstatic = [\"A\"]\nfunction = [\"A\"]\n";
    let groups = refused(|text| text.to_owned() + window).await;
    assert!(
        groups.contains("groups.window: must be four snapshot intervals or longer")
            && groups.contains("groups.static: `A` stands in `function` too"),
        "{groups}"
    );
    let ways =
        refused(|text| text.replace("tenant_id = ", "managed_identity = true\ntenant_id = ")).await;
    assert!(
        ways.contains("exactly one must be given of `client_secret_file`, `certificate_file`")
            && ways.contains("CMSYNC_CONNECTIONS__LAB__WORKSPACE__CLIENT_SECRET"),
        "{ways}"
    );
}
