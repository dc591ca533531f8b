//! One way to make an HTTP request: time-outs, certificate authority, proxy, backoff, Retry-After.
//!
//! A [`Client`] repeats what may be repeated ([`Client::send_repeating`]) or tries once
//! ([`Client::send`]); who repeats what is said in ARCHITECTURE. Errors never carry a URL's query
//! or a header, so no secret gets into a log.

mod backoff;
mod client;
mod error;
mod metrics;
mod secret;

pub use backoff::{Policy, retry_after, seed_jitter};
pub use client::{Answer, Client, Settings, Transport, excerpt};
pub use error::Error;
pub use metrics::METRICS;
pub use reqwest::{Method, Request, RequestBuilder, Response, StatusCode, header};
pub use secret::Secret;
