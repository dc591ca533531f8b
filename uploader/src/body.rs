//! Bodies: JSON arrays of rows, gzipped while they are filled.
//!
//! Rows stand one a line, so that a body that is refused can be taken apart again without parsing
//! it. A body remembers which rows of which messages it holds, in order.

use std::io::{Read, Write};

use bytes::Bytes;
use cmsync_schemas::tables::{
    Action, COLLECTION_COLUMNS, COLLECTION_STREAM, CollectionRow, MEMBER_COLUMNS, MemberRow,
    format_time, frame,
};
use cmsync_schemas::{MemberRecord, RecordBatch};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use tokio::time::Instant;

/// Level 2: ten to one at 570 MB/s, measured on rows like these; level 6 gains little for 1.7 times
/// the time.
const LEVEL: u32 = 2;
/// Output that the compressor may still hold back when its input is counted.
const HELD_BACK: usize = 64 * 1024;

/// Rows of one message in a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// The open message.
    pub(crate) message: u64,
    /// Its first row in this body.
    pub(crate) first: u32,
    /// How many.
    pub(crate) rows: u32,
}

/// A body that is ready to go.
#[derive(Debug, Clone)]
pub(crate) struct Body {
    pub(crate) stream: &'static str,
    pub(crate) bytes: Bytes,
    pub(crate) parts: Vec<Part>,
    pub(crate) rows: u32,
    /// Bytes before compression.
    pub(crate) raw: usize,
    /// The oldest observation among its rows; microseconds since 1970.
    pub(crate) oldest: i64,
}

/// A body that is being filled.
pub(crate) struct Builder {
    stream: &'static str,
    encoder: GzEncoder<Vec<u8>>,
    raw: usize,
    parts: Vec<Part>,
    rows: u32,
    oldest: i64,
    /// When its first row came.
    since: Option<Instant>,
}

impl Builder {
    pub(crate) fn new(stream: &'static str) -> Self {
        let encoder = GzEncoder::new(Vec::with_capacity(64 * 1024), Compression::new(LEVEL));
        Self { stream, encoder, raw: 0, parts: Vec::new(), rows: 0, oldest: i64::MAX, since: None }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Adds rows of a message, already written one a line with `,\n` between them.
    pub(crate) fn add(&mut self, lines: &[u8], part: Part, observed: i64) {
        let between: &[u8] = if self.rows == 0 { b"[" } else { b",\n" };
        // Writing to memory does not fail.
        drop(self.encoder.write_all(between).and_then(|()| self.encoder.write_all(lines)));
        self.raw += between.len() + lines.len();
        self.rows += part.rows;
        self.since.get_or_insert_with(Instant::now);
        self.oldest = self.oldest.min(observed);
        match self.parts.last_mut() {
            Some(last) if last.message == part.message && last.first + last.rows == part.first => {
                last.rows += part.rows;
            }
            _ => self.parts.push(part),
        }
    }

    /// Bytes before compression that may still be added.
    pub(crate) fn room(&self, max_raw: usize) -> usize {
        max_raw.saturating_sub(self.raw + 2)
    }

    /// Whether the body is as large on the wire as it should get.
    pub(crate) fn is_full(&self, max_wire: usize) -> bool {
        self.encoder.get_ref().len() + HELD_BACK.min(max_wire / 8) >= max_wire
    }

    /// When its first row came; `None` while it is empty.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Closes the body if it holds anything.
    pub(crate) fn take_any(&mut self) -> Option<Body> {
        (!self.is_empty()).then(|| self.take())
    }

    /// Closes the body; an empty builder takes its place.
    pub(crate) fn take(&mut self) -> Body {
        let stream = self.stream;
        let mut full = std::mem::replace(self, Self::new(stream));
        drop(full.encoder.write_all(b"]"));
        let bytes = full.encoder.finish().unwrap_or_default();
        Body {
            stream,
            bytes: bytes.into(),
            parts: full.parts,
            rows: full.rows,
            raw: full.raw,
            oldest: full.oldest,
        }
    }
}

impl Body {
    /// Bytes that Azure bills for it, estimated: it counts the values of columns as text, without
    /// their names ("Azure Monitor Logs cost calculations and options", data size calculation).
    pub(crate) fn billed(&self) -> u64 {
        let is_marker = self.stream == COLLECTION_STREAM;
        let frame = frame(if is_marker { COLLECTION_COLUMNS } else { MEMBER_COLUMNS });
        self.raw.saturating_sub(frame * self.rows as usize) as u64
    }

    /// The rows, one by one, as JSON.
    pub(crate) fn lines(&self) -> Vec<Vec<u8>> {
        let mut raw = Vec::new();
        // Its own output always inflates.
        drop(GzDecoder::new(self.bytes.as_ref()).read_to_end(&mut raw));
        let inner = raw.strip_prefix(b"[").and_then(|r| r.strip_suffix(b"]")).unwrap_or_default();
        let lines = inner.split(|b| *b == b'\n');
        lines.map(|line| line.strip_suffix(b",").unwrap_or(line).to_vec()).collect()
    }

    /// Two bodies with half of the rows each.
    pub(crate) fn halves(&self) -> (Self, Self) {
        let lines = self.lines();
        let middle = lines.len() / 2;
        let mut halves = (Builder::new(self.stream), Builder::new(self.stream));
        for (index, (line, (message, row))) in lines.iter().zip(self.rows()).enumerate() {
            let half = if index < middle { &mut halves.0 } else { &mut halves.1 };
            half.add(line, Part { message, first: row, rows: 1 }, self.oldest);
        }
        (halves.0.take(), halves.1.take())
    }

    /// Message and row number of each row.
    fn rows(&self) -> impl Iterator<Item = (u64, u32)> {
        self.parts
            .iter()
            .flat_map(|part| (part.first..part.first + part.rows).map(|row| (part.message, row)))
    }
}

/// Writes the member rows of a batch, and where each ends.
pub(crate) struct Rows {
    pub(crate) text: Vec<u8>,
    /// Ends of rows within `text`, without what stands between them.
    pub(crate) ends: Vec<usize>,
}

impl Rows {
    pub(crate) fn new() -> Self {
        Self { text: Vec::new(), ends: Vec::new() }
    }

    /// Writes the rows of `batch`, with its time or a later one.
    pub(crate) fn write(&mut self, batch: &RecordBatch, time_generated: i64) {
        self.text.clear();
        self.ends.clear();
        let time = format_time(time_generated);
        let mut head = Vec::with_capacity(128);
        head.extend_from_slice(b"{\"TimeGenerated\":");
        string(&mut head, &time);
        head.extend_from_slice(b",\"SiteCode\":");
        string(&mut head, &batch.site_code);
        head.extend_from_slice(b",\"GroupId\":");
        string(&mut head, &batch.group_id);
        head.extend_from_slice(b",\"ResourceId\":");
        let here = if batch.is_snapshot { Action::Present } else { Action::Add };
        for (records, action) in [(&batch.present, here), (&batch.removed, Action::Remove)] {
            let tail = format!(",\"Action\":\"{action:?}\",\"Seq\":{}}}", batch.seq);
            for record in records {
                if !self.text.is_empty() {
                    self.text.extend_from_slice(b",\n");
                }
                self.text.extend_from_slice(&head);
                record_columns(&mut self.text, record);
                self.text.extend_from_slice(tail.as_bytes());
                self.ends.push(self.text.len());
            }
        }
    }
}

fn record_columns(text: &mut Vec<u8>, record: &MemberRecord) {
    // Writing to memory does not fail.
    drop(write!(text, "{}", record.resource_id));
    text.extend_from_slice(b",\"Computer\":");
    string(text, &record.computer);
    text.extend_from_slice(b",\"NetbiosName\":");
    string(text, &record.netbios_name);
    text.extend_from_slice(b",\"AssignedSite\":");
    match &record.assigned_site {
        Some(site) => string(text, site),
        None => text.extend_from_slice(b"null"),
    }
}

/// A JSON string. Names rarely need an escape, and then serde_json writes it.
fn string(text: &mut Vec<u8>, value: &str) {
    let is_plain = value.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\');
    if is_plain {
        text.push(b'"');
        text.extend_from_slice(value.as_bytes());
        text.push(b'"');
    } else {
        drop(serde_json::to_writer(text, value));
    }
}

/// A body with one row that says nothing and shows whether a rule takes rows of a stream: readers
/// pass over `Status == 'Test'`, and over members of a site for which there is no marker.
pub(crate) fn test_row(stream: &'static str, now: i64) -> Body {
    let time = format_time(now);
    let member = MemberRow {
        time_generated: &time,
        site_code: "-",
        group_id: "-",
        resource_id: 0,
        computer: "-",
        netbios_name: "-",
        assigned_site: None,
        action: Action::Present,
        seq: 0,
    };
    let mut builder = Builder::new(stream);
    let text = match stream == COLLECTION_STREAM {
        true => test_marker(&time, "test", 0),
        false => serde_json::to_vec(&member).unwrap_or_default(),
    };
    builder.add(&text, Part { message: 0, first: 0, rows: 1 }, now);
    builder.take()
}

/// A marker that readers pass over.
fn test_marker(time: &str, run_id: &str, seq: i64) -> Vec<u8> {
    let row = CollectionRow {
        time_generated: time,
        site_code: "-",
        group_id: "-",
        group: "-",
        group_full_name: "-",
        member_count: 0,
        run_id,
        start_seq: 0,
        seq,
        instance: "-",
        status: "Test",
    };
    serde_json::to_vec(&row).unwrap_or_default()
}

/// A body of so many markers that readers pass over; they differ in their seq.
pub(crate) fn large_test(now: i64, run_id: &str, rows: u64) -> Body {
    let time = format_time(now);
    let mut builder = Builder::new(COLLECTION_STREAM);
    for seq in 0..i64::try_from(rows).unwrap_or(i64::MAX) {
        let text = test_marker(&time, run_id, seq);
        builder.add(&text, Part { message: 0, first: 0, rows: 1 }, now);
    }
    builder.take()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cmsync_schemas::tables::MEMBER_STREAM;
    use proptest::prelude::*;

    #[test]
    fn the_large_test_body_is_larger_than_what_it_allows_and_small_on_the_wire() {
        let (_, bytes) = crate::large_test_body(1_700_000_000_000_000, "large-body");
        let mut raw = Vec::new();
        GzDecoder::new(bytes.as_ref()).read_to_end(&mut raw).unwrap();
        assert!(raw.len() as u64 >= crate::LARGE_RAW && raw.len() < 50 << 20, "{}", raw.len());
        assert!(bytes.len() < 1_044_480, "{}", bytes.len());
    }

    fn record() -> impl Strategy<Value = MemberRecord> {
        (
            "\\PC{0,12}|[\"\\\\\n\r\t\u{1}é]{0,4}",
            "[A-Z0-9-]{1,15}",
            proptest::option::of("[A-Z]{3}"),
            0..i64::from(u32::MAX),
        )
            .prop_map(|(computer, netbios_name, assigned_site, resource_id)| {
                MemberRecord { resource_id, computer, netbios_name, assigned_site }
            })
    }

    fn batch(
        present: Vec<MemberRecord>,
        removed: Vec<MemberRecord>,
        is_snapshot: bool,
    ) -> RecordBatch {
        RecordBatch {
            change_partition: 0,
            change_offset: 0,
            site_code: "C\"S".into(),
            group_id: "PS100001".into(),
            run_id: "r".into(),
            seq: 42,
            time_generated: 1_700_000_000_000_002,
            is_snapshot,
            present,
            removed,
            marker: None,
        }
    }

    proptest! {
        #[test]
        fn rows_are_what_serde_would_write_and_halves_keep_every_row_in_its_place(
            present in proptest::collection::vec(record(), 0..30),
            removed in proptest::collection::vec(record(), 0..30),
            is_snapshot in any::<bool>(),
        ) {
            prop_assume!(present.len() + removed.len() > 1);
            let batch = batch(present, removed, is_snapshot);
            let mut rows = Rows::new();
            rows.write(&batch, batch.time_generated);
            let count = u32::try_from(rows.ends.len()).unwrap();
            let mut builder = Builder::new(MEMBER_STREAM);
            builder.add(&rows.text, Part { message: 9, first: 0, rows: count }, 5);
            let body = builder.take();
            let lines = body.lines();
            prop_assert_eq!(lines.len(), batch.present.len() + batch.removed.len());
            let time = format_time(batch.time_generated);
            for (line, (index, record)) in lines.iter().zip(batch.present.iter().chain(&batch.removed).enumerate()) {
                let action = if index >= batch.present.len() { Action::Remove } else if is_snapshot { Action::Present } else { Action::Add };
                let expected = MemberRow::of(&batch, record, action, &time);
                let found: serde_json::Value = serde_json::from_slice(line).unwrap();
                prop_assert_eq!(found, serde_json::to_value(expected).unwrap());
            }
            let (left, right) = body.halves();
            prop_assert_eq!(left.rows + right.rows, count);
            prop_assert!(left.rows.abs_diff(right.rows) <= 1);
            let both: Vec<_> = left.lines().into_iter().chain(right.lines()).collect();
            prop_assert_eq!(both, lines);
            let numbers: Vec<_> = left.rows().chain(right.rows()).collect();
            prop_assert_eq!(numbers, (0..count).map(|row| (9, row)).collect::<Vec<_>>());
        }
    }
}
