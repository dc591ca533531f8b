//! A member of a group: its inbox and its way to commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot, watch};

use super::catalog::{Catalog, Notice};
use super::store::{self, Store, TopicPartition};
use super::writer::{Ask, Author, Request};
use crate::{Commit, Committed, Committer, Error, Event, Events, Position, TopicKind};

/// Bytes that one [`Event::Messages`] carries, about.
const READ_BYTES: usize = 2 * 1024 * 1024;

/// Who a member is, shared by its two halves.
pub(crate) struct Identity {
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) id: u64,
    /// Epochs that the caller has been told of. A commit under any other is lost.
    epochs: Mutex<BTreeMap<u32, u64>>,
}

pub(crate) struct Inbox<S> {
    identity: Arc<Identity>,
    store: Arc<S>,
    catalog: Arc<Mutex<Catalog>>,
    requests: mpsc::Sender<Request>,
    changed: watch::Receiver<u64>,
    /// Notices that may be told: no commit of a former owner is on its way any longer.
    clear: usize,
    cursors: BTreeMap<u32, u64>,
    paused: BTreeSet<u32>,
    last: u32,
}

pub(crate) struct Outbox {
    identity: Arc<Identity>,
    requests: mpsc::Sender<Request>,
    catalog: Arc<Mutex<Catalog>>,
}

pub(crate) fn member<S: Store>(
    (group, topic, id): (&str, &str, u64),
    store: Arc<S>,
    catalog: Arc<Mutex<Catalog>>,
    requests: mpsc::Sender<Request>,
    changed: watch::Receiver<u64>,
) -> (Inbox<S>, Outbox) {
    let identity = Arc::new(Identity {
        group: group.to_owned(),
        topic: topic.to_owned(),
        id,
        epochs: Mutex::default(),
    });
    let inbox = Inbox {
        identity: Arc::clone(&identity),
        store,
        catalog: Arc::clone(&catalog),
        requests: requests.clone(),
        changed,
        clear: 0,
        cursors: BTreeMap::new(),
        paused: BTreeSet::new(),
        last: 0,
    };
    (inbox, Outbox { identity, requests, catalog })
}

/// What `next` found to do.
enum Found {
    Revoked(u32),
    Assigned(u32, Position, Option<TopicPartition>),
    Read(u32, TopicPartition, u64),
    Nothing,
}

impl<S: Store> Inbox<S> {
    /// A commit that was taken before its partition went to another member is applied still, perhaps after the
    /// store has failed for long: positions and state are told when it is.
    async fn clear_the_way(&mut self) -> Result<(), Error> {
        if self.clear > 0 {
            return Ok(());
        }
        let waiting = self.notices();
        if waiting > 0 {
            ask(&self.requests, Ask::Commit(None, Commit::default())).await?;
            self.clear = waiting;
        }
        Ok(())
    }

    fn notices(&self) -> usize {
        let (me, catalog) = (&self.identity, &self.catalog);
        let catalog = catalog.lock().unwrap_or_else(PoisonError::into_inner);
        catalog.notices(&me.group, &me.topic, me.id)
    }

    fn look(&mut self) -> Result<Found, Error> {
        let me = &self.identity;
        let mut catalog = self.catalog.lock().unwrap_or_else(PoisonError::into_inner);
        if catalog.is_closed() {
            return Err(Error::Closed);
        }
        let mut epochs = me.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        while self.clear > 0
            && let Some(notice) = catalog.next_notice(&me.group, &me.topic, me.id)
        {
            self.clear -= 1;
            match notice {
                Notice::Revoked(partition) => {
                    if epochs.remove(&partition).is_some() {
                        return Ok(Found::Revoked(partition));
                    }
                }
                Notice::Assigned(partition) => {
                    let epoch = catalog.epoch(&me.group, &me.topic, me.id, partition);
                    let Some(epoch) = epoch else { continue };
                    epochs.insert(partition, epoch);
                    let topic = catalog.topic(&me.topic)?;
                    let at = (topic.id, partition);
                    let start = topic.extents[partition as usize].start;
                    let position = catalog.position(at, &me.group).cloned();
                    let position =
                        position.unwrap_or(Position { offset: start, note: String::new() });
                    let owned = (topic.spec.kind == TopicKind::Compacted).then_some(at);
                    return Ok(Found::Assigned(partition, position, owned));
                }
            }
        }
        let topic = catalog.topic(&me.topic)?;
        if topic.spec.kind == TopicKind::Compacted {
            return Ok(Found::Nothing);
        }
        let open = |p: &&u32| !self.paused.contains(p);
        let after = self.cursors.keys().filter(|p| **p > self.last);
        let before = self.cursors.keys().filter(|p| **p <= self.last);
        for partition in after.chain(before).filter(open) {
            let extent = topic.extents[*partition as usize];
            let from = self.cursors[partition].max(extent.start);
            if from < extent.end {
                return Ok(Found::Read(*partition, (topic.id, *partition), from));
            }
        }
        Ok(Found::Nothing)
    }
}

#[async_trait]
impl<S: Store> Events for Inbox<S> {
    async fn next(&mut self) -> Result<Event, Error> {
        loop {
            self.changed.borrow_and_update();
            self.clear_the_way().await?;
            match self.look()? {
                Found::Revoked(partition) => {
                    self.cursors.remove(&partition);
                    return Ok(Event::Revoked { partition });
                }
                Found::Assigned(partition, position, owned) => {
                    self.cursors.insert(partition, position.offset);
                    let state = match owned.map(|at| self.store.scan(at)) {
                        Some(Ok(state)) => state,
                        Some(Err(error)) => {
                            // Its notice is taken already: it is given anew.
                            let me = &self.identity;
                            let mut catalog =
                                self.catalog.lock().unwrap_or_else(PoisonError::into_inner);
                            catalog.reassign(&me.group, &me.topic, Some(me.id));
                            return Err(error);
                        }
                        None => Box::new(std::iter::empty()),
                    };
                    return Ok(Event::Assigned { partition, position, lost: 0, state });
                }
                Found::Read(partition, at, from) => {
                    let read = move |store: &S| store.read(at, from, READ_BYTES);
                    let messages = store::call(&self.store, "read", read).await?;
                    // Nothing is awaited from here on, so a dropped future has not moved the cursor.
                    if let Some(end) = messages.last() {
                        self.cursors.insert(partition, end.offset + 1);
                        self.last = partition;
                        return Ok(Event::Messages { partition, messages });
                    }
                }
                // Those that came while the way was cleared for others.
                Found::Nothing if self.notices() > 0 => {}
                Found::Nothing => self.changed.changed().await.map_err(|_| Error::Closed)?,
            }
        }
    }

    fn pause(&mut self, partition: u32) {
        self.paused.insert(partition);
    }

    fn resume(&mut self, partition: u32) {
        self.paused.remove(&partition);
    }
}

impl<S> Drop for Inbox<S> {
    fn drop(&mut self) {
        let mut catalog = self.catalog.lock().unwrap_or_else(PoisonError::into_inner);
        catalog.leave(&self.identity.group, &self.identity.topic, self.identity.id);
    }
}

#[async_trait]
impl Committer for Outbox {
    async fn commit(&self, commit: Commit) -> Result<Committed, Error> {
        let me = &self.identity;
        let epochs = me.epochs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let author =
            Author { group: me.group.clone(), topic: me.topic.clone(), member: me.id, epochs };
        let outcome = ask(&self.requests, Ask::Commit(Some(author), commit)).await?;
        if outcome == Committed::Lost {
            let mut catalog = self.catalog.lock().unwrap_or_else(PoisonError::into_inner);
            catalog.reassign(&me.group, &me.topic, Some(me.id));
        }
        Ok(outcome)
    }
}

/// Hands a request to the writer and waits for its answer.
pub(crate) async fn ask(requests: &mpsc::Sender<Request>, ask: Ask) -> Result<Committed, Error> {
    let (reply, answer) = oneshot::channel();
    requests.send(Request { ask, reply }).await.map_err(|_| Error::Closed)?;
    answer.await.map_err(|_| Error::Closed)?
}
