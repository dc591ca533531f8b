//! From messages to bodies: member rows as they come, markers when their run is done.

use std::time::Duration;

use cmsync_queue::Error;
use cmsync_queue::worker::MessageId;
use cmsync_schemas::tables::{COLLECTION_STREAM, CollectionRow, MEMBER_STREAM, format_time};
use cmsync_schemas::{MarkerStatus, RecordBatch};
use tokio::time::Instant;

use crate::body::{Part, Rows};
use crate::runs::FreeMarker;
use crate::stage::Stage;

/// The service replaces a time that lies further back; it is raised before, and order is by Seq.
const OLDEST: Duration = Duration::from_secs(47 * 3600);
/// A body for which nothing more has come during this part of `linger` need not wait for the rest.
const QUIET: u32 = 10;
/// Markers wait for so many times `linger`, at most, while full bodies take every turn.
const PATIENT: u32 = 10;

impl Stage {
    /// Writes the rows of a message into bodies.
    pub(crate) async fn fill(
        &mut self,
        id: MessageId,
        mut batch: RecordBatch,
    ) -> Result<(), Error> {
        let now = self.now();
        let oldest = now - i64::try_from(OLDEST.as_micros()).unwrap_or(0);
        let time = batch.time_generated.max(oldest);
        let number = self.runs.open(id, &mut batch, (now, time));
        let mut rows = std::mem::replace(&mut self.rows, Rows::new());
        rows.write(&batch, time);
        let max_raw = self.orders.max_raw(&self.options);
        let mut from = 0;
        while from < rows.ends.len() {
            let start = if from == 0 { 0 } else { rows.ends[from - 1] + 2 };
            let room = self.members.room(max_raw);
            let fit = rows.ends[from..].partition_point(|end| end - start <= room);
            // A row that is larger than any body goes alone, and is told by the service's answer.
            let count = if fit == 0 && self.members.is_empty() { 1 } else { fit };
            if count > 0 {
                let end = rows.ends[from + count - 1];
                let part = Part {
                    message: number,
                    first: u32::try_from(from).unwrap_or(0),
                    rows: u32::try_from(count).unwrap_or(0),
                };
                let text = rows.text.get(start..end).unwrap_or_default();
                self.members.add(text, part, batch.time_generated);
                from += count;
            }
            if from < rows.ends.len() || self.members.is_full(self.wire_limit) {
                let body = self.members.take();
                self.ready.push(body);
            }
        }
        self.rows = rows;
        self.rows_came(MEMBER_STREAM);
        self.free_markers().await?;
        self.finish(number);
        Ok(())
    }

    /// Lets markers go whose rows were all taken or set aside.
    pub(crate) async fn free_markers(&mut self) -> Result<(), Error> {
        for free in self.runs.take_free() {
            let FreeMarker { message, marker, run, group, site, time } = free;
            let aside = match marker.status {
                MarkerStatus::Complete => self.letters.of_run(&run, marker.start_seq).await?,
                MarkerStatus::Removed => 0,
            };
            let row = CollectionRow {
                time_generated: &format_time(time),
                site_code: &site,
                group_id: &group,
                group: &marker.group,
                group_full_name: &marker.group_full_name,
                member_count: (marker.member_count - aside).max(0),
                run_id: &run,
                start_seq: marker.start_seq,
                seq: marker.seq,
                instance: &marker.instance,
                status: if marker.status == MarkerStatus::Complete {
                    "Complete"
                } else {
                    "Removed"
                },
            };
            let text = serde_json::to_vec(&row).unwrap_or_default();
            let part = Part { message, first: 0, rows: 1 };
            if self.markers.room(self.orders.max_raw(&self.options)) < text.len() {
                let body = self.markers.take();
                self.ready.push(body);
            }
            self.markers.add(&text, part, time);
            self.rows_came(COLLECTION_STREAM);
        }
        Ok(())
    }

    /// Rows were added: their body leaves after `linger`, or earlier when nothing more comes.
    fn rows_came(&mut self, stream: &str) {
        let now = Instant::now();
        let linger = self.options.linger;
        let (builder, leaves) = if stream == MEMBER_STREAM {
            (&self.members, &mut self.leaves.0)
        } else {
            (&self.markers, &mut self.leaves.1)
        };
        *leaves = builder.since().map(|since| (since + linger).min(now + linger / QUIET));
    }

    /// When the next body that is not full leaves.
    pub(crate) fn next_leave(&self) -> Option<Instant> {
        let (members, markers) = self.leaving();
        members.into_iter().chain(markers).min()
    }

    /// When the bodies of both streams leave that are not full. As long as no turn is free they are
    /// filled further instead: a body of a few rows takes a turn like a full one.
    fn leaving(&self) -> (Option<Instant>, Option<Instant>) {
        let (members, markers) = self.leaves;
        if self.has_turn() {
            return (members, markers);
        }
        let patient = self.markers.since().map(|since| since + self.options.linger * PATIENT);
        (None, markers.and(patient))
    }

    /// Closes bodies that are not full and whose time has come.
    pub(crate) fn flush_due(&mut self) {
        let now = Instant::now();
        let due = |leaves: Option<Instant>| leaves.is_some_and(|at| at <= now);
        let (members, markers) = self.leaving();
        if due(members) {
            self.leaves.0 = None;
            self.ready.extend(self.members.take_any());
        }
        if due(markers) {
            self.leaves.1 = None;
            self.ready.extend(self.markers.take_any());
        }
    }

    /// Closes all bodies.
    pub(crate) fn flush(&mut self) {
        self.leaves = (None, None);
        self.ready.extend(self.members.take_any());
        self.ready.extend(self.markers.take_any());
    }
}
