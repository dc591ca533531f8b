//! The data collection rules of a connection: which takes the next body, and which rests, and why.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cmsync_azure::Rule;
use cmsync_http::Policy;
use cmsync_schemas::Cause;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::config::Options;
use crate::pace::Pace;

/// A `Retry-After` of zero, or of a moment that has passed, asks for some time all the same.
const SHORTEST_REST: Duration = Duration::from_millis(100);
/// Whoever asks for less than this has no quota that must be renewed first.
const REST_OF_A_QUOTA: Duration = Duration::from_secs(1);

/// Why no rule takes anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pause {
    /// What to say, and who must do what.
    pub(crate) reason: String,
    /// Who must act.
    pub(crate) cause: Cause,
}

/// Why a rule rests.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Rest {
    /// It takes bodies.
    No,
    /// It asked for time; whoever comes afterwards goes on.
    Throttled,
    /// It refuses; one body probes it after the rest, the others wait for the outcome.
    Refused { is_probing: bool },
}

struct State {
    rest: Rest,
    until: Instant,
    policy: Policy,
    pace: Pace,
    /// Bodies that it was given.
    given: u64,
    /// Bodies that it took.
    passed: u64,
}

impl State {
    /// From when on it takes a body, as far as is known.
    fn takes_from(&self) -> Instant {
        self.pace.next().map_or(self.until, |next| next.max(self.until))
    }

    fn is_free(&self, now: Instant) -> bool {
        self.takes_from() <= now && !matches!(self.rest, Rest::Refused { is_probing: true })
    }
}

/// All rules of one connection.
pub(crate) struct Rules {
    rules: Vec<Rule>,
    states: Mutex<Vec<State>>,
    changed: Notify,
    /// Why no rule takes anything, while none does.
    paused: watch::Sender<Option<Pause>>,
    retry_after_max: Duration,
}

/// A rule that may be posted to now.
pub(crate) struct Turn<'a> {
    pub(crate) index: usize,
    pub(crate) rule: &'a Rule,
}

impl Rules {
    pub(crate) fn new(rules: Vec<Rule>, options: &Options) -> Self {
        let state = || State {
            rest: Rest::No,
            until: Instant::now(),
            policy: Policy::new(options.probe_first, options.probe_max),
            pace: Pace::new(Instant::now()),
            given: 0,
            passed: 0,
        };
        let states = Mutex::new(rules.iter().map(|_| state()).collect());
        let (paused, _) = watch::channel(None);
        Self {
            rules,
            states,
            changed: Notify::new(),
            paused,
            retry_after_max: options.retry_after_max,
        }
    }

    /// Why the connection is paused, if it is.
    pub(crate) fn paused(&self) -> watch::Receiver<Option<Pause>> {
        self.paused.subscribe()
    }

    fn states(&self) -> MutexGuard<'_, Vec<State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a rule that takes a body; the least used of those that do.
    pub(crate) async fn turn(&self) -> Turn<'_> {
        loop {
            let changed = self.changed.notified();
            let wait = {
                let mut states = self.states();
                let now = Instant::now();
                let free = states
                    .iter_mut()
                    .enumerate()
                    .filter(|(_, s)| s.is_free(now))
                    .min_by_key(|(_, s)| s.given);
                if let Some((index, state)) = free {
                    // Counted when it is given out, so that bodies on their way spread too.
                    state.given += 1;
                    state.pace.leaves(now);
                    match &mut state.rest {
                        Rest::Refused { is_probing } => *is_probing = true,
                        Rest::No | Rest::Throttled => state.rest = Rest::No,
                    }
                    if let Some(rule) = self.rules.get(index) {
                        return Turn { index, rule };
                    }
                }
                states.iter().map(State::takes_from).filter(|from| *from > now).min()
            };
            match wait {
                Some(until) => tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(until) => {}
                    () = changed => {}
                },
                None => changed.await,
            }
        }
    }

    /// The rule took a body.
    pub(crate) fn took(&self, index: usize) {
        if let Some(state) = self.states().get_mut(index) {
            state.rest = Rest::No;
            state.passed += 1;
            state.pace.took(Instant::now());
            state.policy.reset();
        }
        self.paused.send_if_modified(|p| p.take().is_some());
        self.changed.notify_waiters();
    }

    /// The rule neither took nor refused the body for a reason of its own: whoever waits for the
    /// outcome of a probe goes on.
    pub(crate) fn undecided(&self, index: usize) {
        if let Some(state) = self.states().get_mut(index)
            && let Rest::Refused { is_probing } = &mut state.rest
        {
            *is_probing = false;
        }
        self.changed.notify_waiters();
    }

    /// The rule asked for time: every request of it rests, and goes on more slowly where a quota is
    /// met. Gives the rest.
    pub(crate) fn throttled(&self, index: usize, asked: Option<Duration>) -> Duration {
        let mut rests = Duration::ZERO;
        if let Some(state) = self.states().get_mut(index) {
            let rest = asked.map_or_else(
                || state.policy.next_delay(),
                |a| a.min(self.retry_after_max).max(SHORTEST_REST),
            );
            rests = rest;
            let now = Instant::now();
            state.until = state.until.max(now + rest);
            if asked.is_none_or(|asked| asked >= REST_OF_A_QUOTA) {
                state.pace.met(now, state.until);
            }
            state.rest = Rest::Throttled;
        }
        self.changed.notify_waiters();
        rests
    }

    /// The rule refuses: it rests and is probed. Where all do, the connection is paused.
    pub(crate) fn refused(&self, index: usize, pause: Pause) {
        let mut states = self.states();
        if let Some(state) = states.get_mut(index) {
            state.until = Instant::now() + state.policy.next_delay();
            state.rest = Rest::Refused { is_probing: false };
        }
        let all_refuse = states.iter().all(|s| matches!(s.rest, Rest::Refused { .. }));
        drop(states);
        if all_refuse {
            self.paused.send_if_modified(|paused| {
                let is_news = paused.as_ref() != Some(&pause);
                if is_news {
                    let reason = &pause.reason;
                    tracing::error!(
                        reason,
                        "uploads are paused; probing until they are taken again"
                    );
                    *paused = Some(pause);
                }
                is_news
            });
        }
        self.changed.notify_waiters();
    }

    /// Bodies that a rule took, to tell one that fails alone from a rule that fails.
    pub(crate) fn passed(&self, index: usize) -> u64 {
        self.states().get(index).map_or(0, |s| s.passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_retry_after_is_obeyed_within_its_bounds_and_zero_is_no_busy_loop() {
        let rule = Rule { endpoint: "https://localhost".parse().unwrap(), id: "dcr-1".into() };
        let options = Options::default();
        let rules = Rules::new(vec![rule], &options);
        for (asked, rests) in [
            (Duration::ZERO, SHORTEST_REST),
            (Duration::from_secs(7), Duration::from_secs(7)),
            (Duration::from_secs(86_400), options.retry_after_max),
        ] {
            let index = rules.turn().await.index;
            let before = Instant::now();
            rules.throttled(index, Some(asked));
            rules.turn().await;
            let waited = before.elapsed();
            // The clock counts milliseconds, and wakes one late at most.
            assert!((rests..rests + Duration::from_millis(2)).contains(&waited), "{waited:?}");
        }
    }
}
