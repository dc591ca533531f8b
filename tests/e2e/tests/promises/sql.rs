//! The site database as a source: the same records as the administration service gives, clear words for
//! databases that cannot be read, and reads that end well whatever the database does meanwhile.

use std::sync::Arc;
use std::time::Duration;

use cmsync_lab::workspace::{MarkerRow, MemberRow};
use cmsync_lab::world::Plan;
use cmsync_lab::{Lab, Options, Source};

use crate::rig::{Rig, listening, metric, options, small};

fn sql() -> Options {
    Options { source: Source::Sql, ..options(small()) }
}

async fn rig() -> Rig {
    Rig::with(sql(), r#"[{ name = "*" }]"#, "").await
}

/// Rows as the workspace keeps them, without times, run ids and the order in which collections were read.
fn records(rig: &Rig) -> Vec<String> {
    let (mut members, mut markers) = (Vec::new(), Vec::new());
    rig.lab.workspace.rows(
        0,
        |_, row| {
            let row = MemberRow { time_generated: "".into(), seq: 0, ..row };
            members.push(format!("{row:?}"));
        },
        |_, row| {
            let (time_generated, run_id, instance) = Default::default();
            let row = MarkerRow { time_generated, run_id, instance, start_seq: 0, seq: 0, ..row };
            markers.push(format!("{row:?}"));
        },
    );
    let mut all = [members, markers].concat();
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sources_give_the_same_records() {
    let by_database = rig().await;
    let by_service = Rig::with(
        Options { source: Source::AdminService, ..options(small()) },
        r#"[{ name = "*" }]"#,
        "",
    )
    .await;
    for one in [&by_database, &by_service] {
        {
            // Names that no code page has, and views that must be spelled as they are.
            let mut world = one.lab.world();
            world.rename_device(cmsync_lab::world::CLIENTS + 5, "ПК-東京-1");
            world.collection_mut("PS100001").name = "Büros 🏢 – «все»".into();
            one.lab.faults().sql.is_case_sensitive = true;
        }
        let output = one.once().await;
        assert!(output.status.success(), "{}", crate::rig::stderr(&output));
        assert!(one.report().equal);
    }
    let (some, others) = (records(&by_database), records(&by_service));
    assert!(some.len() > 1_000 && some == others, "{:?} {:?}", some.first(), others.first());
}

/// What `check` prints, and that it fails.
async fn refused(rig: &Rig) -> String {
    let output = rig.run(&["check"]).await;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}{}", crate::rig::stderr(&output));
    assert!(!told.contains("password-of-the-lab"), "{told}");
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_read_is_told_with_its_remedy() {
    let rig = rig().await;
    let set = |edit: fn(&mut cmsync_lab::faults::SqlFaults)| {
        rig.lab.faults().sql = Default::default();
        edit(&mut rig.lab.faults().sql);
    };
    set(|sql| sql.denied.extend(["v_R_System".to_owned()]));
    let told = refused(&rig).await;
    assert!(told.contains("'v_R_System'") && told.contains("ADD MEMBER"), "{told}");
    set(|sql| sql.missing.extend(["v_FullCollectionMembership".to_owned()]));
    let told = refused(&rig).await;
    assert!(
        told.contains("v_FullCollectionMembership") && told.contains("CM_<site code>"),
        "{told}"
    );
    set(|sql| sql.no_tls = true);
    let told = refused(&rig).await;
    assert!(told.contains("no TLS that this client may use"), "{told}");
    set(|sql| sql.is_restoring = true);
    let told = refused(&rig).await;
    assert!(told.contains("in the middle of a restore"), "{told}");
    set(|sql| sql.is_secondary = true);
    let told = refused(&rig).await;
    assert!(told.contains("set `read_only = true`"), "{told}");
    set(|sql| sql.has_numeric_ids = true);
    let told = refused(&rig).await;
    assert!(told.contains("CollectionID of dbo.v_Collection is not the text"), "{told}");
    set(|_| {});
    rig.lab.world().reports_to = "TOP".into();
    let told = refused(&rig).await;
    assert!(told.contains("reports to `TOP`") && told.contains("site database"), "{told}");
    rig.lab.world().reports_to.clear();
    assert!(rig.run(&["check"]).await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_lead_elsewhere_are_told_and_none_becomes_another() {
    let rig = rig().await;
    let text = std::fs::read_to_string(&rig.config).unwrap();
    let told_of = async |from: &str, to: &str| {
        assert!(text.contains(from), "{from} is not in {text}");
        std::fs::write(&rig.config, text.replace(from, to)).unwrap();
        let output = rig.run(&["check"]).await;
        let code = output.status.code();
        assert!(code == Some(1) || code == Some(2), "{code:?}");
        format!("{}{}", String::from_utf8_lossy(&output.stdout), crate::rig::stderr(&output))
    };
    let told = told_of("\"CM_CAS\"", "\"master\"").await;
    assert!(told.contains("is this the site database, CM_<site code>?"), "{told}");
    let told = told_of("\"CM_CAS\"", "\"CM_CAS;Encrypt=no;User ID=sa\"").await;
    assert!(told.contains("Cannot open database") && told.contains("check `database`"), "{told}");
    let told = told_of("\"localhost\"", "\"localhost\\\\CM\"").await;
    assert!(told.contains("sql.server: must be a name alone"), "{told}");
    let told = told_of("user = \"cmsync_reader\"", "user = \"sa' OR 1=1 --\"").await;
    assert!(told.contains("Login failed for user 'sa' OR 1=1 --'"), "{told}");
    let told = told_of("database = ", "encryption = \"none\", database = ").await;
    assert!(told.contains("sql.encryption: may be `none`"), "{told}");
    let told = told_of("database = ", "instance = \"CM\", database = ").await;
    assert!(told.contains("sql.instance: is not used beside `port`"), "{told}");
    let told = told_of("user = \"cmsync_reader\", ", "").await;
    assert!(told.contains("needs `user` and `password_file`"), "{told}");
    let other = Lab::start(options(small())).await.unwrap();
    std::fs::write(&rig.config, &text).unwrap();
    std::fs::write(rig.directory.path().join("lab-ca.pem"), &other.ca_pem).unwrap();
    let told = refused(&rig).await;
    assert!(told.contains("certificate is not trusted") && told.contains("`ca_file`"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_versions_snapshots_or_locks_it_reads_the_same_and_a_deadlock_is_read_again() {
    // Versions, snapshots, locks, a replica that does not change.
    let all = [(false, true, false), (true, false, false), (true, true, false), (true, true, true)];
    for (no_versions, no_snapshots, is_read_only) in all {
        let mut rig = rig().await;
        {
            let mut faults = rig.lab.faults();
            faults.sql.no_versions = no_versions;
            faults.sql.no_snapshots = no_snapshots;
            faults.sql.is_read_only = is_read_only;
        }
        rig.start();
        rig.until_all_equal().await;
        rig.lab.faults().sql.errors = (5, 1205);
        rig.lab.world().change_members("PS100001", &[cmsync_lab::world::CLIENTS + 7], &[]);
        rig.until_all_equal().await;
        assert_eq!(rig.lab.faults().sql.errors.0, 0);
        rig.terminate().await;
        let (begun, ended) = rig.lab.counts().snapshots;
        assert_eq!(begun > 0, no_versions && !no_snapshots, "{begun} snapshot transactions");
        // Those whose query failed end with their connection.
        assert!(ended <= begun && begun <= ended + 5, "{begun} were begun, {ended} ended");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_change_tracking_what_changed_is_read_alone_and_a_gap_is_read_in_full() {
    let options = Options { source: Source::Tracked, ..options(small()) };
    let mut rig = Rig::with(options, r#"[{ name = "*" }]"#, "").await;
    let (config, port) = listening(&rig.config);
    rig.config = config;
    rig.start();
    rig.until_all_equal().await;
    let lab = Arc::clone(&rig.lab);
    let looks = || lab.counts().site.get("CHANGETABLE").copied().unwrap_or(0);
    let read = || metric(port, "cmsync_producer_rows_read_total");
    // A poll learns the version, the next goes by it.
    rig.until(|| (looks() > 0).then_some(())).await;
    let change = || {
        let mut world = lab.world();
        let gone: Vec<u32> = world.collections["SMS00001"].members.iter().skip(9).take(2).collect();
        world.change_members("SMS00001", &[], &gone);
        world.collections["SMS00001"].members.len() as f64
    };
    let before = read();
    change();
    rig.until_all_equal().await;
    assert_eq!(read(), before, "of members that went there are no rows");
    // The version that is known is older than what is kept; then tracking is switched off.
    for oldest in [Some(i64::MAX), None] {
        let before = read();
        lab.faults().sql.tracks_from = oldest;
        let members = change();
        rig.until_all_equal().await;
        assert!(read() - before >= members, "{oldest:?} is not read in full");
    }
    let status = rig.run(&["status"]).await;
    let told = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(told.contains("change tracking is not on") && told.contains("GRANT VIEW"), "{told}");
    lab.faults().sql.tracks_from = Some(0);
    let before = looks();
    rig.until(|| (looks() > before).then_some(())).await;
    change();
    rig.until_all_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_stops_goes_on_from_there_and_closed_connections_are_opened_again() {
    let plan = Plan { devices: 6_000, collections: 4, memberships: 6_000, ..Plan::default() };
    let options = Options { source: Source::Sql, ..options(plan) };
    let mut rig = Rig::with(options, r#"[{ name = "*" }]"#, "").await;
    let text = std::fs::read_to_string(&rig.config).unwrap();
    let quick = "[connections.lab.site]\nread_timeout = \"2s\"";
    std::fs::write(&rig.config, text.replace("[connections.lab.site]", quick)).unwrap();
    rig.start();
    rig.until_all_equal().await;
    let lab = Arc::clone(&rig.lab);
    let stall = Duration::from_secs(8);
    for (cut, stalled) in [(2, (0, stall)), (0, (1, stall)), (1, (1, stall))] {
        lab.close_database();
        {
            let sql = &mut lab.faults().sql;
            (sql.cut_members, sql.stalled_members) = (cut, stalled);
        }
        let first = lab.world().collections["SMS00001"].members.min().unwrap();
        lab.world().change_members("SMS00001", &[], &[first]);
        rig.until_all_equal().await;
        let sql = &lab.faults().sql;
        assert_eq!((sql.cut_members, sql.stalled_members.0), (0, 0));
    }
    let log = rig.log();
    let times = log.matches("going on where a read of members stopped").count();
    assert_eq!(times, 5, "{log}");
    assert!(!log.contains("failed"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_replica_goes_the_listener_leads_to_another() {
    let mut rig = rig().await;
    let (first, second) = (Lab::start(sql()).await.unwrap(), Lab::start(sql()).await.unwrap());
    let bundle = format!("{}{}{}", rig.lab.ca_pem, first.ca_pem, second.ca_pem);
    std::fs::write(rig.directory.path().join("lab-ca.pem"), bundle).unwrap();
    let text = std::fs::read_to_string(&rig.config).unwrap();
    std::fs::write(&rig.config, text.replace("database = ", "read_only = true, database = "))
        .unwrap();
    let lab = Arc::clone(&rig.lab);
    let lead_to = |replica: &Lab| {
        lab.faults().sql.route_to = Some(("localhost".into(), replica.sql_address.port()));
    };
    lead_to(&first);
    rig.start();
    rig.until_all_equal().await;
    lead_to(&second);
    first.faults().sql.is_restoring = true;
    first.close_database();
    for site in [&lab, &second] {
        site.world().change_members("PS100001", &[cmsync_lab::world::CLIENTS + 7], &[]);
    }
    rig.until_all_equal().await;
    assert!(second.counts().site["SMS_FullCollectionMembership"] > 0);
    assert_eq!(lab.counts().site.get("SMS_FullCollectionMembership"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_administration_service_tells_where_the_database_is() {
    let options = Options { source: Source::AdminService, ..options(small()) };
    let rig = Rig::with(options, r#"[{ name = "*" }]"#, "").await;
    let password = rig.directory.path().join("sql-password");
    std::fs::write(&password, &rig.lab.options.sql_password).unwrap();
    let user = &rig.lab.options.sql_user;
    let text = std::fs::read_to_string(&rig.config).unwrap();
    let with_sql = |sql: &str| {
        let site = format!("[connections.lab.site]\nsql = {{ {sql} }}");
        std::fs::write(&rig.config, text.replace("[connections.lab.site]", &site)).unwrap();
    };
    with_sql(&format!("user = \"{user}\", password_file = \"{}\"", password.display()));
    let right = std::mem::replace(&mut rig.lab.faults().sql_port, 1);
    let told = refused(&rig).await;
    assert!(told.contains("localhost:1 cannot be reached") && told.contains("CM_CAS"), "{told}");
    rig.lab.faults().sql_port = right;
    let output = rig.once().await;
    assert!(output.status.success(), "{}", crate::rig::stderr(&output));
    assert!(rig.report().equal && rig.lab.counts().site["v_Collections"] > 0);
    // Where nobody tells it, it must be written.
    let told = std::fs::read_to_string(&rig.config).unwrap().replace("admin_service", "# ");
    std::fs::write(&rig.config, told).unwrap();
    let output = rig.run(&["check"]).await;
    assert!(crate::rig::stderr(&output).contains("sql.server: is missing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_follow_a_listener_to_its_secondary_and_strict_encryption_works() {
    let secondary = Lab::start(sql()).await.unwrap();
    secondary.faults().sql.is_secondary = true;
    let rig = rig().await;
    let text = std::fs::read_to_string(&rig.config).unwrap();
    let edit = |more: &str| text.replace("database = ", &format!("{more}, database = "));
    // Certificates of both are trusted.
    let bundle = format!("{}{}", rig.lab.ca_pem, secondary.ca_pem);
    std::fs::write(rig.directory.path().join("lab-ca.pem"), bundle).unwrap();
    rig.lab.faults().sql.route_to = Some(("localhost".into(), secondary.sql_address.port()));
    std::fs::write(&rig.config, edit("read_only = true")).unwrap();
    assert!(rig.once().await.status.success());
    // How far it is behind is said, where that can be seen.
    for (lag, told, is_told) in [
        (None, "GRANT VIEW SERVER STATE", true),
        (Some(300), "is 300 s behind", true),
        (Some(5), "behind", false),
    ] {
        secondary.faults().sql.lag = lag;
        let output = rig.run(&["check"]).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains(told) == is_told, "{text}");
    }
    assert!(secondary.counts().site["SMS_FullCollectionMembership"] > 0);
    assert_eq!(rig.lab.counts().site.get("SMS_FullCollectionMembership"), None);
    std::fs::write(&rig.config, edit("encryption = \"strict\"")).unwrap();
    assert_eq!(rig.lab.counts().strict, 0);
    assert!(rig.run(&["check"]).await.status.success());
    assert!(rig.lab.counts().strict > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_on_rows_is_kept_and_the_time_it_costs_is_told() {
    for source in [Source::Sql, Source::AdminService] {
        let options = Options { source, ..options(small()) };
        let mut rig = Rig::with(options, r#"[{ name = "*" }]"#, "").await;
        let text = std::fs::read_to_string(&rig.config).unwrap();
        let bound =
            "[connections.lab.site]\nmax_rows_per_second = 1000\nmax_requests_per_second = 50";
        std::fs::write(&rig.config, text.replace("[connections.lab.site]", bound)).unwrap();
        let (config, port) = listening(&rig.config);
        rig.config = config;
        rig.start();
        rig.until_all_equal().await;
        // Some 400 devices and 1,600 members at 1,000 a second.
        rig.until(|| {
            let waited = metric(port, "cmsync_producer_site_wait_seconds_total") >= 1.0;
            (waited && metric(port, "cmsync_producer_site_seconds_total") >= 1.0).then_some(())
        })
        .await;
    }
}
