//! Killed at any instant, it loses nothing and repairs itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::rig::{Rig, small};

/// Kills at commits: a commit ends in an `fdatasync`, which moves the file's time.
async fn run_until_commit(rig: &mut Rig, commits: u32) {
    rig.start();
    let path = rig.queue_file();
    let time = move || std::fs::metadata(&path).and_then(|m| m.modified()).ok();
    let (mut seen, mut last, started) = (0, time(), Instant::now());
    while seen < commits {
        let now = time();
        seen += u32::from(now != last);
        last = now;
        assert!(rig.is_running(), "{}", rig.log());
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "only {seen} of {commits} commits\n{}",
            rig.log()
        );
        tokio::task::yield_now().await;
    }
    rig.kill();
}

async fn kills(count: u32, seed: u64) {
    let mut rig = Rig::new(small()).await;
    // On a slow machine much goes between two polls that come to their end: that is no loss here.
    let text = std::fs::read_to_string(&rig.config).unwrap();
    let polls = "poll_interval = \"300ms\"";
    assert!(text.contains(polls));
    let edited = text.replace(polls, &format!("{polls}\nmax_removed_share = 1.0"));
    std::fs::write(&rig.config, edited).unwrap();
    let mut rng = StdRng::seed_from_u64(seed);
    rig.lab.start_churn(Duration::from_millis(40), 3);
    for _ in 0..count {
        let commits = rng.random_range(1..60);
        run_until_commit(&mut rig, commits).await;
    }
    rig.lab.stop_churn();
    rig.start();
    let report = rig.until_all_equal().await;
    assert!(report.memberships > 1_000, "{report:?}");
    assert!(rig.terminate().await.success());
}

/// `CMSYNC_KILLS` raises the number, as `make faults` does.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_commit_during_churn_it_loses_nothing_and_repairs_itself() {
    let count = std::env::var("CMSYNC_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    kills(count, 20_261_122).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_interrupted_is_resumed_by_the_next_process() {
    let mut rig = Rig::new(crate::rig::large()).await;
    // So slow that it is in the middle for seconds.
    rig.lab.faults().latency = Duration::from_millis(300);
    rig.start();
    let (lab, all) = (Arc::clone(&rig.lab), rig.lab.device_collections());
    rig.until(move || (lab.compare(&all).member_rows > 150_000).then_some(())).await;
    rig.kill();
    rig.lab.faults().latency = Duration::ZERO;
    let rows_before = rig.report().member_rows;
    assert!(rows_before > 150_000 && !rig.report().equal, "{rows_before} rows were there");
    rig.start();
    let report = rig.until_all_equal().await;
    let repeated = report.member_rows.saturating_sub(report.memberships as u64);
    // Only what was on its way comes again, not what the first process had delivered.
    assert!(repeated < rows_before / 2, "{repeated} rows were sent again of {rows_before}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_signal_drains_within_its_deadline_and_the_next_run_has_nothing_to_repeat() {
    let mut rig = Rig::new(small()).await;
    rig.lab.start_churn(Duration::from_millis(50), 3);
    rig.start();
    rig.two_polls().await;
    let started = Instant::now();
    assert!(rig.terminate().await.success(), "{}", rig.log());
    assert!(started.elapsed() < Duration::from_secs(26));
    rig.lab.stop_churn();
    rig.start();
    rig.until_all_equal().await;
    assert_eq!(rig.repeats(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_state_is_made_anew_above_what_the_workspace_holds() {
    let mut rig = Rig::new(small()).await;
    assert!(rig.once().await.status.success());
    let before = rig.lab.workspace.highest_seq("CAS").unwrap();
    std::fs::remove_dir_all(rig.directory.path().join("queue")).unwrap();
    {
        let mut world = rig.lab.world();
        world.change_members("PS100001", &[cmsync_lab::world::CLIENTS + 3], &[]);
    }
    assert!(rig.once().await.status.success());
    assert!(rig.report().equal, "{:#?}", rig.report());
    assert!(rig.lab.workspace.highest_seq("CAS").unwrap() > before);
    rig.start();
    rig.until_all_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_of_the_queue_is_noticed_and_repaired_by_whole_snapshots() {
    let rig = Rig::new(small()).await;
    assert!(rig.once().await.status.success());
    let old = std::fs::read(rig.queue_file()).unwrap();
    let gone: Vec<u32> = rig.lab.world().collections["PS100002"].members.iter().take(3).collect();
    let came: Vec<u32> = (0..3).map(|n| cmsync_lab::world::CLIENTS + 390 + n).collect();
    rig.lab.world().change_members("PS100002", &came, &gone);
    assert!(rig.once().await.status.success());
    assert!(rig.report().equal);
    // Now the site goes back to what it was, and so does the queue: its state says that all is well.
    rig.lab.world().change_members("PS100002", &gone, &came);
    std::fs::write(rig.queue_file(), old).unwrap();
    let output = rig.once().await;
    assert!(output.status.success(), "{}", crate::rig::stderr(&output));
    assert!(crate::rig::stderr(&output).contains("an old copy was restored"));
    assert!(rig.report().equal, "{:#?}", rig.report());
}
