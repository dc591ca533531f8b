//! What a released version wrote stays readable.
//!
//! `released` holds each schema of a message that was ever written and one message of it, as bytes, numbered. What
//! was released there is never written again; `CMSYNC_WRITE_FIXTURES=1` adds the next number where a schema differs
//! from the last one.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::path::{Path, PathBuf};

use apache_avro::Schema;
use apache_avro::schema_compatibility::SchemaCompatibility;
use cmsync_schemas::*;

fn device(id: i64, fqdn: Option<&str>) -> Device {
    Device {
        resource_id: id,
        netbios_name: format!("PC{id}"),
        fqdn: fqdn.map(Into::into),
        domain: Some("CONTOSO".into()),
        assigned_site: None,
    }
}

fn change() -> Change {
    Change {
        connection: "contoso".into(),
        site_code: "CAS".into(),
        collection_id: "PS100014".into(),
        name: "Servers - Zürich \"1\"".into(),
        folder: "/Servers".into(),
        kind: ChangeKind::Delta,
        instance: "0123456789abcdef".into(),
        run_id: "r-1".into(),
        start_seq: 1_700_000_000_000_000,
        seq: 1_700_000_000_000_001,
        chunk: 2,
        is_last: true,
        total_members: 2,
        observed_at: 1_700_000_000_000_002,
        present: vec![device(16_777_219, Some("pc16777219.contoso.com")), device(7, None)],
        removed: vec![device(2_097_152_037, None)],
    }
}

fn batch() -> RecordBatch {
    let record = |id: i64| MemberRecord {
        resource_id: id,
        computer: format!("pc{id}.contoso.com"),
        netbios_name: format!("PC{id}"),
        assigned_site: Some("PS1".into()),
    };
    RecordBatch {
        change_partition: 3,
        change_offset: 41,
        site_code: "CAS".into(),
        group_id: "PS100014".into(),
        run_id: "r-1".into(),
        seq: 5,
        time_generated: 1_700_000_000_000_002,
        is_snapshot: true,
        present: vec![record(1), record(2)],
        removed: vec![],
        marker: Some(Marker {
            group: "Servers".into(),
            group_full_name: "/Servers/Servers (PS100014)".into(),
            member_count: 2,
            start_seq: 5,
            seq: 5,
            instance: "0123456789abcdef".into(),
            status: MarkerStatus::Complete,
        }),
    }
}

fn dead_letter() -> DeadLetter {
    DeadLetter {
        id: "cmsync.records.contoso/3/41/0".into(),
        connection: "contoso".into(),
        stage: "uploader".into(),
        reason: "refused".into(),
        error: "400 InvalidRecord".into(),
        run_id: "r-1".into(),
        seq: 5,
        group_id: "PS100014".into(),
        first_seen: 6,
        stream: tables::MEMBER_STREAM.into(),
        payload: b"{\"Seq\":5}".to_vec(),
    }
}

fn released(file: &str, number: usize, kind: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("released");
    folder.join(format!("{file}.{number}.{kind}"))
}

/// So many schemas of this message were written until today.
fn numbers(file: &str) -> usize {
    (1..).take_while(|number| released(file, *number, "avsc").exists()).count()
}

fn check<T>(file: &str, codec: &Codec<T>, message: &T)
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let today = SCHEMAS.iter().find(|(name, _)| *name == format!("{file}.avsc")).unwrap().1;
    let mut last = numbers(file);
    let text = |number| std::fs::read_to_string(released(file, number, "avsc")).unwrap_or_default();
    let is_written = |last| last > 0 && form(&text(last)) == form(today);
    if std::env::var_os("CMSYNC_WRITE_FIXTURES").is_some() && !is_written(last) {
        last += 1;
        std::fs::write(released(file, last, "bin"), codec.encode(message)).unwrap();
        std::fs::write(released(file, last, "avsc"), today).unwrap();
    }
    assert!(is_written(last), "{file} has a new schema: CMSYNC_WRITE_FIXTURES=1 adds it");
    let written = std::fs::read(released(file, last, "bin")).unwrap();
    assert_eq!(&codec.decode(&written).unwrap(), message, "{file}");
    assert_eq!(codec.encode(message), written, "{file}");
    // Through the codec, which must know each schema: the text alone is not what the program has.
    for number in 1..last {
        let bytes = std::fs::read(released(file, number, "bin")).unwrap();
        let read = codec.decode(&bytes);
        assert!(read.is_ok(), "{file}.{number}: {:?}; is it in OLDER?", read.err());
        assert!(reads(&text(number), today), "{file}.{number}");
    }
}

/// The first message that was ever written of this kind, read as today's.
fn first<T: serde::Serialize + serde::de::DeserializeOwned>(file: &str, codec: &Codec<T>) -> T {
    codec.decode(&std::fs::read(released(file, 1, "bin")).unwrap()).unwrap()
}

#[test]
fn messages_of_the_first_version_are_read_with_todays_defaults() {
    assert_eq!(first("change", &CHANGE), change());
    assert_eq!(first("record_batch", &RECORD_BATCH), batch());
    assert_eq!(first("dead_letter", &DEAD_LETTER), dead_letter());
    assert_eq!(first("status", &STATUS), Status { cause: String::new(), ..status() });
    assert_eq!(first("group", &GROUP).members, 2);
    assert_eq!(first("control", &CONTROL).action, "approve");
    assert_eq!(first("connection_state", &CONNECTION_STATE).last_seq, 7);
    assert_eq!(first("collection_state", &COLLECTION_STATE).rows_read, -1);
    assert_eq!(first("device_chunk", &DEVICE_CHUNK).devices, [device(1, None)]);
}

fn status() -> Status {
    Status {
        connection: "contoso".into(),
        stage: "uploader".into(),
        state: Health::Paused,
        reason: "403".into(),
        cause: "rights".into(),
        since: 1,
        last_success: 2,
        site_code: "CAS".into(),
        collections: 3,
        members: 4,
        holds: 5,
        warnings: vec!["w".into()],
    }
}

#[test]
fn messages_are_read_back_as_they_were_written_and_written_alike() {
    check("change", &CHANGE, &change());
    check("record_batch", &RECORD_BATCH, &batch());
    check("dead_letter", &DEAD_LETTER, &dead_letter());
    let group = Group {
        connection: "contoso".into(),
        site_code: "CAS".into(),
        collection_id: "PS100014".into(),
        name: "Servers".into(),
        folder: "/".into(),
        members: 2,
        is_static: true,
        computers: vec!["a.contoso.com".into(), "B".into()],
        netbios_names: vec!["A".into(), "B".into()],
        seq: 9,
    };
    check("group", &GROUP, &group);
    let control = Control {
        connection: "contoso".into(),
        subject: Subject::Removal,
        item: "PS100014".into(),
        action: "approve".into(),
        asked_at: 3,
    };
    check("control", &CONTROL, &control);
    check("status", &STATUS, &status());
    let activity = Activity {
        who: "alice".into(),
        ..Activity::new("contoso", 5, Kind::Order, "PS100014", "resend".into())
    };
    check("activity", &ACTIVITY, &activity);
    let connection = ConnectionState {
        site_code: "CAS".into(),
        instance: "i".into(),
        last_seq: 7,
        owed_devices: vec![1, 2, 3],
        all_systems_visible: true,
        account: "a".into(),
    };
    check("connection_state", &CONNECTION_STATE, &connection);
    let collection = CollectionState {
        name: "Servers".into(),
        token: "a|b".into(),
        rows_read: -1,
        held_devices: vec![9],
        ..CollectionState::default()
    };
    check("collection_state", &COLLECTION_STATE, &collection);
    check("device_chunk", &DEVICE_CHUNK, &DeviceChunk { devices: vec![device(1, None)] });
}

/// What of a schema counts: not its comments.
fn form(text: &str) -> String {
    Schema::parse_str(text).unwrap().canonical_form()
}

/// Whether data of `writer` can be read with `reader`.
fn reads(writer: &str, reader: &str) -> bool {
    let parse = |text| Schema::parse_str(text).unwrap();
    SchemaCompatibility::can_read(&parse(writer), &parse(reader)).is_ok()
}

#[test]
fn nothing_is_kept_of_a_message_that_is_none() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("released");
    let count = std::fs::read_dir(folder).unwrap().count();
    let known: usize =
        SCHEMAS.iter().map(|(file, _)| numbers(file.trim_end_matches(".avsc"))).sum();
    assert_eq!(count, 2 * known, "a schema and a message each, numbered without a gap");
}

#[test]
fn an_incompatible_edit_is_noticed() {
    for (file, schema) in SCHEMAS {
        let added = schema.replacen(
            "\"fields\": [",
            "\"fields\": [{\"name\": \"new\", \"type\": \"string\"},",
            1,
        );
        assert!(!reads(schema, &added), "{file}: a new field without a default");
        let defaulted =
            added.replacen("\"type\": \"string\"}", "\"type\": \"string\", \"default\": \"\"}", 1);
        assert!(reads(schema, &defaulted), "{file}: a new field with a default");
    }
    let (_, change) = SCHEMAS.iter().find(|(file, _)| *file == "change.avsc").unwrap();
    assert!(!reads(
        change,
        &change.replace("\"seq\", \"type\": \"long\"", "\"seq\", \"type\": \"string\"")
    ));
}

#[test]
fn foreign_bytes_are_told_from_newer_messages_and_damaged_ones() {
    let good = CHANGE.encode(&change());
    assert!(matches!(CHANGE.decode(b""), Err(DecodeError::UnknownFraming(0))));
    assert!(matches!(CHANGE.decode(b"{\"a\":1} and more"), Err(DecodeError::UnknownFraming(_))));
    let mut newer = good.to_vec();
    newer[5] ^= 1;
    assert!(matches!(CHANGE.decode(&newer), Err(DecodeError::UnknownFingerprint(_))));
    for cut in 10..good.len() {
        assert!(
            matches!(CHANGE.decode(&good[..cut]), Err(DecodeError::Damaged(_))),
            "cut at {cut}"
        );
    }
}

#[test]
fn a_full_message_stays_below_the_limit() {
    let long = Device {
        resource_id: i64::from(u32::MAX),
        netbios_name: "N".repeat(15),
        fqdn: Some("f".repeat(255)),
        domain: Some("D".repeat(15)),
        assigned_site: Some("PS1".into()),
    };
    let devices = vec![long; topics::DEVICES_PER_MESSAGE];
    let full = Change { present: devices.clone(), removed: devices, ..change() };
    assert!(CHANGE.encode(&full).len() < topics::MAX_MESSAGE_BYTES);
}

#[test]
fn steady_successes_are_told_now_and_then_and_never_kept_from_whoever_looks() {
    let mut status = Status::starting("c", "uploader", 1);
    let told: Vec<i64> =
        (0..60).map(|s| 5 + s * 1_000_000).filter(|t| status.note_success(*t)).collect();
    assert_eq!(told, [5, 16_000_005, 32_000_005, 48_000_005]);
    assert_eq!((status.state, status.since, status.last_success), (Health::Working, 5, 48_000_005));
}

#[test]
fn kql_strings_hold_any_text() {
    assert_eq!(kql::kql_string("a'b\\c\nd\u{7}"), "'a\\'b\\\\c\\nd\\u0007'");
    assert_eq!(tables::format_time(1_700_000_000_000_002), "2023-11-14T22:13:20.000002Z");
}
