//! Tells of changes: a thread for each topic that somebody watches.

#![expect(clippy::disallowed_methods, reason = "its threads are its own and may wait")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use tokio::sync::watch;

use super::client::{at, lock, offsets};
use super::core::Core;
use crate::{Error, TopicKind, TopicSpec};

/// How long a thread waits before it looks whether it is wanted still.
const POLL: Duration = Duration::from_millis(250);
/// How often positions on a log may be looked at: the brokers tell nobody of them.
const BEAT: Duration = Duration::from_millis(500);
const REST: Duration = Duration::from_secs(1);

pub(super) struct Watchers {
    core: Arc<Core>,
    watched: Mutex<HashMap<String, watch::Sender<u64>>>,
}

impl Watchers {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core, watched: Mutex::default() }
    }

    pub(super) fn watch(&self, topic: &str) -> Result<watch::Receiver<u64>, Error> {
        let spec = self.core.known(topic).ok_or_else(|| Error::UnknownTopic(topic.to_owned()))?;
        let mut watched = lock(&self.watched);
        if let Some(sender) = watched.get(topic).filter(|sender| !sender.is_closed()) {
            return Ok(sender.subscribe());
        }
        let (sender, receiver) = watch::channel(0);
        watched.insert(topic.to_owned(), sender.clone());
        drop(watched);
        let core = Arc::clone(&self.core);
        let thread = std::thread::Builder::new().name(format!("watch {topic}"));
        let follow = move || match spec.kind {
            TopicKind::Log => beat(&core, &sender),
            TopicKind::Compacted => follow(&core, &spec, &sender),
        };
        thread.spawn(follow).map_err(|e| Error::storage("watch", e))?;
        Ok(receiver)
    }
}

fn is_wanted(core: &Core, sender: &watch::Sender<u64>) -> bool {
    !core.is_closed() && !sender.is_closed()
}

fn beat(core: &Core, sender: &watch::Sender<u64>) {
    while is_wanted(core, sender) {
        std::thread::sleep(BEAT);
        sender.send_modify(|count| *count += 1);
    }
}

/// Counts what is written from now on.
fn follow(core: &Core, spec: &TopicSpec, sender: &watch::Sender<u64>) {
    while is_wanted(core, sender) {
        if let Err(error) = count(core, spec, sender) {
            tracing::debug!(%error, topic = spec.name, "cannot be watched at the moment");
            std::thread::sleep(REST);
        }
    }
}

fn count(core: &Core, spec: &TopicSpec, sender: &watch::Sender<u64>) -> Result<(), Error> {
    let group = core.clients.name("cmsync-reader");
    let link = core.clients.link.clone();
    let consumer = core.clients.consumer(&group, "read_committed", link, &[])?;
    let fail = |e: KafkaError| core.clients.failed("watch", &e);
    let full = core.clients.name(&spec.name);
    let ends = core.reader.ends((&spec.name, spec.partitions))?;
    let list = offsets(&full, (0..).zip(ends).map(|(partition, end)| (partition, at(end))));
    list.and_then(|list| consumer.assign(&list)).map_err(fail)?;
    // What was written before the ends were known is looked at once more.
    sender.send_modify(|count| *count += 1);
    while is_wanted(core, sender) {
        if let Some(Ok(_)) = consumer.poll(POLL) {
            sender.send_modify(|count| *count += 1);
        }
    }
    Ok(())
}
