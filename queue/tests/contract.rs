//! The contract suite: every backend is asked for the same promises.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it fails")]

mod backends;

use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "kafka")]
use backends::Kafka;
use backends::{Backend, Embedded, Memory};
use bytes::Bytes;
#[cfg(feature = "kafka")]
use cmsync_queue::kafka::GroupProtocol;
use cmsync_queue::worker::{Each, Gather, Gathered, Handled, each};
use cmsync_queue::{
    Commit, Committed, Error, Event, Events, Message, Output, Position, Queue, State, StateEntry,
    TopicKind, TopicSpec,
};
use tokio_util::sync::CancellationToken;

fn topic(name: &str, partitions: u32, kind: TopicKind) -> TopicSpec {
    TopicSpec { name: name.into(), partitions, kind, max_bytes: 1 << 20 }
}

async fn declare(queue: &dyn Queue) {
    let topics = [
        topic("in", 2, TopicKind::Log),
        topic("out", 2, TopicKind::Log),
        topic("state", 2, TopicKind::Compacted),
    ];
    queue.declare(&topics).await.unwrap();
}

fn output(topic: &str, partition: u32, value: &str) -> Output {
    let value = Some(Bytes::copy_from_slice(value.as_bytes()));
    Output { topic: topic.into(), partition, key: Bytes::from_static(b"k"), value }
}

fn at(offset: u64) -> Position {
    Position { offset, note: format!("note {offset}") }
}

/// Takes events until `partition` was assigned; gives its position and state.
async fn assigned(events: &mut dyn Events, partition: u32) -> (Position, Vec<(Bytes, Bytes)>) {
    loop {
        if let Event::Assigned { partition: p, position, state, .. } = events.next().await.unwrap()
            && p == partition
        {
            return (position, state.map(Result::unwrap).collect());
        }
    }
}

/// Takes messages of `partition` until there are `count`.
async fn take(events: &mut dyn Events, partition: u32, count: usize) -> Vec<Message> {
    let mut taken = Vec::new();
    while taken.len() < count {
        if let Event::Messages { partition: p, messages } = events.next().await.unwrap()
            && p == partition
        {
            taken.extend(messages);
        }
    }
    taken
}

async fn texts(queue: &dyn Queue, topic: &str, partition: u32) -> Vec<String> {
    let messages = queue.peek(topic, partition, 0).await.unwrap();
    messages.iter().map(|m| String::from_utf8(m.value.to_vec()).unwrap()).collect()
}

/// Whether nothing happens, however long one waits: where time is paused, this is exact.
async fn stays_silent(backend: &dyn Backend, events: &mut dyn Events) -> bool {
    tokio::time::timeout(backend.silence(), events.next()).await.is_err()
}

macro_rules! contract {
    ($($name:ident)*) => {
        mod memory { $(#[tokio::test(start_paused = true)] async fn $name() {
            super::$name(&super::Memory::new()).await;
        })* }
        mod embedded { $(#[tokio::test(start_paused = true)] async fn $name() {
            super::$name(&super::Embedded::new()).await;
        })* }
        #[cfg(feature = "kafka")]
        mod kafka { $(#[tokio::test(flavor = "multi_thread")] async fn $name() {
            super::$name(&super::Kafka::new()).await;
        })* }
        #[cfg(feature = "kafka")]
        mod kafka_consumer_protocol { $(#[tokio::test(flavor = "multi_thread")] async fn $name() {
            super::$name(&super::Kafka::with(super::GroupProtocol::Consumer)).await;
        })* }
    };
}

contract! {
    outputs_positions_and_state_become_durable_together
    the_order_of_a_partition_is_kept
    an_aborted_commit_leaves_nothing_and_may_be_tried_again
    a_lost_member_is_told_and_starts_again_from_its_last_commit
    two_members_never_both_write_for_one_partition
    state_comes_as_one_ordered_scan_without_what_was_forgotten
    a_full_topic_makes_its_writers_wait_and_no_other
    what_every_group_has_read_is_reclaimed
    a_position_may_lie_below_what_was_pulled_and_keeps_its_note
    a_paused_partition_stays_silent_while_others_go_on
    a_commit_beyond_the_limits_is_refused_whole
    a_crash_before_the_write_loses_the_commit_whole_and_after_it_keeps_it_whole
    a_removed_topic_is_gone_and_may_be_made_again
    a_topic_is_never_declared_with_other_partitions
    gathered_messages_finish_in_any_order_and_positions_follow_the_lowest_open
    gathered_outputs_are_durable_before_the_position_above_them
    a_held_message_stops_its_partition_alone
}

async fn outputs_positions_and_state_become_durable_together(backend: &dyn Backend) {
    let queue = backend.open().await;
    declare(&*queue).await;
    let (mut events, committer) = queue.join("owner", "state").await.unwrap();
    assigned(&mut *events, 1).await;
    let entry = |v: &'static [u8]| StateEntry {
        partition: 1,
        key: Bytes::from_static(b"a"),
        value: Some(Bytes::from_static(v)),
    };
    let commit = Commit {
        outputs: vec![output("out", 0, "x")],
        positions: vec![(1, at(7))],
        state: vec![entry(b"1")],
    };
    assert_eq!(committer.commit(commit).await.unwrap(), Committed::Done(vec![0]));
    drop((events, committer));

    let queue = backend.restart(queue).await;
    assert_eq!(texts(&*queue, "out", 0).await, ["x"]);
    let (mut events, _committer) = queue.join("owner", "state").await.unwrap();
    let (position, state) = assigned(&mut *events, 1).await;
    assert_eq!(position, at(7));
    assert_eq!(state, [(Bytes::from_static(b"a"), Bytes::from_static(b"1"))]);
}

async fn the_order_of_a_partition_is_kept(backend: &dyn Backend) {
    let queue = backend.open().await;
    declare(&*queue).await;
    for n in 0..100 {
        queue.publish(vec![output("in", n % 2, &n.to_string())]).await.unwrap();
    }
    let (mut events, _committer) = queue.join("g", "in").await.unwrap();
    let taken = take(&mut *events, 1, 50).await;
    assert_eq!(taken.iter().map(|m| m.offset).collect::<Vec<_>>(), (0..50).collect::<Vec<_>>());
    let texts: Vec<_> =
        taken.iter().map(|m| String::from_utf8(m.value.to_vec()).unwrap()).collect();
    assert_eq!(texts, (0..50).map(|n| (2 * n + 1).to_string()).collect::<Vec<_>>());
}

async fn an_aborted_commit_leaves_nothing_and_may_be_tried_again(backend: &dyn Backend) {
    let queue = backend.open().await;
    declare(&*queue).await;
    let (mut events, committer) = queue.join("g", "in").await.unwrap();
    assigned(&mut *events, 0).await;
    backend.abort_next(&*queue, 1);
    let commit =
        Commit { outputs: vec![output("out", 0, "x")], positions: vec![(0, at(3))], state: vec![] };
    let Committed::Retry(again) = committer.commit(commit.clone()).await.unwrap() else {
        panic!("not aborted")
    };
    assert_eq!(again, commit);
    assert!(texts(&*queue, "out", 0).await.is_empty());
    assert_eq!(queue.log("in", "g").await.unwrap()[0].position, None);
    assert!(matches!(committer.commit(again).await.unwrap(), Committed::Done(_)));
    assert_eq!(texts(&*queue, "out", 0).await, ["x"]);
}

async fn a_lost_member_is_told_and_starts_again_from_its_last_commit(backend: &dyn Backend) {
    let queue = backend.open().await;
    declare(&*queue).await;
    for n in 0..4 {
        queue.publish(vec![output("in", 0, &n.to_string())]).await.unwrap();
    }
    let (mut events, committer) = queue.join("g", "in").await.unwrap();
    assert_eq!(take(&mut *events, 0, 4).await.len(), 4);
    let commit = |to| Commit {
        positions: vec![(0, at(to))],
        outputs: vec![output("out", 0, "x")],
        state: vec![],
    };
    assert!(matches!(committer.commit(commit(2)).await.unwrap(), Committed::Done(_)));
    backend.revoke(&*queue, "g", "in");
    assert_eq!(committer.commit(commit(4)).await.unwrap(), Committed::Lost);
    assert_eq!(texts(&*queue, "out", 0).await.len(), 1);
    assert_eq!(assigned(&mut *events, 0).await.0, at(2));
    assert_eq!(take(&mut *events, 0, 2).await[0].offset, 2);
    assert!(matches!(committer.commit(commit(4)).await.unwrap(), Committed::Done(_)));
}

async fn two_members_never_both_write_for_one_partition(backend: &dyn Backend) {
    let queue = backend.open().await;
    declare(&*queue).await;
    let (mut first, of_first) = queue.join("g", "in").await.unwrap();
    assigned(&mut *first, 1).await;
    let (mut second, of_second) = queue.join("g", "in").await.unwrap();
    let (moved, stays) = match second.next().await.unwrap() {
        Event::Assigned { partition, .. } => (partition, 1 - partition),
        other => panic!("{other:?}"),
    };
    let commit = |p| Commit {
        positions: vec![(p, at(1))],
        outputs: vec![output("out", p, "x")],
        state: vec![],
    };
    assert_eq!(of_first.commit(commit(moved)).await.unwrap(), Committed::Lost);
    assert!(matches!(of_second.commit(commit(moved)).await.unwrap(), Committed::Done(_)));
    assert_eq!(texts(&*queue, "out", moved).await.len(), 1);
    // What stayed with the first is its own again after it has heard of the loss.
    assigned(&mut *first, stays).await;
    assert!(matches!(of_first.commit(commit(stays)).await.unwrap(), Committed::Done(_)));
    drop(second);
    assigned(&mut *first, moved).await;
    assert_eq!(of_second.commit(commit(moved)).await.unwrap(), Committed::Lost);
}

async fn state_comes_as_one_ordered_scan_without_what_was_forgotten(backend: &dyn Backend) {
    let queue = backend.open().await;
    declare(&*queue).await;
    let (mut events, committer) = queue.join("owner", "state").await.unwrap();
    for _ in 0..2 {
        assert!(matches!(events.next().await.unwrap(), Event::Assigned { .. }));
    }
    let entry = |partition, key: &str, value: Option<&'static [u8]>| StateEntry {
        partition,
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: value.map(Bytes::from_static),
    };
    for state in [
        vec![entry(0, "b", Some(b"1")), entry(0, "a", Some(b"1")), entry(1, "z", Some(b"9"))],
        vec![entry(0, "b", Some(b"2")), entry(0, "c", Some(b"1")), entry(0, "ba", Some(b"1"))],
        vec![entry(0, "a", None)],
    ] {
        let commit = Commit { state, ..Commit::default() };
        assert!(matches!(committer.commit(commit).await.unwrap(), Committed::Done(_)));
    }
    let text = |entries: State| -> Vec<String> {
        let text = |(key, value): (Bytes, Bytes)| [key, value].concat();
        entries.map(|e| String::from_utf8(text(e.unwrap())).unwrap()).collect()
    };
    assert_eq!(text(queue.scan("state").await.unwrap()), ["b2", "ba1", "c1", "z9"]);
    for (prefix, within) in [("b", vec!["b2", "ba1"]), ("ba", vec!["ba1"]), ("z", vec!["z9"])] {
        let found = queue.scan_within("state", prefix.into()).await.unwrap();
        assert_eq!(text(found), within, "{prefix}");
    }
    assert!(text(queue.scan_within("state", "bb".into()).await.unwrap()).is_empty());
    let bytes: u64 = queue.log("state", "owner").await.unwrap().iter().map(|p| p.bytes).sum();
    assert_eq!(bytes, 9);
    assert!(queue.scan("in").await.is_err());
}

async fn a_full_topic_makes_its_writers_wait_and_no_other(backend: &dyn Backend) {
    let queue = backend.open().await;
    declare(&*queue).await;
    let small = TopicSpec { max_bytes: 10, ..topic("small", 1, TopicKind::Log) };
    queue.declare(&[small]).await.unwrap();
    let (mut events, committer) = queue.join("g", "small").await.unwrap();
    assigned(&mut *events, 0).await;
    // An empty topic takes one message of any size.
    queue.publish(vec![output("small", 0, "more than ten bytes")]).await.unwrap();
    let blocked = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { queue.publish(vec![output("small", 0, "waits")]).await }
    });
    for n in 0..20 {
        queue.publish(vec![output("in", 0, &n.to_string())]).await.unwrap();
    }
    assert!(!blocked.is_finished());
    assert_eq!(texts(&*queue, "small", 0).await.len(), 1);
    let commit = Commit { positions: vec![(0, at(1))], ..Commit::default() };
    assert!(matches!(committer.commit(commit).await.unwrap(), Committed::Done(_)));
    assert_eq!(blocked.await.unwrap().unwrap(), [1]);
    assert_eq!(texts(&*queue, "small", 0).await, ["waits"]);
}

async fn what_every_group_has_read_is_reclaimed(backend: &dyn Backend) {
    let queue = backend.open().await;
    declare(&*queue).await;
    let mut groups = Vec::new();
    for group in ["one", "two"] {
        let (mut events, committer) = queue.join(group, "in").await.unwrap();
        assigned(&mut *events, 0).await;
        let start = Commit { positions: vec![(0, at(0))], ..Commit::default() };
        committer.commit(start).await.unwrap();
        groups.push((events, committer));
    }
    for n in 0..3 {
        queue.publish(vec![output("in", 0, &n.to_string())]).await.unwrap();
    }
    let log = async || queue.log("in", "one").await.unwrap()[0].clone();
    let to = |offset| Commit { positions: vec![(0, at(offset))], ..Commit::default() };
    groups[0].1.commit(to(3)).await.unwrap();
    assert_eq!((log().await.start, log().await.bytes), (0, 6));
    groups[1].1.commit(to(2)).await.unwrap();
    assert_eq!((log().await.start, log().await.end, log().await.bytes), (2, 3, 2));
    groups[1].1.commit(to(3)).await.unwrap();
    assert_eq!((log().await.start, log().await.bytes), (3, 0));
}

async fn a_position_may_lie_below_what_was_pulled_and_keeps_its_note(backend: &dyn Backend) {
    let queue = backend.open().await;
    declare(&*queue).await;
    for n in 0..5 {
        queue.publish(vec![output("in", 0, &n.to_string())]).await.unwrap();
    }
    let (mut events, committer) = queue.join("g", "in").await.unwrap();
    take(&mut *events, 0, 5).await;
    let commit = Commit { positions: vec![(0, at(2))], ..Commit::default() };
    committer.commit(commit).await.unwrap();
    drop((events, committer));
    let queue = backend.restart(queue).await;
    assert_eq!(queue.log("in", "g").await.unwrap()[0].position, Some(at(2)));
    let (mut events, _committer) = queue.join("g", "in").await.unwrap();
    assert_eq!(take(&mut *events, 0, 3).await[0].offset, 2);
}

async fn a_paused_partition_stays_silent_while_others_go_on(backend: &dyn Backend) {
    let queue = backend.open().await;
    declare(&*queue).await;
    let (mut events, _committer) = queue.join("g", "in").await.unwrap();
    assigned(&mut *events, 1).await;
    events.pause(0);
    queue.publish(vec![output("in", 0, "a"), output("in", 1, "b")]).await.unwrap();
    assert_eq!(take(&mut *events, 1, 1).await.len(), 1);
    assert!(stays_silent(backend, &mut *events).await);
    events.resume(0);
    assert_eq!(take(&mut *events, 0, 1).await.len(), 1);
}

async fn a_commit_beyond_the_limits_is_refused_whole(backend: &dyn Backend) {
    let queue = backend.open().await;
    declare(&*queue).await;
    let many = (0..65).map(|_| output("out", 0, "x")).collect();
    assert!(matches!(queue.publish(many).await, Err(Error::InvalidCommit(_))));
    let huge = "x".repeat(9 << 20);
    let huge = vec![output("out", 0, &huge), output("out", 0, &huge)];
    assert!(matches!(queue.publish(huge).await, Err(Error::InvalidCommit(_))));
    let nowhere = vec![output("out", 0, "x"), output("out", 2, "x")];
    assert!(matches!(queue.publish(nowhere).await, Err(Error::InvalidCommit(_))));
    let tombstone = Output { value: None, ..output("out", 0, "x") };
    assert!(matches!(queue.publish(vec![tombstone]).await, Err(Error::InvalidCommit(_))));
    assert!(matches!(queue.publish(vec![output("no", 0, "x")]).await, Err(Error::UnknownTopic(_))));
    assert!(texts(&*queue, "out", 0).await.is_empty());
}

async fn a_crash_before_the_write_loses_the_commit_whole_and_after_it_keeps_it_whole(
    backend: &dyn Backend,
) {
    for (after, expected) in [(false, 0), (true, 1)] {
        let queue = backend.open().await;
        declare(&*queue).await;
        let (mut events, committer) = queue.join("g", "in").await.unwrap();
        assigned(&mut *events, 0).await;
        backend.crash_next(&*queue, after);
        let commit = Commit {
            outputs: vec![output("out", 0, "x")],
            positions: vec![(0, at(1))],
            state: vec![],
        };
        assert!(matches!(committer.commit(commit).await, Err(Error::Closed)));
        drop((events, committer));
        let queue = backend.restart(queue).await;
        assert_eq!(texts(&*queue, "out", 0).await.len(), expected);
        let position = queue.log("in", "g").await.unwrap()[0].position.clone();
        assert_eq!(position, (expected == 1).then(|| at(1)));
        queue.remove(&["in".into(), "out".into(), "state".into()]).await.unwrap();
    }
}

async fn a_removed_topic_is_gone_and_may_be_made_again(backend: &dyn Backend) {
    let queue = backend.open().await;
    declare(&*queue).await;
    queue.publish(vec![output("in", 0, "old"), output("out", 0, "kept")]).await.unwrap();
    queue.remove(&["in".into(), "never was".into()]).await.unwrap();
    assert!(matches!(queue.log("in", "g").await, Err(Error::UnknownTopic(_))));
    declare(&*queue).await;
    assert!(texts(&*queue, "in", 0).await.is_empty());
    assert_eq!(texts(&*queue, "out", 0).await, ["kept"]);
}

async fn a_topic_is_never_declared_with_other_partitions(backend: &dyn Backend) {
    let queue = backend.open().await;
    declare(&*queue).await;
    for wrong in [topic("in", 3, TopicKind::Log), topic("in", 2, TopicKind::Compacted)] {
        assert!(matches!(queue.declare(&[wrong]).await, Err(Error::TopicDiffers { .. })));
    }
}

/// Takes `count` messages from a gatherer.
async fn gather(gather: &mut Gather, count: usize) -> Vec<cmsync_queue::worker::MessageId> {
    let mut ids = Vec::new();
    while ids.len() < count {
        if let Gathered::Message(id, _) = gather.next().await.unwrap() {
            ids.push(id);
        }
    }
    ids
}

/// Lets a gatherer commit until nothing more happens.
async fn settle(backend: &dyn Backend, gather: &mut Gather) {
    while let Ok(found) = tokio::time::timeout(backend.silence(), gather.next()).await {
        assert!(matches!(found.unwrap(), Gathered::Committed));
    }
    assert!(gather.is_settled());
}

async fn gathered_messages_finish_in_any_order_and_positions_follow_the_lowest_open(
    backend: &dyn Backend,
) {
    let queue = backend.open().await;
    declare(&*queue).await;
    for n in 0..4 {
        queue.publish(vec![output("in", 0, &n.to_string())]).await.unwrap();
    }
    let (events, committer) = queue.join("g", "in").await.unwrap();
    let mut gatherer = Gather::new(events, committer, 100);
    let ids = gather(&mut gatherer, 4).await;
    let position = async || queue.log("in", "g").await.unwrap()[0].position.clone();
    for (finish, expected) in
        [(2, None), (0, Some((1, "n0"))), (1, Some((3, "n2"))), (3, Some((4, "n3")))]
    {
        gatherer.finish(ids[finish], vec![], format!("n{finish}"));
        settle(backend, &mut gatherer).await;
        let found = position().await;
        assert_eq!(found.as_ref().map(|p| (p.offset, p.note.as_str())), expected);
    }
    assert_eq!(gatherer.open(), 0);
}

async fn gathered_outputs_are_durable_before_the_position_above_them(backend: &dyn Backend) {
    let queue = backend.open().await;
    declare(&*queue).await;
    queue.publish(vec![output("in", 0, "m")]).await.unwrap();
    let (events, committer) = queue.join("g", "in").await.unwrap();
    let mut gatherer = Gather::new(events, committer, 100);
    let ids = gather(&mut gatherer, 1).await;
    // More than one commit's worth: the position goes with the last.
    let outputs = (0..100).map(|n| output("out", 0, &n.to_string())).collect();
    gatherer.finish(ids[0], outputs, String::new());
    backend.abort_next(&*queue, 1);
    settle(backend, &mut gatherer).await;
    assert_eq!(texts(&*queue, "out", 0).await.len(), 100);
    assert_eq!(queue.log("in", "g").await.unwrap()[0].position.as_ref().unwrap().offset, 1);
}

struct Copier;

impl Each for Copier {
    fn handle(&mut self, partition: u32, message: &Message) -> Handled {
        if message.value == "held" {
            return Handled::Hold("not understood".into());
        }
        let output = Output {
            topic: "out".into(),
            partition,
            key: message.key.clone(),
            value: Some(message.value.clone()),
        };
        Handled::Outputs(vec![output])
    }

    fn lost(&mut self, partition: u32, offsets: u64) -> Vec<Output> {
        vec![output("out", partition, &format!("{offsets} lost"))]
    }

    fn held(&mut self, _partition: u32, reason: &str) {
        assert_eq!(reason, "not understood");
    }

    fn committed(&mut self, _messages: usize) {}
}

async fn a_held_message_stops_its_partition_alone(backend: &dyn Backend) {
    let queue = backend.open().await;
    declare(&*queue).await;
    for (partition, text) in [(0, "a"), (0, "held"), (0, "behind"), (1, "b")] {
        queue.publish(vec![output("in", partition, text)]).await.unwrap();
    }
    let (events, committer) = queue.join("g", "in").await.unwrap();
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let mut watch = queue.watch("out").unwrap();
    let running = tokio::spawn(async move { each(events, &*committer, &mut Copier, &stop).await });
    while texts(&*queue, "out", 0).await.len() + texts(&*queue, "out", 1).await.len() < 2 {
        watch.changed().await.unwrap();
    }
    queue.publish(vec![output("in", 1, "c")]).await.unwrap();
    while texts(&*queue, "out", 1).await.len() < 2 {
        watch.changed().await.unwrap();
    }
    assert_eq!(texts(&*queue, "out", 0).await, ["a"]);
    assert_eq!(queue.log("in", "g").await.unwrap()[0].position.as_ref().unwrap().offset, 1);
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

/// Runs a [`Copier`] until `out` holds so many messages.
#[cfg(feature = "kafka")]
async fn copy_until(queue: &dyn Queue, count: usize) -> Vec<String> {
    let (events, committer) = queue.join("g", "in").await.unwrap();
    let (shutdown, mut watch) = (CancellationToken::new(), queue.watch("out").unwrap());
    let mut copier = Copier;
    let copying = each(events, &*committer, &mut copier, &shutdown);
    let seen = async {
        loop {
            let texts = texts(queue, "out", 0).await;
            if texts.len() >= count {
                return texts;
            }
            watch.changed().await.unwrap();
        }
    };
    tokio::select! {
        ended = copying => panic!("ended: {ended:?}"),
        texts = seen => texts,
    }
}

/// Other backends keep what nobody took.
#[cfg(feature = "kafka")]
#[tokio::test(flavor = "multi_thread")]
async fn what_kafka_deleted_before_it_was_taken_is_told_once_and_the_rest_is_taken() {
    let backend = Kafka::new();
    let queue = backend.open().await;
    declare(&*queue).await;
    for text in ["a", "b", "c", "d"] {
        queue.publish(vec![output("in", 0, text)]).await.unwrap();
    }
    assert_eq!(copy_until(&*queue, 4).await, ["a", "b", "c", "d"]);
    for text in ["e", "f", "g"] {
        queue.publish(vec![output("in", 0, text)]).await.unwrap();
    }
    backend.delete_below("in", (0, 6)).await;
    assert_eq!(copy_until(&*queue, 6).await[4..], ["2 lost", "g"]);
    // What is gone for good is told once.
    queue.publish(vec![output("in", 0, "h")]).await.unwrap();
    assert_eq!(copy_until(&*queue, 7).await[6..], ["h"]);
}

mod model {
    //! Random sessions of a copying stage with crashes between any two steps, against the one thing
    //! that must hold: what was published comes out once, in order.

    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Publish(u32),
        Run,
        Abort(u32),
        Crash { after: bool, nth: u32 },
        Revoke,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..2_u32).prop_map(Step::Publish),
            3 => Just(Step::Run),
            1 => (1..3_u32).prop_map(Step::Abort),
            2 => (any::<bool>(), 0..3_u32).prop_map(|(after, nth)| Step::Crash { after, nth }),
            1 => Just(Step::Revoke),
        ]
    }

    /// Copies until the input is used up or the queue crashed.
    async fn copy(queue: Arc<dyn Queue>) {
        let Ok((events, committer)) = queue.join("g", "in").await else {
            return;
        };
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let Ok(mut watch) = queue.watch("in") else {
            return;
        };
        let running =
            tokio::spawn(async move { each(events, &*committer, &mut Copier, &stop).await });
        // Where it crashed, it answers nothing.
        while let Ok(log) = queue.log("in", "g").await {
            let done = |p: &cmsync_queue::PartitionLog| {
                p.end == p.position.as_ref().map_or(p.start, |p| p.offset)
            };
            if log.iter().all(done) || running.is_finished() {
                break;
            }
            let crashed = tokio::time::timeout(Duration::from_secs(5), watch.changed()).await;
            if crashed.is_ok_and(|c| c.is_err()) {
                break;
            }
        }
        shutdown.cancel();
        drop(running.await);
    }

    async fn play(backend: &dyn Backend, steps: Vec<Step>) {
        let mut queue = backend.open().await;
        declare(&*queue).await;
        let mut published = [Vec::new(), Vec::new()];
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                Step::Publish(partition) => {
                    let text = n.to_string();
                    let before = queue.log("in", "g").await.unwrap()[partition as usize].end;
                    if queue.publish(vec![output("in", partition, &text)]).await.is_err() {
                        queue = backend.restart(queue).await;
                        let after = queue.log("in", "g").await.unwrap()[partition as usize].end;
                        if after > before {
                            published[partition as usize].push(text);
                        }
                    } else {
                        published[partition as usize].push(text);
                    }
                }
                Step::Run => copy(Arc::clone(&queue)).await,
                Step::Abort(count) => backend.abort_next(&*queue, count),
                Step::Crash { after, nth } => {
                    backend.crash_at(&*queue, after, nth);
                    copy(Arc::clone(&queue)).await;
                    queue = backend.restart(queue).await;
                }
                Step::Revoke => backend.revoke(&*queue, "g", "in"),
            }
        }
        queue = backend.restart(queue).await;
        copy(Arc::clone(&queue)).await;
        for (partition, expected) in (0..).zip(published) {
            assert_eq!(texts(&*queue, "out", partition).await, expected);
        }
        assert_eq!(queue.log("in", "g").await.unwrap().iter().map(|p| p.bytes).sum::<u64>(), 0);
    }

    fn paused() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn killed_between_any_two_steps_the_memory_queue_loses_and_repeats_nothing(
            steps in proptest::collection::vec(step(), 1..40)
        ) {
            paused().block_on(play(&Memory::new(), steps));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn killed_between_any_two_steps_the_embedded_queue_loses_and_repeats_nothing(
            steps in proptest::collection::vec(step(), 1..30)
        ) {
            paused().block_on(play(&Embedded::new(), steps));
        }
    }

    /// More of them with `CMSYNC_CASES`.
    #[cfg(feature = "kafka")]
    fn cases(few: u32) -> ProptestConfig {
        let cases = std::env::var("CMSYNC_CASES").ok().and_then(|n| n.parse().ok());
        let cases = cases.unwrap_or(few);
        // A case takes seconds: a shorter one that fails too is not looked for.
        let max_shrink_iters = 0;
        ProptestConfig {
            cases,
            max_shrink_iters,
            failure_persistence: None,
            ..ProptestConfig::default()
        }
    }

    #[cfg(feature = "kafka")]
    proptest! {
        #![proptest_config(cases(3))]
        #[test]
        fn killed_between_any_two_steps_kafka_loses_and_repeats_nothing(
            steps in proptest::collection::vec(step(), 1..16)
        ) {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(play(&Kafka::new(), steps));
        }
    }
}
