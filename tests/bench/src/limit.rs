//! What the machine itself can do with the same rows: JSON and gzip on one core, and reading them from the disk.

use std::fs::File;
use std::io::{BufWriter, Read as _, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use cmsync_schemas::tables::{Action, MemberRow};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::rows::{Better, Rows};

/// Bytes of a body before compression, and its level, as they are in `small`.
const BODY: usize = 16 * 1024 * 1024;
const LEVEL: u32 = 2;

/// Rows of the size and likeness of the lab's.
fn each_row(
    rows: u32,
    mut then: impl FnMut(&MemberRow<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for number in 0..rows {
        let device = number.wrapping_mul(2_654_435_761) % 100_000;
        let netbios = format!("PC{device:06}");
        let row = MemberRow {
            time_generated: "2026-01-01T00:00:00.000000Z",
            site_code: "CAS",
            group_id: &format!("PS1{:05}", number / 10_000),
            resource_id: i64::from(16_777_216 + device),
            computer: &format!("{netbios}.corp.contoso.com"),
            netbios_name: &netbios,
            assigned_site: Some("PS1"),
            action: Action::Present,
            seq: 1_767_225_600_000_000 + i64::from(number / 10_000),
        };
        then(&row)?;
    }
    Ok(())
}

/// Bodies of rows, thrown away; gives rows a second of one core.
fn json_and_gzip(rows: u32) -> anyhow::Result<f64> {
    let started = Instant::now();
    let encoder = || GzEncoder::new(Vec::with_capacity(BODY / 8), Compression::new(LEVEL));
    let (mut body, mut raw, mut sent) = (encoder(), 0, 0);
    let mut line = Vec::new();
    each_row(rows, |row| {
        line.clear();
        serde_json::to_writer(&mut line, row)?;
        line.extend_from_slice(b",\n");
        body.write_all(&line)?;
        raw += line.len();
        if raw >= BODY {
            sent += std::mem::replace(&mut body, encoder()).finish()?.len();
            raw = 0;
        }
        Ok(())
    })?;
    sent += body.finish()?.len();
    anyhow::ensure!(sent > 0, "nothing was compressed");
    Ok(f64::from(rows) / started.elapsed().as_secs_f64())
}

/// The same rows as lines of a file that no cache holds; gives rows a second.
fn read_from_disk(rows: u32, directory: &Path) -> anyhow::Result<f64> {
    let path = directory.join("rows.json");
    let mut file = BufWriter::new(File::create(&path)?);
    each_row(rows, |row| {
        serde_json::to_writer(&mut file, row)?;
        Ok(file.write_all(b"\n")?)
    })?;
    file.into_inner()?.sync_all()?;
    let mut forget = Command::new("dd");
    forget.arg(format!("of={}", path.display()));
    let forgot = forget
        .args(["oflag=nocache", "conv=notrunc,fdatasync", "count=0", "status=none"])
        .status()?;
    anyhow::ensure!(forgot.success(), "the file stays in the cache");
    let started = Instant::now();
    let (mut file, mut piece) = (File::open(&path)?, vec![0; 1024 * 1024]);
    while file.read(&mut piece)? > 0 {}
    Ok(f64::from(rows) / started.elapsed().as_secs_f64())
}

/// The limits, and which share of the first the whole pipeline reaches.
pub(crate) fn compare(
    rows: &mut Rows,
    directory: &Path,
    records: f64,
    embedded: f64,
) -> anyhow::Result<()> {
    let count = records as u32;
    let none = (0.0, Better::Higher);
    let (coded, read) = (json_and_gzip(count)?, read_from_disk(count, directory)?);
    rows.add("limit.json_gzip.records_per_second", coded, "records/s", none)?;
    rows.add("limit.disk.records_per_second", read, "records/s", none)?;
    rows.add("embedded.share_of_json_gzip", embedded / coded, "", none)
}
