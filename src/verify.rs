//! `cmsync verify`, by hand and by itself: is the workspace right, and if not, it is sent again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cmsync_azure::Verdict;
use cmsync_control::verify::{Asks, Finding, Kind, LARGE_BODY, Report, Verifier};
use cmsync_control::{Answer, Desk, Question};
use cmsync_schemas::{Health, Status};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::asks::{Inside, Outside};
use crate::cli::VerifyArgs;
use crate::config::{Config, Connection};
use crate::connections;
use crate::metrics::{Metrics, ProcessMetrics, Verified};
use crate::pipeline::clock;

/// A collection is sent again by itself at most once in this time.
const RESEND_REST: i64 = 24 * 3_600 * 1_000_000;

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// A look at one connection's workspace; an error where it cannot be asked at all.
fn verifier(connection: &Connection, settle: Duration) -> anyhow::Result<Verifier> {
    let workspace = &connection.workspace;
    let credential = connections::credential(workspace)?;
    let (query, id) = connections::asked(connection, Arc::clone(&credential))?;
    let resource_id = connection.written().workspace.resource_id.as_deref();
    let manager = match resource_id.map(str::parse) {
        Some(Ok(place)) => Some((connections::manager(workspace, credential)?, place)),
        _ => None,
    };
    Ok(Verifier {
        query,
        workspace: id,
        manager,
        groups: connection.groups.as_ref().map(|(_, options)| (options.names, options.days)),
        days: connection.written().groups.days(),
        settle: micros(settle),
        large_body: Some(cmsync_uploader::LARGE_ROWS),
        clock: clock(),
    })
}

/// What is done about findings.
struct Mender {
    /// When each collection was sent again by itself.
    resent: BTreeMap<String, i64>,
    /// The shortest time between two times, in microseconds.
    rest: i64,
}

impl Mender {
    /// Sends again what is wrong; the collections that were.
    async fn mend(&mut self, report: &Report, asks: &dyn Asks) -> Result<Vec<String>, String> {
        let now = clock()();
        let (name, mut sent) = (&report.connection, Vec::new());
        let is_due = |id: &String| self.resent.get(id).is_none_or(|at| at + self.rest <= now);
        // What waits comes by itself.
        let wrong = report.findings.iter().filter(|f| f.is_resent() && report.waiting == 0);
        let due: Vec<String> = wrong.filter_map(|f| f.collection.clone()).filter(is_due).collect();
        for id in due {
            let question =
                Question::Resend { connection: name.clone(), collection: Some(id.clone()) };
            if let Answer::Taken(_) = asks.ask(question).await? {
                self.resent.insert(id.clone(), now);
                sent.push(id);
            }
        }
        if report.findings.iter().any(|f| f.kind == Kind::Groups) {
            asks.ask(Question::LookAtGroups { connection: name.clone() }).await?;
        }
        if let Some(until) = report.over_quota_until {
            asks.ask(Question::Hold { connection: name.clone(), until }).await?;
        }
        let has_lost = report.findings.iter().any(|f| f.kind == Kind::Members && f.missing > 0);
        let bytes = (report.large_body_seen && !has_lost).then_some(cmsync_uploader::LARGE_RAW);
        if report.large_body_seen || has_lost {
            asks.ask(Question::RawLimit { connection: name.clone(), bytes }).await?;
        }
        Ok(sent)
    }
}

/// Verifies by hand; false when something is wrong.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(crate) async fn run(config: &Config, args: &VerifyArgs, as_json: bool) -> anyhow::Result<bool> {
    if let Some(name) = &args.connection {
        config.connection(name)?;
    }
    let asks = Outside(config);
    let (mut is_right, mut reports) = (true, Vec::new());
    for (name, connection) in &config.connections {
        if args.connection.as_ref().is_some_and(|wanted| wanted != name) {
            continue;
        }
        let verifier = verifier(connection, config.verify_settle)?;
        let report = verifier.verify(name, &asks).await.map_err(anyhow::Error::msg)?;
        is_right &= report.is_right() && !report.is_unjudged();
        let sent = if args.dry_run {
            Vec::new()
        } else {
            let mut mender = Mender { resent: BTreeMap::new(), rest: 0 };
            mender.mend(&report, &asks).await.map_err(anyhow::Error::msg)?
        };
        if !as_json {
            println!("{}", text(&report, &sent));
        }
        reports.push(serde_json::json!({ "report": report, "sent_again": sent }));
    }
    if as_json {
        println!("{}", serde_json::to_string_pretty(&reports)?);
    }
    Ok(is_right)
}

fn text(report: &Report, sent: &[String]) -> String {
    let Report { connection, site_code, collections, unsettled, waiting, .. } = report;
    let wrong = report.findings.len();
    let verdict = match wrong {
        0 if report.is_unjudged() => "not judged yet".to_owned(),
        0 => "right".to_owned(),
        _ => format!("{wrong} findings"),
    };
    let mut lines =
        vec![format!("{connection} (site {site_code}): {collections} collections, {verdict}")];
    let line = |f: &Finding| match &f.collection {
        Some(id) => format!("  {id} {}", f.text),
        None => format!("  {}", f.text),
    };
    lines.extend(report.findings.iter().map(line));
    if !sent.is_empty() {
        lines.push(format!("  sent again: {}", sent.join(", ")));
    }
    if *unsettled > 0 {
        lines
            .push(format!("  {unsettled} collections changed a moment ago and are not judged yet"));
    }
    if *waiting > 0 {
        lines.push(format!("  {waiting} messages wait for the workspace"));
    }
    lines.extend(report.heartbeats.map(|h| format!("  {}", h.sentence())));
    lines.join("\n")
}

/// Sends the body that shows whether large bodies arrive; the next look tells.
pub(crate) async fn send_large_body(connection: &Connection) -> anyhow::Result<bool> {
    let workspace = &connection.workspace;
    let credential = connections::credential(workspace)?;
    let token = credential.token(&workspace.endpoints.ingestion_audience).await?;
    let ingestion = connections::ingestion(workspace)?;
    let Some(rule) = workspace.rules.first() else {
        return Ok(false);
    };
    let body = cmsync_uploader::large_test_body(clock()(), LARGE_BODY);
    let posted = ingestion.post(rule, &token, "cmsync-large-body", body).await;
    Ok(matches!(posted, Verdict::Accepted))
}

/// Verifies a connection again and again until `stop`.
pub(crate) async fn keep(
    name: String,
    connection: Connection,
    (interval, settle): (Duration, Duration),
    (desk, status): (Desk, watch::Sender<Status>),
    stop: CancellationToken,
) {
    let asks = Inside(desk.clone());
    let mut mender = Mender { resent: BTreeMap::new(), rest: RESEND_REST };
    let metrics = Metrics::new(&name);
    loop {
        tokio::select! {
            // Another copy may verify from now on, and finds what it finds.
            () = stop.cancelled() => return is_off(&name),
            () = tokio::time::sleep(interval) => {}
        }
        let look = async {
            let verifier = verifier(&connection, settle).map_err(|e| format!("{e:#}"))?;
            let report = verifier.verify(&name, &asks).await?;
            let sent = mender.mend(&report, &asks).await?;
            Ok::<_, String>((report, sent))
        };
        let outcome = tokio::select! {
            () = stop.cancelled() => return is_off(&name),
            outcome = look => outcome,
        };
        match outcome {
            Ok((report, sent)) => {
                note(&metrics, &report);
                tell(&status, &report);
                desk.note(
                    &name,
                    cmsync_control::Kind::Verification,
                    ("", said(&report, &sent)),
                    "",
                );
                for finding in &report.findings {
                    let collection = finding.collection.as_deref().unwrap_or_default();
                    tracing::warn!(collection, "verification: {}", finding.text);
                }
                if !sent.is_empty() {
                    tracing::warn!(collections = sent.join(" "), "verification: sent again whole");
                }
            }
            Err(error) => {
                ProcessMetrics::new().verifications.of(Verified::Failed).increment(1);
                tracing::warn!(error, "the workspace could not be verified");
                let text = format!("the workspace could not be verified: {error}");
                desk.note(&name, cmsync_control::Kind::Verification, ("", text), "");
                status.send_modify(|status| status.reason = error);
            }
        }
    }
}

/// What a verification found, in words.
fn said(report: &Report, sent: &[String]) -> String {
    let collections = report.collections;
    let found: Vec<&str> = report.findings.iter().take(TOLD).map(|f| f.text.as_str()).collect();
    let mut text = match report.findings.len() {
        0 if report.is_unjudged() => {
            format!("{collections} collections: they changed a moment ago and are not judged")
        }
        0 => format!("{collections} collections: the workspace shows what it should"),
        count => {
            let more = count.saturating_sub(TOLD);
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            format!("{collections} collections, {count} findings: {}{more}", found.join("; "))
        }
    };
    if !sent.is_empty() {
        text = format!("{text}; sent again whole: {}", sent.join(", "));
    }
    text
}

fn note(metrics: &Metrics, report: &Report) {
    let verifications = ProcessMetrics::new().verifications;
    if cannot_be_asked(report) {
        // Nothing is known of what it shows: the last verification grows old instead.
        verifications.of(Verified::Failed).increment(1);
        return;
    }
    let is_right = report.findings.is_empty();
    verifications.of(if is_right { Verified::Right } else { Verified::Wrong }).increment(1);
    metrics.findings.set(report.findings.len() as f64);
    metrics.verified.set(clock()() as f64 / 1e6);
    if let Some(newest) = report.newest_marker {
        metrics.newest_marker.set(newest as f64 / 1e6);
    }
}

/// Findings that a status names; the log has all.
const TOLD: usize = 10;

/// Whether nothing is known of what the workspace shows.
fn cannot_be_asked(report: &Report) -> bool {
    report.findings.iter().any(|f| matches!(f.kind, Kind::Query | Kind::Workspace))
}

/// Says in the status what was found.
fn tell(status: &watch::Sender<Status>, report: &Report) {
    let text = |f: &Finding| match &f.collection {
        Some(id) => format!("{id} {}", f.text),
        None => f.text.clone(),
    };
    let mut texts: Vec<String> = report.findings.iter().take(TOLD).map(text).collect();
    status.send_modify(|status| {
        if cannot_be_asked(report) {
            status.reason = texts.join("; ");
            return;
        }
        let more = report.findings.len().saturating_sub(TOLD);
        if more > 0 {
            texts.push(format!("and {more} more, see `cmsync verify`"));
        }
        (status.state, status.last_success) = (Health::Working, clock()());
        (status.reason, status.warnings) = (String::new(), texts);
    });
}

/// A connection is not verified: what was found before is about nothing.
pub(crate) fn is_off(connection: &str) {
    let metrics = Metrics::new(connection);
    for gauge in [&metrics.findings, &metrics.verified, &metrics.newest_marker] {
        gauge.set(0.0);
    }
}
