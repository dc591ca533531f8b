//! A site becomes a child of a central administration site: the connection stops, nothing is removed,
//! and the steps that docs/setup.md gives end with the same groups under the new site's code.

use std::path::Path;

use cmsync_lab::world::Plan;
use cmsync_lab::{Lab, Options};

use crate::connect::{Desk, assert_done};
use crate::rig::{options, small, stderr};

fn plan(site: &str) -> Options {
    options(Plan { site: site.into(), primaries: Vec::new(), ..small() })
}

/// Answers for the new top-tier site, into the workspace that the old one uses.
fn answers_for(desk: &Desk, new: &Lab, path: &Path) {
    let ca = desk.directory.path().join("central-ca.pem");
    std::fs::write(&ca, &new.ca_pem).unwrap();
    let old = std::fs::read_to_string(&desk.answers).unwrap();
    let own_ca = format!("ca_file = \"{}\"", desk.directory.path().join("lab-ca.pem").display());
    let (site, workspace) = old.split_once("[connections.lab.workspace]").unwrap();
    let site = site
        .replace(
            &format!("{}/AdminService", desk.lab.url()),
            &format!("{}/AdminService", new.url()),
        )
        .replace(&own_ca, &format!("ca_file = \"{}\"", ca.display()));
    let text = format!("{site}[connections.lab.workspace]{workspace}");
    std::fs::write(path, text.replace("connections.lab", "connections.central")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_becomes_a_child_stops_and_its_steps_end_with_the_same_groups() {
    let desk = Desk::with_workspace(plan("PS1")).await;
    assert_done(&desk.connect(&[]).await);
    desk.assert_equal();

    desk.lab.world().reports_to = "CAS".into();
    let output = desk.run(&["run", "--once"]).await;
    let text = stderr(&output);
    assert!(!output.status.success() && text.contains("reports to `CAS`"), "{text}");
    desk.assert_equal();

    // The steps: the new site becomes a connection, is whole, and the old one is taken back.
    let new = Lab::start(plan("CAS")).await.unwrap();
    let answers = desk.directory.path().join("central.toml");
    answers_for(&desk, &new, &answers);
    let connected =
        desk.run(&["connect", "--answers", answers.to_str().unwrap(), "--no-sync"]).await;
    assert_done(&connected);
    // The old one still fails, and holds up nothing.
    let output = desk.run(&["run", "--once"]).await;
    assert!(stderr(&output).contains("reports to `CAS`"), "{}", stderr(&output));
    let all = new.device_collections();
    let report = desk.lab.workspace.compare(&new.world(), &all, 7);
    let of_old = |text: &String| text.contains("a group that is not kept");
    assert!(report.differences.iter().all(of_old), "{:?}", report.differences);
    assert!(!desk.lab.workspace.view("PS1", 0).groups.is_empty(), "closed before its time");
    assert_done(&desk.run(&["disconnect", "lab", "--yes"]).await);
    assert!(desk.lab.workspace.view("PS1", 0).groups.is_empty(), "the old site's rows are closed");
    assert_done(&desk.run(&["run", "--once"]).await);
    let report = desk.lab.workspace.compare(&new.world(), &all, 8);
    assert!(report.equal, "{:?}", report.differences);
    let aliases = desk.lab.resources().aliases();
    for id in &all {
        for alias in [format!("CMG_CAS_{id}"), format!("CMG_{id}")] {
            assert!(aliases.contains(&alias), "{alias} is missing of {aliases:?}");
        }
    }
    assert!(!aliases.iter().any(|alias| alias.starts_with("CMG_PS1_")), "{aliases:?}");
}
