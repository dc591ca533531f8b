//! A full queue or a full disk makes it wait, not drop.

use std::path::Path;
use std::process::Command;

use crate::rig::{Rig, large, options};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_makes_it_wait_while_the_workspace_takes_nothing() {
    let mut rig = Rig::with(options(large()), r#"[{ name = "*" }]"#, "").await;
    let text = std::fs::read_to_string(&rig.config).unwrap();
    let directory = rig.directory.path().join("queue");
    let embedded = format!("embedded = {{ directory = \"{}\"", directory.display());
    std::fs::write(
        &rig.config,
        text.replace(&embedded, &format!("{embedded}, max_size = \"64MiB\"")),
    )
    .unwrap();
    rig.lab.faults().refused_rules.insert(rig.lab.options.rules[0].clone());
    rig.start();
    let log = rig.log_path();
    rig.until(move || {
        std::fs::read_to_string(&log)
            .unwrap_or_default()
            .contains("uploads are paused")
            .then_some(())
    })
    .await;
    rig.two_polls().await;
    let size = std::fs::metadata(rig.queue_file()).unwrap().len();
    assert!(size < 200 << 20, "{size} bytes for a queue of 64 MiB");
    rig.lab.faults().refused_rules.clear();
    rig.until_all_equal().await;
}

/// A small file system of its own, gone at the end.
pub(crate) struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    /// `None` where the tests may not mount.
    pub(crate) fn mount(at: &'a Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", size, "cmsync-test"]).arg(at).status();
        mounted.is_ok_and(|s| s.success()).then_some(Self(at))
    }

    fn resize(&self, size: &str) {
        let status = Command::new("mount")
            .args(["-o", &format!("remount,{size}")])
            .arg(self.0)
            .status()
            .unwrap();
        assert!(status.success());
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.0).status());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_makes_it_wait_and_go_on_when_there_is_room() {
    let mut rig = Rig::new(large()).await;
    let queue = rig.directory.path().join("queue");
    let Some(disk) = SmallDisk::mount(&queue, "size=8m") else {
        eprintln!("no right to mount a small file system: this promise was not tested");
        return;
    };
    rig.start();
    let log = rig.log_path();
    rig.until(move || {
        std::fs::read_to_string(&log)
            .unwrap_or_default()
            .contains("failed to write the queue")
            .then_some(())
    })
    .await;
    assert!(!rig.report().equal);
    disk.resize("size=1g");
    rig.until_all_equal().await;
    assert!(rig.terminate().await.success(), "{}", rig.log());
}
