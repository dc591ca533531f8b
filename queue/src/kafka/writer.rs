//! A transactional producer: outputs, positions and state become durable together, or not at all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};

use super::client::{Clients, Link, PATIENCE, as_i32};
use super::parting::Parting;
use crate::local::{CrashPoint, Faults};
use crate::metrics::Metrics;
use crate::{Error, Output};

/// How a transaction ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Committed; the offsets of the outputs in their order.
    Done(Vec<u64>),
    /// Aborted: nothing of it is there.
    Aborted(String),
    /// The writer is of no use any longer: another one took its place, the brokers forgot it, or a
    /// commit failed that may have happened. What became of the transaction is seen by whoever reads the
    /// positions.
    Fenced(String),
    /// A test said to stop as if the process were killed.
    Crashed,
}

/// A transactional producer.
pub(super) struct Writer {
    clients: Clients,
    /// How long one call may take: the brokers abort a transaction that is open for longer.
    patience: Duration,
    producer: Parting<FutureProducer<Link>>,
    /// One transaction at a time.
    turn: tokio::sync::Mutex<()>,
    metrics: Metrics,
}

/// Positions that go along, with the generation of the group that they are valid in.
pub(super) type Offsets = Option<(TopicPartitionList, ConsumerGroupMetadata)>;

impl Writer {
    /// Registers the id: whoever wrote under it before is fenced, and its open transaction aborted.
    /// Waits for the brokers.
    pub(super) fn open(clients: &Clients, id: &str) -> Result<Self, Error> {
        let producer = clients.producer(Some(id))?;
        match producer.init_transactions(PATIENCE * 2) {
            Ok(()) => {
                let patience = clients.options.transaction_timeout;
                let (clients, turn) = (clients.clone(), tokio::sync::Mutex::default());
                Ok(Self {
                    clients,
                    patience,
                    producer: Parting::new(producer),
                    turn,
                    metrics: Metrics::new(),
                })
            }
            Err(error) => Err(clients.failed("register a transactional id with", &error)),
        }
    }

    /// Writes as one transaction.
    pub(super) async fn write(
        self: &Arc<Self>,
        outputs: &[Output],
        offsets: Offsets,
        faults: &Faults,
    ) -> Ended {
        let _turn = self.turn.lock().await;
        let started = Instant::now();
        let ended = self.transact(outputs, offsets, faults).await;
        self.metrics.commit_seconds.record(started.elapsed());
        match ended {
            Ok(Some(offsets)) => Ended::Done(offsets),
            Ok(None) => Ended::Crashed,
            Err(failed) => self.give_up(failed).await,
        }
    }

    /// The offsets of the outputs; `None` where a test said to stop.
    async fn transact(
        self: &Arc<Self>,
        outputs: &[Output],
        offsets: Offsets,
        faults: &Faults,
    ) -> Result<Option<Vec<u64>>, Failed> {
        self.producer.begin_transaction()?;
        let written = send(&self.producer, outputs).await?;
        let is_aborted = faults.aborts();
        if faults.crashes(CrashPoint::BeforeApply) {
            return Ok(None);
        }
        let patience = self.patience;
        if let Some((offsets, group)) = offsets {
            self.call(move |producer| {
                producer.send_offsets_to_transaction(&offsets, &group, patience)
            })
            .await?;
        }
        if is_aborted {
            return Err(KafkaError::Canceled.into());
        }
        let committed = self.call(move |producer| producer.commit_transaction(patience)).await;
        committed.map_err(|failed| match failed {
            Failed::Told(error) => Failed::Unknown(error),
            silent => silent,
        })?;
        Ok((!faults.crashes(CrashPoint::AfterApply)).then_some(written))
    }

    /// Calls the library, again where that may be done, until the brokers answer: what became of it
    /// is not known before.
    ///
    /// Observed with librdkafka 2.12.1: a request that waits for the coordinator of a group looks
    /// again when the state of some broker changes, and never at its time-out, so that after the
    /// death of a coordinator `send_offsets_to_transaction` may wait for ever.
    async fn call(
        self: &Arc<Self>,
        act: impl Fn(&FutureProducer<Link>) -> KafkaResult<()> + Send + Sync + 'static,
    ) -> Result<(), Failed> {
        let act = Arc::new(act);
        loop {
            let (writer, act) = (Arc::clone(self), Arc::clone(&act));
            let calling = tokio::task::spawn_blocking(move || act(&writer.producer));
            let ended = tokio::time::timeout(self.patience * 2, calling).await;
            match ended.map_err(|_| Failed::Silent)?.unwrap_or(Err(KafkaError::Canceled)) {
                Err(KafkaError::Transaction(error))
                    if error.is_retriable()
                        && !error.is_fatal()
                        && !error.txn_requires_abort()
                        && !self.clients.is_closed() =>
                {
                    tracing::warn!(error = %error.string(), "a transaction waits for the brokers");
                }
                other => return Ok(other?),
            }
        }
    }

    /// Aborts what is open.
    async fn give_up(self: &Arc<Self>, failed: Failed) -> Ended {
        let (Failed::Told(error) | Failed::Unknown(error)) = &failed else {
            return Ended::Fenced(failed.to_string());
        };
        let is_fatal = matches!(error, KafkaError::Transaction(e) if e.is_fatal());
        if is_fatal || self.producer.client().fatal_error().is_some() {
            return Ended::Fenced(failed.to_string());
        }
        let patience = self.patience;
        match self.call(move |producer| producer.abort_transaction(patience)).await {
            Ok(()) if matches!(failed, Failed::Told(_)) => Ended::Aborted(failed.to_string()),
            // What may have been open is ended at once all the same.
            Ok(()) => Ended::Fenced(failed.to_string()),
            Err(failed) => Ended::Fenced(failed.to_string()),
        }
    }
}

/// Why a transaction did not end as it should.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Told(#[from] KafkaError),
    /// Nothing that the library does later counts: the brokers abort its transaction when its time is
    /// over, and nobody commits it.
    #[error("the client does not come back from a call")]
    Silent,
    /// A commit that was asked for may have happened, whatever the answer says.
    #[error("the commit may have happened: {0}")]
    Unknown(KafkaError),
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
                    tokio::time::sleep(Duration::from_millis(5)).await;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::KafkaOptions;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::DefaultProducerContext;
    use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Code};

    type Cluster = MockCluster<'static, DefaultProducerContext>;

    fn cluster() -> (Cluster, Clients) {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("out", 1, 1).unwrap();
        let options = KafkaOptions {
            brokers: cluster.bootstrap_servers(),
            transaction_timeout: Duration::from_secs(5),
            ..KafkaOptions::default()
        };
        (cluster, Clients::new(options))
    }

    async fn written(cluster: &Cluster, clients: &Clients, injected: (Api, &[Code])) -> Ended {
        let own = clients.clone();
        let open = tokio::task::spawn_blocking(move || Writer::open(&own, "w"));
        let writer = Arc::new(open.await.unwrap().unwrap());
        cluster.request_errors(injected.0, injected.1);
        let key = bytes::Bytes::from_static(b"k");
        let output = Output { topic: "out".into(), partition: 0, value: Some(key.clone()), key };
        writer.write(&[output], None, &Faults::default()).await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_the_brokers_take_back_by_themselves_is_repeated() {
        for (api, code) in [
            (Api::AddPartitionsToTxn, Code::RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS),
            (Api::AddPartitionsToTxn, Code::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS),
            (Api::Produce, Code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION),
            (Api::Produce, Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS),
            (Api::EndTxn, Code::RD_KAFKA_RESP_ERR_NOT_COORDINATOR),
            (Api::EndTxn, Code::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE),
        ] {
            let (cluster, clients) = cluster();
            let ended = written(&cluster, &clients, (api, &[code, code])).await;
            assert!(
                matches!(&ended, Ended::Done(offsets) if offsets.len() == 1),
                "{code:?}: {ended:?}"
            );
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_refused_message_aborts_and_a_newer_writer_fences() {
        let (cluster, clients) = cluster();
        let refused = [Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE];
        let ended = written(&cluster, &clients, (Api::Produce, &refused)).await;
        assert!(matches!(ended, Ended::Aborted(_)), "{ended:?}");
        let fenced = [Code::RD_KAFKA_RESP_ERR_PRODUCER_FENCED];
        let ended = written(&cluster, &clients, (Api::EndTxn, &fenced)).await;
        assert!(matches!(ended, Ended::Fenced(_)), "{ended:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_became_of_a_commit_that_failed_is_not_guessed() {
        let (cluster, clients) = cluster();
        let unknown = [Code::RD_KAFKA_RESP_ERR_UNKNOWN];
        let ended = written(&cluster, &clients, (Api::EndTxn, &unknown)).await;
        assert!(matches!(ended, Ended::Fenced(_)), "{ended:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn brokers_without_transactions_are_told() {
        let (cluster, clients) = cluster();
        cluster.apiversion(Api::InitProducerId, None, None).unwrap();
        let open = tokio::task::spawn_blocking(move || Writer::open(&clients, "w").map(drop));
        let error = open.await.unwrap().unwrap_err();
        assert!(matches!(error, Error::TooOld { .. }) && !error.is_transient(), "{error}");
    }
}
