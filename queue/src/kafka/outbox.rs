//! A member's way to commit.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::client::PATIENCE;
use super::core::Core;
use super::member::Member;
use super::session::GroupConsumer;
use super::writer::{Ended, Writer};
use crate::local::CrashPoint;
use crate::{Commit, Committed, Committer, Error, Output, Position, TopicKind};

/// After so many commits in a row that were aborted it is told why.
const TELL_EACH: u32 = 100;
/// Rest before what was aborted is tried again: a group that is changing needs a moment.
pub(super) const REST: Duration = Duration::from_millis(50);

#[derive(Clone)]
pub(super) struct Outbox {
    pub(super) core: Arc<Core>,
    pub(super) member: Arc<Member>,
    pub(super) consumer: Weak<GroupConsumer>,
    /// The writer of a member that takes messages. Its id is new at every start: the group's
    /// generation fences it.
    pub(super) writer: Arc<tokio::sync::Mutex<Option<Arc<Writer>>>>,
    /// Commits in a row that were aborted.
    pub(super) aborted: Arc<AtomicU32>,
}

#[async_trait]
impl Committer for Outbox {
    async fn commit(&self, commit: Commit) -> Result<Committed, Error> {
        self.core.check(&commit, Some(&self.member.topic)).await?;
        self.core.wait_for_room(&commit.outputs).await?;
        let on_its_way = Arc::clone(&self.core.on_their_way).read_owned().await;
        let attempt = self.clone();
        // Whoever asked may go away in the middle; a transaction is ended in any case.
        let committing = tokio::spawn(async move {
            let outcome = attempt.attempt(commit).await;
            drop(on_its_way);
            outcome
        });
        committing.await.unwrap_or(Err(Error::Closed))
    }
}

impl Outbox {
    async fn attempt(self, commit: Commit) -> Result<Committed, Error> {
        if self.core.is_closed() {
            return Err(Error::Closed);
        }
        let Some(consumer) = self.consumer.upgrade() else {
            return Ok(Committed::Lost);
        };
        // Before it is seen what is owned: a generation that ends in between is refused.
        let generation = consumer.group_metadata();
        // A member that lost all has the mark of none, which brokers take from anybody.
        let begun = (!consumer.assignment_lost()).then(|| self.member.begin(&commit));
        let Some(positions) = begun.flatten() else {
            self.member.lost();
            return Ok(Committed::Lost);
        };
        let is_plain = commit.outputs.is_empty() && self.member.kind == TopicKind::Log;
        let ended = match is_plain {
            true => self.move_positions(&consumer, &positions).await,
            false => self.write(&commit, &positions, generation).await,
        };
        drop(consumer);
        self.member.ended(matches!(ended, Ok(Ended::Done(_))).then_some(&positions));
        let topics = commit.outputs.iter().map(|output| output.topic.as_str());
        self.core.changed(topics.chain([self.member.topic.as_str()]));
        match ended? {
            Ended::Done(mut offsets) => {
                self.aborted.store(0, Ordering::Relaxed);
                offsets.truncate(commit.outputs.len());
                Ok(Committed::Done(offsets))
            }
            Ended::Aborted(reason) => {
                let topic = &self.member.topic;
                tracing::debug!(reason, topic, "a commit was aborted");
                if (self.aborted.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(TELL_EACH) {
                    tracing::warn!(reason, topic, "commits are aborted again and again");
                }
                tokio::time::sleep(REST).await;
                Ok(Committed::Retry(commit))
            }
            Ended::Fenced(reason) => {
                tracing::warn!(
                    reason,
                    topic = self.member.topic,
                    "a writer is given up: what is committed is read anew"
                );
                *self.writer.lock().await = None;
                self.member.lost();
                Ok(Committed::Lost)
            }
            Ended::Crashed => {
                self.core.close();
                Err(Error::Closed)
            }
        }
    }

    /// Positions alone need no transaction: the group's generation guards them.
    async fn move_positions(
        &self,
        consumer: &Arc<GroupConsumer>,
        positions: &[(u32, Position)],
    ) -> Result<Ended, Error> {
        if positions.is_empty() {
            return Ok(Ended::Done(Vec::new()));
        }
        if self.core.faults.aborts() {
            return Ok(Ended::Aborted("a test asks".into()));
        }
        if self.core.faults.crashes(CrashPoint::BeforeApply) {
            return Ok(Ended::Crashed);
        }
        let list = self.list(positions)?;
        let by = Arc::clone(consumer);
        let committing = tokio::task::spawn_blocking(move || by.commit(&list, CommitMode::Sync));
        let Ok(committed) = tokio::time::timeout(PATIENCE * 2, committing).await else {
            return Ok(Ended::Aborted("the client does not come back from a call".into()));
        };
        match committed.unwrap_or(Err(KafkaError::Canceled)) {
            Ok(()) if self.core.faults.crashes(CrashPoint::AfterApply) => Ok(Ended::Crashed),
            Ok(()) => Ok(Ended::Done(Vec::new())),
            Err(error) => match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {
                    Err(self.core.clients.failed("commit positions with", &error))
                }
                _ => Ok(Ended::Aborted(error.to_string())),
            },
        }
    }

    fn list(&self, positions: &[(u32, Position)]) -> Result<rdkafka::TopicPartitionList, Error> {
        let invalid = || Error::InvalidCommit("a position that cannot be written".into());
        self.member.list(positions).ok_or_else(invalid)
    }

    async fn write(
        &self,
        commit: &Commit,
        positions: &[(u32, Position)],
        generation: Option<rdkafka::consumer::ConsumerGroupMetadata>,
    ) -> Result<Ended, Error> {
        let Some(writer) = self.writer(commit).await? else {
            return Ok(Ended::Fenced("the partition's writer is gone".into()));
        };
        let named = self.core.clients.named(&commit.outputs);
        let state = commit.state.iter().map(|entry| Output {
            topic: self.member.full.clone(),
            partition: entry.partition,
            key: entry.key.clone(),
            value: entry.value.clone(),
        });
        let outputs: Vec<Output> = named.into_iter().chain(state).collect();
        let offsets = match (positions.is_empty(), generation) {
            (false, Some(generation)) => Some((self.list(positions)?, generation)),
            (false, None) => return Ok(Ended::Aborted("the group is not joined yet".into())),
            (true, _) => None,
        };
        Ok(writer.write(&outputs, offsets, &self.core.faults).await)
    }

    async fn writer(&self, commit: &Commit) -> Result<Option<Arc<Writer>>, Error> {
        if self.member.kind == TopicKind::Compacted {
            return Ok(self.member.writer_of(commit));
        }
        let mut writer = self.writer.lock().await;
        if writer.is_none() {
            let id = format!(
                "{}-{}-{:016x}",
                self.member.group,
                self.member.topic,
                rand::random::<u64>()
            );
            let id = self.core.clients.name(&id);
            let open = move |core: &Core| Writer::open(&core.clients, &id);
            *writer = Some(Arc::new(self.core.steadfast(open).await?));
        }
        Ok(writer.clone())
    }
}
