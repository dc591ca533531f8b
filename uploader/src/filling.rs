//! From messages to bodies: member rows as they come, markers when their run is done.

use std::time::Duration;

use cmsync_queue::Error;
use cmsync_queue::worker::MessageId;
use cmsync_schemas::tables::{CollectionRow, format_time};
use cmsync_schemas::{MarkerStatus, RecordBatch};
use tokio::time::Instant;

use crate::body::{Part, Rows};
use crate::runs::FreeMarker;
use crate::stage::Stage;

/// The service replaces a time that lies further back; it is raised before, and order is by Seq.
const OLDEST: Duration = Duration::from_secs(47 * 3600);

impl Stage {
    /// Writes the rows of a message into bodies.
    pub(crate) async fn fill(
        &mut self,
        id: MessageId,
        mut batch: RecordBatch,
    ) -> Result<(), Error> {
        let oldest = self.now() - i64::try_from(OLDEST.as_micros()).unwrap_or(0);
        let time = batch.time_generated.max(oldest);
        let number = self.runs.open(id, &mut batch, time);
        let mut rows = std::mem::replace(&mut self.rows, Rows::new());
        rows.write(&batch, time);
        let max_raw = usize::try_from(self.options.max_raw_body.as_u64()).unwrap_or(usize::MAX);
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
        if !self.members.is_empty() {
            self.leaves.get_or_insert_with(|| Instant::now() + self.options.linger);
        }
        self.free_markers().await?;
        self.finish(number);
        self.metrics.open.set(self.gather.open() as f64);
        Ok(())
    }

    /// Lets markers go whose rows were all taken or set aside.
    pub(crate) async fn free_markers(&mut self) -> Result<(), Error> {
        for free in self.runs.take_free() {
            let FreeMarker { message, marker, run, group, site, time } = free;
            let aside = match marker.status {
                MarkerStatus::Complete => self.letters.of_run(&run).await?,
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
            if self.markers.room(usize::try_from(self.options.max_raw_body.as_u64()).unwrap_or(0))
                < text.len()
            {
                let body = self.markers.take();
                self.ready.push(body);
            }
            self.markers.add(&text, part, time);
            self.leaves.get_or_insert_with(|| Instant::now() + self.options.linger);
        }
        Ok(())
    }

    /// Closes bodies that are not full: their time has come.
    pub(crate) fn flush(&mut self) {
        self.leaves = None;
        for builder in [&mut self.members, &mut self.markers] {
            if !builder.is_empty() {
                self.ready.push(builder.take());
            }
        }
    }
}
