//! The event log, for what an administrator looks for there: that the service started, stopped, or did not.

use winsafe::{HEVENTLOG, HKEY, RegistryValue, SysResult, co};

use cmsync_files::SERVICE;

/// Where sources of the log Application are registered.
const SOURCES: &str = r"SYSTEM\CurrentControlSet\Services\EventLog\Application";
/// A program of every Windows whose messages 1 to 1000 are the text that is given.
const MESSAGES: &str = r"%SystemRoot%\System32\EventCreate.exe";
/// Characters of a text, at most (`ReportEvent`: 31,839).
const LONGEST: usize = 30_000;

/// What an event is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Note,
    Fault,
}

/// Writes an event; where that fails, there is nobody to tell.
pub(super) fn report(kind: Kind, text: &str) {
    let (kind, id) = match kind {
        Kind::Note => (co::EVENTLOG::INFORMATION_TYPE, 1),
        Kind::Fault => (co::EVENTLOG::ERROR_TYPE, 2),
    };
    let text: String = text.chars().take(LONGEST).collect();
    if let Ok(log) = HEVENTLOG::RegisterEventSource(None, SERVICE) {
        log.ReportEvent(kind, 0, id, None, &[text], &[]).unwrap_or_default();
    }
}

/// Makes the event viewer know the source.
pub(super) fn register() -> SysResult<()> {
    let path = format!(r"{SOURCES}\{SERVICE}");
    let write = co::KEY::WRITE;
    let options = co::REG_OPTION::NON_VOLATILE;
    let (key, _) = HKEY::LOCAL_MACHINE.RegCreateKeyEx(&path, None, options, write, None)?;
    key.RegSetValueEx(Some("EventMessageFile"), RegistryValue::ExpandSz(MESSAGES.into()))?;
    // Errors, warnings and information.
    key.RegSetValueEx(Some("TypesSupported"), RegistryValue::Dword(7))
}

/// Makes it forget it.
pub(super) fn forget() -> SysResult<()> {
    HKEY::LOCAL_MACHINE.RegDeleteTree(Some(&format!(r"{SOURCES}\{SERVICE}")))
}
