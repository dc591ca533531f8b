//! Whether removals may go: role-based access makes lists shorter without saying so.

use roaring::RoaringBitmap;

/// More visible collections than these do not go at once by themselves.
const MAX_VANISHED: usize = 5;
/// Nor does a larger share of a connection's memberships, in percent.
const MAX_MEMBERSHIPS_PERCENT: u64 = 30;
/// A collection may always lose this many members after one complete read.
const FEW: u64 = 10;

/// What a cycle shows of the account's rights and of what would go.
#[derive(Debug, Clone, Default)]
pub(crate) struct Evidence {
    /// All Systems was visible when all was well, and is now.
    pub(crate) all_systems: (bool, bool),
    /// The account's own row when all was well (empty: never read), and now.
    pub(crate) account: (String, Option<String>),
    /// Collections that the list lacks.
    pub(crate) vanished: usize,
    /// Memberships kept, and those that would go.
    pub(crate) memberships: (u64, u64),
}

impl Evidence {
    /// Why what would go must wait for a person, if it must.
    pub(crate) fn hold_reason(&self) -> Option<String> {
        if self.all_systems == (true, false) {
            return Some(
                "All Systems is not visible any longer: the account's rights may have changed"
                    .into(),
            );
        }
        if !self.account.0.is_empty() && self.account.1.as_ref() != Some(&self.account.0) {
            let how =
                if self.account.1.is_some() { "changed" } else { "cannot be read any longer" };
            return Some(format!(
                "the account's own administrative user {how}: its rights may have changed"
            ));
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

    /// Whether held removals may go by themselves after their time: only while the account is
    /// visibly as it was.
    pub(crate) fn rights_are_as_before(&self) -> bool {
        self.all_systems.1
            && !self.account.0.is_empty()
            && self.account.1.as_ref() == Some(&self.account.0)
    }
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

    fn fine() -> Evidence {
        Evidence {
            all_systems: (true, true),
            account: ("row".into(), Some("row".into())),
            vanished: 1,
            memberships: (1_000, 20),
        }
    }

    #[test]
    fn ordinary_removals_go() {
        assert_eq!(fine().hold_reason(), None);
        assert_eq!(Evidence { vanished: 5, ..fine() }.hold_reason(), None);
        assert_eq!(Evidence { account: (String::new(), None), ..fine() }.hold_reason(), None);
        assert_eq!(Evidence { memberships: (10, 10), ..fine() }.hold_reason(), None);
    }

    #[test]
    fn what_looks_like_lost_rights_is_held() {
        for held in [
            Evidence { all_systems: (true, false), ..fine() },
            Evidence { account: ("row".into(), None), ..fine() },
            Evidence { account: ("row".into(), Some("other".into())), ..fine() },
            Evidence { vanished: 6, ..fine() },
            Evidence { memberships: (1_000, 301), ..fine() },
        ] {
            assert!(held.hold_reason().is_some(), "{held:?}");
        }
    }

    #[test]
    fn a_hold_ends_by_itself_only_while_the_rights_are_visibly_as_before() {
        assert!(fine().rights_are_as_before());
        assert!(!Evidence { account: (String::new(), None), ..fine() }.rights_are_as_before());
        assert!(!Evidence { all_systems: (false, false), ..fine() }.rights_are_as_before());
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
}
