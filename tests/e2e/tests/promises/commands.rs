//! Commands work while `run` runs, and when it does not.

use crate::rig::{PATIENCE, Rig, listening, own_variables, served, small};

#[tokio::test(flavor = "multi_thread")]
async fn commands_answer_alike_with_and_without_a_running_process() {
    let mut rig = Rig::new(small()).await;
    rig.start();
    rig.until_all_equal().await;
    rig.two_polls().await;
    let running = (
        rig.json(&["groups", "list"]).await,
        rig.json(&["groups", "members", "lab", "PS100001"]).await,
    );
    assert!(rig.terminate().await.success());
    let alone = (
        rig.json(&["groups", "list"]).await,
        rig.json(&["groups", "members", "lab", "PS100001"]).await,
    );
    assert_eq!(running, alone);
    let members = alone.1.as_array().unwrap().len();
    assert_eq!(members, rig.lab.world().computers("PS100001").len());
    let status = rig.json(&["status"]).await;
    assert_eq!(status[0]["site_code"], "CAS");
    assert_eq!(status[0]["waiting_messages"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_connection_is_not_read_until_it_is_resumed() {
    let mut rig = Rig::new(small()).await;
    rig.start();
    rig.until_all_equal().await;
    assert!(rig.run(&["connection", "pause", "lab"]).await.status.success());
    rig.until_status("producer", "Paused").await;
    assert_eq!(rig.json(&["status"]).await[0]["is_paused"], true);
    let polls = rig.lab.counts().site["SMS_Collection"];
    rig.lab.world().change_members("PS100001", &[cmsync_lab::world::CLIENTS + 399], &[]);
    // The order outlives the process.
    assert!(rig.terminate().await.success());
    rig.start();
    rig.until_status("producer", "Paused").await;
    assert_eq!(rig.lab.counts().site["SMS_Collection"], polls);
    assert!(rig.run(&["connection", "resume", "lab"]).await.status.success());
    rig.until_all_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_is_sent_whole_again_by_command() {
    let mut rig = Rig::new(small()).await;
    rig.start();
    rig.until_all_equal().await;
    let before = rig.report().marker_rows;
    assert!(rig.run(&["collections", "resend", "lab", "PS100001"]).await.status.success());
    let lab = std::sync::Arc::clone(&rig.lab);
    rig.until(move || (lab.workspace.view("CAS", 0).marker_rows > before).then_some(())).await;
    assert!(rig.report().equal);
    let refused = rig.run(&["collections", "resend", "lab", "PS1FFFFF"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(crate::rig::stderr(&refused).contains("keeps no collection `PS1FFFFF`"));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_is_fine_and_what_is_not() {
    let rig = Rig::new(small()).await;
    let output = rig.run(&["check"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    rig.lab.faults().refused_rules.insert(rig.lab.options.rules[0].clone());
    let findings = {
        let output = rig.run(&["check", "--json"]).await;
        assert_eq!(output.status.code(), Some(1));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let rule = findings.as_array().unwrap().iter().find(|f| f["what"] == "rule").unwrap();
    assert!(rule["detail"].as_str().unwrap().contains("Monitoring Metrics Publisher"), "{rule}");
    let producer = rig.run(&["check", "--stage", "producer"]).await;
    assert!(producer.status.success(), "a producer needs no rule");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stage_runs_alone_on_its_directory() {
    let mut rig = Rig::new(small()).await;
    rig.lab.faults().refused_rules.insert(rig.lab.options.rules[0].clone());
    rig.start();
    let is_sent = |groups: &serde_json::Value| {
        let groups = groups["groups"].as_array().unwrap();
        groups.len() > 10 && groups.iter().all(|g| g["snapshot"] == "sent")
    };
    let started = std::time::Instant::now();
    while !is_sent(&rig.json(&["groups", "list"]).await) {
        assert!(started.elapsed() < PATIENCE, "{}", rig.log());
    }
    assert!(rig.terminate().await.success());
    rig.lab.faults().refused_rules.clear();
    let sites = rig.lab.counts().site.clone();
    for stage in ["transformer", "uploader"] {
        let runs = |log: &str| log.matches("running").count();
        let before = runs(&rig.log());
        rig.start_with(&["run", "--stage", stage]);
        let (lab, log) = (std::sync::Arc::clone(&rig.lab), rig.log_path());
        let is_up = move || runs(&std::fs::read_to_string(&log).unwrap_or_default()) > before;
        let is_done =
            move || stage == "transformer" || lab.compare(&lab.device_collections()).equal;
        rig.until(move || (is_up() && is_done()).then_some(())).await;
        while rig.json(&["status"]).await[0]["waiting_changes"] != 0 {
            assert!(started.elapsed() < PATIENCE, "{}", rig.log());
        }
        assert!(rig.terminate().await.success(), "{}", rig.log());
    }
    assert_eq!(rig.lab.counts().site, sites, "neither stage reads the site");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_live_and_ready_answer_and_show_no_secret() {
    let mut rig = Rig::new(small()).await;
    let (config, port) = listening(&rig.config);
    rig.config = config;
    rig.start();
    rig.until_all_equal().await;
    let get = |path: &str| served(port, path);
    let metrics = get("/metrics");
    for name in [
        "cmsync_producer_polls_total",
        "cmsync_transformer_records_total",
        "cmsync_uploader_records_delivered_total",
        "cmsync_http_requests_total",
    ] {
        assert!(metrics.contains(name), "{name} is missing:\n{metrics}");
    }
    assert!(get("/live").starts_with("HTTP/1.1 200"));
    assert!(get("/ready").starts_with("HTTP/1.1 200"));
    for secret in [&rig.lab.options.client_secret, &rig.lab.options.site_token] {
        assert!(!metrics.contains(secret.as_str()) && !rig.log().contains(secret.as_str()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_once_a_record_that_was_set_aside_makes_the_exit_code_non_zero() {
    let rig = Rig::new(cmsync_lab::world::Plan { devices: 3_000, ..small() }).await;
    rig.lab.faults().bad_rows = Some(1_009);
    let output = rig.once().await;
    let text = crate::rig::stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("records were set aside"), "{text}");
    // They are known now, and nothing new is wrong.
    rig.lab.faults().bad_rows = None;
    assert!(rig.once().await.status.success());
}

/// The commands of a section of the guide, as they stand there.
fn commands_of(page: &str, section: &str) -> String {
    let text = std::fs::read_to_string(crate::prometheus::project(page)).unwrap();
    let from = text.find(&format!("## {section}\n")).unwrap();
    let block = text.get(from..).unwrap().split("```console\n").nth(1).unwrap();
    let lines = block.split("```").next().unwrap().lines();
    lines.map(|line| format!("{}\n", line.strip_prefix("$ ").unwrap_or(line))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guides_way_through_the_lab_ends_with_a_workspace_that_is_right() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("lab");
    let commands = commands_of("docs/get-started.md", "Try it against the lab");
    assert!(commands.starts_with("make build\n"), "{commands}");
    let target = crate::rig::binary();
    let target = target.parent().unwrap();
    let commands = commands
        .replace("make build\n", "")
        .replace("/tmp/lab", place.to_str().unwrap())
        .replace("target/release", target.to_str().unwrap());
    // A lab that died is not waited for.
    let commands = commands.replace("do sleep", "do kill -0 %1 || exit 1; sleep");
    let script = format!("set -e\ntrap 'kill %1 2> /dev/null || :' EXIT\n{commands}");
    let mut command = std::process::Command::new("bash");
    own_variables().for_each(|name| {
        command.env_remove(name);
    });
    command.args(["-c", &script]).env("CMSYNC_HTTP__LISTEN", "");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", crate::rig::stderr(&output));
    assert!(text.contains("CMG_CAS_") && text.contains("right"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_no_further_ends_a_command_in_peace() {
    let rig = Rig::new(small()).await;
    assert!(rig.once().await.status.success());
    for arguments in ["groups list", "completions bash"] {
        let program = crate::rig::binary();
        let config = rig.config.display().to_string();
        // Nobody reads at all.
        let script = format!(
            "{} --config {config} {arguments} | true; echo ${{PIPESTATUS[0]}}",
            program.display()
        );
        let output = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
        assert_eq!(crate::rig::stderr(&output), "");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_that_fits_nothing_is_told() {
    let chosen = r#"["PS100003", { name = "Sevrers*" }, { folder = "/Nope" }]"#;
    let rig = Rig::with(crate::rig::options(small()), chosen, "").await;
    let output = rig.run(&["check"]).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("`Sevrers*` fits no collection") && text.contains("`/Nope` fits"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_queue_has_no_topics_to_make_or_to_check() {
    let mut rig = Rig::new(small()).await;
    rig.start();
    rig.until_all_equal().await;
    for command in ["create", "check"] {
        let output = rig.run(&["topics", command]).await;
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains("makes its topics itself"), "{text}");
    }
}
