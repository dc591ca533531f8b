//! How often somebody may try to sign in: per address and per name, so that neither one guesser nor many
//! get far. Whoever signed in from a network before is kept out by no guesser elsewhere.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Failures are counted over this time.
const WINDOW: Duration = Duration::from_secs(900);
/// Of one address.
const BY_ADDRESS: u32 = 10;
/// With one name, from all networks that it did not sign in from.
const BY_NAME: u32 = 30;
/// Addresses and names that are remembered.
const REMEMBERED: usize = 10_000;

/// Whose failures are counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Whose {
    Address(IpAddr),
    Name(String),
    /// One that guesses what a provider gives: passwords still work there.
    Code(IpAddr),
    /// One that guesses tokens.
    Token(IpAddr),
}

/// What somebody tries.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tried<'a> {
    /// A password, with this name.
    Password(&'a str),
    /// A provider's code: whoever brings it has no name before.
    Code,
    /// A token.
    Token,
}

impl Whose {
    fn most(&self) -> u32 {
        match self {
            Self::Address(_) | Self::Code(_) | Self::Token(_) => BY_ADDRESS,
            Self::Name(_) => BY_NAME,
        }
    }
}

/// Failures so far, and since when.
type Failures = HashMap<Whose, (u32, Instant)>;

/// Failures of the last minutes.
#[derive(Default)]
pub(crate) struct Attempts {
    failures: Mutex<Failures>,
    /// Names with networks that they signed in from.
    known: Mutex<HashSet<(IpAddr, String)>>,
}

/// An IPv6 network counts as one address: whoever has one has all of it.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::from((v6.to_bits() >> 64 << 64).to_be_bytes()),
        v4 => v4,
    }
}

/// A name as it is counted: one longer than any is not kept.
fn counted(name: &str) -> String {
    name.chars().take(64).collect::<String>().to_lowercase()
}

impl Attempts {
    /// Whose failure it would be.
    fn whose(&self, address: IpAddr, tried: Tried<'_>) -> Vec<Whose> {
        let name = match tried {
            Tried::Password(name) => name,
            Tried::Code => return vec![Whose::Code(network(address))],
            Tried::Token => return vec![Whose::Token(network(address))],
        };
        let (network, name) = (network(address), counted(name));
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = known.contains(&(network, name.clone()));
        let by_name = (!is_known).then_some(Whose::Name(name));
        std::iter::once(Whose::Address(network)).chain(by_name).collect()
    }

    /// Takes an attempt in: it counts as a failure until it is taken back. How long to wait, where there
    /// were too many.
    pub(crate) fn try_again(&self, address: IpAddr, tried: Tried<'_>) -> Result<(), Duration> {
        let now = Instant::now();
        let all = self.whose(address, tried);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        for one in &all {
            if let Some((count, since)) = failures.get(one)
                && now - *since < WINDOW
                && *count >= one.most()
            {
                return Err(WINDOW - (now - *since));
            }
        }
        if failures.len() + all.len() > REMEMBERED {
            failures.retain(|_, (_, since)| now - *since < WINDOW);
            // So many at once are an attack: the oldest tenth is forgotten for it.
            let mut times: Vec<Instant> = failures.values().map(|(_, since)| *since).collect();
            times.sort_unstable();
            let from = times.get(times.len() / 10).copied().unwrap_or(now);
            failures.retain(|_, (_, since)| *since > from);
        }
        for one in all {
            let entry = failures.entry(one).or_insert((0, now));
            if now - entry.1 >= WINDOW {
                *entry = (0, now);
            }
            entry.0 += 1;
        }
        Ok(())
    }

    /// The last attempt was none.
    pub(crate) fn take_back(&self, address: IpAddr, tried: Tried<'_>) {
        let all = self.whose(address, tried);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        for one in all {
            if let Some((count, _)) = failures.get_mut(&one) {
                *count = count.saturating_sub(1);
            }
        }
    }

    /// The last attempt was right.
    pub(crate) fn succeeded(&self, address: IpAddr, name: &str) {
        self.take_back(address, Tried::Password(name));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < REMEMBERED {
            known.insert((network(address), counted(name)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_has_ten_failures_in_a_quarter_of_an_hour() {
        let attempts = Attempts::default();
        for n in 0..BY_ADDRESS {
            assert_eq!(
                attempts.try_again(address("10.0.0.1"), Tried::Password(&format!("u{n}"))),
                Ok(())
            );
        }
        tokio::time::advance(Duration::from_secs(300)).await;
        let wait = attempts.try_again(address("::ffff:10.0.0.1"), Tried::Password("alice"));
        assert_eq!(wait, Err(Duration::from_secs(600)));
        assert_eq!(attempts.try_again(address("10.0.0.2"), Tried::Password("alice")), Ok(()));
        tokio::time::advance(Duration::from_secs(600)).await;
        assert_eq!(attempts.try_again(address("10.0.0.1"), Tried::Password("alice")), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_has_thirty_failures_from_wherever_they_come() {
        let attempts = Attempts::default();
        for n in 0..BY_NAME {
            let from = format!("2001:db8:0:{n:x}::1");
            assert_eq!(attempts.try_again(address(&from), Tried::Password("Alice")), Ok(()));
        }
        assert!(attempts.try_again(address("10.0.0.9"), Tried::Password("alice")).is_err());
        assert_eq!(attempts.try_again(address("10.0.0.9"), Tried::Password("bob")), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_signed_in_before_is_kept_out_by_no_guesser_elsewhere() {
        let attempts = Attempts::default();
        attempts.try_again(address("10.0.0.9"), Tried::Password("alice")).unwrap();
        attempts.succeeded(address("10.0.0.9"), "alice");
        for n in 0..100 {
            attempts
                .try_again(address(&format!("2001:db8:0:{n:x}::1")), Tried::Password("alice"))
                .ok();
        }
        assert_eq!(attempts.try_again(address("10.0.0.9"), Tried::Password("Alice")), Ok(()));
        assert!(attempts.try_again(address("10.0.0.8"), Tried::Password("alice")).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_succeeds_is_no_failure_and_a_network_is_one_address() {
        let attempts = Attempts::default();
        for _ in 0..100 {
            attempts.try_again(address("10.0.0.1"), Tried::Password("alice")).unwrap();
            attempts.succeeded(address("10.0.0.1"), "alice");
        }
        for n in 0..BY_ADDRESS {
            attempts
                .try_again(address(&format!("2001:db8::{n:x}")), Tried::Password(&format!("u{n}")))
                .unwrap();
        }
        assert!(attempts.try_again(address("2001:db8::ffff"), Tried::Password("x")).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded() {
        let attempts = Attempts::default();
        for n in 0..20_000_u32 {
            attempts
                .try_again(IpAddr::from(n.to_be_bytes()), Tried::Password(&format!("u{n}")))
                .ok();
        }
        assert!(attempts.failures.lock().unwrap().len() <= REMEMBERED);
        // Nobody else is kept out for it.
        assert_eq!(attempts.try_again(address("10.9.9.9"), Tried::Password("alice")), Ok(()));
    }
}
