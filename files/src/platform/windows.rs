//! Access control lists.
//!
//! Source: "Security Descriptor Definition Language".

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt as _;
use std::path::Path;

use windows_permissions::constants::{AceFlags, AceType, SeObjectType, SecurityInformation};
use windows_permissions::wrappers::{
    GetNamedSecurityInfo, GetSecurityInfo, LookupAccountName, SetNamedSecurityInfo, SetSecurityInfo,
};
use windows_permissions::{LocalBox, SecurityDescriptor, Sid};

use super::accounts::{
    ADMINISTRATORS, CREATOR, OF_DOMAIN, OWNERS, SYSTEM, name, service_sid, text, this_account,
};
pub(crate) use super::key::{protect, unprotect};
use crate::SERVICE;

/// The right to write, to read and to change who may.
const OWN_ACCESS: u32 = 0x4000_0000 | 0x0002_0000 | 0x0004_0000;
/// Reading or writing what is in a file, adding to it, deleting it, changing who may or who owns it, and all
/// rights at once.
const READ_OR_CHANGE: u32 = 0x1 | 0x2 | 0x4 | 0x1_0000 | 0x4_0000 | 0x8_0000 | 0xF000_0000;
/// Characters of a path that the calls for rights take.
const LONGEST: usize = 240;

/// A path as the calls for rights take it whatever its length.
fn named(path: &Path) -> io::Result<OsString> {
    let path = std::path::absolute(path)?;
    let is_short = path.as_os_str().len() < LONGEST
        || path.as_os_str().as_encoded_bytes().starts_with(b"\\\\");
    let prefix = if is_short { "" } else { r"\\?\" };
    Ok([OsStr::new(prefix), path.as_os_str()].into_iter().collect())
}

/// Rights for administrators, the service, and this account where it owns what they are for; directories
/// hand them on.
fn own_rights(owner: Option<&Sid>, hands_on: bool) -> io::Result<LocalBox<SecurityDescriptor>> {
    let flags = if hands_on { "OICI" } else { "" };
    let this = this_account()?;
    let service = service_sid(SERVICE);
    // Whoever else owns it, by having made it first, gets nothing.
    let owner = owner.map(text).filter(|owner| *owner == this);
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
    let dacl = SecurityInformation::Dacl;
    let copy = || -> io::Result<()> {
        let rights = GetNamedSecurityInfo(&named(old)?, FILE, dacl)?;
        SetNamedSecurityInfo(&named(new)?, FILE, dacl, None, None, rights.dacl(), None)
    };
    drop(copy());
}

/// A private file has its own rights, whatever those of the former one were.
pub(crate) fn keep_private_access(_: &Path, _: &Path) {}

pub(crate) fn adopt(_: &Path) {}

pub(crate) fn create_directory(path: &Path) -> io::Result<()> {
    let is_new = !path.exists();
    std::fs::create_dir_all(path)?;
    if is_new {
        // A drive without such rights is still a drive; who can look into it is told by `check`.
        drop(restrict(path));
    }
    Ok(())
}

pub(crate) fn restrict(path: &Path) -> io::Result<()> {
    let found = GetNamedSecurityInfo(&named(path)?, FILE, SecurityInformation::Owner)?;
    let metadata = std::fs::symlink_metadata(path)?;
    let owner = found.owner().map(text).unwrap_or_default();
    let is_ours = OWNERS.contains(&owner.as_str()) || owner == this_account()?;
    if metadata.is_symlink() || !is_ours {
        let detail = format!(
            "`{}` was made by somebody else ({}): look at what is in it, and move it aside",
            path.display(),
            found.owner().map(name).unwrap_or_default()
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, detail));
    }
    let rights = own_rights(found.owner(), metadata.is_dir())?;
    SetNamedSecurityInfo(&named(path)?, FILE, protected(), None, None, rights.dacl(), None)
}

pub(crate) fn strangers(path: &Path, accounts: &[String]) -> io::Result<Vec<String>> {
    let parts = SecurityInformation::Dacl | SecurityInformation::Owner;
    let found = GetNamedSecurityInfo(&named(path)?, FILE, parts)?;
    let given = accounts.iter().filter_map(|a| LookupAccountName(None::<&str>, a).ok());
    let mut known: Vec<String> = given.map(|(sid, _, _)| text(&sid)).collect();
    known.extend([service_sid(SERVICE), this_account()?]);
    known.extend(OWNERS.into_iter().chain(CREATOR).map(str::to_owned));
    let is_known = |id: &str| {
        known.iter().any(|known| known == id) || OF_DOMAIN.iter().any(|end| id.ends_with(end))
    };
    let mut strangers: Vec<String> =
        found.owner().into_iter().filter(|sid| !is_known(&text(sid))).map(name).collect();
    let Some(list) = found.dacl() else { return Ok(vec!["everyone".into()]) };
    for entry in (0..list.len()).filter_map(|index| list.get_ace(index)) {
        let counts = entry.mask().bits() & READ_OR_CHANGE != 0
            && !entry.flags().contains(AceFlags::InheritOnly)
            && entry.ace_type() == AceType::ACCESS_ALLOWED_ACE_TYPE;
        let who = entry.sid().filter(|sid| counts && !is_known(&text(sid))).map(name);
        strangers.extend(who.filter(|who| !strangers.contains(who)));
    }
    Ok(strangers)
}
