//! What a person decides about a held removal, as a control message has it.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};

use crate::CollectionState;

/// A decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether it goes; otherwise the members stay until what would go changes.
    pub approve: bool,
    /// The [`print`](CollectionState::hold_print) of what the person saw, where it was shown: what is held
    /// otherwise by then is not what was decided.
    pub seen: Option<String>,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.approve { "approve" } else { "dismiss" })?;
        self.seen.as_ref().map_or(Ok(()), |print| write!(f, " {print}"))
    }
}

impl FromStr for Decision {
    type Err = ();

    fn from_str(action: &str) -> Result<Self, ()> {
        let (word, seen) = match action.split_once(' ') {
            Some((word, print)) => (word, Some(print.to_owned())),
            None => (action, None),
        };
        let approve = match word {
            "approve" => true,
            "dismiss" => false,
            _ => return Err(()),
        };
        Ok(Self { approve, seen })
    }
}

impl Decision {
    /// Whether it is about what a collection holds.
    #[must_use]
    pub fn is_about(&self, state: &CollectionState) -> bool {
        self.seen.as_ref().is_none_or(|seen| *seen == state.hold_print())
    }
}

impl CollectionState {
    /// What is held, in short; it differs where other members would go.
    #[must_use]
    pub fn hold_print(&self) -> String {
        let mut held = vec![u8::from(self.held_vanished)];
        held.extend_from_slice(&self.held_devices);
        print_of(&held)
    }
}

/// Bytes in short: 16 digits that differ where the bytes do.
#[must_use]
pub fn print_of(bytes: &[u8]) -> String {
    let hash = digest(&SHA256, bytes);
    hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_read_as_it_was_written() {
        for (text, approve, seen) in [
            ("approve", true, None),
            ("dismiss", false, None),
            ("approve 0123456789abcdef", true, Some("0123456789abcdef")),
        ] {
            let decision = Decision { approve, seen: seen.map(Into::into) };
            assert_eq!(text.parse(), Ok(decision.clone()));
            assert_eq!(decision.to_string(), text);
        }
        assert_eq!("apply".parse::<Decision>(), Err(()));
    }

    #[test]
    fn what_was_seen_is_decided_and_nothing_else() {
        let held = |devices: &[u8]| {
            let text = r#"{"name":"","folder":"","token":"","rows_read":0,"last_read":0,"members":0,
                "run_id":"","start_seq":0,"sending":false,"rows_sent":0,"chunks_sent":0,"sent_to":0,
                "started_at":0}"#;
            let mut state: CollectionState = serde_json::from_str(text).unwrap();
            state.held_devices = devices.to_vec();
            state
        };
        let decision = Decision { approve: true, seen: Some(held(b"abc").hold_print()) };
        assert!(decision.is_about(&held(b"abc")));
        assert!(!decision.is_about(&held(b"abd")));
        assert!(!decision.is_about(&CollectionState { held_vanished: true, ..held(b"abc") }));
        assert!(Decision { seen: None, ..decision }.is_about(&held(b"abd")));
    }
}
