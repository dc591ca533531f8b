//! Where traces of changes go, if anywhere.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use url::Url;

use super::checker::Checker;

/// `[traces]`, as it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Written {
    /// Where a collector takes OTLP over HTTP; empty for no traces.
    pub(crate) endpoint: String,
    /// The collector's certificate authority, PEM.
    pub(crate) ca_file: Option<PathBuf>,
    /// Share of changes that are traced.
    pub(crate) share: f64,
}

impl Default for Written {
    fn default() -> Self {
        Self { endpoint: String::new(), ca_file: None, share: 1.0 }
    }
}

/// The same, checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Traces {
    /// With the path of traces.
    pub(crate) endpoint: Url,
    pub(crate) share: f64,
    pub(crate) http: cmsync_http::Settings,
}

/// Its table, checked; mistakes go to the checker.
pub(super) fn check(checker: &mut Checker, written: &Written) -> Option<Traces> {
    checker.require(
        (0.0..=1.0).contains(&written.share),
        "traces.share",
        "must lie between 0 and 1",
    );
    if written.endpoint.is_empty() {
        return None;
    }
    // Collectors stand beside what they collect from, and traces hold no secret.
    let mut endpoint = checker.url("traces.endpoint", &written.endpoint, true)?;
    if endpoint.path() == "/" {
        endpoint.set_path("/v1/traces");
    }
    let defaults = cmsync_http::Settings::default();
    let http = cmsync_http::Settings { ca_file: written.ca_file.clone(), direct: true, ..defaults };
    if let Err(error) = cmsync_http::Client::new("check", &http) {
        checker.wrong("traces.ca_file", error.to_string());
    }
    Some(Traces { endpoint, share: written.share, http })
}
