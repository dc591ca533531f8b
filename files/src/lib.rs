//! Files that not everybody may read: secrets, the queue, the token of the local API.
//!
//! On Unix an owner and a mode say who may; on Windows an access control list does, and whoever keeps
//! backups can be shut out with the machine's own key besides ([`protect`]). Elsewhere in cmsync files are
//! files.

mod platform;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use secrecy::{ExposeSecret as _, SecretString, zeroize::Zeroizing};

/// What a file begins with whose secret is under the machine's key.
const PROTECTED: &str = "dpapi:";

/// Makes a new file that its owner alone may read and write; on Unix its directory's group too where the
/// directory hands its group on (set-group-ID), as the package's does; on Windows administrators and the
/// service ([`SERVICE`]) too.
///
/// # Errors
/// When there is such a file, or it cannot be made.
pub fn create_private(path: &Path) -> io::Result<File> {
    platform::create_private(path)
}

/// Gives a new file the owner and the rights of the one that it is to replace, as far as this user may:
/// whoever runs the service reads it still.
pub fn keep_access(old: &Path, new: &Path) {
    platform::keep_access(old, new);
}

/// A file that root makes in another user's directory, by a command before the service ever ran, is
/// that user's. On Windows the directory hands its rights on by itself.
pub fn adopt(path: &Path) {
    platform::adopt(path);
}

/// Makes a directory, with those above it, that nobody else can look into on Windows, where it would
/// hand on whatever rights the one above it has. One that is there stays as it is.
///
/// # Errors
/// When it cannot be made.
pub fn create_directory(path: &Path) -> io::Result<()> {
    platform::create_directory(path)
}

/// Leaves a directory or a file, and what will be made in it, to administrators, the service, and on Unix
/// its owner.
///
/// # Errors
/// When this user may not, or on Windows somebody else than an administrator made it.
pub fn restrict(path: &Path) -> io::Result<()> {
    platform::restrict(path)
}

/// Who may read or change a file or a directory beside administrators, the service, this account, and those
/// that are given (`DOMAIN\name`). Empty on Unix, where a container's secrets are readable to all in it.
///
/// # Errors
/// When its rights cannot be read.
pub fn strangers(path: &Path, accounts: &[String]) -> io::Result<Vec<String>> {
    platform::strangers(path, accounts)
}

/// The name that Windows knows the service by; files are granted to it by this name, whatever account
/// it runs under.
pub const SERVICE: &str = "cmsync";

/// A file's text, which may be under the machine's key.
///
/// # Errors
/// When it cannot be read, is no text, or was protected on another machine.
pub fn read_secret(path: &Path) -> io::Result<SecretString> {
    let bytes = read_private(path)?;
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "holds no text of UTF-8");
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong())?;
    // Editors of Windows mark a text so.
    Ok(SecretString::from(text.strip_prefix('\u{feff}').unwrap_or(text)))
}

/// What is in a file, which may be under the machine's key.
///
/// # Errors
/// When it cannot be read, or was protected on another machine.
pub fn read_private(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let bytes = Zeroizing::new(std::fs::read(path)?);
    let Some(sealed) = bytes.trim_ascii_end().strip_prefix(PROTECTED.as_bytes()) else {
        return Ok(bytes);
    };
    let wrong = |_| io::Error::new(io::ErrorKind::InvalidData, "is cut or was changed");
    let sealed = BASE64_STANDARD.decode(sealed).map_err(wrong)?;
    platform::unprotect(&sealed).map(Zeroizing::new)
}

/// Whether a file's secret is under the machine's key.
#[must_use]
pub fn is_protected(path: &Path) -> bool {
    use io::Read as _;
    let mut head = [0; PROTECTED.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && head == *PROTECTED.as_bytes()
}

/// A secret as it stands in a file that is under the machine's key: of no use on another machine.
///
/// # Errors
/// Where there is no such key, as on Unix.
pub fn protect(secret: &SecretString) -> io::Result<String> {
    let sealed = platform::protect(secret.expose_secret().as_bytes())?;
    Ok(format!("{PROTECTED}{}\n", BASE64_STANDARD.encode(sealed)))
}

/// Replaces a file that holds a secret, or makes it; nobody else can read it at any time. Under the
/// machine's key where the one was that it replaces.
///
/// # Errors
/// When it cannot be written.
pub fn replace_secret(path: &Path, secret: &SecretString) -> io::Result<()> {
    if is_protected(path) {
        return replace(path, protect(secret)?.as_bytes());
    }
    replace(path, secret.expose_secret().as_bytes())
}

/// Replaces a private file, or makes it, so that a reader finds the old one or the new one.
///
/// # Errors
/// When it cannot be written.
pub fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    use io::Write as _;
    let aside = aside(path);
    drop(std::fs::remove_file(&aside));
    let mut file = create_private(&aside)?;
    file.write_all(text)?;
    file.sync_all()?;
    drop(file);
    platform::keep_private_access(path, &aside);
    std::fs::rename(&aside, path)
}

/// Where the next version of a file is written.
fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

#[cfg(test)]
mod tests;
