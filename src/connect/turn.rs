//! One set-up of a connection at a time, and what may be thrown away of one that is not complete.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::answers::{draft_path, drafts, forget};
use super::identity::secret_path;
use super::write;
use crate::BadUse;

/// A connection's set-up runs as long as this is held, by whichever process.
pub(super) struct Turn {
    /// Its lock goes with it.
    _file: Option<File>,
    path: PathBuf,
}

impl Turn {
    /// # Errors
    /// [`BadUse`] while another holds it.
    pub(super) fn take(config: &Path, name: &str) -> anyhow::Result<Self> {
        let path = draft_path(config, name).with_extension("lock");
        // Where no file can be written, no answers are kept either.
        let file = File::options().create(true).truncate(false).write(true).open(&path).ok();
        if let Some(Err(TryLockError::WouldBlock)) = file.as_ref().map(File::try_lock) {
            let text = format!("`{name}` is being set up: wait for its end");
            return Err(BadUse(text).into());
        }
        Ok(Self { _file: file, path })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
    }
}

/// Forgets a set-up that was begun.
///
/// # Errors
/// [`BadUse`] where none of this name was begun, or it runs; or when a file cannot be removed.
pub(super) fn discard_begun(config: &Path, name: &str) -> anyhow::Result<()> {
    let begun = drafts(config);
    if !begun.iter().any(|draft| draft == name) {
        let text = match begun.is_empty() {
            true => format!("no set-up of `{name}` waits to go on: none was begun"),
            false => {
                format!("no set-up of `{name}` waits to go on; begun are {}", begun.join(", "))
            }
        };
        return Err(BadUse(text).into());
    }
    discard(config, name)
}

/// Forgets a set-up that is not complete, with the secret that was typed for it, unless a connection of the
/// configuration has that; a set-up that was begun nowhere is forgotten already.
///
/// # Errors
/// [`BadUse`] while it runs, or when a file cannot be removed.
pub(crate) fn discard(config: &Path, name: &str) -> anyhow::Result<()> {
    let _turn = Turn::take(config, name)?;
    let secret = secret_path(config, name);
    if !write::names_file(config, &secret)? {
        remove(&secret)?;
    }
    // Last: what went wrong before can be tried again.
    forget(config, name)
}

/// Removes a file that need not be there.
pub(super) fn remove(file: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove `{}`", file.display()))
        }
        _ => Ok(()),
    }
}
