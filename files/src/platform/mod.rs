//! Rights of files, as the system has them.

#[cfg(unix)]
#[path = "unix.rs"]
mod system;
#[cfg(windows)]
#[path = "windows.rs"]
mod system;

pub(crate) use system::{
    adopt, create_private, keep_access, protect, restrict, strangers, unprotect,
};

#[cfg(all(test, windows))]
pub(crate) use system::service_sid;
