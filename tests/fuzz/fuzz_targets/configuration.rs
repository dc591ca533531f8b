//! Configurations: each mistake is told, and none ends the program.

#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    static PLACE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = PLACE.get_or_init(|| {
        let directory = tempfile::tempdir_in("/dev/shm").expect("a directory");
        let path = directory.path().join("cmsync.toml");
        (directory, path)
    });
    std::fs::write(path, data).expect("written");
    if let Err(mistakes) = cmsync::check_configuration(path) {
        assert!(!mistakes.trim().is_empty());
    }
});
