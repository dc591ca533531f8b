//! What is special to the embedded queue: its file.

use bytes::Bytes;
use cmsync_queue::worker::while_owner;
use cmsync_queue::{Error, Output, Queue, TopicKind, TopicSpec, embedded};
use tokio::sync::Barrier;
use tokio_util::sync::CancellationToken;

fn log(max_bytes: u64) -> TopicSpec {
    TopicSpec { name: "log".into(), partitions: 1, kind: TopicKind::Log, max_bytes }
}

fn output(bytes: usize) -> Output {
    let value = Some(Bytes::from(vec![7_u8; bytes]));
    Output { topic: "log".into(), partition: 0, key: Bytes::new(), value }
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let _open = embedded::open(directory.path()).unwrap();
    let second = embedded::open(directory.path()).map(drop);
    assert!(matches!(second, Err(Error::Locked(_))), "{second:?}");
}

#[tokio::test]
async fn a_damaged_file_is_refused_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    drop(embedded::open(directory.path()).unwrap());
    let path = directory.path().join("queue.redb");
    let whole = loop {
        // The writer task lets go of the file when it sees its last handle gone.
        tokio::task::yield_now().await;
        if embedded::open(directory.path()).is_ok() {
            break std::fs::read(&path).unwrap();
        }
    };
    tokio::task::yield_now().await;
    for (name, damage) in [
        ("not a queue at all", b"hello, I am a text file".repeat(300)),
        ("cut short", whole.get(..whole.len() / 8).unwrap().to_vec()),
        ("first page overwritten", [vec![0xAA; 512], whole.get(512..).unwrap().to_vec()].concat()),
    ] {
        let other = tempfile::tempdir().unwrap();
        std::fs::write(other.path().join("queue.redb"), &damage).unwrap();
        let refused = embedded::open(other.path()).map(drop).unwrap_err();
        assert!(matches!(refused, Error::Damaged { .. }), "{name}: {refused:?}");
        assert!(refused.to_string().contains("move the directory away"), "{refused}");
        assert_eq!(
            std::fs::read(other.path().join("queue.redb")).unwrap(),
            damage,
            "{name}: touched"
        );
    }
}

#[tokio::test]
async fn another_format_is_refused_by_its_number() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queue.redb");
    {
        let database = redb::Database::create(&path).unwrap();
        let write = database.begin_write().unwrap();
        let meta: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("meta");
        write.open_table(meta).unwrap().insert("format", 2).unwrap();
        write.commit().unwrap();
    }
    let refused = embedded::open(directory.path()).map(drop).unwrap_err();
    assert!(matches!(refused, Error::Format { found: 2, expected: 1, .. }), "{refused:?}");
}

#[tokio::test]
async fn a_file_that_was_filled_and_drained_many_times_does_not_grow_without_bound() {
    let directory = tempfile::tempdir().unwrap();
    let queue = embedded::open(directory.path()).unwrap();
    queue.declare(&[log(4 << 20)]).await.unwrap();
    let (mut events, committer) = queue.join("g", "log").await.unwrap();
    events.next().await.unwrap();
    let mut written = 0;
    for round in 0..40 {
        for _ in 0..8 {
            queue.publish(vec![output(256 << 10)]).await.unwrap();
            written += 256 << 10;
        }
        let position = cmsync_queue::Position { offset: 8 * (round + 1), note: String::new() };
        let commit = cmsync_queue::Commit { positions: vec![(0, position)], ..Default::default() };
        committer.commit(commit).await.unwrap();
    }
    let size = std::fs::metadata(directory.path().join("queue.redb")).unwrap().len();
    assert!(size < 24 << 20, "{size} bytes for {written} written");
}

#[tokio::test]
async fn an_owner_that_works_on_and_on_does_not_let_the_file_grow() {
    let directory = tempfile::tempdir().unwrap();
    let queue = embedded::open(directory.path()).unwrap();
    let kind = TopicKind::Compacted;
    let latest = TopicSpec { name: "latest".into(), kind, ..log(u64::MAX) };
    queue.declare(&[latest]).await.unwrap();
    let overwrite = || Output { topic: "latest".into(), ..output(256 << 10) };
    queue.publish(vec![overwrite()]).await.unwrap();
    let stop = CancellationToken::new();
    let works = Barrier::new(2);
    let owner = while_owner(&queue, ("g", "latest"), &stop, |token| async {
        works.wait().await;
        token.cancelled_owned().await;
        Ok(())
    });
    let others = async {
        works.wait().await;
        for _ in 0..150 {
            queue.publish(vec![overwrite()]).await.unwrap();
        }
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(owner, others);
    ended.unwrap();
    let size = std::fs::metadata(directory.path().join("queue.redb")).unwrap().len();
    assert!(size < 24 << 20, "{size} bytes hold one entry of 256 KiB");
}

#[test]
fn a_batch_that_is_applied_twice_counts_once() {
    use cmsync_queue::embedded::RedbStore;
    use cmsync_queue::local::{Batch, Store, StoredTopic};
    let directory = tempfile::tempdir().unwrap();
    let store = RedbStore::open(directory.path()).unwrap();
    let topic = StoredTopic { id: 1, name: "log".into(), partitions: 1, kind: TopicKind::Log };
    let message = |offset| ((1, 0), offset, Bytes::from_static(b"k"), Bytes::from_static(b"value"));
    let batch = Batch {
        new_topics: vec![topic],
        appends: vec![message(0), message(1)],
        upserts: vec![((1, 1), Bytes::from_static(b"k"), Some(Bytes::from_static(b"v")))],
        ends: vec![((1, 0), 2), ((1, 1), 1)],
        ..Batch::default()
    };
    let once = store.apply(&batch).unwrap();
    assert_eq!(once.iter().map(|(_, e)| e.bytes).collect::<Vec<_>>(), [12, 2]);
    // As after a commit that failed at its end and was durable all the same.
    store.recover().unwrap();
    assert_eq!(store.apply(&batch).unwrap(), once);
}
