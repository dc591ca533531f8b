//! Day and night: what an operator does to a running service, and what its machine does.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use cmsync_lab::world::Plan;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use crate::rig::{PATIENCE, Rig, listening, options, served, small, stderr};
use cmsync_broker::free_port;

/// A collector that keeps what it is sent.
async fn collector() -> (u16, Arc<Mutex<Vec<Span>>>) {
    let spans: Arc<Mutex<Vec<Span>>> = Arc::default();
    let kept = Arc::clone(&spans);
    let take = move |body: Bytes| {
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        let found = request.resource_spans.into_iter().flat_map(|r| r.scope_spans);
        let found = found.flat_map(|scope| scope.spans);
        kept.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
        async {}
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = Router::new().route("/v1/traces", post(take));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (port, spans)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_one_trace_from_the_poll_to_its_acceptance() {
    let (port, spans) = collector().await;
    let traces = format!("[traces]\nendpoint = \"http://127.0.0.1:{port}\"\n");
    let mut rig = Rig::with(options(small()), r#"[{ name = "*" }]"#, &traces).await;
    rig.start();
    rig.until_all_equal().await;
    rig.lab.world().change_members("PS100003", &[16_777_230], &[]);
    rig.until_all_equal().await;
    assert!(rig.terminate().await.success());
    let spans = spans.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let named = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let delivered = named("deliver");
    assert!(delivered.len() >= 9, "{}", delivered.len());
    for span in delivered {
        let same = |other: &&&Span| other.trace_id == span.trace_id;
        let (polls, maps) = (named("poll"), named("transform"));
        let poll = polls.iter().find(same).unwrap();
        let map = maps.iter().find(same).unwrap();
        assert!(poll.parent_span_id.is_empty());
        assert_eq!((&span.parent_span_id, &map.parent_span_id), (&poll.span_id, &poll.span_id));
        let times = [poll.start_time_unix_nano, map.start_time_unix_nano, span.end_time_unix_nano];
        assert!(times.is_sorted(), "{times:?}");
        let keys: Vec<&str> = span.attributes.iter().map(|a| a.key.as_str()).collect();
        assert_eq!(
            keys,
            ["cmsync.connection", "cmsync.collection", "cmsync.seq", "cmsync.devices"]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_holds_up_nothing() {
    let traces = format!("[traces]\nendpoint = \"http://127.0.0.1:{}\"\n", free_port().unwrap());
    let mut rig = Rig::with(options(small()), r#"[{ name = "*" }]"#, &traces).await;
    rig.start();
    rig.until_all_equal().await;
    assert!(rig.terminate().await.success());
}

/// Every secret that the configuration of a rig leads to.
fn secrets(rig: &Rig) -> Vec<String> {
    let options = &rig.lab.options;
    let proxy = "hidden-password".to_owned();
    vec![options.client_secret.clone(), options.site_token.clone(), proxy]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_support_bundle_has_what_helps_and_no_secret() {
    let mut rig = Rig::new(small()).await;
    let (config, _) = listening(&rig.config);
    let text = std::fs::read_to_string(&config).unwrap();
    let commented = format!("# the secret is {}\n{text}", rig.lab.options.client_secret);
    std::fs::write(&config, commented).unwrap();
    rig.config = config;
    rig.start();
    rig.until_all_equal().await;
    let bundle = rig.directory.path().join("bundle.tar.gz");
    let output = rig.run(&["support-bundle", "--output", bundle.to_str().unwrap()]).await;
    assert!(output.status.success(), "{}", stderr(&output));
    let unpacked = Command::new("tar").arg("-xzOf").arg(&bundle).output().unwrap();
    assert!(unpacked.status.success());
    let text = String::from_utf8_lossy(&unpacked.stdout).into_owned();
    for part in ["cmsync 0.", "[connections.lab", "\"members\"", "cmsync_build_info", "running"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    for secret in secrets(&rig) {
        assert!(!text.contains(&secret), "{secret}");
    }
    let listed = Command::new("tar").arg("-tzf").arg(&bundle).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(!listed.contains("missing.txt"), "{text}");
    // Nobody else reads it, and none is overwritten.
    let mode = std::os::unix::fs::PermissionsExt::mode(&bundle.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let again = rig.run(&["support-bundle", "--output", bundle.to_str().unwrap()]).await;
    assert!(stderr(&again).contains("exists"), "{}", stderr(&again));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_support_bundle_of_a_broken_configuration_says_what_is_broken() {
    let rig = Rig::new(small()).await;
    let text = std::fs::read_to_string(&rig.config).unwrap();
    let proxy = "proxy = \"http://me:hidden-password@proxy:1\"\n";
    let text = text
        .replace("[connections.lab.workspace]\n", &format!("[connections.lab.workspace]\n{proxy}"));
    std::fs::write(&rig.config, format!("drain_deadline = \"0s\"\n{text}")).unwrap();
    let bundle = rig.directory.path().join("bundle.tar.gz");
    let output = rig.run(&["support-bundle", "--output", bundle.to_str().unwrap()]).await;
    assert!(output.status.success(), "{}", stderr(&output));
    let unpacked = Command::new("tar").arg("-xzOf").arg(&bundle).output().unwrap();
    let text = String::from_utf8_lossy(&unpacked.stdout).into_owned();
    assert!(text.contains("drain_deadline: must be longer than zero"), "{text}");
    assert!(text.contains("***@proxy:1"), "{text}");
    for secret in secrets(&rig) {
        assert!(!text.contains(&secret), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_ends_the_start_with_its_name() {
    let rig = Rig::new(small()).await;
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let text = std::fs::read_to_string(&rig.config).unwrap();
    let text = text.replace("listen = \"\"", &format!("listen = \"127.0.0.1:{port}\""));
    std::fs::write(&rig.config, text).unwrap();
    let output = rig.run(&["run"]).await;
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("http.listen") && text.contains(&port.to_string()), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_that_cannot_be_written_ends_the_start_with_its_name() {
    let rig = Rig::new(small()).await;
    // Also root cannot make a directory in a file.
    let file = rig.directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let text = std::fs::read_to_string(&rig.config).unwrap();
    let queue = rig.directory.path().join("queue");
    let text = text.replace(queue.to_str().unwrap(), file.join("queue").to_str().unwrap());
    std::fs::write(&rig.config, text).unwrap();
    for command in [&["run"][..], &["check", "--offline"]] {
        let output = rig.run(command).await;
        let told = stderr(&output) + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("file/queue"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_service_on_one_state_directory_is_refused_and_the_first_goes_on() {
    let mut rig = Rig::new(small()).await;
    rig.start();
    rig.until_all_equal().await;
    let second = rig.run(&["run"]).await;
    assert_eq!(second.status.code(), Some(1));
    assert!(stderr(&second).contains("another"), "{}", stderr(&second));
    rig.lab.world().change_members("PS100003", &[16_777_230], &[]);
    rig.until_all_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_nobody_else_is_checked_offline() {
    let rig = Rig::new(small()).await;
    let output = rig.run(&["check", "--offline"]).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("ok     configuration: 1 connection\n"),
        "{text}"
    );
    assert_eq!(rig.lab.counts().tokens, 0, "nobody was asked");
    let text = std::fs::read_to_string(&rig.config).unwrap();
    std::fs::write(&rig.config, format!("drain_deadline = \"0s\"\n{text}")).unwrap();
    assert_eq!(rig.run(&["check", "--offline"]).await.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_says_what_the_page_says() {
    let mut rig = Rig::new(small()).await;
    let (config, port) = listening(&rig.config);
    rig.config = config;
    assert_eq!(rig.run(&["ready"]).await.status.code(), Some(1));
    rig.start();
    rig.until_all_equal().await;
    let output = rig.run(&["ready"]).await;
    assert!(output.status.success(), "{}", stderr(&output));
    let page = served(port, "/ready");
    assert!(page.ends_with(&*String::from_utf8_lossy(&output.stdout)), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hangups_without_end_reread_the_file_and_stop_nothing() {
    let mut rig = Rig::new(small()).await;
    rig.start();
    rig.until_all_equal().await;
    let id = rig.id().to_string();
    for round in 0..20 {
        let storm = format!("for i in $(seq 100); do kill -HUP {id}; done");
        assert!(Command::new("sh").args(["-c", &storm]).status().unwrap().success());
        rig.lab.world().change_members("PS100003", &[16_777_230 + round], &[]);
    }
    rig.until_all_equal().await;
    // A mistake is told at once, and the former file is followed.
    let text = std::fs::read_to_string(&rig.config).unwrap();
    std::fs::write(&rig.config, format!("drain_deadline = \"0s\"\n{text}")).unwrap();
    assert!(Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
    let log = rig.log_path();
    let told =
        || std::fs::read_to_string(&log).unwrap().contains("the changed configuration is not used");
    rig.until(|| told().then_some(())).await;
    assert!(rig.terminate().await.success());
}

/// What a pipe of Linux holds.
const PIPE: usize = 64 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_and_one_on_a_full_disk_hold_up_nothing() {
    let plan = Plan { devices: 600, collections: 60, memberships: 2_400, ..Plan::default() };
    for full in [false, true] {
        let verbose = "[log]\nlevel = \"debug,hyper=trace\"\n";
        let rig = Rig::with(options(plan.clone()), r#"[{ name = "*" }]"#, verbose).await;
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        let target = match full {
            true => {
                drop(writer);
                let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
                Stdio::from(full.unwrap())
            }
            // What it holds is in it already, and nobody takes it.
            false => {
                writer.write_all(&vec![b'x'; PIPE]).unwrap();
                Stdio::from(writer)
            }
        };
        let mut child = rig.command(&["run"]).stderr(target).stdout(Stdio::null()).spawn().unwrap();
        let started = std::time::Instant::now();
        let mut taken = rig.lab.workspace.taken();
        while !rig.report().equal {
            assert!(started.elapsed() < PATIENCE, "full: {full}");
            assert!(child.try_wait().unwrap().is_none());
            drop(tokio::time::timeout(PATIENCE / 90, taken.changed()).await);
        }
        let status = Command::new("kill").arg(child.id().to_string()).status().unwrap();
        assert!(status.success());
        let ended = tokio::task::spawn_blocking(move || child.wait().unwrap());
        let status = tokio::time::timeout(PATIENCE, ended).await.unwrap().unwrap();
        assert!(status.success(), "full: {full}");
        let mut first = [0];
        assert_eq!(reader.read(&mut first).unwrap(), usize::from(!full));
    }
}

/// What a running process makes of its file.
async fn accepted(rig: &mut Rig, port: u16, wanted: f64) {
    let is_so = || crate::rig::metric(port, "cmsync_configuration_accepted") == wanted;
    rig.until(|| is_so().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_lacked_something_beside_it_is_followed_once_that_is_there() {
    let mut rig = Rig::new(small()).await;
    let (config, port) = listening(&rig.config);
    rig.config = config;
    rig.start();
    rig.until_all_equal().await;
    let secret = rig.directory.path().join("client-secret");
    let aside = secret.with_extension("aside");
    std::fs::rename(&secret, &aside).unwrap();
    let text = std::fs::read_to_string(&rig.config).unwrap();
    std::fs::write(&rig.config, format!("{text}\n# changed\n")).unwrap();
    accepted(&mut rig, port, 0.0).await;
    std::fs::rename(&aside, &secret).unwrap();
    accepted(&mut rig, port, 1.0).await;
    // An editor empties the file before it writes it: nothing stops for that.
    std::fs::write(&rig.config, "").unwrap();
    rig.two_polls().await;
    rig.two_polls().await;
    std::fs::write(&rig.config, text).unwrap();
    rig.lab.churn_once(3);
    rig.until_all_equal().await;
    assert!(!rig.log().contains("no longer in the configuration"), "{}", rig.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_count_among_the_rows_of_a_day() {
    let limit = "[producer]\nmax_rows_per_day = 2000\n";
    let mut rig = Rig::with(options(small()), r#"[{ name = "*" }]"#, limit).await;
    rig.start();
    let members = rig.until_all_equal().await.memberships;
    assert!((1_001..2_000).contains(&members), "{members}");
    assert!(!rig.json(&["status"]).await[0]["warnings"].to_string().contains("max_rows_per_day"));
    assert!(rig.run(&["collections", "resend", "lab"]).await.status.success());
    let told = |rig: &Rig| rig.log().contains("more than 2000 rows (`max_rows_per_day`)");
    while !told(&rig) {
        rig.two_polls().await;
    }
    rig.until_all_equal().await;
}
