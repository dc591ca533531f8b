//! From a decision to messages: deltas, snapshots, names and removals, each committed with the
//! state that it leads to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use cmsync_queue::{
    Committed, Committer, MAX_COMMIT_BYTES, Output, Queue, StateEntry, partition_for,
};
use cmsync_schemas::topics;
use cmsync_schemas::{CHANGE, Change, ChangeKind, Clock, Device, GROUP, Group};
use cmsync_telemetry::trace;
use roaring::RoaringBitmap;

use crate::backlog::Backlog;
use crate::config::{Cuts, StaticGroups};
use crate::devices::DeviceTable;
use crate::diary::Diary;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::state::{Entries, Kept, Memory};
use crate::waiting::{End, Waiting};

/// Publishes for one connection.
pub(crate) struct Publisher {
    pub(crate) connection: String,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) committer: Arc<dyn Committer>,
    /// The owned partition of the state.
    pub(crate) partition: u32,
    /// Partitions of the changes.
    pub(crate) partitions: u32,
    pub(crate) cuts: Cuts,
    pub(crate) backlog: Backlog,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) devices: Arc<RwLock<DeviceTable>>,
    pub(crate) statics: StaticGroups,
    /// When the last poll began; microseconds since 1970.
    pub(crate) polled_at: AtomicI64,
    /// What goes with the next commit.
    pub(crate) waiting: Mutex<Waiting>,
    /// Where collections' last snapshots end.
    pub(crate) ended: Mutex<BTreeMap<String, End>>,
    pub(crate) diary: Diary,
}

/// What a collection's state becomes with the last message of a delta.
#[derive(Debug, Clone)]
pub(crate) struct Finish {
    pub(crate) token: String,
    pub(crate) rows_read: i64,
    pub(crate) last_read: i64,
}

impl Publisher {
    pub(crate) fn entries(&self) -> Entries<'_> {
        Entries { connection: &self.connection, partition: self.partition }
    }

    /// The next seq: grows always, follows the clock where it can.
    pub(crate) fn next_seq(&self, memory: &mut Memory) -> i64 {
        let seq = (memory.connection.last_seq + 1).max((self.clock)());
        memory.connection.last_seq = seq;
        seq
    }

    /// Commits outputs and state together, after all that waits.
    pub(crate) async fn commit(
        &self,
        outputs: Vec<Output>,
        state: Vec<StateEntry>,
    ) -> Result<(), Error> {
        self.add(outputs, state, None).await?;
        self.flush().await
    }

    /// Lets outputs and state go with the next commit; whoever adds sees that [`Self::flush`] follows
    /// before long. With the last of a snapshot, the collection's id and how many outputs follow it.
    pub(crate) async fn add(
        &self,
        outputs: Vec<Output>,
        state: Vec<StateEntry>,
        end: Option<(&str, usize)>,
    ) -> Result<(), Error> {
        let bytes: usize = outputs.iter().map(Output::size).sum();
        self.backlog.add(bytes as u64);
        self.waiting().add(outputs, state, end);
        self.flush_due().await
    }

    pub(crate) fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ended(&self) -> MutexGuard<'_, BTreeMap<String, End>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits all that waits. What cannot be committed waits on: memory holds it, so it must become
    /// durable, or be read anew.
    pub(crate) async fn flush(&self) -> Result<(), Error> {
        loop {
            let Some(batch) = self.waiting().take() else { return Ok(()) };
            let mut commit = batch.commit();
            let offsets = loop {
                match self.committer.commit(commit).await {
                    Ok(Committed::Done(offsets)) => break offsets,
                    Ok(Committed::Retry(again)) => commit = again,
                    Ok(Committed::Lost) => return Err(Error::Lost),
                    Err(error) => {
                        self.waiting().put_back(batch);
                        return Err(error.into());
                    }
                }
            };
            let end = |(id, at): (String, usize)| {
                let partition = batch.outputs.get(at)?.partition;
                Some((id, End { partition, offset: *offsets.get(at)? }))
            };
            self.ended().extend(batch.ends.iter().cloned().filter_map(end));
        }
    }

    /// Commits what has waited long enough, or is enough.
    pub(crate) async fn flush_due(&self) -> Result<(), Error> {
        let is_due = self.waiting().is_due();
        if is_due { self.flush().await } else { Ok(()) }
    }

    /// Makes the changed part of the table of devices durable, with the devices that are owed to
    /// the collections that hold them.
    pub(crate) async fn commit_devices(&self, memory: &Memory) -> Result<(), Error> {
        let mut entries = {
            let mut devices = self.devices.write().unwrap_or_else(PoisonError::into_inner);
            self.entries().devices(&mut devices)
        };
        // What is owed goes first: a crash in between re-sends, it does not forget.
        entries.insert(0, self.entries().connection(memory));
        let mut batch = Vec::new();
        let mut bytes = 0;
        for entry in entries {
            let size = entry.size();
            if bytes + size > MAX_COMMIT_BYTES / 2 {
                self.commit(Vec::new(), std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
            bytes += size;
            batch.push(entry);
        }
        self.commit(Vec::new(), batch).await
    }

    /// Lets a collection's state become durable without publishing anything.
    pub(crate) async fn commit_collection(&self, memory: &Memory, id: &str) -> Result<(), Error> {
        let Some(kept) = memory.collections.get(id) else {
            return Ok(());
        };
        let entries = self.entries();
        let mut state = vec![entries.collection(id, kept), entries.connection(memory)];
        state.extend(entries.members(id, kept));
        self.add(Vec::new(), state, None).await
    }

    pub(crate) async fn commit_connection(&self, memory: &Memory) -> Result<(), Error> {
        self.commit(Vec::new(), vec![self.entries().connection(memory)]).await
    }

    /// The poll has led to a change.
    pub(crate) fn trace(&self, id: &str, seq: i64, devices: u64) {
        if trace::is_on() {
            trace::done(trace::Done {
                change: trace::Change { connection: &self.connection, collection: id, seq },
                step: trace::Step::Poll,
                from: self.polled_at.load(Ordering::Relaxed),
                to: (self.clock)(),
                devices: usize::try_from(devices).unwrap_or(usize::MAX),
            });
        }
    }

    pub(crate) fn change(
        &self,
        memory: &Memory,
        id: &str,
        kept: &Kept,
        (kind, seq): (ChangeKind, i64),
    ) -> Change {
        Change {
            connection: self.connection.clone(),
            site_code: memory.connection.site_code.clone(),
            collection_id: id.to_owned(),
            name: kept.state.name.clone(),
            folder: kept.state.folder.clone(),
            kind,
            instance: memory.connection.instance.clone(),
            run_id: kept.state.run_id.clone(),
            start_seq: kept.state.start_seq,
            seq,
            chunk: 0,
            is_last: false,
            total_members: 0,
            observed_at: (self.clock)(),
            present: Vec::new(),
            removed: Vec::new(),
        }
    }

    pub(crate) fn output(&self, change: &Change) -> Output {
        let key = topics::collection_key(&self.connection, &change.collection_id);
        Output {
            topic: topics::changes(&self.connection),
            partition: partition_for(key.as_bytes(), self.partitions),
            key: Bytes::from(key),
            value: Some(CHANGE.encode(change)),
        }
    }

    /// What the computer group of a collection is now; a tombstone when it is gone.
    pub(crate) fn group(&self, memory: &Memory, id: &str, kept: Option<&Kept>) -> Output {
        let value = kept.map(|kept| {
            let is_static = self.statics.are(id, kept.members.len());
            let full = GROUP.encode(&self.group_of(memory, id, kept, is_static));
            // Names that pass what a message may have stay in the tables.
            if full.len() <= topics::MAX_MESSAGE_BYTES {
                full
            } else {
                GROUP.encode(&self.group_of(memory, id, kept, false))
            }
        });
        let topic = topics::groups(&self.connection);
        Output { topic, partition: 0, key: Bytes::copy_from_slice(id.as_bytes()), value }
    }

    fn group_of(&self, memory: &Memory, id: &str, kept: &Kept, is_static: bool) -> Group {
        let members = if is_static { self.devices_of(&kept.members) } else { Vec::new() };
        Group {
            connection: self.connection.clone(),
            site_code: memory.connection.site_code.clone(),
            collection_id: id.to_owned(),
            name: kept.state.name.clone(),
            folder: kept.state.folder.clone(),
            members: i64::try_from(kept.members.len()).unwrap_or(i64::MAX),
            is_static,
            netbios_names: members.iter().map(|d| d.netbios_name.clone()).collect(),
            computers: members.into_iter().map(|d| d.fqdn.unwrap_or(d.netbios_name)).collect(),
            seq: memory.connection.last_seq,
        }
    }

    pub(crate) fn devices_of(&self, ids: &RoaringBitmap) -> Vec<Device> {
        let devices = self.devices.read().unwrap_or_else(PoisonError::into_inner);
        let device = |(id, device): (u32, Option<Device>)| {
            // Members without a record never get this far; a name of its own keeps a row whole.
            device.unwrap_or_else(|| Device { resource_id: i64::from(id), ..Device::default() })
        };
        devices.get_all(ids).into_iter().map(device).collect()
    }

    /// Publishes adds and removes of a collection, in order of id, in as many commits as it takes;
    /// the members in the state follow each. `finish` goes with the last.
    ///
    /// # Errors
    /// [`Error::Backlog`] before anything is published, or the queue's.
    pub(crate) async fn delta(
        &self,
        memory: &mut Memory,
        id: &str,
        (adds, removes): (&RoaringBitmap, &RoaringBitmap),
        finish: Option<Finish>,
    ) -> Result<(), Error> {
        if !(adds.is_empty() && removes.is_empty()) {
            self.backlog.check().await?;
        }
        let seq = self.next_seq(memory);
        self.trace(id, seq, adds.len() + removes.len());
        let before = memory.collections.get(id).map_or(0, |kept| kept.members.len());
        let touched: Vec<u32> = (adds | removes).iter().collect();
        let mut rest = touched.as_slice();
        loop {
            let (now, later) =
                rest.split_at(rest.len().min(self.cuts.messages * self.cuts.devices));
            rest = later;
            let Some(kept) = memory.collections.get(id) else {
                return Ok(());
            };
            let mut outputs = Vec::with_capacity(self.cuts.messages + 1);
            for part in now.chunks(self.cuts.devices) {
                let part: RoaringBitmap = part.iter().copied().collect();
                let change = Change {
                    present: self.devices_of(&(&part & adds)),
                    removed: self.devices_of(&(&part & removes)),
                    ..self.change(memory, id, kept, (ChangeKind::Delta, seq))
                };
                self.metrics.published.increment(change.present.len() as u64);
                self.metrics.removed.increment(change.removed.len() as u64);
                outputs.push(self.output(&change));
            }
            let Some(kept) = memory.collections.get_mut(id) else {
                return Ok(());
            };
            let now: RoaringBitmap = now.iter().copied().collect();
            kept.members |= &now & adds;
            kept.members -= &now & removes;
            // With the commit that publishes the last of a held removal, and not before.
            if kept.is_held()
                && !kept.state.held_vanished
                && kept.held_devices().is_disjoint(&kept.members)
            {
                kept.release();
            }
            if let (Some(finish), true) = (&finish, rest.is_empty()) {
                kept.state.token.clone_from(&finish.token);
                (kept.state.rows_read, kept.state.last_read) = (finish.rows_read, finish.last_read);
            }
            let Some(kept) = memory.collections.get(id) else {
                return Ok(());
            };
            let entries = self.entries();
            let mut state = vec![entries.collection(id, kept), entries.connection(memory)];
            if !now.is_empty() {
                state.extend(entries.members(id, kept));
                outputs.extend(rest.is_empty().then(|| self.group(memory, id, Some(kept))));
            }
            self.add(outputs, state, None).await?;
            if rest.is_empty() {
                self.note_change(memory, id, (before, adds.len(), removes.len()));
                return Ok(());
            }
        }
    }

    /// Tells what changed. A function works in fewer alert rules than a static group: whoever looks for the
    /// reason finds it.
    fn note_change(&self, memory: &Memory, id: &str, (before, came, went): (u64, u64, u64)) {
        let Some(kept) = memory.collections.get(id) else { return };
        let after = kept.members.len();
        self.diary.changed(id, &kept.state.name, came, went);
        let was_static = self.statics.are_kept && before > 0 && self.statics.are(id, before);
        if was_static && !self.statics.are(id, after) {
            tracing::warn!(
                collection = id,
                members = after,
                static_up_to = self.statics.up_to,
                "a computer group has outgrown `groups.static_up_to`: from now on it is read from the \
                 tables, and alert rules need a longer window; `groups.static` keeps it as it was"
            );
        }
    }

    /// Publishes a collection's new name with the state that holds it.
    pub(crate) async fn renamed(&self, memory: &mut Memory, id: &str) -> Result<(), Error> {
        let seq = self.next_seq(memory);
        self.trace(id, seq, 0);
        let Some(kept) = memory.collections.get(id) else {
            return Ok(());
        };
        // A snapshot that is on its way carries the name in its last chunk.
        let mut outputs = Vec::new();
        if kept.state.start_seq > 0 && !kept.state.sending {
            let change = Change {
                total_members: kept.state.rows_sent,
                ..self.change(memory, id, kept, (ChangeKind::Renamed, seq))
            };
            outputs = vec![self.output(&change), self.group(memory, id, Some(kept))];
        }
        let entries = self.entries();
        let state = vec![entries.collection(id, kept), entries.connection(memory)];
        self.add(outputs, state, None).await
    }

    /// Publishes that a collection is gone, and forgets it.
    pub(crate) async fn removed(&self, memory: &mut Memory, id: &str) -> Result<(), Error> {
        let seq = self.next_seq(memory);
        self.trace(id, seq, 0);
        let Some(kept) = memory.collections.get(id) else {
            return Ok(());
        };
        let mut outputs = Vec::new();
        // Whatever was sent of it, also when it is to be sent anew.
        if !kept.state.run_id.is_empty() {
            outputs.push(self.output(&self.change(memory, id, kept, (ChangeKind::Removed, seq))));
        }
        outputs.push(self.group(memory, id, None));
        let mut state = self.entries().forget(id, kept);
        state.push(self.entries().connection(memory));
        self.commit(outputs, state).await?;
        self.metrics.removed.increment(kept.members.len());
        self.diary.gone(id, &kept.state.name);
        memory.collections.remove(id);
        self.ended().remove(id);
        Ok(())
    }
}
