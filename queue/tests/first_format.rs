//! A file of the first format is opened by every later version: `fixtures/format-1.redb.gz` was written by
//! version 0.1.0 and is never written again.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use cmsync_queue::{
    Commit, Committed, Event, Output, Position, Queue, StateEntry, TopicKind, TopicSpec, embedded,
};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-1.redb.gz")
}

fn topic(name: &str, kind: TopicKind) -> TopicSpec {
    TopicSpec { name: name.into(), partitions: 2, kind, max_bytes: 1 << 20 }
}

/// What the file holds: messages, a position with its note, and state.
async fn write(directory: &Path) {
    let queue = embedded::open(directory).unwrap();
    queue
        .declare(&[topic("log", TopicKind::Log), topic("state", TopicKind::Compacted)])
        .await
        .unwrap();
    let output = |value: &'static str| Output {
        topic: "log".into(),
        partition: 1,
        key: Bytes::from_static(b"key"),
        value: Some(Bytes::from_static(value.as_bytes())),
    };
    queue.publish(vec![output("first"), output("second")]).await.unwrap();
    let (mut events, committer) = queue.join("group", "log").await.unwrap();
    for _ in 0..2 {
        assert!(matches!(events.next().await.unwrap(), Event::Assigned { .. }));
    }
    let position = Position { offset: 1, note: "a note".into() };
    let commit = Commit { positions: vec![(1, position)], ..Commit::default() };
    assert!(matches!(committer.commit(commit).await.unwrap(), Committed::Done(_)));
    let (mut events, committer) = queue.join("owner", "state").await.unwrap();
    for _ in 0..2 {
        assert!(matches!(events.next().await.unwrap(), Event::Assigned { .. }));
    }
    let (key, value) = (Bytes::from_static(b"a"), Some(Bytes::from_static(b"kept")));
    let state = vec![StateEntry { partition: 0, key, value }];
    let commit = Commit { state, ..Commit::default() };
    assert!(matches!(committer.commit(commit).await.unwrap(), Committed::Done(_)));
}

#[tokio::test]
async fn a_file_of_the_first_format_is_opened_with_all_that_it_holds() {
    let directory = tempfile::tempdir().unwrap();
    if std::env::var_os("CMSYNC_WRITE_FIXTURES").is_some() && !fixture().exists() {
        write(directory.path()).await;
        let file = std::fs::read(embedded::path_in(directory.path())).unwrap();
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(&file).unwrap();
        std::fs::write(fixture(), packed.finish().unwrap()).unwrap();
        return;
    }
    let packed = std::fs::File::open(fixture()).unwrap();
    let mut file = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut file).unwrap();
    std::fs::write(embedded::path_in(directory.path()), file).unwrap();
    let queue = embedded::open(directory.path()).unwrap();
    let messages = queue.peek("log", 1, 0).await.unwrap();
    let texts: Vec<&[u8]> = messages.iter().map(|message| &*message.value).collect();
    // What its only group has taken is gone.
    assert_eq!(texts, [b"second".as_slice()]);
    let log = queue.log("log", "group").await.unwrap();
    let position = Position { offset: 1, note: "a note".into() };
    assert_eq!((log[1].position.as_ref(), log[1].waiting), (Some(&position), 1));
    let (mut events, _committer) = queue.join("owner", "state").await.unwrap();
    let mut found = Vec::new();
    for _ in 0..2 {
        if let Event::Assigned { state, .. } = events.next().await.unwrap() {
            found.extend(state.map(Result::unwrap));
        }
    }
    assert_eq!(found, [(Bytes::from_static(b"a"), Bytes::from_static(b"kept"))]);
}
