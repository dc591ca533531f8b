//! The one writer: it gathers the commits that wait, applies them as one batch and answers each.
//!
//! One batch is one `fdatasync`, so stages that commit at the same time share it. A commit that
//! would take a topic past its limit is put aside and looked at again after every batch. A store
//! that fails (a full disk) is recovered and the batch applied again, which is safe because a batch
//! names absolute offsets: writers wait, nothing is dropped.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use super::catalog::Catalog;
use super::faults::{CrashPoint, Faults};
use super::store::{self, Batch, Store, StoredTopic, TopicPartition};
use crate::contract::size;
use crate::limits::{check, fits, wanted};
use crate::metrics::Metrics;
use crate::{Commit, Committed, Error, MAX_COMMIT_BYTES, TopicKind, TopicSpec};

/// Most requests that share one batch.
const MAX_BATCH_REQUESTS: usize = 64;
/// Most bytes that share one batch: two full commits.
const MAX_BATCH_BYTES: usize = 2 * MAX_COMMIT_BYTES;
/// How long a failed store rests before it is tried again, at most.
const MAX_REST: Duration = Duration::from_secs(1);
/// What is to be done about a number of partitions that changed.
const KEEPS: &str = ": a queue in a file keeps its number; set `queue.partitions` back, or move the queue's \
     directory away and start again, which sends everything whole";

/// The member that a commit comes from, with the epochs that it knows of.
pub(crate) struct Author {
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) member: u64,
    pub(crate) epochs: BTreeMap<u32, u64>,
}

/// What the writer is asked for.
pub(crate) enum Ask {
    Commit(Option<Author>, Commit),
    Declare(Vec<TopicSpec>),
    Remove(Vec<String>),
}

pub(crate) struct Request {
    pub(crate) ask: Ask,
    pub(crate) reply: oneshot::Sender<Result<Committed, Error>>,
}

pub(crate) struct Writer<S> {
    pub(crate) store: Arc<S>,
    pub(crate) catalog: Arc<Mutex<Catalog>>,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) trouble: watch::Sender<Option<String>>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) metrics: Metrics,
}

/// A batch in the making.
#[derive(Default)]
struct Draft {
    batch: Batch,
    bytes: usize,
    ends: HashMap<TopicPartition, u64>,
    added: HashMap<u32, u64>,
    declared: Vec<(u32, TopicSpec)>,
    removed: Vec<String>,
    answers: Vec<(oneshot::Sender<Result<Committed, Error>>, Committed)>,
}

/// What became of a request while drafting.
enum Drafted {
    Taken,
    Waits(Request),
}

impl<S: Store> Writer<S> {
    /// Runs until every handle is gone, or a test crashes it.
    pub(crate) async fn run(mut self) {
        let mut waiting: VecDeque<Request> = VecDeque::new();
        loop {
            let Some(first) = self.requests.recv().await else {
                return self.close();
            };
            waiting.push_back(first);
            // Commits that other stages make in the same moment share this batch's fsync.
            while waiting.len() < 4 * MAX_BATCH_REQUESTS
                && let Ok(next) = self.requests.try_recv()
            {
                waiting.push_back(next);
            }
            while let Some(draft) = self.draft(&mut waiting) {
                if !self.apply(draft).await {
                    return self.close();
                }
            }
        }
    }

    fn close(&self) {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner).close();
    }

    /// Drafts a batch from what waits; `None` when nothing of it can go now.
    fn draft(&self, waiting: &mut VecDeque<Request>) -> Option<Draft> {
        let catalog = self.catalog.lock().unwrap_or_else(PoisonError::into_inner);
        let mut draft = Draft::default();
        let mut still = VecDeque::new();
        // Members whose commit waits: their later commits must not overtake it.
        let mut held: HashSet<u64> = HashSet::new();
        while let Some(request) = waiting.pop_front() {
            let full = draft.answers.len() >= MAX_BATCH_REQUESTS || draft.bytes >= MAX_BATCH_BYTES;
            let member = match &request.ask {
                Ask::Commit(Some(author), _) => Some(author.member),
                _ => None,
            };
            if full || member.is_some_and(|m| held.contains(&m)) {
                still.push_back(request);
            } else if request.reply.is_closed() {
                // Whoever asked is gone and has not been told anything: forget it.
            } else if let Drafted::Waits(request) = draft.take(&catalog, &self.faults, request) {
                held.extend(member);
                still.push_back(request);
            }
        }
        *waiting = still;
        (!draft.answers.is_empty()).then_some(draft)
    }

    /// Applies a draft and answers; false when a test said to crash.
    async fn apply(&self, draft: Draft) -> bool {
        if self.faults.crashes(CrashPoint::BeforeApply) {
            return false;
        }
        let batch = Arc::new(draft.batch);
        let mut rest = Duration::from_millis(10);
        let started = Instant::now();
        let extents = loop {
            let work = Arc::clone(&batch);
            let apply = move |store: &S| {
                store.apply(&work).or_else(|error| {
                    store.recover()?;
                    Err(error)
                })
            };
            match store::call(&self.store, "write", apply).await {
                Ok(extents) => break extents,
                Err(error) => {
                    self.trouble.send_replace(Some(error.to_string()));
                    tracing::error!(%error, "failed to write the queue; waiting and trying again");
                    tokio::time::sleep(rest).await;
                    rest = (rest * 2).min(MAX_REST);
                    if self.requests.is_closed() {
                        return false;
                    }
                }
            }
        };
        self.metrics.commit_seconds.record(started.elapsed());
        self.trouble.send_if_modified(|t| t.take().is_some());
        if self.faults.crashes(CrashPoint::AfterApply) {
            return false;
        }
        let mut catalog = self.catalog.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, spec) in draft.declared {
            catalog.add_topic(id, spec);
        }
        catalog.applied(&batch, &extents);
        for name in &draft.removed {
            catalog.remove_topic(name);
        }
        drop(catalog);
        for (reply, outcome) in draft.answers {
            // A caller that gave up in the meantime finds its commit done when it comes back.
            drop(reply.send(Ok(outcome)));
        }
        true
    }
}

impl Draft {
    fn take(&mut self, catalog: &Catalog, faults: &Faults, request: Request) -> Drafted {
        let Request { ask, reply } = request;
        let outcome = match ask {
            Ask::Declare(topics) => self.declare(catalog, topics),
            Ask::Remove(names) => {
                for name in names {
                    if let Ok(topic) = catalog.topic(&name) {
                        self.batch.removed_topics.push(topic.id);
                        self.removed.push(name);
                    }
                }
                Ok(Committed::Done(Vec::new()))
            }
            Ask::Commit(author, commit) => {
                if let Err(error) = refuse(catalog, author.as_ref(), &commit) {
                    Err(error)
                } else if author.as_ref().is_some_and(|a| !a.owns(catalog, &commit)) {
                    Ok(Committed::Lost)
                } else if author.is_some() && faults.aborts() {
                    Ok(Committed::Retry(commit))
                } else if self.is_full(catalog, &commit) {
                    return Drafted::Waits(Request { ask: Ask::Commit(author, commit), reply });
                } else {
                    Ok(Committed::Done(self.add(catalog, author.as_ref(), commit)))
                }
            }
        };
        match outcome {
            Ok(outcome) => self.answers.push((reply, outcome)),
            Err(error) => drop(reply.send(Err(error))),
        }
        Drafted::Taken
    }

    fn declare(&mut self, catalog: &Catalog, topics: Vec<TopicSpec>) -> Result<Committed, Error> {
        for spec in topics {
            if let Ok(found) = catalog.topic(&spec.name) {
                let same = |s: &TopicSpec| format!("{} partitions, {:?}", s.partitions, s.kind);
                let (found, wanted) = (same(&found.spec), same(&spec));
                if found != wanted {
                    let wanted = format!("{wanted}{KEEPS}");
                    return Err(Error::TopicDiffers { topic: spec.name, found, wanted });
                }
                continue;
            }
            if self.declared.iter().any(|(_, known)| known.name == spec.name) {
                continue;
            }
            let id = catalog.next_topic_id() + u32::try_from(self.declared.len()).unwrap_or(0);
            self.batch.new_topics.push(StoredTopic {
                id,
                name: spec.name.clone(),
                partitions: spec.partitions,
                kind: spec.kind,
            });
            self.declared.push((id, spec));
        }
        Ok(Committed::Done(Vec::new()))
    }

    /// Whether a topic has no room for the commit.
    fn is_full(&self, catalog: &Catalog, commit: &Commit) -> bool {
        wanted(&commit.outputs).into_iter().any(|(name, bytes)| {
            catalog.topic(name).is_ok_and(|topic| {
                let held = topic.bytes() + self.added.get(&topic.id).copied().unwrap_or(0);
                !fits(held, bytes, topic.spec.max_bytes)
            })
        })
    }

    fn add(&mut self, catalog: &Catalog, author: Option<&Author>, commit: Commit) -> Vec<u64> {
        self.bytes += commit.bytes();
        let mut offsets = Vec::with_capacity(commit.outputs.len());
        for output in commit.outputs {
            let Ok(topic) = catalog.topic(&output.topic) else {
                continue;
            };
            offsets.push(self.put(
                topic.id,
                topic.spec.kind,
                topic.extents[output.partition as usize].end,
                (output.partition, output.key, output.value),
            ));
        }
        let Some(author) = author else { return offsets };
        let Ok(own) = catalog.topic(&author.topic) else {
            return offsets;
        };
        for entry in commit.state {
            let end = own.extents[entry.partition as usize].end;
            self.put(own.id, own.spec.kind, end, (entry.partition, entry.key, entry.value));
        }
        for (partition, position) in commit.positions {
            let at = (own.id, partition);
            let start = own.extents[partition as usize].start;
            let needed = catalog.needed_from(at, &author.group, position.offset);
            if own.spec.kind == TopicKind::Log && needed > start {
                self.batch.trims.push((at, start, needed));
            }
            self.batch.positions.push((at, author.group.clone(), position));
        }
        offsets
    }

    fn put(
        &mut self,
        topic: u32,
        kind: TopicKind,
        end: u64,
        (partition, key, value): (u32, bytes::Bytes, Option<bytes::Bytes>),
    ) -> u64 {
        let at = (topic, partition);
        let next = self.ends.entry(at).or_insert(end);
        let offset = *next;
        *next += 1;
        self.batch.ends.retain(|(of, _)| *of != at);
        self.batch.ends.push((at, *next));
        let bytes = size(&key, value.as_ref());
        *self.added.entry(topic).or_default() += bytes as u64;
        match (kind, value) {
            (TopicKind::Log, Some(value)) => self.batch.appends.push((at, offset, key, value)),
            (_, value) => self.batch.upserts.push((at, key, value)),
        }
        offset
    }
}

impl Author {
    /// Whether the author still owns, under the epochs it knows, all that the commit speaks for.
    /// A commit that only writes outputs needs to own something.
    fn owns(&self, catalog: &Catalog, commit: &Commit) -> bool {
        let holds = |p: u32| {
            let now = catalog.epoch(&self.group, &self.topic, self.member, p);
            now.is_some() && now == self.epochs.get(&p).copied()
        };
        let mut named = commit
            .positions
            .iter()
            .map(|(p, _)| *p)
            .chain(commit.state.iter().map(|s| s.partition))
            .peekable();
        if named.peek().is_none() {
            self.epochs.keys().any(|p| holds(*p))
        } else {
            named.all(holds)
        }
    }
}

fn refuse(catalog: &Catalog, author: Option<&Author>, commit: &Commit) -> Result<(), Error> {
    check(commit, author.map(|a| a.topic.as_str()), |name| {
        catalog.topic(name).map(|topic| (topic.spec.partitions, topic.spec.kind))
    })
}
