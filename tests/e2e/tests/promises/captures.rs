//! The captured answers of a real site run through the whole pipeline.

use std::path::PathBuf;

use cmsync_lab::Options;

use crate::rig::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn a_captured_hierarchy_ends_as_its_notes_say() {
    let Some(folder) = std::env::var_os("CMSYNC_CAPTURES").map(PathBuf::from) else {
        eprintln!("CMSYNC_CAPTURES names no folder: no captured answers were played");
        return;
    };
    let folder = folder.join("mini");
    assert!(folder.is_dir(), "{} is missing", folder.display());
    let rig = Rig::with(
        Options { captures: Some(folder), ..Options::default() },
        r#"[{ name = "*" }]"#,
        "",
    )
    .await;
    let output = rig.once().await;
    assert!(output.status.success(), "{}", crate::rig::stderr(&output));
    let view = rig.lab.workspace.view("CAS", 0);
    let names: Vec<_> =
        view.groups["SMS000KM"].values().map(|seen| seen.netbios_name.as_str()).collect();
    assert_eq!(names, ["PS1-DEV", "PS1-DEV2"]);
    assert!(
        view.groups["SMS000KM"].values().all(|seen| seen.assigned_site.as_deref() == Some("PS1"))
    );
    // Two unknown computers, and a provisioning device: groups without computers.
    assert!(view.groups["SMS000US"].is_empty() && view.groups["SMS000PS"].is_empty());
    assert_eq!(view.marker_rows, 3);
}
