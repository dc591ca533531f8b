//! A transactional producer: outputs, positions and state become durable together, or not at all.

use rdkafka::TopicPartitionList;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};

use super::client::{Clients, Link, PATIENCE, as_i32};
use crate::local::{CrashPoint, Faults};
use crate::{Error, Output};

/// How a transaction ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Committed; the offsets of the outputs in their order.
    Done(Vec<u64>),
    /// Aborted: nothing of it is there.
    Aborted(String),
    /// The writer is of no use any longer: another one took its place, or the brokers forgot it. What
    /// became of the transaction is seen by whoever reads the positions.
    Fenced(String),
    /// A test said to stop as if the process were killed.
    Crashed,
}

/// A transactional producer.
pub(super) struct Writer {
    producer: FutureProducer<Link>,
    /// One transaction at a time.
    turn: tokio::sync::Mutex<()>,
}

/// Positions that go along, with the generation of the group that they are valid in.
pub(super) type Offsets = Option<(TopicPartitionList, ConsumerGroupMetadata)>;

impl Writer {
    /// Registers the id: whoever wrote under it before is fenced, and its open transaction aborted.
    /// Waits for the brokers.
    pub(super) fn open(clients: &Clients, id: &str) -> Result<Self, Error> {
        let producer = clients.producer(Some(id))?;
        match producer.init_transactions(PATIENCE * 2) {
            Ok(()) => Ok(Self { producer, turn: tokio::sync::Mutex::default() }),
            Err(error) => Err(clients.failed("register a transactional id with", &error)),
        }
    }

    /// Writes as one transaction.
    pub(super) async fn write(
        self: &std::sync::Arc<Self>,
        outputs: &[Output],
        offsets: Offsets,
        faults: &Faults,
    ) -> Ended {
        let _turn = self.turn.lock().await;
        let begun = self.producer.begin_transaction();
        if let Err(error) = begun {
            return self.give_up(&error).await;
        }
        let offsets_of_outputs = match send(&self.producer, outputs).await {
            Ok(offsets) => offsets,
            Err(error) => return self.give_up(&error).await,
        };
        let writer = std::sync::Arc::clone(self);
        let is_aborted = faults.aborts();
        if faults.crashes(CrashPoint::BeforeApply) {
            return Ended::Crashed;
        }
        let ended = tokio::task::spawn_blocking(move || {
            if let Some((offsets, group)) = offsets {
                repeat(|| writer.producer.send_offsets_to_transaction(&offsets, &group, PATIENCE))?;
            }
            if is_aborted {
                return Err(KafkaError::Canceled);
            }
            repeat(|| writer.producer.commit_transaction(PATIENCE))
        });
        match ended.await.unwrap_or(Err(KafkaError::Canceled)) {
            Ok(()) if faults.crashes(CrashPoint::AfterApply) => Ended::Crashed,
            Ok(()) => Ended::Done(offsets_of_outputs),
            Err(error) => self.give_up(&error).await,
        }
    }

    /// Aborts what is open.
    async fn give_up(self: &std::sync::Arc<Self>, error: &KafkaError) -> Ended {
        let told = error.to_string();
        let is_fatal = matches!(error, KafkaError::Transaction(e) if e.is_fatal());
        if is_fatal || self.producer.client().fatal_error().is_some() {
            return Ended::Fenced(told);
        }
        let writer = std::sync::Arc::clone(self);
        let aborted = tokio::task::spawn_blocking(move || {
            repeat(|| writer.producer.abort_transaction(PATIENCE))
        });
        match aborted.await.unwrap_or(Err(KafkaError::Canceled)) {
            Ok(()) => Ended::Aborted(told),
            Err(error) => Ended::Fenced(error.to_string()),
        }
    }
}

/// Repeats what may be repeated, until the brokers answer: what became of it is not known before.
fn repeat(mut act: impl FnMut() -> Result<(), KafkaError>) -> Result<(), KafkaError> {
    loop {
        match act() {
            Err(KafkaError::Transaction(error))
                if error.is_retriable() && !error.is_fatal() && !error.txn_requires_abort() =>
            {
                tracing::debug!(error = %error.string(), "a transaction waits for the brokers");
            }
            other => return other,
        }
    }
}

/// Sends outputs and waits until all are there; their offsets. Commits are slow when messages are
/// still on their way: the library's flush polls in steps of 100 ms.
pub(super) async fn send(
    producer: &FutureProducer<Link>,
    outputs: &[Output],
) -> Result<Vec<u64>, KafkaError> {
    let mut sent = Vec::with_capacity(outputs.len());
    for output in outputs {
        let mut record: FutureRecord<'_, [u8], [u8]> =
            FutureRecord::to(&output.topic).partition(as_i32(output.partition)).key(&output.key);
        if let Some(value) = &output.value {
            record = record.payload(value);
        }
        let delivery = loop {
            match producer.send_result(record) {
                Ok(delivery) => break delivery,
                Err((error, again))
                    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) =>
                {
                    record = again;
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
                Err((error, _)) => return Err(error),
            }
        };
        sent.push(delivery);
    }
    let mut offsets = Vec::with_capacity(sent.len());
    for delivery in sent {
        match delivery.await {
            Ok(Ok(delivery)) => offsets.push(u64::try_from(delivery.offset).unwrap_or(0)),
            Ok(Err((error, _))) => return Err(error),
            Err(_) => return Err(KafkaError::Canceled),
        }
    }
    Ok(offsets)
}
