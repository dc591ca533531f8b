//! What a member of a group knows: which partitions are its own, what waits for its stage, and what
//! its stage was told of. The thread that polls, the inbox and the way to commit share it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::TopicPartitionList;
use tokio::sync::{Notify, watch};

use super::client::{as_i32, at, lock, offsets};
use super::holdings::{Owned, Queued, Standing, State};
use super::metrics::Metrics;
use super::writer::Writer;
use crate::{Commit, Error, Event, Message, Position, TopicKind};

/// Bytes that may wait for the stage; then reading waits.
const ROOM: usize = 8 * 1024 * 1024;
/// How often it is looked at whether a wait is over.
const LOOK: Duration = Duration::from_secs(1);

/// What the polling thread is asked to do.
#[derive(Default, Clone, Copy)]
pub(super) struct Orders {
    /// Leave the group and end.
    pub(super) stop: bool,
    /// Leave the group and join it again: a test asks.
    pub(super) rejoin: bool,
    /// Go back to what is committed.
    pub(super) rewind: bool,
}

pub(super) struct Member {
    pub(super) group: String,
    /// The topic's name without the installation's prefix.
    pub(super) topic: String,
    pub(super) full: String,
    pub(super) kind: TopicKind,
    pub(super) partitions: u32,
    state: Mutex<State>,
    pub(super) orders: Mutex<Orders>,
    /// The inbox has something new.
    news: Notify,
    /// Whether the group knows that this member has gone.
    pub(super) left: watch::Sender<bool>,
    /// A commit ended, or the stage took something.
    settled: Condvar,
    pub(super) metrics: Metrics,
    /// Partitions that the metrics know of.
    counted: AtomicUsize,
}

impl Member {
    pub(super) fn new(
        (group, topic, full): (&str, &str, String),
        (partitions, kind): (u32, TopicKind),
    ) -> Self {
        Self {
            group: group.to_owned(),
            topic: topic.to_owned(),
            full,
            kind,
            partitions,
            state: Mutex::default(),
            orders: Mutex::default(),
            news: Notify::new(),
            left: watch::Sender::new(false),
            settled: Condvar::new(),
            metrics: Metrics::new(group),
            counted: AtomicUsize::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut lock(&self.orders));
        // Whoever waits looks at the orders under this lock: it has looked, or waits already.
        drop(self.lock());
        self.settled.notify_all();
    }

    /// The orders that were not carried out yet.
    pub(super) fn take_orders(&self) -> Orders {
        let mut orders = lock(&self.orders);
        let now = *orders;
        (orders.rejoin, orders.rewind) = (false, false);
        now
    }

    pub(super) fn is_stopping(&self) -> bool {
        lock(&self.orders).stop
    }

    /// Nothing more comes.
    pub(super) fn end(&self) {
        self.lock().has_ended = true;
        self.count(0);
        self.news.notify_waiters();
        self.news.notify_one();
    }

    fn count(&self, owned: usize) {
        let before = self.counted.swap(owned, Ordering::Relaxed);
        self.metrics.owned.increment(owned as f64 - before as f64);
    }

    // What the polling thread says.

    /// The brokers gave a partition. Gives its epoch.
    pub(super) fn given(&self, partition: u32, standing: Standing) -> u64 {
        let mut state = self.lock();
        state.epoch += 1;
        let epoch = state.epoch;
        let is_ready = self.kind == TopicKind::Log;
        let owned =
            Owned { epoch, position: standing.position.clone(), taken: standing.next, is_ready };
        state.owned.insert(partition, owned);
        self.count(state.owned.len());
        if is_ready {
            let no_state = BTreeMap::new();
            state.push_assigned(partition, epoch, standing, no_state);
            drop(state);
            self.news.notify_one();
        }
        epoch
    }

    /// Whether the partition is still owned as it was given then.
    pub(super) fn holds(&self, partition: u32, epoch: u64) -> bool {
        self.lock().owned.get(&partition).is_some_and(|owned| owned.epoch == epoch)
    }

    /// The state of a partition was read, after its writer had fenced the former one.
    pub(super) fn restored(
        &self,
        (partition, epoch): (u32, u64),
        writer: Arc<Writer>,
        (position, entries): (Option<Position>, BTreeMap<Bytes, Bytes>),
    ) {
        let mut state = self.lock();
        let Some(owned) = state.owned.get_mut(&partition).filter(|owned| owned.epoch == epoch)
        else {
            return;
        };
        owned.is_ready = true;
        owned.position.clone_from(&position);
        state.writers.insert(partition, writer);
        state.push_assigned(partition, epoch, Standing::new(position, (0, u64::MAX)), entries);
        drop(state);
        self.news.notify_one();
    }

    /// A message came.
    pub(super) fn came(&self, partition: u32, message: Message) {
        self.lock().push_message(partition, message);
        self.news.notify_one();
    }

    /// Waits until there is room for more, or the stage stops; whether there is.
    pub(super) fn has_room(&self, patience: Duration) -> bool {
        let state = self.lock();
        let is_full = |state: &mut State| state.bytes >= ROOM && !self.is_stopping();
        let waited = self.settled.wait_timeout_while(state, patience, is_full);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.bytes < ROOM
    }

    /// Partitions go away. What the stage has taken of them is waited for, unless it has ended; a
    /// commit that is on its way in any case.
    pub(super) fn leaving(&self, partitions: &[u32], patience: Duration) {
        let mut state = self.lock();
        state.forget_messages(|partition| partitions.contains(&partition));
        let is_open = |state: &mut State| {
            let is_taken = |partition: &u32| {
                state.told.contains_key(partition)
                    && state.owned.get(partition).is_some_and(|owned| {
                        let done = owned.position.as_ref().map_or(0, |p| p.offset);
                        self.kind == TopicKind::Log && owned.taken > done
                    })
            };
            state.committing > 0 || !self.is_stopping() && partitions.iter().any(is_taken)
        };
        let started = Instant::now();
        let waited = self.settled.wait_timeout_while(state, patience, is_open);
        (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        self.metrics.revocation_seconds.record(started.elapsed());
        for partition in partitions {
            state.owned.remove(partition);
            state.writers.remove(partition);
            state.inbox.push_back(Queued::Revoked { partition: *partition });
        }
        self.count(state.owned.len());
        drop(state);
        self.news.notify_one();
    }

    /// Waits until no commit is on its way, or it is over; whether none is.
    pub(super) fn settle(&self, is_over: impl Fn() -> bool) -> bool {
        let mut state = self.lock();
        while state.committing > 0 && !is_over() {
            let waited = self.settled.wait_timeout(state, LOOK);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        state.committing == 0
    }

    /// Everything goes, as in a group that changes: a test asks.
    pub(super) fn revoke(&self) {
        let owned = self.owned();
        self.leaving(&owned, Duration::ZERO);
        self.order(|orders| orders.rejoin = true);
    }

    /// The partitions that are owned.
    pub(super) fn owned(&self) -> Vec<u32> {
        self.lock().owned.keys().copied().collect()
    }

    /// Nothing that the stage was told, or would be told next, counts until it is told anew: a commit that began
    /// after the positions were asked for would be followed by one of the same messages.
    pub(super) fn void(&self) {
        self.lock().void();
    }

    /// Partitions to go back in, with the offset; not those that are paused.
    pub(super) fn gaps(&self) -> Vec<(u32, u64)> {
        let state = self.lock();
        let open = state.gaps.iter().filter(|partition| !state.paused.contains(partition));
        open.filter_map(|p| state.owned.get(p).map(|owned| (*p, owned.taken))).collect()
    }

    /// Reading has gone back.
    pub(super) fn is_back(&self, partition: u32) {
        self.lock().gaps.remove(&partition);
    }

    /// Goes back to what is committed, in a partition of a log that stays.
    pub(super) fn again(&self, partition: u32, standing: Standing) {
        self.given(partition, standing);
        self.lock().gaps.insert(partition);
    }

    /// Partitions of which the stage wants nothing.
    pub(super) fn paused(&self) -> BTreeSet<u32> {
        self.lock().paused.clone()
    }

    // What the inbox asks.

    pub(super) fn pause(&self, partition: u32, is_paused: bool) {
        let mut state = self.lock();
        if is_paused {
            state.paused.insert(partition);
            // What waits of it must not take the room of others.
            if state.forget_messages(|p| p == partition) {
                state.gaps.insert(partition);
            }
        } else {
            state.paused.remove(&partition);
        }
        drop(state);
        self.news.notify_one();
    }

    pub(super) async fn next(&self) -> Result<Event, Error> {
        loop {
            let news = self.news.notified();
            if let Some(event) = self.take()? {
                return Ok(event);
            }
            news.await;
        }
    }

    fn take(&self) -> Result<Option<Event>, Error> {
        let mut state = self.lock();
        if state.has_ended {
            return Err(Error::Closed);
        }
        let event = state.take();
        drop(state);
        self.settled.notify_all();
        Ok(event)
    }

    // What the way to commit asks.

    /// Starts a commit: `None` where the stage speaks for what it does not own as it was told. Gives
    /// the positions that go along: those of the commit, and for state the ones that stand.
    pub(super) fn begin(&self, commit: &Commit) -> Option<Vec<(u32, Position)>> {
        let mut state = self.lock();
        let holds = |partition: &u32| {
            let owned = state.owned.get(partition).filter(|owned| owned.is_ready);
            owned.is_some_and(|owned| state.told.get(partition) == Some(&owned.epoch))
        };
        let named = commit.positions.iter().map(|(p, _)| *p);
        let named: BTreeSet<u32> = named.chain(commit.state.iter().map(|s| s.partition)).collect();
        let is_valid = match named.is_empty() {
            true => state.told.keys().any(holds),
            false => named.iter().all(holds),
        };
        if !is_valid {
            return None;
        }
        let mut positions = commit.positions.clone();
        if self.kind == TopicKind::Compacted {
            for partition in named {
                if !positions.iter().any(|(p, _)| *p == partition) {
                    let owned = state.owned.get(&partition);
                    let stands = owned.and_then(|o| o.position.clone()).unwrap_or_default();
                    positions.push((partition, stands));
                }
            }
        }
        state.committing += 1;
        Some(positions)
    }

    /// A commit ended; with the positions that it moved.
    pub(super) fn ended(&self, positions: Option<&[(u32, Position)]>) {
        let mut state = self.lock();
        state.committing = state.committing.saturating_sub(1);
        for (partition, position) in positions.unwrap_or_default() {
            if let Some(owned) = state.owned.get_mut(partition) {
                owned.position = Some(position.clone());
            }
        }
        drop(state);
        self.settled.notify_all();
    }

    /// Everything that the stage was told of is void; what is owned is told anew.
    pub(super) fn lost(&self) {
        self.lock().told.clear();
        self.order(|orders| orders.rewind = true);
    }

    /// The writer of a partition of state; any for a commit that names none.
    pub(super) fn writer_of(&self, commit: &Commit) -> Option<Arc<Writer>> {
        let state = self.lock();
        let named = commit.state.iter().map(|s| s.partition);
        match named.chain(commit.positions.iter().map(|(p, _)| *p)).min() {
            Some(partition) => state.writers.get(&partition).cloned(),
            None => state.writers.values().next().cloned(),
        }
    }

    pub(super) fn list(&self, positions: &[(u32, Position)]) -> Option<TopicPartitionList> {
        let list =
            offsets(&self.full, positions.iter().map(|(of, stands)| (*of, at(stands.offset))))
                .ok()?;
        for (partition, position) in positions {
            list.find_partition(&self.full, as_i32(*partition))?.set_metadata(&position.note);
        }
        Some(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> Member {
        Member::new(("group", "topic", "p.topic".into()), (1, TopicKind::Log))
    }

    fn message(offset: u64) -> Message {
        Message { offset, key: Bytes::new(), value: Bytes::from_static(b"x") }
    }

    fn commit(offset: u64) -> Commit {
        let position = Position { offset, note: String::new() };
        Commit { positions: vec![(0, position)], ..Commit::default() }
    }

    fn given(member: &Member) {
        member.given(0, Standing { next: 33, ..Standing::default() });
        (33..36).for_each(|offset| member.came(0, message(offset)));
    }

    async fn taken(member: &Member) -> u64 {
        assert!(matches!(member.next().await, Ok(Event::Assigned { .. })));
        let Ok(Event::Messages { messages, .. }) = member.next().await else { panic!("messages") };
        messages.last().map_or(0, |last| last.offset + 1)
    }

    #[tokio::test]
    async fn no_commit_begins_between_a_rewind_and_the_positions_that_it_reads() {
        let member = member();
        given(&member);
        // A commit of before is lost, and the stage goes on with what came in the meantime.
        member.lost();
        let next = taken(&member).await;
        member.void();
        assert!(member.begin(&commit(next)).is_none(), "it would be done again");
        given(&member);
        let next = taken(&member).await;
        assert!(member.begin(&commit(next)).is_some());
    }

    #[tokio::test]
    async fn what_waits_of_before_a_rewind_is_not_told() {
        let member = member();
        given(&member);
        member.void();
        given(&member);
        assert_eq!(taken(&member).await, 36);
        let again = tokio::time::timeout(Duration::ZERO, member.next()).await;
        assert!(again.is_err(), "told twice");
    }

    #[tokio::test]
    async fn a_partition_that_went_before_a_rewind_is_told_as_gone() {
        let member = member();
        given(&member);
        taken(&member).await;
        member.leaving(&[0], Duration::ZERO);
        member.void();
        assert!(matches!(member.next().await, Ok(Event::Revoked { partition: 0 })));
    }

    #[tokio::test]
    async fn a_rewind_waits_for_a_commit_until_it_is_over() {
        let member = Arc::new(member());
        given(&member);
        let next = taken(&member).await;
        assert!(member.begin(&commit(next)).is_some());
        assert!(!member.settle(|| true), "it is over first");
        let (own, waiting) = (Arc::clone(&member), watch::Sender::new(false));
        let mut waits = waiting.subscribe();
        let settling = tokio::task::spawn_blocking(move || {
            own.settle(|| {
                waiting.send_replace(true);
                false
            })
        });
        waits.wait_for(|waits| *waits).await.expect("it waits");
        member.ended(None);
        assert!(settling.await.expect("it ends"));
    }
}
