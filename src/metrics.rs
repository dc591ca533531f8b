//! What is counted of connections as a whole, the list of all that is counted, and the page of
//! `/metrics`.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use cmsync_schemas::{Cause, Health, Status};
use cmsync_telemetry::Metric;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;
use tokio::sync::watch;

/// Histograms are emptied into buckets this often.
const UPKEEP: Duration = Duration::from_secs(5);

cmsync_telemetry::label! {
    /// Why a stage does not go on.
    pub(crate) enum Blocked: "cause" {
        /// Somebody asked for it: `connection pause`, quiet hours, `import = false`.
        Asked = "asked",
        /// A right is missing, at the site or in Azure.
        Rights = "rights",
        /// A secret, certificate, login or ticket is not accepted.
        Credential = "credential",
        /// The reason is in `cmsync status`.
        Other = "other",
        /// It will not go on by itself.
        Stopped = "stopped",
    }
}

cmsync_telemetry::label! {
    /// The stage that messages wait for.
    pub(crate) enum WaitsFor: "stage" {
        /// Changes.
        Transformer = "transformer",
        /// Records.
        Uploader = "uploader",
    }
}

cmsync_telemetry::declare! {
    each "connection" {
        /// Stages of the connection that do not go on, by who must act.
        blocked: Gauge[Blocked] = "cmsync_connection_stages_blocked";
        /// Messages that wait, by the stage that they wait for.
        waiting: Gauge[WaitsFor] = "cmsync_queue_waiting_messages";
        /// Bytes that wait for the workspace; above `max_backlog` nothing is published.
        backlog: Gauge = "cmsync_queue_backlog_bytes";
        /// Age of the oldest change that is not delivered; 0 when none waits.
        oldest: Gauge = "cmsync_queue_oldest_undelivered_age_seconds";
        /// Records and messages that were set aside and wait for a decision.
        dead_letters: Gauge = "cmsync_dead_letters";
        /// Things that are wrong in the workspace, at the last verification.
        findings: Gauge = "cmsync_verify_findings";
        /// Seconds since 1970 when the workspace was verified last; 0 before the first time.
        verified: Gauge = "cmsync_verify_last_success_timestamp_seconds";
        /// Seconds since 1970 of the newest marker that the workspace showed at the last verification.
        newest_marker: Gauge = "cmsync_verify_newest_marker_timestamp_seconds";
        /// Seconds since 1970 when the secret or certificate towards Azure ends; 0 where that is not known, or it does not end.
        expiry: Gauge = "cmsync_credential_expiry_timestamp_seconds";
    }
}

cmsync_telemetry::label! {
    /// How a verification ended.
    pub(crate) enum Verified: "outcome" {
        /// Nothing is wrong.
        Right = "right",
        /// Something is.
        Wrong = "wrong",
        /// The workspace could not be asked.
        Failed = "failed",
    }
}

mod process {
    use super::Verified;

    cmsync_telemetry::declare! {
        all {
            /// Bytes above which a connection's producer waits (`max_backlog`, or its share of the queue).
            max_backlog: Gauge = "cmsync_queue_max_backlog_bytes";
            /// Size of the queue's file; 0 on brokers.
            file_bytes: Gauge = "cmsync_queue_file_bytes";
            /// 1 while the queue can be written.
            writable: Gauge = "cmsync_queue_writable";
            /// Seconds since 1970 when the Kerberos ticket towards the sites ends; 0 where a keytab renews it, or there is none.
            ticket_expiry: Gauge = "cmsync_ticket_expiry_timestamp_seconds";
            /// Seconds since 1970 when this process started.
            started: Gauge = "cmsync_start_timestamp_seconds";
            /// `poll_interval` of the configuration.
            poll_interval: Gauge = "cmsync_poll_interval_seconds";
            /// `snapshot_interval` of the configuration.
            snapshot_interval: Gauge = "cmsync_snapshot_interval_seconds";
            /// `verify_interval` of the configuration; 0 for never.
            verify_interval: Gauge = "cmsync_verify_interval_seconds";
            /// Verifications by how they ended.
            verifications: Counter[Verified] = "cmsync_verifications_total";
            /// Lines of the log that were dropped because nobody took them in time.
            log_lines_dropped: Counter = "cmsync_log_lines_dropped_total";
            /// 1 while the connections of the configuration file as it stands are followed; 0 where it has a mistake.
            configuration_accepted: Gauge = "cmsync_configuration_accepted";
        }
    }
}
pub(crate) use process::Metrics as ProcessMetrics;

mod build {
    cmsync_telemetry::declare! {
        each "version" {
            /// 1; the version that runs.
            info: Gauge = "cmsync_build_info";
        }
    }
}

impl Metrics {
    /// How the stages of the connection are.
    pub(crate) fn note_stages<'a>(&self, stages: impl Iterator<Item = &'a Status> + Clone) {
        let count = |is_so: &dyn Fn(&Status) -> bool| stages.clone().filter(|s| is_so(s)).count();
        let paused = |cause: Cause| {
            count(&|s: &Status| s.state == Health::Paused && s.cause == cause.text()) as f64
        };
        self.blocked.of(Blocked::Asked).set(paused(Cause::Asked));
        self.blocked.of(Blocked::Rights).set(paused(Cause::Rights));
        self.blocked.of(Blocked::Credential).set(paused(Cause::Credential));
        self.blocked.of(Blocked::Other).set(paused(Cause::Other));
        self.blocked.of(Blocked::Stopped).set(count(&|s| s.state == Health::Stopped) as f64);
    }
}

/// Everything that is counted.
pub(crate) fn all() -> impl Iterator<Item = &'static Metric> {
    [
        METRICS,
        process::METRICS,
        build::METRICS,
        cmsync_producer::METRICS,
        cmsync_transformer::METRICS,
        cmsync_uploader::METRICS,
        cmsync_queue::METRICS,
        cmsync_queue::kafka::METRICS,
        cmsync_http::METRICS,
        cmsync_azure::METRICS,
    ]
    .into_iter()
    .flatten()
}

/// The page of `/metrics`.
#[derive(Clone)]
pub(crate) struct Page {
    handle: PrometheusHandle,
    process: Collector,
    connections: watch::Receiver<BTreeSet<String>>,
}

impl Page {
    /// Counts from now on; only series of these connections are shown: what another connection left is
    /// about nothing.
    pub(crate) fn start(connections: watch::Receiver<BTreeSet<String>>) -> anyhow::Result<Self> {
        let mut builder = PrometheusBuilder::new();
        for metric in all().filter(|metric| !metric.buckets.is_empty()) {
            let name = Matcher::Full(metric.name.to_owned());
            builder = builder.set_buckets_for_metric(name, metric.buckets)?;
        }
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).context("metrics are installed already")?;
        let upkeep = handle.clone();
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(UPKEEP);
            loop {
                ticks.tick().await;
                upkeep.run_upkeep();
            }
        });
        build::Metrics::new(env!("CARGO_PKG_VERSION")).info.set(1.0);
        // A hardened service cannot see when the machine started, which `process_start_time_seconds` needs.
        process::Metrics::new().started.set(jiff::Timestamp::now().as_second() as f64);
        let process = Collector::default();
        process.describe();
        Ok(Self { handle, process, connections })
    }

    /// The page as it is now.
    pub(crate) fn render(&self) -> String {
        self.process.collect();
        let connections = self.connections.borrow();
        let text = self.handle.render();
        let is_shown = |line: &&str| connection_of(line).is_none_or(|c| connections.contains(c));
        let mut page = String::with_capacity(text.len());
        for line in text.split_inclusive('\n').filter(is_shown) {
            page.push_str(line);
        }
        page
    }
}

/// The connection that a series is of.
fn connection_of(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("connection=\"")?;
    rest.split_once('"').map(|(name, _)| name)
}

#[cfg(test)]
mod tests;
