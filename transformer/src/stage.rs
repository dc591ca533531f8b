//! The transformer over the queue.

use std::collections::BTreeSet;

use bytes::Bytes;
use cmsync_queue::worker::{Each, Handled, each};
use cmsync_queue::{Error, Message, Output, Queue};
use cmsync_schemas::tables::{Action, MemberRow, format_time};
use cmsync_schemas::{
    CHANGE, Cause, Clock, Control, DEAD_LETTER, DeadLetter, DecodeError, Device, Health, LOST,
    RECORD_BATCH, RecordBatch, Status, topics,
};
use cmsync_telemetry::trace;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::mapping::{SetAside, map, record};
use crate::metrics::{Aside, Metrics};

/// Turns the changes of one connection into records.
pub struct Transformer {
    connection: String,
    changes: String,
    records: String,
    dead_letters: String,
    clock: Clock,
    status: watch::Sender<Status>,
    metrics: Metrics,
    /// Partitions that wait for a newer version.
    held: BTreeSet<u32>,
}

impl Transformer {
    /// A transformer for `connection`, which says through `status` how it is.
    #[must_use]
    pub fn new(connection: &str, clock: Clock, status: watch::Sender<Status>) -> Self {
        let now = clock();
        // What a transformer before this one said is over.
        status.send_if_modified(|status| status.stand_by(now));
        Self {
            held: BTreeSet::new(),
            connection: connection.to_owned(),
            changes: topics::changes(connection),
            records: topics::records(connection),
            dead_letters: topics::dead_letters(connection),
            clock,
            status,
            metrics: Metrics::new(),
        }
    }

    fn dead_letter(&self, letter: &DeadLetter, why: Aside) -> Output {
        self.metrics.dead_letters.of(why).increment(1);
        Output {
            topic: self.dead_letters.clone(),
            partition: 0,
            key: Bytes::copy_from_slice(letter.id.as_bytes()),
            value: Some(DEAD_LETTER.encode(letter)),
        }
    }

    fn trace(&self, batch: &RecordBatch, from: i64) {
        if trace::is_on() {
            let (collection, seq) = (batch.group_id.as_str(), batch.seq);
            trace::done(trace::Done {
                change: trace::Change { connection: &self.connection, collection, seq },
                step: trace::Step::Transform,
                from,
                to: (self.clock)(),
                devices: batch.present.len() + batch.removed.len(),
            });
        }
    }

    fn undecodable(&self, partition: u32, message: &Message, error: &DecodeError) -> DeadLetter {
        DeadLetter {
            id: format!("{}/{partition}/{}/0", self.changes, message.offset),
            connection: self.connection.clone(),
            stage: "transformer".into(),
            reason: "undecodable".into(),
            error: error.to_string(),
            run_id: String::new(),
            seq: 0,
            group_id: String::new(),
            first_seen: (self.clock)(),
            stream: String::new(),
            payload: message.value.to_vec(),
        }
    }
}

impl Each for Transformer {
    fn handle(&mut self, partition: u32, message: &Message) -> Handled {
        let from = if trace::is_on() { (self.clock)() } else { 0 };
        let change = match CHANGE.decode(&message.value) {
            Ok(change) => change,
            Err(error @ DecodeError::UnknownFingerprint(_)) => {
                return Handled::Hold(error.to_string());
            }
            Err(error) => {
                let letter = self.undecodable(partition, message, &error);
                return Handled::Outputs(vec![self.dead_letter(&letter, Aside::Undecodable)]);
            }
        };
        let (batch, aside) = map(change, (partition, message.offset));
        self.trace(&batch, from);
        self.metrics.changes.increment(1);
        self.metrics.records.increment((batch.present.len() + batch.removed.len()) as u64);
        let letters =
            aside.into_iter().map(|SetAside { index, is_removed, device, reason, error }| {
                DeadLetter {
                    id: format!("{}/{partition}/{}/{index}", self.changes, message.offset),
                    connection: self.connection.clone(),
                    stage: "transformer".into(),
                    reason: reason.into(),
                    error,
                    run_id: batch.run_id.clone(),
                    seq: batch.seq,
                    group_id: batch.group_id.clone(),
                    first_seen: (self.clock)(),
                    stream: cmsync_schemas::tables::MEMBER_STREAM.into(),
                    payload: row(&batch, device, is_removed),
                }
            });
        let mut outputs: Vec<_> = letters
            .collect::<Vec<_>>()
            .iter()
            .map(|l| self.dead_letter(l, Aside::FieldTooLarge))
            .collect();
        outputs.push(Output {
            topic: self.records.clone(),
            partition,
            key: message.key.clone(),
            value: Some(RECORD_BATCH.encode(&batch)),
        });
        Handled::Outputs(outputs)
    }

    fn lost(&mut self, partition: u32, offsets: u64) -> Vec<Output> {
        tracing::error!(topic = self.changes, partition, offsets, "{LOST}");
        self.metrics.lost.increment(offsets);
        let (key, value) = Control::resend_all(&self.connection, (self.clock)()).wish();
        let (key, value) = (key.into(), Some(value));
        vec![Output { topic: topics::CONTROL.to_owned(), partition: 0, key, value }]
    }

    fn held(&mut self, partition: u32, reason: &str) {
        self.held.insert(partition);
        let now = (self.clock)();
        let reason = format!("partition {partition} of `{}`: {reason}", self.changes);
        self.status
            .send_if_modified(|status| status.turn(Health::Stopped, (Cause::Other, &reason), now));
    }

    fn left(&mut self, partition: u32) {
        if self.held.remove(&partition) && self.held.is_empty() {
            let now = (self.clock)();
            self.status.send_if_modified(|status| status.stand_by(now));
        }
    }

    fn committed(&mut self, _messages: usize) {
        let now = (self.clock)();
        self.status.send_if_modified(|status| status.note_success(now));
    }
}

/// The row that a device would have become, as JSON.
fn row(batch: &RecordBatch, device: Device, is_removed: bool) -> Vec<u8> {
    let action = match (is_removed, batch.is_snapshot) {
        (true, _) => Action::Remove,
        (false, true) => Action::Present,
        (false, false) => Action::Add,
    };
    let (record, time) = (record(device), format_time(batch.time_generated));
    serde_json::to_vec(&MemberRow::of(batch, &record, action, &time)).unwrap_or_default()
}

/// Runs the transformer of one connection until `shutdown`.
///
/// # Errors
/// When the queue is closed or breaks its contract.
pub async fn run(
    queue: &dyn Queue,
    mut transformer: Transformer,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    let (events, committer) = queue.join(topics::TRANSFORMER, &transformer.changes).await?;
    each(events, &*committer, &mut transformer, shutdown).await
}
