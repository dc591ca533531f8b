//! What is counted of requests, by the kind of target.

use cmsync_telemetry::SECONDS;
use reqwest::StatusCode;

cmsync_telemetry::label! {
    /// How a request was answered.
    pub(crate) enum Status: "status" {
        /// Success.
        Success = "2xx",
        /// A redirect, which is not followed.
        Redirect = "3xx",
        /// Not signed in.
        Unauthorized = "401",
        /// No right, or a proxy that refuses.
        Forbidden = "403",
        /// Not there.
        NotFound = "404",
        /// Too many requests.
        TooMany = "429",
        /// Another refusal.
        Refused = "4xx",
        /// A failure of the server.
        Failed = "5xx",
        /// No answer: a time-out, a cut connection, a certificate that is not trusted.
        None = "none",
    }
}

impl From<StatusCode> for Status {
    fn from(status: StatusCode) -> Self {
        match status.as_u16() {
            300..=399 => Self::Redirect,
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            404 => Self::NotFound,
            429 => Self::TooMany,
            400..=499 => Self::Refused,
            500.. => Self::Failed,
            _ => Self::Success,
        }
    }
}

cmsync_telemetry::declare! {
    each "target" {
        /// Requests by how they were answered, each attempt counted.
        requests: Counter[Status] = "cmsync_http_requests_total";
        /// Time from a request to the head of its answer.
        seconds: Histogram(SECONDS) = "cmsync_http_request_seconds";
    }
}
