//! What is decided and not durable yet: commits of many collections become one, because each costs a
//! sync of the disk or a transaction of the brokers, however little it holds. A crash forgets all of it,
//! state and messages alike, and what was decided is decided again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use cmsync_queue::{Commit, MAX_COMMIT_BYTES, MAX_COMMIT_MESSAGES, Output, StateEntry};
use tokio::time::Instant;

/// How long anything waits for company.
pub(crate) const WAITS: Duration = Duration::from_millis(100);

/// Where a collection's snapshot ends: in the topic of the changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) partition: u32,
    pub(crate) offset: u64,
}

/// What goes with one commit.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) outputs: Vec<Output>,
    /// By key: what was decided last counts.
    state: BTreeMap<Bytes, StateEntry>,
    /// Collections whose snapshots end in these outputs, each with the number of its last one.
    pub(crate) ends: Vec<(String, usize)>,
    bytes: usize,
    since: Option<Instant>,
}

impl Batch {
    /// Whether so much more fits into one commit.
    fn fits(&self, outputs: &[Output], state: &[StateEntry]) -> bool {
        self.outputs.len() + outputs.len() <= MAX_COMMIT_MESSAGES
            && self.bytes + size(outputs, state) <= MAX_COMMIT_BYTES
    }

    pub(crate) fn commit(&self) -> Commit {
        let state = self.state.values().cloned().collect();
        Commit { outputs: self.outputs.clone(), state, positions: Vec::new() }
    }
}

/// What waits, in its order.
pub(crate) struct Waiting {
    /// Full ones, and those that could not be committed.
    closed: VecDeque<Batch>,
    open: Batch,
    /// Messages that are enough for a commit.
    enough: usize,
}

impl Waiting {
    pub(crate) fn new(enough: usize) -> Self {
        Self { closed: VecDeque::new(), open: Batch::default(), enough }
    }

    /// Adds what belongs together. Where a collection's snapshot ends in it: the id, and how many
    /// outputs follow the last of the snapshot.
    pub(crate) fn add(
        &mut self,
        outputs: Vec<Output>,
        state: Vec<StateEntry>,
        end: Option<(&str, usize)>,
    ) {
        if !self.open.fits(&outputs, &state) && self.open.since.is_some() {
            self.closed.push_back(std::mem::take(&mut self.open));
        }
        let open = &mut self.open;
        open.bytes += size(&outputs, &state);
        open.since.get_or_insert_with(Instant::now);
        open.outputs.extend(outputs);
        open.state.extend(state.into_iter().map(|entry| (entry.key.clone(), entry)));
        if let Some((id, after)) = end {
            open.ends.push((id.to_owned(), open.outputs.len().saturating_sub(after + 1)));
        }
    }

    /// Whether a snapshot of the collection ends in what waits.
    pub(crate) fn has_end(&self, id: &str) -> bool {
        let mut ends = self.closed.iter().chain([&self.open]).flat_map(|batch| &batch.ends);
        ends.any(|(of, _)| of == id)
    }

    /// Whether it should go now.
    pub(crate) fn is_due(&self) -> bool {
        !self.closed.is_empty()
            || self.open.outputs.len() >= self.enough
            || self.open.bytes >= MAX_COMMIT_BYTES / 2
            || self.open.since.is_some_and(|since| since.elapsed() >= WAITS)
    }

    /// The next that is to be committed; `None` where nothing waits.
    pub(crate) fn take(&mut self) -> Option<Batch> {
        let is_open = |batch: &Batch| batch.since.is_some();
        self.closed.pop_front().or_else(|| Some(std::mem::take(&mut self.open)).filter(is_open))
    }

    /// Takes back what could not be committed.
    pub(crate) fn put_back(&mut self, batch: Batch) {
        self.closed.push_front(batch);
    }
}

fn size(outputs: &[Output], state: &[StateEntry]) -> usize {
    outputs.iter().map(Output::size).sum::<usize>()
        + state.iter().map(StateEntry::size).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(text: &'static str) -> Output {
        let key = Bytes::from_static(text.as_bytes());
        Output { topic: "t".into(), partition: 0, value: Some(key.clone()), key }
    }

    fn entry(value: &'static str) -> StateEntry {
        let value = Some(Bytes::from_static(value.as_bytes()));
        StateEntry { partition: 0, key: Bytes::from_static(b"s"), value }
    }

    #[test]
    fn what_is_decided_shares_a_commit_in_its_order_and_the_last_state_counts() {
        let mut waiting = Waiting::new(32);
        assert!(waiting.take().is_none() && !waiting.is_due());
        waiting.add(vec![output("1"), output("group")], vec![entry("old")], Some(("a", 1)));
        waiting.add(vec![output("2")], vec![entry("new")], None);
        assert!(waiting.has_end("a") && !waiting.is_due());
        let batch = waiting.take().unwrap();
        let commit = batch.commit();
        assert_eq!((commit.outputs.len(), &commit.outputs[2]), (3, &output("2")));
        assert_eq!((commit.state, &batch.ends), (vec![entry("new")], &vec![("a".to_owned(), 0)]));
        assert!(waiting.take().is_none());
    }

    #[test]
    fn what_does_not_fit_and_what_failed_keep_their_order() {
        let mut waiting = Waiting::new(32);
        for text in ["first", "second", "third"] {
            waiting.add(vec![output(text); MAX_COMMIT_MESSAGES], Vec::new(), None);
        }
        let first = waiting.take().unwrap();
        waiting.put_back(first);
        let mut order = Vec::new();
        while let Some(batch) = waiting.take() {
            assert_eq!(batch.outputs.len(), MAX_COMMIT_MESSAGES);
            order.push(batch.outputs[0].clone());
        }
        assert_eq!(order, [output("first"), output("second"), output("third")]);
    }
}
