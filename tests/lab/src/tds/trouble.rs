//! What goes wrong with a query, because the lab was asked to let it.

use std::collections::HashSet;
use std::io;

use super::evaluate::Facts;
use super::packet::Answer;
use super::schema::{self, View};
use super::token::Failure;
use crate::faults::Faults;
use crate::server::Lab;

/// Rows of members after which a fault strikes.
pub(super) const BREAK: u64 = 2_500;

/// What goes wrong with a query, as the lab's faults say.
pub(super) struct Trouble {
    pub(super) is_cut: bool,
    pub(super) failure: Option<Failure>,
    pub(super) unreadable: HashSet<String>,
}

/// Counts the query and takes what faults there are for it.
pub(super) async fn trouble(view: Option<&View>, lab: &Lab, facts: &Facts) -> Trouble {
    let mut trouble = Trouble { is_cut: false, failure: None, unreadable: HashSet::new() };
    let Some(view) = view else { return trouble };
    *lab.counts().site.entry(view.class.to_owned()).or_default() += 1;
    let mut stall = None;
    if schema::OWN.iter().any(|own| own.name == view.name) {
        let mut faults = lab.faults();
        let faults: &mut Faults = &mut faults;
        if Faults::take(&mut faults.stalls.0) {
            stall = Some(faults.stalls.1);
        }
        if Faults::take(&mut faults.site_status.0) {
            trouble.failure = Some(failure_like(faults.site_status.1, &facts.login));
        } else if Faults::take(&mut faults.sql.errors.0) {
            trouble.failure = Some(known_failure(faults.sql.errors.1));
        } else {
            trouble.is_cut = Faults::take(&mut faults.cut_answers);
        }
        if view.name == schema::MEMBERSHIP.name {
            trouble.unreadable.clone_from(&faults.unreadable);
        }
    }
    if let Some(stall) = stall {
        tokio::time::sleep(stall).await;
    }
    trouble
}

/// Whether a read of members is cut here; it may also stand still for a while.
pub(super) async fn breaks(view: &View, lab: &Lab, answer: &mut Answer<'_>) -> io::Result<bool> {
    if view.name != schema::MEMBERSHIP.name {
        return Ok(false);
    }
    let (is_cut, stall) = {
        let sql = &mut lab.faults().sql;
        let is_cut = Faults::take(&mut sql.cut_members);
        let stalls = !is_cut && Faults::take(&mut sql.stalled_members.0);
        (is_cut, stalls.then_some(sql.stalled_members.1))
    };
    if let Some(stall) = stall {
        answer.flush().await?;
        tokio::time::sleep(stall).await;
    }
    Ok(is_cut)
}

/// What a database says where an administration service would answer with this status.
fn failure_like(status: u16, login: &str) -> Failure {
    match status {
        401 => Failure::new(18_456, 14, format!("Login failed for user '{login}'.")),
        403 | 404 => Failure::new(229, 14, "The SELECT permission was denied on the object."),
        _ => known_failure(1205),
    }
}

/// Errors as SQL Server words them.
fn known_failure(number: u32) -> Failure {
    match number {
        1205 => Failure::new(
            1205,
            13,
            "Transaction (Process ID 51) was deadlocked on lock resources with another process and \
             has been chosen as the deadlock victim. Rerun the transaction.",
        ),
        1222 => Failure::new(1222, 16, "Lock request time out period exceeded."),
        3960 => {
            Failure::new(3960, 16, "Snapshot isolation transaction aborted due to update conflict.")
        }
        number => Failure::new(number, 16, "An error of the database."),
    }
}
