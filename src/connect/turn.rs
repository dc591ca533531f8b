//! One set-up of a connection at a time, and what may be thrown away of one that is not complete.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use super::answers::{draft_path, drafts, forget, remove};
use super::identity::secret_path;
use super::write;
use crate::BadUse;

/// A connection's set-up runs as long as this is held, by whichever process: the lock on a file that goes
/// with it. None where no file can be written: no answers are kept there either.
pub(super) struct Turn(Option<(File, PathBuf)>);

impl Turn {
    /// # Errors
    /// [`BadUse`] while another holds it.
    pub(super) fn take(config: &Path, name: &str) -> anyhow::Result<Self> {
        let path = draft_path(config, name).with_extension("lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path).ok();
        if let Some(Err(TryLockError::WouldBlock)) = file.as_ref().map(File::try_lock) {
            let text = format!("`{name}` is being set up: wait for its end");
            return Err(BadUse(text).into());
        }
        Ok(Self(file.map(|file| (file, path))))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some((_, path)) = &self.0 {
            drop(std::fs::remove_file(path));
        }
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
