//! Where configuration and state are, and what becomes of those places while it runs.

use std::path::PathBuf;
use std::process::Command;

use crate::queue_limits::SmallDisk;
use crate::rig::{Rig, small};

impl Rig {
    /// Moves configuration, secrets and queue to another directory.
    fn move_to(&mut self, directory: PathBuf) {
        std::fs::create_dir_all(&directory).unwrap();
        let old = self.config.parent().unwrap().to_owned();
        for entry in std::fs::read_dir(&old).unwrap().filter_map(Result::ok) {
            if entry.file_type().unwrap().is_file() {
                std::fs::rename(entry.path(), directory.join(entry.file_name())).unwrap();
            }
        }
        self.config = directory.join("cmsync.toml");
        let text = std::fs::read_to_string(&self.config).unwrap();
        let (old, new) = (old.display().to_string(), directory.display().to_string());
        std::fs::write(&self.config, text.replace(&old, &new)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_directory_with_blanks_other_scripts_and_a_very_long_name_all_is_as_elsewhere() {
    let mut rig = Rig::new(small()).await;
    let long = "a name that does not end, ".repeat(7);
    let directory = rig.directory.path().join("Ünï çødé 目录").join(long.trim_end_matches(", ")).join(
        "and another one below it, so that Windows' old limit of 260 characters for a whole path is passed",
    );
    assert!(directory.as_os_str().len() > 260);
    rig.move_to(directory);
    rig.start();
    rig.until_all_equal().await;
    assert_eq!(rig.json(&["status"]).await.as_array().map(Vec::len), Some(1));
    assert!(rig.run(&["check", "--offline"]).await.status.success());
    assert!(rig.terminate().await.success());
    assert!(rig.once().await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_as_editors_of_windows_write_it_is_read_and_changed_in_place() {
    let rig = Rig::new(small()).await;
    let text = std::fs::read_to_string(&rig.config).unwrap();
    std::fs::write(&rig.config, format!("\u{feff}# Ours\r\n{}", text.replace('\n', "\r\n")))
        .unwrap();
    assert!(rig.once().await.status.success());
    let added = rig.run(&["collections", "add", "lab", "PS100001"]).await;
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    let text = std::fs::read_to_string(&rig.config).unwrap();
    assert!(text.contains("# Ours") && text.contains("PS100001"), "{text}");
    assert!(rig.once().await.status.success());
    // Windows' own shell writes UTF-16 unless it is told.
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(&rig.config, [&[0xff, 0xfe], wide.as_slice()].concat()).unwrap();
    let refused = rig.once().await;
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && told.contains("UTF-8"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_whose_drive_vanishes_and_comes_back_loses_nothing() {
    let mut rig = Rig::new(small()).await;
    let queue = rig.directory.path().join("queue");
    let Some(_disk) = SmallDisk::mount(&queue, "size=1g") else {
        eprintln!("no right to mount a file system: this promise was not tested");
        return;
    };
    rig.start();
    rig.until_all_equal().await;
    let aside = rig.directory.path().join("aside");
    std::fs::create_dir_all(&aside).unwrap();
    let moved = |from: &PathBuf, to: &PathBuf| {
        let status = Command::new("mount").arg("--move").args([from, to]).status().unwrap();
        assert!(status.success());
    };
    moved(&queue, &aside);
    rig.lab.world().change_members("PS100001", &[16_777_231], &[]);
    rig.two_polls().await;
    rig.kill();
    // Without its drive a directory is made anew, and with it the state: it repairs itself from nothing.
    rig.start();
    rig.until_all_equal().await;
    rig.kill();
    moved(&aside, &queue);
    rig.lab.world().change_members("PS100002", &[16_777_232], &[]);
    rig.start();
    rig.until_all_equal().await;
    rig.kill();
}
