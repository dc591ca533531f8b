//! A build without Kerberos.

use crate::authentication::Authenticate;
use crate::kerberos::Tickets;

/// Whose tickets this build can show.
pub const TICKETS: Tickets = Tickets::Nobodys;

const NONE: &str = "this build has no Kerberos";

/// # Errors
/// Always.
pub fn kerberos(_: Option<&str>) -> Result<Box<dyn Authenticate>, &'static str> {
    Err(NONE)
}

/// # Errors
/// Always.
pub fn ticket_lasts(_: &str) -> Result<std::time::Duration, String> {
    Err(NONE.into())
}

pub(crate) fn of_sql(_: &tiberius::error::Error) -> Option<(String, crate::Nature)> {
    None
}
