//! Rights of files, as the system has them.

#[cfg(windows)]
mod accounts;
#[cfg(windows)]
mod key;
#[cfg(unix)]
#[path = "unix.rs"]
mod system;
#[cfg(windows)]
#[path = "windows.rs"]
mod system;

pub(crate) use system::{
    adopt, create_directory, create_private, keep_access, keep_private_access, protect, restrict,
    strangers, unprotect,
};

#[cfg(all(test, windows))]
pub(crate) use accounts::service_sid;
