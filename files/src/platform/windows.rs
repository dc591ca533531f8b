//! Access control lists and the machine's key (DPAPI).
//!
//! Sources: "Security Descriptor Definition Language", "Well-known SIDs", "Service security identifiers",
//! "CryptProtectData function".

use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt as _;
use std::path::Path;

use aws_lc_rs::digest;
use windows_dpapi::{Scope, decrypt_data, encrypt_data};
use windows_permissions::constants::{AceFlags, AceType, SeObjectType, SecurityInformation};
use windows_permissions::wrappers::{
    ConvertSidToStringSid, GetNamedSecurityInfo, GetSecurityInfo, LookupAccountName,
    LookupAccountSid, SetNamedSecurityInfo, SetSecurityInfo,
};
use windows_permissions::{LocalBox, SecurityDescriptor, Sid};

use crate::SERVICE;

/// The right to write, to read and to change who may.
const OWN_ACCESS: u32 = 0x4000_0000 | 0x0002_0000 | 0x0004_0000;
/// Reading what is in a file, or all rights at once.
const READ: u32 = 0x1 | 0x1000_0000 | 0x8000_0000;
/// What a machine's key is asked for again besides: it is not for other programs' secrets.
const PURPOSE: &[u8] = b"cmsync";

const SYSTEM: &str = "S-1-5-18";
const ADMINISTRATORS: &str = "S-1-5-32-544";
/// Who makes a file, in what directories hand on, and who owns it.
const CREATOR: [&str; 2] = ["S-1-3-0", "S-1-3-4"];
/// Of a domain: its administrators, and those of the forest.
const OF_DOMAIN: [&str; 2] = ["-512", "-519"];

/// The identity that every process of a service has, whatever its account.
pub(crate) fn service_sid(name: &str) -> String {
    let name: Vec<u8> = name.to_uppercase().encode_utf16().flat_map(u16::to_le_bytes).collect();
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &name);
    let parts = hash.as_ref().chunks_exact(4).filter_map(|part| part.first_chunk::<4>());
    parts.fold("S-1-5-80".to_owned(), |sid, part| format!("{sid}-{}", u32::from_le_bytes(*part)))
}

fn text(sid: &Sid) -> String {
    ConvertSidToStringSid(sid).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Rights for administrators, the service and the owner alone; directories hand them on.
fn own_rights(owner: Option<&Sid>, hands_on: bool) -> io::Result<LocalBox<SecurityDescriptor>> {
    let flags = if hands_on { "OICI" } else { "" };
    let owner = owner.map(text);
    let service = service_sid(SERVICE);
    let who = [Some(SYSTEM), Some(ADMINISTRATORS), Some(&service), owner.as_deref()];
    let entries = who.into_iter().flatten().map(|sid| format!("(A;{flags};FA;;;{sid})"));
    format!("D:P{}", entries.collect::<String>()).parse()
}

const FILE: SeObjectType = SeObjectType::SE_FILE_OBJECT;

fn protected() -> SecurityInformation {
    SecurityInformation::Dacl | SecurityInformation::ProtectedDacl
}

pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // Until its rights are set nobody else can open it.
    options.write(true).create_new(true).access_mode(OWN_ACCESS).share_mode(0);
    let mut file = options.open(path)?;
    let found = GetSecurityInfo(&file, FILE, SecurityInformation::Owner)?;
    let rights = own_rights(found.owner(), false)?;
    SetSecurityInfo(&mut file, FILE, protected(), None, None, rights.dacl(), None)?;
    Ok(file)
}

pub(crate) fn keep_access(old: &Path, new: &Path) {
    if let Ok(rights) = GetNamedSecurityInfo(old.as_os_str(), FILE, SecurityInformation::Dacl) {
        let dacl = (SecurityInformation::Dacl, rights.dacl());
        drop(SetNamedSecurityInfo(new.as_os_str(), FILE, dacl.0, None, None, dacl.1, None));
    }
}

pub(crate) fn adopt(_: &Path) {}

pub(crate) fn restrict(path: &Path) -> io::Result<()> {
    let found = GetNamedSecurityInfo(path.as_os_str(), FILE, SecurityInformation::Owner)?;
    let rights = own_rights(found.owner(), path.is_dir())?;
    SetNamedSecurityInfo(path.as_os_str(), FILE, protected(), None, None, rights.dacl(), None)
}

pub(crate) fn strangers(path: &Path, accounts: &[String]) -> io::Result<Vec<String>> {
    let parts = SecurityInformation::Dacl | SecurityInformation::Owner;
    let found = GetNamedSecurityInfo(path.as_os_str(), FILE, parts)?;
    let named = accounts.iter().filter_map(|a| LookupAccountName(None::<&str>, a).ok());
    let mut known: Vec<String> = named.map(|(sid, _, _)| text(&sid)).collect();
    known.extend([SYSTEM.to_owned(), ADMINISTRATORS.to_owned(), service_sid(SERVICE)]);
    known.extend(CREATOR.map(str::to_owned));
    known.extend(found.owner().map(text));
    let Some(list) = found.dacl() else { return Ok(vec!["everyone".into()]) };
    let mut strangers = Vec::new();
    for entry in (0..list.len()).filter_map(|index| list.get_ace(index)) {
        let is_read = entry.mask().bits() & READ != 0;
        let is_here = !entry.flags().contains(AceFlags::InheritOnly);
        let Some(sid) = entry.sid().filter(|_| is_read && is_here) else { continue };
        let id = text(sid);
        let is_known = known.contains(&id) || OF_DOMAIN.iter().any(|end| id.ends_with(end));
        if entry.ace_type() == AceType::ACCESS_ALLOWED_ACE_TYPE && !is_known {
            strangers.push(match LookupAccountSid(sid) {
                Ok((name, domain)) if domain.is_empty() => name.to_string_lossy().into_owned(),
                Ok((name, domain)) => format!("{}\\{}", domain.display(), name.display()),
                Err(_) => id,
            });
        }
    }
    Ok(strangers)
}

fn failed(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("the machine's key (DPAPI): {error}"))
}

pub(crate) fn protect(secret: &[u8]) -> io::Result<Vec<u8>> {
    encrypt_data(secret, Scope::Machine, Some(PURPOSE)).map_err(failed)
}

pub(crate) fn unprotect(sealed: &[u8]) -> io::Result<Vec<u8>> {
    decrypt_data(sealed, Scope::Machine, Some(PURPOSE)).map_err(failed)
}
