//! Who is who: accounts of the system, of the service and of this process.
//!
//! Sources: "Well-known SIDs", "Service security identifiers".

use std::io;

use aws_lc_rs::digest;
use windows_permissions::Sid;
use windows_permissions::utilities::current_process_sid;
use windows_permissions::wrappers::{ConvertSidToStringSid, LookupAccountSid};

pub(super) const SYSTEM: &str = "S-1-5-18";
pub(super) const ADMINISTRATORS: &str = "S-1-5-32-544";
/// Whose directories are the system's or an administrator's: those two, and the system's installer.
pub(super) const OWNERS: [&str; 3] =
    [SYSTEM, ADMINISTRATORS, "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"];
/// Who makes a file, in what directories hand on, and who owns it.
pub(super) const CREATOR: [&str; 2] = ["S-1-3-0", "S-1-3-4"];
/// Of a domain: its administrators, and those of the forest.
pub(super) const OF_DOMAIN: [&str; 2] = ["-512", "-519"];

/// The identity that every process of a service has, whatever its account.
pub(crate) fn service_sid(name: &str) -> String {
    let name: Vec<u8> = name.to_uppercase().encode_utf16().flat_map(u16::to_le_bytes).collect();
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &name);
    let parts = hash.as_ref().chunks_exact(4).filter_map(|part| part.first_chunk::<4>());
    parts.fold("S-1-5-80".to_owned(), |sid, part| format!("{sid}-{}", u32::from_le_bytes(*part)))
}

pub(super) fn text(sid: &Sid) -> String {
    ConvertSidToStringSid(sid).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Who runs this process.
pub(super) fn this_account() -> io::Result<String> {
    current_process_sid().map(|sid| text(&sid))
}

/// An account as people know it.
pub(super) fn name(sid: &Sid) -> String {
    match LookupAccountSid(sid) {
        Ok((name, domain)) if domain.is_empty() => name.to_string_lossy().into_owned(),
        Ok((name, domain)) => format!("{}\\{}", domain.display(), name.display()),
        Err(_) => text(sid),
    }
}
