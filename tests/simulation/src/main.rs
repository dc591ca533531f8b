//! `cmsync-simulate`: many seeds on all cores, or one of them told step by step.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use cmsync_simulation::{Bug, Outcome, simulate};

/// A seed takes some 30 ms.
const TOO_LONG: Duration = Duration::from_secs(30);

/// Runs the whole pipeline with virtual time, from seeds.
#[derive(Parser)]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// One seed alone, told step by step.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// With a planted bug.
    #[arg(long)]
    bug: Option<Bug>,
    /// Prints what the stages log, too.
    #[arg(long)]
    log: bool,
}

fn say(text: &str) {
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.log {
        tracing_subscriber::fmt().with_env_filter("debug").without_time().init();
    }
    let (found, count) = match arguments.seed {
        Some(seed) => {
            let outcome = simulate(seed, arguments.bug, true);
            outcome.findings.iter().for_each(|finding| say(&format!("FOUND: {finding}")));
            say(&format!("trace {:016x}, {} virtual seconds", outcome.trace, outcome.seconds));
            (usize::from(!outcome.findings.is_empty()), 1)
        }
        None => (many(&arguments), arguments.seeds),
    };
    if found > 0 {
        say(&format!("{found} of {count} seeds broke a promise; `--seed N` replays one"));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// What all threads share.
struct Shared {
    next: AtomicU64,
    virtual_seconds: AtomicU64,
    bad: Mutex<Vec<u64>>,
    /// The seed of each thread, and since when.
    running: Vec<Mutex<Option<(u64, Instant)>>>,
}

/// Runs seeds on all cores; how many broke a promise.
fn many(arguments: &Arguments) -> usize {
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let shared = Shared {
        next: AtomicU64::new(arguments.from),
        virtual_seconds: AtomicU64::new(0),
        bad: Mutex::default(),
        running: (0..threads).map(|_| Mutex::default()).collect(),
    };
    std::thread::scope(|scope| {
        let shared = &shared;
        let start = |running| scope.spawn(move || work(arguments, shared, running));
        let workers: Vec<_> = shared.running.iter().map(start).collect();
        watch(shared, || workers.iter().all(|worker| worker.is_finished()));
    });
    let bad = shared.bad.lock().map_or(0, |bad| bad.len());
    let hours = shared.virtual_seconds.into_inner() as f64 / 3_600.0;
    let (seeds, took) = (arguments.seeds, started.elapsed().as_secs_f64());
    say(&format!("{seeds} seeds, {hours:.0} virtual hours in {took:.1} s: {bad} broke a promise"));
    bad
}

fn work(arguments: &Arguments, shared: &Shared, running: &Mutex<Option<(u64, Instant)>>) {
    let set = |to| drop(running.lock().map(|mut running| *running = to));
    loop {
        let seed = shared.next.fetch_add(1, Ordering::Relaxed);
        if seed >= arguments.from + arguments.seeds {
            return set(None);
        }
        set(Some((seed, Instant::now())));
        let outcome = simulate(seed, arguments.bug, false);
        shared.virtual_seconds.fetch_add(outcome.seconds.unsigned_abs(), Ordering::Relaxed);
        if !outcome.findings.is_empty() {
            tell(&outcome);
            drop(shared.bad.lock().map(|mut bad| bad.push(seed)));
        }
    }
}

/// Ends everything when a seed takes a thousand times as long as others: something runs in circles
/// without ever asking the world.
fn watch(shared: &Shared, is_over: impl Fn() -> bool) {
    while !is_over() {
        std::thread::park_timeout(Duration::from_millis(50));
        for running in &shared.running {
            if let Ok(Some((seed, since))) = running.lock().map(|running| *running)
                && since.elapsed() > TOO_LONG
            {
                say(&format!("seed {seed}: runs in circles: no end after {TOO_LONG:?}"));
                std::process::exit(1);
            }
        }
    }
}

fn tell(outcome: &Outcome) {
    for finding in &outcome.findings {
        say(&format!("seed {}: {finding}", outcome.seed));
    }
}
