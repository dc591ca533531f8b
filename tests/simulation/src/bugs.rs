//! Bugs that are planted where the pipeline meets what is outside of it, to show that the simulation
//! would find them. Each stands for a fault in the code: what it leads to is the same.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cmsync_queue::{
    Commit, Committed, Committer, Error, Event, Events, Message, Output, PartitionLog, Position,
    Queue, State, TopicSpec,
};
use cmsync_schemas::{CHANGE, ChangeKind, topics};
use tokio::sync::watch;

/// A planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Bug {
    /// The uploader's positions are committed when messages are taken.
    CommitEarly,
    /// Removals go whatever shows that rights were lost.
    SkipTheGuard,
    /// A delta is published with the seq of the one before it.
    ReuseASeq,
    /// A body that is too large counts as taken.
    DropOn413,
    /// A collection's new name is not published.
    ForgetARename,
}

/// A queue with a bug in those who use it.
pub(crate) struct Planted {
    pub queue: Arc<dyn Queue>,
    pub bug: Bug,
}

struct Hasty {
    events: Box<dyn Events>,
    committer: Arc<dyn Committer>,
}

#[async_trait]
impl Events for Hasty {
    async fn next(&mut self) -> Result<Event, Error> {
        let event = self.events.next().await?;
        if let Event::Messages { partition, messages } = &event
            && let Some(last) = messages.last()
        {
            let position = Position { offset: last.offset + 1, note: String::new() };
            let positions = vec![(*partition, position)];
            self.committer.commit(Commit { positions, ..Commit::default() }).await?;
        }
        Ok(event)
    }

    fn pause(&mut self, partition: u32) {
        self.events.pause(partition);
    }

    fn resume(&mut self, partition: u32) {
        self.events.resume(partition);
    }
}

struct Careless {
    committer: Arc<dyn Committer>,
    bug: Bug,
    last: std::sync::Mutex<i64>,
}

impl Careless {
    /// What becomes of a change; `None` where it is forgotten.
    fn spoil(&self, output: Output) -> Option<Output> {
        let Some(mut change) = output.value.as_ref().and_then(|v| CHANGE.decode(v).ok()) else {
            return Some(output);
        };
        if self.bug == Bug::ForgetARename {
            return (change.kind != ChangeKind::Renamed).then_some(output);
        }
        if change.kind == ChangeKind::Delta
            && let Ok(mut last) = self.last.lock()
        {
            let seq = std::mem::replace(&mut *last, change.seq);
            change.seq = if seq > change.start_seq { seq } else { change.seq };
        }
        Some(Output { value: Some(CHANGE.encode(&change)), ..output })
    }
}

#[async_trait]
impl Committer for Careless {
    async fn commit(&self, mut commit: Commit) -> Result<Committed, Error> {
        let outputs = std::mem::take(&mut commit.outputs).into_iter();
        commit.outputs = outputs.filter_map(|output| self.spoil(output)).collect();
        self.committer.commit(commit).await
    }
}

#[async_trait]
impl Queue for Planted {
    async fn declare(&self, topics: &[TopicSpec]) -> Result<(), Error> {
        self.queue.declare(topics).await
    }

    async fn remove(&self, topics: &[String]) -> Result<(), Error> {
        self.queue.remove(topics).await
    }

    async fn join(
        &self,
        group: &str,
        topic: &str,
    ) -> Result<(Box<dyn Events>, Arc<dyn Committer>), Error> {
        let (events, committer) = self.queue.join(group, topic).await?;
        Ok(match self.bug {
            Bug::CommitEarly if group == topics::UPLOADER => {
                let hasty = Hasty { events, committer: Arc::clone(&committer) };
                (Box::new(hasty), committer)
            }
            Bug::ReuseASeq | Bug::ForgetARename if group == topics::PRODUCER => {
                let (bug, last) = (self.bug, std::sync::Mutex::new(0));
                (events, Arc::new(Careless { committer, bug, last }))
            }
            _ => (events, committer),
        })
    }

    async fn publish(&self, outputs: Vec<Output>) -> Result<Vec<u64>, Error> {
        self.queue.publish(outputs).await
    }

    async fn scan(&self, topic: &str) -> Result<State, Error> {
        self.queue.scan(topic).await
    }

    async fn scan_within(&self, topic: &str, prefix: Bytes) -> Result<State, Error> {
        self.queue.scan_within(topic, prefix).await
    }

    async fn peek(&self, topic: &str, partition: u32, from: u64) -> Result<Vec<Message>, Error> {
        self.queue.peek(topic, partition, from).await
    }

    async fn log(&self, topic: &str, group: &str) -> Result<Vec<PartitionLog>, Error> {
        self.queue.log(topic, group).await
    }

    fn watch(&self, topic: &str) -> Result<watch::Receiver<u64>, Error> {
        self.queue.watch(topic)
    }

    async fn version(&self, topic: &str) -> Result<u64, Error> {
        self.queue.version(topic).await
    }

    async fn topics(&self) -> Result<Vec<TopicSpec>, Error> {
        self.queue.topics().await
    }
}
