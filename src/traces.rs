//! Sends the traces of changes to a collector (OTLP over HTTP), where one is configured. Spans that it
//! does not take in time are dropped: traces never hold up a change.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use cmsync_http::{Client, Method};
use cmsync_telemetry::trace::{Done, Sink, Step};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor,
};
use tokio::runtime::Handle;

use crate::config::Traces;

/// What is left at the end is sent within this time, or not at all.
const LAST: Duration = Duration::from_secs(2);

/// Posts with this program's own client, on its runtime: the exporter's thread is outside of it.
struct Posts {
    client: Client,
    runtime: Handle,
}

impl std::fmt::Debug for Posts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Posts")
    }
}

#[async_trait]
impl HttpClient for Posts {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string().parse()?;
        let post = self.client.request(Method::POST, url).headers(parts.headers).body(body);
        let client = self.client.clone();
        let answer = self.runtime.spawn(async move { client.send(post).await }).await??;
        Ok(Response::builder().status(answer.status).body(answer.body)?)
    }
}

struct Export {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
    share: f64,
}

impl Sink for Sending {
    fn take(&self, done: Done<'_>) {
        let Done { change, step, from, to, devices } = done;
        if !change.is_sampled(self.0.share) {
            return;
        }
        let (trace, root) = (TraceId::from(change.trace_id()), SpanId::from(change.root_id()));
        let (own, parent) = match step {
            Step::Poll => (root, SpanId::INVALID),
            Step::Transform | Step::Deliver => (SpanId::from(rand::random::<u64>() | 1), root),
        };
        let flags = TraceFlags::SAMPLED;
        let attributes = vec![
            KeyValue::new("cmsync.connection", change.connection.to_owned()),
            KeyValue::new("cmsync.collection", change.collection.to_owned()),
            KeyValue::new("cmsync.seq", change.seq),
            KeyValue::new("cmsync.devices", i64::try_from(devices).unwrap_or(i64::MAX)),
        ];
        self.0.processor.on_end(SpanData {
            span_context: SpanContext::new(trace, own, flags, false, TraceState::default()),
            parent_span_id: parent,
            parent_span_is_remote: parent != SpanId::INVALID,
            span_kind: SpanKind::Internal,
            name: step.name().into(),
            start_time: time(from),
            end_time: time(to.max(from)),
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: opentelemetry::trace::Status::Unset,
            instrumentation_scope: self.0.scope.clone(),
        });
    }
}

fn time(micros: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// Traces while they are sent.
#[derive(Clone)]
pub(crate) struct Sending(Arc<Export>);

/// Sends traces from now on.
///
/// # Errors
/// When the exporter cannot be made.
pub(crate) fn start(traces: &Traces) -> anyhow::Result<Sending> {
    let client = Client::new("traces", &traces.http)?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Posts { client, runtime: Handle::current() })
        .with_endpoint(traces.endpoint.as_str())
        .build()?;
    let mut processor = BatchSpanProcessor::builder(exporter).build();
    let resource = Resource::builder()
        .with_service_name("cmsync")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    processor.set_resource(&resource);
    let scope = InstrumentationScope::builder("cmsync").build();
    let sending = Sending(Arc::new(Export { processor, scope, share: traces.share }));
    cmsync_telemetry::trace::set_sink(Box::new(sending.clone()));
    tracing::info!(endpoint = %traces.endpoint, "traces of changes are sent");
    Ok(sending)
}

impl Sending {
    /// Sends what is left.
    pub(crate) async fn end(self) {
        let export = self.0;
        let ended =
            tokio::task::spawn_blocking(move || export.processor.shutdown_with_timeout(LAST));
        if let Ok(Err(error)) = ended.await {
            tracing::debug!(%error, "traces were left");
        }
    }
}
