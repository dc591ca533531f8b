//! From a path to whoever answers it.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Response, header};
use jiff::fmt::rfc2822::DateTimePrinter;

use crate::admin_service::{self, Ask, web_page};
use crate::faults::Faults;
use crate::server::Lab;
use crate::{arm, directory, entra, ingestion, query};

pub(crate) type Answer = Response<BoxBody<Bytes, io::Error>>;

/// What a service needs of a request.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a hyper::HeaderMap,
    pub(crate) body: &'a [u8],
}

fn cut_off() -> io::Error {
    io::Error::other("the lab cuts the connection")
}

fn full(
    status: u16,
    headers: &[(&'static str, String)],
    body: impl Into<Bytes>,
) -> Result<Answer, io::Error> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, value);
    }
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed();
    response.body(body).map_err(io::Error::other)
}

/// Answers a request, with the time that the lab's clocks show.
pub(crate) async fn route(
    lab: Arc<Lab>,
    host: Option<Arc<str>>,
    request: hyper::Request<Incoming>,
) -> Result<Answer, io::Error> {
    let mut answer = dispatch(Arc::clone(&lab), host, request).await?;
    let now = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(lab.faults().behind);
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&now);
    let date = date.ok().and_then(|date| date.try_into().ok());
    answer.headers_mut().extend(date.map(|date| (header::DATE, date)));
    Ok(answer)
}

/// Answers a request. An error closes the connection without an answer.
/// `host` is the one that a proxied request was meant for.
async fn dispatch(
    lab: Arc<Lab>,
    host: Option<Arc<str>>,
    request: hyper::Request<Incoming>,
) -> Result<Answer, io::Error> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let asked = head.uri.query().unwrap_or_default().to_owned();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    if let [service @ ("AdminService" | "AdminService_TokenAuth"), "wmi", class] = parts[..] {
        if head.method != "GET" {
            lab.counts().forbidden.insert(format!("{} {class}", head.method));
            return full(405, &[], "a Read-only Analyst reads");
        }
        return site(&lab, service, class, &asked, &head.headers).await;
    }
    if !lab.serves(host.as_deref(), &path) {
        return full(404, &[], "the lab has no such service at this address");
    }
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let request =
        Request { method: head.method.as_str(), path: &path, headers: &head.headers, body: &body };
    let latency = lab.faults().latency;
    let reply = match parts[..] {
        [tenant, "oauth2", "v2.0", "token"] => entra::token(&lab, tenant, &body),
        ["metadata", "identity", "oauth2", "token"] => {
            entra::machine(&lab, &asked, &head.headers, false)
        }
        ["arc", "token"] => entra::machine(&lab, &asked, &head.headers, true),
        ["dataCollectionRules", rule, "streams", stream] => {
            if !latency.is_zero() {
                tokio::time::sleep(latency).await;
            }
            ingestion::ingest(&lab, rule, stream, &head.headers, body.clone())
        }
        ["v1", "workspaces", workspace, "query"] => query::answer(&lab, workspace, &request),
        ["v1.0", ..] => directory::graph(&lab, &request),
        ["subscriptions", ..] => {
            let Request { method, path, headers, body } = request;
            let reply = arm::answer(&lab, &arm::Ask { method, path, query: &asked, headers, body });
            if method != "GET" && lab.hangs() {
                std::future::pending::<()>().await;
            }
            reply
        }
        ["lab", "report"] => Some((200, vec![], lab.report_json())),
        ["lab", "counts"] => Some((200, vec![], serde_json::to_string(&*lab.counts())?)),
        ["lab", "faults"] => Some((lab.set_faults(&body), vec![], String::new())),
        ["lab", "churn"] => {
            let collections = asked.strip_prefix("collections=").and_then(|n| n.parse().ok());
            lab.churn_once(collections.unwrap_or(1));
            Some((200, vec![], String::new()))
        }
        _ => Some((404, vec![], String::new())),
    };
    let (status, headers, body) = reply.ok_or_else(cut_off)?;
    // Status 0: taken, and the connection is reset before the answer.
    if status == 0 { Err(cut_off()) } else { full(status, &headers, body) }
}

async fn site(
    lab: &Lab,
    service: &str,
    class: &str,
    query: &str,
    headers: &hyper::HeaderMap,
) -> Result<Answer, io::Error> {
    *lab.counts().site.entry(class.to_owned()).or_default() += 1;
    let is_list = class == "SMS_Collection" && !query.contains("CollectionID%20eq");
    lab.counts().lists += u64::from(is_list);
    let given = headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or_default();
    let answered = match &lab.options.principal {
        None if given == format!("Bearer {}", lab.options.site_token) => Ok(None),
        // A token that Entra gave for the site's server application.
        None if lab.is_for_site(given) => Ok(None),
        None => Err("no token".to_owned()),
        Some(_) if lab.faults().offers_ntlm => {
            return full(401, &[("www-authenticate", "NTLM".into())], "");
        }
        Some(principal) => {
            let (given, principal) = (given.to_owned(), principal.clone());
            let judged = move || crate::negotiate::accept(&given, &principal);
            tokio::task::spawn_blocking(judged).await.map_err(io::Error::other)?.map(Some)
        }
    };
    if answered.is_err() {
        return full(401, &[("www-authenticate", "Negotiate".into())], "");
    }
    let (stall, cut, status) = {
        let mut faults = lab.faults();
        let stall = Faults::take(&mut faults.stalls.0).then_some(faults.stalls.1);
        let cut = Faults::take(&mut faults.cut_answers);
        let (_, code, as_page) = faults.site_status;
        let status = Faults::take(&mut faults.site_status.0).then_some((code, as_page));
        (stall, cut, status)
    };
    if let Some(stall) = stall {
        tokio::time::sleep(stall).await;
    }
    let base = format!("{}/{service}", lab.url());
    let ask = Ask { class, options: ingestion::form(query.as_bytes()), base: &base };
    let (status, is_json, body) = match (status, &lab.captures) {
        (Some((status, true)), _) => web_page(status),
        (Some((status, false)), _) => admin_service::error(status, "Access denied ... WMI QUERY"),
        (None, Some(captures)) => captures.answer(&ask),
        (None, None) => admin_service::answer(&mut lab.world(), &mut lab.faults(), &ask),
    };
    let kind = if is_json { "application/json" } else { "text/html" };
    let headers = [("content-type", kind.to_owned())];
    if !cut {
        return full(status, &headers, body);
    }
    let body = Bytes::from(body);
    let half = body.slice(..body.len() / 2);
    let frames = [Ok(Frame::data(half)), Err(cut_off())];
    let stream = StreamBody::new(tokio_stream::iter(frames));
    Response::builder()
        .status(status)
        .header("content-type", kind)
        .body(BodyExt::boxed(stream))
        .map_err(io::Error::other)
}
