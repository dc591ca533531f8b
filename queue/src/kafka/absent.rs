//! Apache Kafka in a build without it: its options can be written and read, and opening it is an error.

#[path = "options.rs"]
mod options;

use async_trait::async_trait;
use bytes::Bytes;
use cmsync_telemetry::Metric;
use tokio::sync::watch;

pub use options::{GroupProtocol, KafkaOptions, Readers, Token, TokenSource};

use crate::{Committer, Error, Events, Message, Output, PartitionLog, Queue, State, TopicSpec};

/// Nothing is counted.
pub const METRICS: &[Metric] = &[];

/// A queue on brokers, of which there is none here.
#[derive(Debug, Clone, Copy)]
pub enum KafkaQueue {}

impl KafkaQueue {
    /// # Errors
    /// Always.
    #[expect(clippy::unused_async, reason = "as where there is Kafka")]
    pub async fn open(_: KafkaOptions) -> Result<Self, Error> {
        Err(Error::Setting { key: "brokers".into(), detail: "Kafka is not in this build".into() })
    }

    /// # Errors
    /// None: there is no such queue.
    #[expect(clippy::unused_async, reason = "as where there is Kafka")]
    pub async fn probe(&self) -> Result<(), Error> {
        match *self {}
    }

    /// What the members of this process own.
    #[must_use]
    pub fn owned(&self) -> Vec<(String, String, usize)> {
        match *self {}
    }

    /// Leaves all groups.
    #[expect(clippy::unused_async, reason = "as where there is Kafka")]
    pub async fn leave(&self) {
        match *self {}
    }

    /// # Errors
    /// None: there is no such queue.
    #[expect(clippy::unused_async, reason = "as where there is Kafka")]
    pub async fn grow(&self, _: &[TopicSpec], _: &[&str], _: &str) -> Result<usize, Error> {
        match *self {}
    }
}

#[async_trait]
impl Queue for KafkaQueue {
    async fn declare(&self, _: &[TopicSpec]) -> Result<(), Error> {
        match *self {}
    }

    async fn remove(&self, _: &[String]) -> Result<(), Error> {
        match *self {}
    }

    async fn join(
        &self,
        _: &str,
        _: &str,
    ) -> Result<(Box<dyn Events>, std::sync::Arc<dyn Committer>), Error> {
        match *self {}
    }

    async fn publish(&self, _: Vec<Output>) -> Result<Vec<u64>, Error> {
        match *self {}
    }

    async fn scan(&self, _: &str) -> Result<State, Error> {
        match *self {}
    }

    async fn scan_within(&self, _: &str, _: Bytes) -> Result<State, Error> {
        match *self {}
    }

    async fn peek(&self, _: &str, _: u32, _: u64) -> Result<Vec<Message>, Error> {
        match *self {}
    }

    async fn log(&self, _: &str, _: &str) -> Result<Vec<PartitionLog>, Error> {
        match *self {}
    }

    fn watch(&self, _: &str) -> Result<watch::Receiver<u64>, Error> {
        match *self {}
    }

    async fn version(&self, _: &str) -> Result<u64, Error> {
        match *self {}
    }

    async fn topics(&self) -> Result<Vec<TopicSpec>, Error> {
        match *self {}
    }
}
