//! Whether removals may go: role-based access makes lists shorter without saying so.

use roaring::RoaringBitmap;

use crate::holds::SHORT;
use crate::reading::Settled;
use crate::rights::{FEWER, Rights};
use crate::state::Kept;

/// More visible collections than these do not go at once by themselves.
const MAX_VANISHED: usize = 5;
/// Nor does a larger share of a connection's memberships, in percent.
const MAX_MEMBERSHIPS_PERCENT: u64 = 30;
/// A collection may always lose this many members after one complete read.
const FEW: u64 = 10;

/// What a cycle shows of the account's rights and of what would go.
#[derive(Debug, Clone, Default)]
pub(crate) struct Evidence {
    /// The account's rights.
    pub(crate) rights: Rights,
    /// Collections that the list lacks.
    pub(crate) vanished: usize,
    /// Memberships kept, and those that would go.
    pub(crate) memberships: (u64, u64),
}

impl Evidence {
    /// Why what would go must wait for a person, if it must.
    pub(crate) fn hold_reason(&self) -> Option<String> {
        if let Some(reason) = self.rights.reason() {
            return Some(reason);
        }
        if self.vanished > MAX_VANISHED {
            return Some(format!("{} collections would go at once", self.vanished));
        }
        let (kept, going) = self.memberships;
        // A few memberships are never many, however few there are.
        if going > FEW && going * 100 > kept * MAX_MEMBERSHIPS_PERCENT {
            return Some(format!("{going} of {kept} memberships would go at once"));
        }
        None
    }
}

/// Whether something is held only until a read that is complete, and made with all rights.
pub(crate) fn is_doubt(reason: &str) -> bool {
    reason == SHORT || reason == FEWER
}

/// What a read of a collection leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Weighed {
    /// Members that may go.
    pub(crate) may_go: RoaringBitmap,
    /// Why they must wait all the same.
    pub(crate) hold: Option<String>,
    /// Whether no other read has to agree.
    pub(crate) is_done: bool,
}

/// Weighs what a read misses.
pub(crate) fn weigh(
    kept: &mut Kept,
    settled: Settled,
    missing: RoaringBitmap,
    max_share: f64,
) -> Weighed {
    let before = kept.run.missed.take();
    if settled != Settled::Complete {
        kept.run.missed = Some(missing.clone());
    }
    if settled == Settled::No {
        return Weighed { may_go: RoaringBitmap::new(), hold: None, is_done: false };
    }
    kept.narrow_hold(&missing);
    kept.run.is_doubtful = false;
    let is_held = kept.is_held() && !kept.state.held_vanished;
    let all_held = if is_held { kept.held_devices() } else { RoaringBitmap::new() };
    // Reads have agreed on what is held, unless it is held because they may not have. What a person dismissed
    // is exactly that.
    let is_as_seen = !kept.state.dismissed || all_held == missing;
    let is_agreed = !is_doubt(&kept.state.held_reason) && is_as_seen;
    let held = all_held & &missing;
    let believed = match settled {
        // What a short read misses waits by itself: it must not go with what has waited for long.
        Settled::WithReservations { is_short: true } => {
            let may_go = if is_held { held } else { missing };
            return Weighed { may_go, hold: Some(SHORT.to_owned()), is_done: true };
        }
        // Rows and counts of what moves may agree by chance though a row is missing: a member goes when
        // the read before missed it too.
        Settled::WithReservations { is_short: false } => before.unwrap_or_default() & &missing,
        Settled::Complete | Settled::No => missing,
    };
    let agreed = if is_agreed { held } else { RoaringBitmap::new() };
    let members = kept.members.len();
    let new = agree(believed - &agreed, members, max_share, &mut kept.run.pending);
    Weighed { may_go: agreed | new, hold: None, is_done: kept.run.pending.is_none() }
}

/// Whether a loss is so large that a second complete read must agree.
pub(crate) fn needs_second_read(lost: u64, members: u64, max_share: f64) -> bool {
    lost > FEW && lost as f64 > members as f64 * max_share
}

/// What may go after this read: all of a small loss, of a large one what two reads agree on.
/// `pending` is what the former complete read missed; it is what the next has to agree to.
pub(crate) fn agree(
    missing: RoaringBitmap,
    members: u64,
    max_share: f64,
    pending: &mut Option<RoaringBitmap>,
) -> RoaringBitmap {
    if !needs_second_read(missing.len(), members, max_share) {
        *pending = None;
        return missing;
    }
    match pending.take() {
        None => {
            *pending = Some(missing);
            RoaringBitmap::new()
        }
        Some(before) => {
            let agreed = &before & &missing;
            let rest = missing - &agreed;
            *pending = (!rest.is_empty()).then_some(rest);
            agreed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::encode_bitmap;

    fn rights() -> Rights {
        let account = ("row".into(), Some("row".into()));
        Rights { all_systems: (true, true), account, were_fewer: false }
    }

    fn fine() -> Evidence {
        Evidence { rights: rights(), vanished: 1, memberships: (1_000, 20) }
    }

    fn with(rights: Rights) -> Evidence {
        Evidence { rights, ..fine() }
    }

    #[test]
    fn ordinary_removals_go() {
        assert_eq!(fine().hold_reason(), None);
        assert_eq!(Evidence { vanished: 5, ..fine() }.hold_reason(), None);
        let unread = Rights { account: (String::new(), None), ..rights() };
        assert_eq!(with(unread).hold_reason(), None);
        assert_eq!(Evidence { memberships: (10, 10), ..fine() }.hold_reason(), None);
    }

    #[test]
    fn what_looks_like_lost_rights_is_held() {
        for held in [
            with(Rights { all_systems: (true, false), ..rights() }),
            with(Rights { account: ("row".into(), None), ..rights() }),
            with(Rights { account: ("row".into(), Some("other".into())), ..rights() }),
            with(Rights { were_fewer: true, ..rights() }),
            Evidence { vanished: 6, ..fine() },
            Evidence { memberships: (1_000, 301), ..fine() },
        ] {
            assert!(held.hold_reason().is_some(), "{held:?}");
        }
    }

    #[test]
    fn a_hold_ends_by_itself_only_while_the_rights_are_visibly_as_before() {
        assert!(rights().are_as_before());
        for other in [
            Rights { account: (String::new(), None), ..rights() },
            Rights { all_systems: (false, false), ..rights() },
            Rights { were_fewer: true, ..rights() },
        ] {
            assert!(!other.are_as_before(), "{other:?}");
        }
    }

    #[test]
    fn a_large_loss_needs_two_reads_that_agree() {
        let set = |range: std::ops::Range<u32>| range.collect::<RoaringBitmap>();
        let mut pending = None;
        assert_eq!(agree(set(0..10), 20, 0.2, &mut pending), set(0..10));
        assert_eq!(agree(set(0..50), 100, 0.2, &mut pending), set(0..0));
        assert_eq!(agree(set(25..75), 100, 0.2, &mut pending), set(25..50));
        assert_eq!(pending, Some(set(50..75)));
        // The members are back: nothing is pending any longer.
        assert_eq!(agree(set(0..0), 100, 0.2, &mut pending), set(0..0));
        assert_eq!(pending, None);
    }

    /// A collection with so many members, of which the first so many are held.
    fn kept(members: u32, held: u32) -> Kept {
        let mut kept = Kept { members: (0..members).collect(), ..Kept::default() };
        if held > 0 {
            kept.state.held_reason = "why".into();
            kept.state.held_devices = encode_bitmap(&(0..held).collect());
        }
        kept
    }

    fn weighed(may_go: impl IntoIterator<Item = u32>, is_done: bool) -> Weighed {
        Weighed { may_go: may_go.into_iter().collect(), hold: None, is_done }
    }

    #[test]
    fn states_that_were_written_before_are_judged_as_they_were() {
        assert!(is_doubt("the site counts more members than it shows"));
        assert!(is_doubt("the account had fewer rights a moment ago"));
    }

    #[test]
    fn what_is_held_waits_together_with_what_two_reads_agree_on_later() {
        let mut kept = kept(100, 40);
        let missing = || (0..70).collect::<RoaringBitmap>();
        let weigh = |kept: &mut Kept| weigh(kept, Settled::Complete, missing(), 0.2);
        assert_eq!(weigh(&mut kept), weighed(0..40, false));
        assert_eq!(weigh(&mut kept), weighed(missing(), true));
        kept.state.held_devices = encode_bitmap(&missing());
        assert_eq!(weigh(&mut kept), weighed(missing(), true));
    }

    #[test]
    fn what_is_held_for_a_doubt_or_otherwise_than_it_was_dismissed_needs_two_reads() {
        for (reason, dismissed, missing) in [
            (SHORT, false, 0..40),
            (FEWER, false, 0..40),
            ("why", true, 0..41),
            ("why", true, 0..39),
        ] {
            let mut kept = kept(100, 40);
            kept.state.held_reason = reason.into();
            kept.state.dismissed = dismissed;
            let missing = || missing.clone().collect::<RoaringBitmap>();
            let weigh = |kept: &mut Kept| weigh(kept, Settled::Complete, missing(), 0.2);
            assert_eq!(weigh(&mut kept), weighed([], false), "{reason}");
            assert_eq!(weigh(&mut kept), weighed(missing(), true), "{reason}");
        }
    }

    #[test]
    fn a_member_that_one_short_read_misses_does_not_join_what_has_waited() {
        let short = Settled::WithReservations { is_short: true };
        let mut kept = kept(100, 2);
        let missing = (1..4).collect();
        assert_eq!(weigh(&mut kept, short, missing, 0.2).may_go, (1..2).collect());
    }

    #[test]
    fn of_what_moves_a_member_goes_when_the_read_before_missed_it_too() {
        let moving = Settled::WithReservations { is_short: false };
        let mut kept = kept(100, 0);
        weigh(&mut kept, Settled::No, (1..3).collect(), 0.2);
        assert_eq!(weigh(&mut kept, moving, (2..4).collect(), 0.2), weighed(2..3, true));
        assert_eq!(weigh(&mut kept, moving, (3..4).collect(), 0.2), weighed(3..4, true));
    }
}
