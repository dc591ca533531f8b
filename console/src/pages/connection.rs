//! One connection: how each stage is, and what may be asked of it.

use askama::Template;
use cmsync_control::{ConnectionView, StageView, Truth};

use super::link::Link;
use super::overview::verdict;
use super::words::Time;
use crate::access::Frame;
use crate::configured::Configured;

/// The page.
#[derive(Template)]
#[template(path = "connection.html")]
pub(crate) struct Page {
    frame: Frame,
    name: String,
    description: String,
    verdict: (&'static str, &'static str),
    reason: String,
    is_paused: bool,
    imports: bool,
    stages: Vec<Row>,
    link: String,
}

struct Row {
    name: &'static str,
    state: &'static str,
    reason: String,
    since: Option<Time>,
    success: Option<Time>,
    warnings: Vec<String>,
}

/// What may be asked of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Order {
    /// Read its site no longer.
    Pause,
    /// Read it again.
    Resume,
    /// Send all of it whole again.
    Resend,
}

/// Where the page of a connection is.
pub(crate) fn address(name: &str) -> Link {
    Link::to("/connections").part(name)
}

impl Page {
    pub(crate) fn new(
        frame: Frame,
        (view, truth): (ConnectionView, Truth),
        configured: Configured,
        now: i64,
    ) -> Self {
        let stages = view.stages.into_iter().map(|stage| row(stage, now)).collect();
        Self {
            frame,
            link: address(&view.connection).to_string(),
            name: view.connection,
            description: configured.description,
            verdict: verdict(truth.verdict),
            reason: truth.reason,
            is_paused: view.is_paused,
            imports: configured.import,
            stages,
        }
    }
}

fn row(stage: StageView, now: i64) -> Row {
    Row {
        name: match stage.stage.as_str() {
            "producer" => "Reads the site",
            "transformer" => "Maps changes to records",
            "uploader" => "Sends records",
            "groups" => "Keeps computer groups",
            "verify" => "Verifies the workspace",
            _ => "Another stage",
        },
        state: stage.state.text(),
        reason: stage.reason,
        since: (stage.since > 0).then(|| Time::new(stage.since, now)),
        success: (stage.last_success > 0).then(|| Time::new(stage.last_success, now)),
        warnings: stage.warnings,
    }
}
