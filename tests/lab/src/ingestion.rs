//! Logs Ingestion with its limits.

use std::collections::HashMap;

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderValue};
use serde_json::json;

use crate::arm;
use crate::faults::{Faults, Quota};
use crate::server::Lab;

/// The largest body on the wire.
const BODY_LIMIT: usize = 1_048_576;

/// Status, headers, body; `None` cuts the connection.
pub(crate) type Reply = Option<Sent>;
type Sent = (u16, Vec<(&'static str, String)>, String);

pub(crate) fn failure(status: u16, code: &str, message: &str) -> Reply {
    let body = json!({"error": {"code": code, "message": message}}).to_string();
    Some((status, vec![("x-ms-error-code", code.to_owned())], body))
}

/// Parses a form or a query string.
pub(crate) fn form(body: &[u8]) -> HashMap<String, String> {
    let text = String::from_utf8_lossy(body).replace('+', " ");
    let decode = |part: &str| {
        let mut bytes = Vec::new();
        let mut rest = part.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            let hex = (*first == b'%')
                .then(|| after.get(..2))
                .flatten()
                .and_then(|h| std::str::from_utf8(h).ok());
            match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
                Some(byte) => {
                    bytes.push(byte);
                    rest = &after[2..];
                }
                None => {
                    bytes.push(*first);
                    rest = after;
                }
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(k, v)| (decode(k), decode(v)))
        .collect()
}

/// Whom the bearer token of a request speaks for, if it is good for an audience.
pub(crate) fn bearer(
    lab: &Lab,
    headers: &HeaderMap<HeaderValue>,
    audience: &str,
) -> Result<String, Reply> {
    let value = headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or_default();
    let Some(token) = value.strip_prefix("Bearer ") else {
        return Err(failure(401, "InvalidToken", "No token"));
    };
    match lab.issued(token) {
        None => Err(failure(401, "TokenExpired", "The token has expired.")),
        Some((found, _)) if found.trim_end_matches('/') != audience => {
            Err(failure(401, "InvalidAudience", "The audience of the token is not valid."))
        }
        Some((_, principal)) => Ok(principal),
    }
}

/// Answers an ingestion request.
pub(crate) fn ingest(
    lab: &Lab,
    rule: &str,
    stream: &str,
    headers: &HeaderMap<HeaderValue>,
    body: Bytes,
) -> Reply {
    let number = {
        let mut counts = lab.counts();
        counts.ingestion += 1;
        counts.ingestion
    };
    let reply = judge(lab, (rule, stream, number), headers, &body);
    let status = reply.as_ref().map_or(0, |(status, ..)| *status);
    let mut counts = lab.counts();
    counts.max_body = counts.max_body.max(if status == 413 { 0 } else { body.len() });
    if status >= 300 {
        *counts.refused.entry(status).or_default() += 1;
        return reply;
    }
    counts.bodies += 1;
    drop(counts);
    let is_gzip = headers.get("content-encoding").is_some_and(|v| v == "gzip");
    lab.workspace.take(stream, body, is_gzip);
    reply
}

fn judge(
    lab: &Lab,
    (rule, stream, number): (&str, &str, u64),
    headers: &HeaderMap<HeaderValue>,
    body: &[u8],
) -> Reply {
    let principal = match bearer(lab, headers, &lab.ingestion_audience()) {
        Ok(principal) => principal,
        Err(refusal) => return refusal,
    };
    let (id, is_known) = {
        let resources = lab.resources();
        let Some(found) = resources.rule(rule) else {
            let text = format!("Data collection rule with immutable Id '{rule}' not found.");
            return failure(404, "NotFound", &text);
        };
        let id = found["id"].as_str().unwrap_or_default().to_owned();
        (id, arm::reaches_a_table(&resources, found, stream))
    };
    let is_refused = lab.faults().refused_rules.contains(rule);
    if is_refused || arm::check(lab, &principal, arm::INGEST, &id).is_err() {
        return failure(
            403,
            "OperationFailed",
            "The authentication token provided does not have access to ingest data for the data collection rule.",
        );
    }
    let mut faults = lab.faults();
    if let Some(reply) = misbehave(&mut faults, number) {
        return Some(reply);
    }
    let limit = faults.body_limit.unwrap_or(BODY_LIMIT);
    if body.len() > limit {
        let text = format!(
            "Maximum allowed content length: {limit} bytes (1 MB). Provided content length: {} bytes.",
            body.len()
        );
        return failure(413, "ContentLengthLimitExceeded", &text);
    }
    if !is_known {
        return failure(400, "InvalidStream", "Unknown stream.");
    }
    if let Some(modulus) = faults.bad_rows
        && has_bad_row(body, modulus)
    {
        return failure(400, "InvalidRecord", "A record is not valid.");
    }
    if Faults::take(&mut faults.resets) {
        return Some((0, vec![], String::new()));
    }
    Some((204, vec![], String::new()))
}

/// What was asked to go wrong with the `number`th request, if anything.
fn misbehave(faults: &mut Faults, number: u64) -> Reply {
    if Faults::take(&mut faults.proxy_pages) {
        return Some((
            407,
            vec![("content-type", "text/html".into())],
            "<html>Proxy login</html>".into(),
        ));
    }
    let throttled = |seconds: u64| {
        let (_, mut headers, body) = failure(429, "TooManyRequests", "Slow down.")?;
        headers.push(("retry-after", seconds.to_string()));
        Some((429, headers, body))
    };
    if let Some((every, seconds)) = faults.throttle_every
        && number.is_multiple_of(every)
    {
        return throttled(seconds);
    }
    if let Some(Err(seconds)) = faults.quota.as_mut().map(Quota::take) {
        return throttled(seconds);
    }
    if Faults::take(&mut faults.throttle_next.0) {
        return throttled(faults.throttle_next.1);
    }
    let status = faults.ingestion_status.1;
    if Faults::take(&mut faults.ingestion_status.0) {
        return if status == 400 {
            failure(400, "InvalidRecord", "A record is not valid.")
        } else {
            Some((status, vec![], String::new()))
        };
    }
    None
}

fn has_bad_row(body: &[u8], modulus: u64) -> bool {
    #[derive(serde::Deserialize)]
    struct Row {
        #[serde(rename = "ResourceId", default)]
        id: u64,
    }
    let reader = flate2::read::GzDecoder::new(body);
    let rows: Vec<Row> = serde_json::from_reader(reader).unwrap_or_default();
    rows.iter().any(|row| row.id > 0 && row.id % modulus == 7)
}
