//! The machine's key (DPAPI). Source: "CryptProtectData function".

use std::io;

use windows_dpapi::{Scope, decrypt_data, encrypt_data};

/// What a machine's key is asked for again besides: it is not for other programs' secrets.
const PURPOSE: &[u8] = b"cmsync";

fn failed(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("the machine's key (DPAPI): {error}"))
}

pub(crate) fn protect(secret: &[u8]) -> io::Result<Vec<u8>> {
    encrypt_data(secret, Scope::Machine, Some(PURPOSE)).map_err(failed)
}

pub(crate) fn unprotect(sealed: &[u8]) -> io::Result<Vec<u8>> {
    decrypt_data(sealed, Scope::Machine, Some(PURPOSE)).map_err(failed)
}
