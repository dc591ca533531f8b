//! Snapshots: a collection sent whole from the state, in order of id, over as many commits as it
//! takes; run, rows sent and last id are state, and whoever comes next goes on there.

use cmsync_schemas::topics;
use cmsync_schemas::{Change, ChangeKind};
use roaring::RoaringBitmap;

use crate::error::Error;
use crate::publish::Publisher;
use crate::state::Memory;
use crate::waiting::End;

impl Publisher {
    /// Publishes the next commit's worth of a collection's snapshot, at most, starting one if none is on its
    /// way; true when it is out whole.
    pub(crate) async fn snapshot(&self, memory: &mut Memory, id: &str) -> Result<bool, Error> {
        self.backlog.check().await?;
        if memory.collections.get(id).is_none_or(|kept| !kept.state.sending) {
            self.begin(memory, id);
        }
        let Some(kept) = memory.collections.get(id) else {
            return Ok(true);
        };
        let from = u32::try_from(kept.state.sent_to + 1).unwrap_or(u32::MAX);
        let mut rest = kept.members.range(from..).peekable();
        let mut state = kept.state.clone();
        let mut outputs = Vec::with_capacity(self.cuts.messages + 1);
        while outputs.len() < self.cuts.messages && state.sending {
            let part: RoaringBitmap = rest.by_ref().take(self.cuts.devices).collect();
            state.rows_sent += i64::try_from(part.len()).unwrap_or(0);
            state.sent_to = part.max().map_or(state.sent_to, i64::from);
            state.sending = rest.peek().is_some();
            let change = Change {
                chunk: state.chunks_sent,
                is_last: !state.sending,
                total_members: state.rows_sent,
                observed_at: state.started_at,
                present: self.devices_of(&part),
                ..self.change(memory, id, kept, (ChangeKind::Snapshot, state.start_seq))
            };
            state.chunks_sent += 1;
            self.metrics.published.increment(change.present.len() as u64);
            outputs.push(self.output(&change));
        }
        let is_last = !state.sending;
        if is_last {
            outputs.push(self.group(memory, id, Some(kept)));
        }
        if let Some(kept) = memory.collections.get_mut(id) {
            kept.state = state;
        }
        let Some(kept) = memory.collections.get(id) else {
            return Ok(true);
        };
        let entries = self.entries();
        let state = vec![entries.collection(id, kept), entries.connection(memory)];
        if is_last {
            self.metrics.snapshots.increment(1);
            self.diary.sent_whole(u64::try_from(kept.state.rows_sent).unwrap_or(0));
            let (run, rows) = (&kept.state.run_id, kept.state.rows_sent);
            tracing::debug!(collection = id, run, rows, "a snapshot is whole");
        }
        // The group follows the last change.
        self.add(outputs, state, is_last.then_some((id, 1))).await?;
        Ok(is_last)
    }

    /// Starts a run of a collection.
    fn begin(&self, memory: &mut Memory, id: &str) {
        let (seq, now) = (self.next_seq(memory), (self.clock)());
        self.trace(id, seq, memory.collections.get(id).map_or(0, |kept| kept.members.len()));
        if let Some(kept) = memory.collections.get_mut(id) {
            let state = &mut kept.state;
            state.run_id = format!("{id}-{seq}");
            (state.start_seq, state.started_at, state.sending) = (seq, now, true);
            (state.rows_sent, state.chunks_sent, state.sent_to) = (0, 0, -1);
        }
    }

    /// Whether the collection's last snapshot has reached the workspace, as the uploader notes; or
    /// nothing of its partition waits any longer, where the last message was set aside without a note.
    pub(crate) async fn is_delivered(&self, id: &str) -> Result<bool, Error> {
        if self.waiting().has_end(id) {
            return Ok(false);
        }
        let end = self.ended().get(id).copied();
        let Some(End { partition, offset }) = end else { return Ok(true) };
        let partition = partition as usize;
        let records = self.queue.log(&topics::records(&self.connection), topics::UPLOADER).await?;
        let Some(log) = records.get(partition) else { return Ok(true) };
        let noted = log.position.as_ref().and_then(|p| p.note.parse::<u64>().ok());
        if noted.is_some_and(|next| next > offset) {
            return Ok(true);
        }
        let changes =
            self.queue.log(&topics::changes(&self.connection), topics::TRANSFORMER).await?;
        let mapped =
            changes.get(partition).and_then(|c| c.position.as_ref()).map_or(0, |p| p.offset);
        Ok(mapped > offset && log.waiting == 0)
    }
}
