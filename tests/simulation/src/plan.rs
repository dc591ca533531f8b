//! What a seed draws before anything starts: how large everything is, and which faults come how often.

use std::time::Duration;

use bytesize::ByteSize;
use cmsync_producer::{Cuts, Options};
use rand::Rng as _;
use rand::rngs::SmallRng;

/// What a site is read through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Each,
    Together,
    Tracked,
    Pass,
}

/// How likely each fault is wherever it may come; 0 where the seed leaves it out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rates {
    /// A call of the site fails at once.
    pub site_fails: f64,
    /// A call of the site takes long, or so long that it is given up.
    pub site_freezes: f64,
    /// A row is missing from an answer that says nothing of it.
    pub row_missing: f64,
    /// A collection is missing from one list.
    pub collection_missing: f64,
    /// A row comes twice.
    pub row_twice: f64,
    /// The answer of a post is lost, after the rows were taken or before.
    pub answer_lost: f64,
    /// A post takes effect long after it was given up.
    pub post_late: f64,
    /// 5xx.
    pub post_fails: f64,
    /// 429.
    pub throttled: f64,
    /// An upload is said to be aborted.
    pub aborted: f64,
    /// The token endpoint does not answer, or refuses.
    pub token_fails: f64,
    /// A token is refused though it was granted.
    pub token_refused: f64,
    /// The rule is not there, or a proxy answers in its place.
    pub rule_refused: f64,
    /// A saved search is not written.
    pub search_fails: f64,
    /// A call of the queue's store fails.
    pub store_fails: f64,
}

/// How often something happens to the whole, a virtual hour; 0 where the seed leaves it out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Hourly {
    /// Everything is killed.
    pub kill_all: f64,
    /// One copy is killed, and started again.
    pub kill_copy: f64,
    /// One copy is asked to stop, and started again.
    pub stop_copy: f64,
    /// Partitions are taken away and given back.
    pub revoke: f64,
    /// Commits are aborted.
    pub abort: f64,
    /// The machine's clock jumps.
    pub clock_jump: f64,
    /// The account loses some of its rights.
    pub rights: f64,
    /// Tokens are not given for a while.
    pub token_outage: f64,
    /// The workspace takes nothing for a while.
    pub workspace_outage: f64,
    /// The site does not answer for a while.
    pub site_outage: f64,
    /// A person asks for everything whole.
    pub resend: f64,
}

/// Everything that a seed decides.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub devices: usize,
    pub collections: usize,
    pub has_poison: bool,
    pub copies: usize,
    pub partitions: u32,
    pub state_partitions: u32,
    pub way: Way,
    /// Nothing changes but memberships, and nothing is read or sent for its time alone: the reads of what
    /// changed must make it right.
    pub only_members: bool,
    pub options: Options,
    pub cuts: Cuts,
    pub uploader: cmsync_uploader::Options,
    pub rules: usize,
    /// Bodies above this are refused with 413.
    pub largest_body: usize,
    /// Bytes of a topic after which commits wait.
    pub topic_bytes: u64,
    /// Changes of the site an hour.
    pub changes: f64,
    pub rates: Rates,
    pub hourly: Hourly,
    /// How long faults come.
    pub faults_for: Duration,
}

/// Most seeds leave most faults out: what hides behind one comes out where it is missing.
fn rate(rng: &mut SmallRng, highest: f64) -> f64 {
    if rng.random_bool(0.55) { 0.0 } else { rng.random_range(0.0..highest) }
}

fn seconds(rng: &mut SmallRng, from: u64, to: u64) -> Duration {
    Duration::from_secs(rng.random_range(from..to))
}

impl Plan {
    /// What the seed decides.
    pub(crate) fn of(rng: &mut SmallRng) -> Self {
        let polls = rng.random_range(5..70);
        let poll_interval = Duration::from_secs(60);
        let devices = rng.random_range(3..45);
        let removal_hold = seconds(rng, 600, 4 * 3_600);
        let only_members = rng.random_bool(0.3);
        let year = Duration::from_secs(365 * 86_400);
        let mut interval = |from, to| match only_members {
            true => year,
            false => seconds(rng, from, to),
        };
        let (snapshot_interval, reread_interval, device_sweep_interval) =
            (interval(600, 7_200), interval(1_200, 7_200), interval(600, 3_600));
        let producer = Options {
            poll_interval,
            snapshot_interval,
            reread_interval,
            device_sweep_interval,
            removal_hold,
            max_backlog: ByteSize::b(*pick(rng, &[2_000, 20_000, 100_000_000])),
            page_size: rng.random_range(3..60),
            ..Options::default()
        };
        let wire = *pick(rng, &[400, 900, 4_000, 1_000_000]);
        let uploader = cmsync_uploader::Options {
            max_in_flight: rng.random_range(1..9),
            max_wire_body: ByteSize::b(wire),
            max_raw_body: ByteSize::b(*pick(rng, &[600, 5_000, 1_000_000])),
            ..cmsync_uploader::Options::default()
        };
        let largest_body = match rng.random_bool(0.6) {
            true => usize::MAX,
            false => rng.random_range(250..2_500),
        };
        Self {
            devices,
            collections: rng.random_range(1..7),
            has_poison: rng.random_bool(0.15),
            copies: rng.random_range(1..4),
            partitions: rng.random_range(1..5),
            state_partitions: rng.random_range(1..3),
            only_members,
            way: *pick(rng, &[Way::Each, Way::Together, Way::Tracked, Way::Pass]),
            options: producer,
            cuts: Cuts { devices: rng.random_range(1..20), messages: rng.random_range(1..6) },
            uploader,
            rules: rng.random_range(1..4),
            largest_body,
            topic_bytes: *pick(rng, &[6_000, 60_000, u64::MAX]),
            changes: rng.random_range(0.0..240.0),
            rates: Rates::of(rng),
            hourly: Hourly::of(rng),
            faults_for: poll_interval * polls,
        }
    }
}

fn pick<'a, T>(rng: &mut SmallRng, of: &'a [T]) -> &'a T {
    &of[rng.random_range(0..of.len())]
}

impl Rates {
    fn of(rng: &mut SmallRng) -> Self {
        Self {
            site_fails: rate(rng, 0.15),
            site_freezes: rate(rng, 0.05),
            row_missing: rate(rng, 0.02),
            collection_missing: rate(rng, 0.05),
            row_twice: rate(rng, 0.1),
            answer_lost: rate(rng, 0.3),
            post_late: rate(rng, 0.1),
            post_fails: rate(rng, 0.2),
            throttled: rate(rng, 0.4),
            aborted: rate(rng, 0.1),
            token_fails: rate(rng, 0.3),
            token_refused: rate(rng, 0.1),
            rule_refused: rate(rng, 0.1),
            search_fails: rate(rng, 0.3),
            store_fails: rate(rng, 0.2),
        }
    }
}

impl Hourly {
    fn of(rng: &mut SmallRng) -> Self {
        Self {
            kill_all: rate(rng, 20.0),
            kill_copy: rate(rng, 20.0),
            stop_copy: rate(rng, 8.0),
            revoke: rate(rng, 20.0),
            abort: rate(rng, 20.0),
            clock_jump: rate(rng, 3.0),
            rights: rate(rng, 3.0),
            token_outage: rate(rng, 2.0),
            workspace_outage: rate(rng, 2.0),
            site_outage: rate(rng, 2.0),
            resend: rate(rng, 2.0),
        }
    }
}
