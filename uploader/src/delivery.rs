//! One body on its way: posted until it is taken, or until it is clear that it never will be.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cmsync_azure::{Credential, Ingestion, Rule, TokenError, Verdict};
use cmsync_http::Policy;
use cmsync_schemas::tables::COLLECTION_STREAM;
use cmsync_schemas::{Cause, Clock};
use tokio::time::Instant;

use crate::body::{Body, test_row};
use crate::config::Options;
use crate::metrics::{Metrics, Posted};
use crate::rules::{Pause, Rules};

/// A body that failed this often on the service's side while others passed is treated as refused.
const FAILURES: u32 = 10;
/// Connections cut this often in a row under one body may be the service's way of saying 413.
const CUTS: u32 = 3;
/// An upload aborted below this size was not aborted for it.
const LARGE: usize = 64 * 1024;
/// How long the answer to the test row counts.
const TEST_COUNTS: Duration = Duration::from_secs(10);
/// Refused records in a minute above which, with [`MANY_PERCENT`], the fault is the rule's.
const MANY: u64 = 20;
/// Share of the minute's records.
const MANY_PERCENT: u64 = 1;
const MINUTE: Duration = Duration::from_secs(60);

/// Where a connection's records go.
pub struct Target {
    /// Posts.
    pub ingestion: Ingestion,
    /// Gives tokens.
    pub credential: Arc<Credential>,
    /// What they are asked for.
    pub audience: String,
    /// The rules that share the load.
    pub rules: Vec<Rule>,
}

/// How a body's way ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Taken.
    Delivered,
    /// Too large as it is: to be halved. Of one row: never to be taken.
    TooLarge,
    /// Cut off so often, or in such a way, that its size may be the reason: to be halved.
    CutOff,
    /// Not accepted: to be halved. Of one row: to be set aside.
    Refused(String),
}

/// Delivers the bodies of one connection.
pub(crate) struct Delivery {
    pub(crate) target: Target,
    pub(crate) rules: Rules,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Clock,
    /// Bodies that may be on their way at once: fewer when the service slows down.
    pub(crate) allowed: AtomicUsize,
    options: Options,
    tested: Mutex<Tested>,
    window: Mutex<Window>,
}

/// By rule and stream: when the test row was sent, and whether it passed.
type Tested = HashMap<(usize, &'static str), (Instant, bool)>;

/// Records of the last minute.
struct Window {
    since: Instant,
    sent: u64,
    refused: u64,
}

impl Delivery {
    pub(crate) fn new(
        target: Target,
        rules: Rules,
        metrics: Arc<Metrics>,
        clock: Clock,
        options: &Options,
    ) -> Self {
        Self {
            target,
            rules,
            metrics,
            clock,
            allowed: AtomicUsize::new(options.max_in_flight),
            options: options.clone(),
            tested: Mutex::default(),
            window: Mutex::new(Window { since: Instant::now(), sent: 0, refused: 0 }),
        }
    }

    /// Posts a body until its way has ended.
    pub(crate) async fn deliver(&self, body: &Body) -> Outcome {
        let mut attempt = Attempts::new(&self.options);
        loop {
            let turn = self.rules.turn().await;
            let (index, rule) = (turn.index, turn.rule);
            attempt.count += 1;
            let verdict = match self.post(rule, body, &mut attempt).await {
                Ok(verdict) => verdict,
                Err(error) => {
                    self.rules.refused(index, no_token(&error));
                    continue;
                }
            };
            let ended = match verdict {
                Verdict::Accepted => {
                    self.accepted(index, body, &attempt);
                    Some(Outcome::Delivered)
                }
                Verdict::TooLarge => {
                    self.rules.undecided(index);
                    Some(Outcome::TooLarge)
                }
                Verdict::Aborted(_) if body.rows > 1 && body.bytes.len() > LARGE => {
                    self.rules.undecided(index);
                    Some(Outcome::CutOff)
                }
                Verdict::Throttled(after) => {
                    self.slow_down();
                    let rests = self.rules.throttled(index, after);
                    self.metrics.throttle_seconds.increment(rests.as_secs().max(1));
                    None
                }
                Verdict::Unavailable(error) | Verdict::Aborted(error) => {
                    self.unavailable(index, body, &mut attempt, error).await
                }
                Verdict::BadBody(error) if self.is_body_at_fault(index, rule, body).await => {
                    Some(Outcome::Refused(error))
                }
                refused => {
                    self.rules.refused(index, pause(rule, refused));
                    None
                }
            };
            if let Some(outcome) = ended {
                return outcome;
            }
        }
    }

    /// Rests after a failure on the service's side; the outcome, if only this body fails.
    async fn unavailable(
        &self,
        index: usize,
        body: &Body,
        attempt: &mut Attempts,
        error: String,
    ) -> Option<Outcome> {
        self.slow_down();
        self.rules.undecided(index);
        let outcome = attempt.failed(&error, (index, self.rules.passed(index)), body.rows);
        if outcome.is_none() {
            tracing::warn!(%error, attempts = attempt.count, "post failed; trying again");
            tokio::time::sleep(attempt.policy.next_delay()).await;
        }
        outcome
    }

    /// Posts once; a refused token is renewed once. An error is a reason for a rest.
    async fn post(
        &self,
        rule: &Rule,
        body: &Body,
        attempt: &mut Attempts,
    ) -> Result<Verdict, TokenError> {
        loop {
            let token = self.target.credential.token(&self.target.audience).await;
            let token = token.inspect_err(|_| {
                self.metrics.posts.of(Posted::NoToken).increment(1);
            })?;
            let id = format!("{:016x}-{:04x}", (self.clock)(), attempt.count);
            let posted = self
                .target
                .ingestion
                .post(rule, &token, &id, (body.stream, body.bytes.clone()))
                .await;
            self.metrics.posts.of(answered(&posted)).increment(1);
            if !matches!(posted, Verdict::BadToken(_))
                || std::mem::replace(&mut attempt.renewed, true)
            {
                return Ok(posted);
            }
            self.target.credential.forget(&self.target.audience);
        }
    }

    fn accepted(&self, index: usize, body: &Body, attempt: &Attempts) {
        self.rules.took(index);
        self.metrics.body_bytes.record(body.bytes.len() as f64);
        self.metrics.billed_bytes.increment(body.billed());
        self.metrics.attempts.record(f64::from(attempt.count));
        if body.stream == COLLECTION_STREAM {
            self.metrics.markers.increment(u64::from(body.rows));
        } else {
            self.metrics.delivered.increment(u64::from(body.rows));
            self.metrics.age_seconds.record(((self.clock)() - body.oldest).max(0) as f64 / 1e6);
        }
        let allowed = self.allowed.load(Ordering::Relaxed);
        if allowed < self.options.max_in_flight {
            self.allowed.store(allowed + 1, Ordering::Relaxed);
        }
        self.count(u64::from(body.rows), 0);
    }

    fn slow_down(&self) {
        let allowed = self.allowed.load(Ordering::Relaxed);
        self.allowed.store((allowed / 2).max(1), Ordering::Relaxed);
    }

    /// Whether a refused body is at fault, and not its rule: a test row passes, and of single rows
    /// not too many were refused.
    async fn is_body_at_fault(&self, index: usize, rule: &Rule, body: &Body) -> bool {
        let tested = || self.tested.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (index, body.stream);
        let known = tested().get(&key).copied();
        let passes = match known {
            Some((at, passes)) if passes && at.elapsed() < TEST_COUNTS => passes,
            _ => {
                let test = test_row(body.stream, (self.clock)());
                let posted = self.post(rule, &test, &mut Attempts::new(&self.options)).await;
                let passes = matches!(posted, Ok(Verdict::Accepted));
                tested().insert(key, (Instant::now(), passes));
                passes
            }
        };
        let is_at_fault = passes && (body.rows > 1 || !self.count(0, 1));
        if is_at_fault {
            self.rules.undecided(index);
        }
        is_at_fault
    }

    /// Counts records of the last minute; whether too many of them were refused.
    fn count(&self, sent: u64, refused: u64) -> bool {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.since.elapsed() > MINUTE {
            *window = Window { since: Instant::now(), sent: 0, refused: 0 };
        }
        window.sent += sent + refused;
        window.refused += refused;
        window.refused >= MANY && window.refused * 100 > window.sent * MANY_PERCENT
    }
}

/// How a post was answered, as it is counted.
fn answered(verdict: &Verdict) -> Posted {
    match verdict {
        Verdict::Accepted => Posted::Accepted,
        Verdict::BadBody(_) => Posted::BadBody,
        Verdict::BadToken(_) => Posted::BadToken,
        Verdict::RuleRefused(_) => Posted::RuleRefused,
        Verdict::TooLarge => Posted::TooLarge,
        Verdict::Throttled(_) => Posted::Throttled,
        Verdict::Unavailable(_) | Verdict::Aborted(_) => Posted::Unavailable,
        Verdict::Unexpected(_) => Posted::Unexpected,
    }
}

/// Why nothing can be posted without a token, and who must do what.
fn no_token(error: &TokenError) -> Pause {
    let is_away = error.is_transient();
    let cause = if is_away { Cause::Other } else { Cause::Credential };
    Pause { reason: error.to_string(), cause }
}

/// Why a rule rests, and who must do what.
fn pause(rule: &Rule, verdict: Verdict) -> Pause {
    let id = &rule.id;
    let cause = match &verdict {
        Verdict::BadToken(_) => Cause::Credential,
        Verdict::RuleRefused(_) => Cause::Rights,
        _ => Cause::Other,
    };
    let reason = match verdict {
        Verdict::BadBody(error) => {
            format!("rule `{id}` refuses every row, or too many of them: {error}")
        }
        Verdict::BadToken(error) => {
            format!("rule `{id}` refuses the token, also a fresh one: {error}")
        }
        other => format!("rule `{id}` at `{}`: {other}", rule.endpoint),
    };
    Pause { reason, cause }
}

/// What happened to a body so far.
struct Attempts {
    count: u32,
    renewed: bool,
    failures: u32,
    cuts: u32,
    /// By rule: bodies of others that had passed when this one failed there last.
    passed: BTreeMap<usize, u64>,
    policy: Policy,
}

impl Attempts {
    fn new(options: &Options) -> Self {
        let policy = Policy::new(options.probe_first, options.probe_max);
        Self { count: 0, renewed: false, failures: 0, cuts: 0, passed: BTreeMap::new(), policy }
    }

    /// Notes a failure on the service's side; the outcome, if others pass and this body never does. A
    /// failure counts where others have passed since the one before: those of an outage are one.
    fn failed(&mut self, error: &str, (rule, passed): (usize, u64), rows: u32) -> Option<Outcome> {
        let is_answer = error.starts_with('5');
        if is_answer {
            self.cuts = 0;
        }
        let is_first = self.passed.is_empty();
        let counts = self.passed.insert(rule, passed).map_or(is_first, |before| passed > before);
        if !counts {
            return None;
        }
        if is_answer {
            self.failures += 1;
        } else {
            self.cuts += 1;
        }
        if self.failures >= FAILURES {
            return Some(Outcome::Refused(error.to_owned()));
        }
        (self.cuts >= CUTS && rows > 1).then_some(Outcome::CutOff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts() -> Attempts {
        Attempts::new(&Options::default())
    }

    #[test]
    fn an_outage_of_the_service_never_makes_a_body_the_culprit() {
        let mut attempt = attempts();
        // Whichever of the rules it was sent to: one has taken more before than another.
        for rule in (0..3).cycle().take(100) {
            assert!(attempt.failed("503: ", (rule, 7 * rule as u64), 1).is_none());
            assert!(attempt.failed("no answer", (rule, 7 * rule as u64), 50).is_none());
        }
        // However many rules there are, and whatever the failure is.
        for error in ["503: ", "cut"] {
            let mut attempt = attempts();
            for rule in (0..12).cycle().take(200) {
                assert!(attempt.failed(error, (rule, 7), 50).is_none(), "{error}");
            }
        }
        // When it ends another body passes first.
        assert!(attempt.failed("503: ", (0, 8), 1).is_none());
    }

    #[test]
    fn a_body_that_alone_fails_is_refused_and_one_that_alone_is_cut_is_halved() {
        let mut attempt = attempts();
        for passed in 0..9 {
            assert!(attempt.failed("500: ", (0, passed), 1).is_none());
        }
        assert!(matches!(attempt.failed("500: ", (0, 9), 1), Some(Outcome::Refused(_))));
        let mut attempt = attempts();
        assert!(attempt.failed("cut", (0, 0), 50).is_none());
        assert!(attempt.failed("cut", (0, 1), 50).is_none());
        assert!(matches!(attempt.failed("cut", (0, 2), 50), Some(Outcome::CutOff)));
    }
}
