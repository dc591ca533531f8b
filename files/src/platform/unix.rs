//! Owners and modes.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::Path;

const SET_GROUP: u32 = 0o2000;

pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    let directory = path.parent().and_then(|directory| std::fs::metadata(directory).ok());
    let hands_on = directory.is_some_and(|d| d.permissions().mode() & SET_GROUP != 0);
    let mode = if hands_on { 0o640 } else { 0o600 };
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

pub(crate) fn keep_access(old: &Path, new: &Path) {
    let Ok(metadata) = std::fs::metadata(old) else { return };
    drop(chown(new, Some(metadata.uid()), Some(metadata.gid())));
    drop(std::fs::set_permissions(new, metadata.permissions()));
}

/// As of any file.
pub(crate) fn keep_private_access(old: &Path, new: &Path) {
    keep_access(old, new);
}

pub(crate) fn create_directory(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

pub(crate) fn adopt(path: &Path) {
    if let Some(directory) = path.parent().and_then(|directory| std::fs::metadata(directory).ok()) {
        drop(chown(path, Some(directory.uid()), Some(directory.gid())));
    }
}

pub(crate) fn restrict(path: &Path) -> io::Result<()> {
    let mode = if path.is_dir() { 0o700 } else { 0o600 };
    std::fs::set_permissions(path, Permissions::from_mode(mode))
}

#[expect(clippy::unnecessary_wraps, reason = "as on Windows")]
pub(crate) fn strangers(_: &Path, _: &[String]) -> io::Result<Vec<String>> {
    Ok(Vec::new())
}

fn no_key<T>() -> io::Result<T> {
    let detail = "is under the key of a Windows machine (DPAPI), which this system does not have";
    Err(io::Error::new(io::ErrorKind::Unsupported, detail))
}

pub(crate) fn protect(_: &[u8]) -> io::Result<Vec<u8>> {
    no_key()
}

pub(crate) fn unprotect(_: &[u8]) -> io::Result<Vec<u8>> {
    no_key()
}
