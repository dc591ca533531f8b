//! Messages that are open, and the markers that wait for the rows of their run.

use std::collections::HashMap;

use cmsync_queue::worker::MessageId;
use cmsync_schemas::{Marker, RecordBatch};

/// A message that was taken and is not delivered.
pub(crate) struct Open {
    pub(crate) id: MessageId,
    /// Rows that are on their way, its marker not counted.
    rows: u32,
    has_marker: bool,
    /// When its changes were observed, in microseconds since 1970; `None` for a part of a snapshot.
    pub(crate) observed: Option<i64>,
    /// When it was taken, in microseconds since 1970.
    pub(crate) since: i64,
    /// Rows that it had.
    pub(crate) devices: u32,
    run: String,
    pub(crate) group: String,
    pub(crate) seq: i64,
    /// What is kept beside the position above it: the change that comes next.
    pub(crate) note: String,
    /// Dead letters that it left, by the id of each.
    pub(crate) letters: Vec<cmsync_queue::Output>,
}

impl Open {
    pub(crate) fn run(&self) -> &str {
        &self.run
    }
}

/// A marker that is free to leave.
pub(crate) struct FreeMarker {
    pub(crate) message: u64,
    pub(crate) marker: Marker,
    pub(crate) run: String,
    pub(crate) group: String,
    pub(crate) site: String,
    pub(crate) time: i64,
}

/// All open messages.
#[derive(Default)]
pub(crate) struct Runs {
    open: HashMap<u64, Open>,
    next: u64,
    /// Rows on their way by partition and run.
    outstanding: HashMap<(u32, String), u64>,
    waiting: Vec<(u32, FreeMarker)>,
}

impl Runs {
    /// Opens a message; gives its number here.
    pub(crate) fn open(
        &mut self,
        id: MessageId,
        batch: &mut RecordBatch,
        (since, time): (i64, i64),
    ) -> u64 {
        let number = self.next;
        self.next += 1;
        let rows = u32::try_from(batch.present.len() + batch.removed.len()).unwrap_or(u32::MAX);
        let run = batch.run_id.clone();
        if rows > 0 {
            *self.outstanding.entry((id.partition, run.clone())).or_default() += u64::from(rows);
        }
        let devices = rows;
        let marker = batch.marker.take();
        let open = Open {
            id,
            rows,
            has_marker: marker.is_some(),
            since,
            devices,
            observed: (!batch.is_snapshot && rows > 0).then_some(batch.time_generated),
            run: run.clone(),
            group: batch.group_id.clone(),
            seq: batch.seq,
            note: (batch.change_offset + 1).to_string(),
            letters: Vec::new(),
        };
        if let Some(marker) = marker {
            let free = FreeMarker {
                message: number,
                marker,
                run,
                group: batch.group_id.clone(),
                site: batch.site_code.clone(),
                time,
            };
            self.waiting.push((id.partition, free));
        }
        self.open.insert(number, open);
        number
    }

    pub(crate) fn get(&mut self, message: u64) -> Option<&mut Open> {
        self.open.get_mut(&message)
    }

    /// Rows of a message were taken or set aside.
    pub(crate) fn rows_done(&mut self, message: u64, rows: u32) {
        let Some(open) = self.open.get_mut(&message) else {
            return;
        };
        open.rows = open.rows.saturating_sub(rows);
        let key = (open.id.partition, open.run.clone());
        if let Some(left) = self.outstanding.get_mut(&key) {
            *left = left.saturating_sub(u64::from(rows));
            if *left == 0 {
                self.outstanding.remove(&key);
            }
        }
    }

    /// The marker of a message was taken or set aside.
    pub(crate) fn marker_done(&mut self, message: u64) {
        if let Some(open) = self.open.get_mut(&message) {
            open.has_marker = false;
        }
    }

    /// Takes a message out if nothing of it is on its way.
    pub(crate) fn take_finished(&mut self, message: u64) -> Option<Open> {
        let open = self.open.get(&message)?;
        (open.rows == 0 && !open.has_marker).then(|| self.open.remove(&message)).flatten()
    }

    /// Markers whose run has nothing on its way any longer.
    pub(crate) fn take_free(&mut self) -> Vec<FreeMarker> {
        let outstanding = &self.outstanding;
        let is_free = |(partition, marker): &mut (u32, FreeMarker)| {
            !outstanding.contains_key(&(*partition, marker.run.clone()))
        };
        self.waiting.extract_if(.., is_free).map(|(_, marker)| marker).collect()
    }

    /// Forgets what was open of partitions: it comes again, or belongs to another.
    pub(crate) fn forget(&mut self, is_gone: impl Fn(u32) -> bool) {
        self.open.retain(|_, open| !is_gone(open.id.partition));
        self.outstanding.retain(|(of, _), _| !is_gone(*of));
        self.waiting.retain(|(of, _)| !is_gone(*of));
    }
}
