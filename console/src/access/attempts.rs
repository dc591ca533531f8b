//! How often somebody may try to sign in: per address and per name, so that neither one guesser nor many
//! get far, and a guesser keeps nobody else out for long.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Failures are counted over this time.
const WINDOW: Duration = Duration::from_secs(900);
/// Of one address.
const BY_ADDRESS: u32 = 10;
/// With one name, from any address.
const BY_NAME: u32 = 30;
/// Addresses and names that are remembered.
const REMEMBERED: usize = 10_000;

/// Whose failures are counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Whose {
    Address(IpAddr),
    Name(String),
}

impl Whose {
    fn most(&self) -> u32 {
        match self {
            Self::Address(_) => BY_ADDRESS,
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
}

/// An IPv6 network counts as one address: whoever has one has all of it.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::from((v6.to_bits() >> 64 << 64).to_be_bytes()),
        v4 => v4,
    }
}

fn whose(address: IpAddr, name: &str) -> [Whose; 2] {
    // A name longer than any is not kept.
    let name: String = name.chars().take(64).collect();
    [Whose::Address(network(address)), Whose::Name(name.to_lowercase())]
}

impl Attempts {
    /// Takes an attempt in: it counts as a failure until [`Attempts::succeeded`]. How long to wait, where
    /// there were too many.
    pub(crate) fn try_again(&self, address: IpAddr, name: &str) -> Result<(), Duration> {
        let now = Instant::now();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() + 2 > REMEMBERED {
            failures.retain(|_, (_, since)| now - *since < WINDOW);
        }
        let both = whose(address, name);
        for one in &both {
            if let Some((count, since)) = failures.get(one)
                && now - *since < WINDOW
                && *count >= one.most()
            {
                return Err(WINDOW - (now - *since));
            }
        }
        if failures.len() + 2 > REMEMBERED {
            // So many at once are an attack: nobody new gets in until it is over.
            return Err(WINDOW);
        }
        for one in both {
            let entry = failures.entry(one).or_insert((0, now));
            if now - entry.1 >= WINDOW {
                *entry = (0, now);
            }
            entry.0 += 1;
        }
        Ok(())
    }

    /// The last attempt was right.
    pub(crate) fn succeeded(&self, address: IpAddr, name: &str) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        for one in whose(address, name) {
            if let Some((count, _)) = failures.get_mut(&one) {
                *count = count.saturating_sub(1);
            }
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
            assert_eq!(attempts.try_again(address("10.0.0.1"), &format!("u{n}")), Ok(()));
        }
        tokio::time::advance(Duration::from_secs(300)).await;
        let wait = attempts.try_again(address("::ffff:10.0.0.1"), "alice");
        assert_eq!(wait, Err(Duration::from_secs(600)));
        assert_eq!(attempts.try_again(address("10.0.0.2"), "alice"), Ok(()));
        tokio::time::advance(Duration::from_secs(600)).await;
        assert_eq!(attempts.try_again(address("10.0.0.1"), "alice"), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_has_thirty_failures_from_wherever_they_come() {
        let attempts = Attempts::default();
        for n in 0..BY_NAME {
            let from = format!("2001:db8:0:{n:x}::1");
            assert_eq!(attempts.try_again(address(&from), "Alice"), Ok(()));
        }
        assert!(attempts.try_again(address("10.0.0.9"), "alice").is_err());
        assert_eq!(attempts.try_again(address("10.0.0.9"), "bob"), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_succeeds_is_no_failure_and_a_network_is_one_address() {
        let attempts = Attempts::default();
        for _ in 0..100 {
            attempts.try_again(address("10.0.0.1"), "alice").unwrap();
            attempts.succeeded(address("10.0.0.1"), "alice");
        }
        for n in 0..BY_ADDRESS {
            attempts.try_again(address(&format!("2001:db8::{n:x}")), &format!("u{n}")).unwrap();
        }
        assert!(attempts.try_again(address("2001:db8::ffff"), "x").is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded() {
        let attempts = Attempts::default();
        for n in 0..20_000_u32 {
            attempts.try_again(IpAddr::from(n.to_be_bytes()), &format!("u{n}")).ok();
        }
        assert!(attempts.failures.lock().unwrap().len() <= REMEMBERED);
        assert!(attempts.try_again(address("10.9.9.9"), "alice").is_err());
        tokio::time::advance(WINDOW).await;
        assert_eq!(attempts.try_again(address("10.9.9.9"), "alice"), Ok(()));
    }
}
