//! The uploader over the queue: fills bodies from messages, keeps several on their way, and finishes
//! messages as their rows are taken.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use cmsync_queue::worker::{Gather, Gathered, MessageId};
use cmsync_queue::{Error, Message, Output, Queue};
use cmsync_schemas::tables::{COLLECTION_STREAM, CollectionRow, format_time};
use cmsync_schemas::{
    Clock, DeadLetter, DecodeError, Health, MarkerStatus, RECORD_BATCH, Status, topics,
};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::body::{Body, Builder, Part, ROWS_STREAM, Rows};
use crate::config::Options;
use crate::dead_letters::{DeadLetters, Decision};
use crate::delivery::{Delivery, Outcome, Target};
use crate::metrics::Metrics;
use crate::rules::Rules;
use crate::runs::{FreeMarker, Runs};

/// Messages that may be open at once: their rows are in bodies, so this bounds bookkeeping.
const MAX_OPEN: usize = 4_096;
/// The service replaces a time that lies further back; it is raised before, and order is by Seq.
const OLDEST: Duration = Duration::from_secs(47 * 3600);
/// Number of a body's part that belongs to no message: a dead letter that is replayed.
const REPLAYED: u64 = u64::MAX;

/// The uploader of one connection.
pub struct Uploader {
    /// The connection.
    pub connection: String,
    /// The queue.
    pub queue: Arc<dyn Queue>,
    /// Where records go.
    pub target: Target,
    /// Options.
    pub options: Options,
    /// Wall time.
    pub clock: Clock,
    /// Where it says how it is.
    pub status: watch::Sender<Status>,
    /// How long a stop may take.
    pub drain: Duration,
}

struct Stage {
    connection: String,
    gather: Gather,
    delivery: Arc<Delivery>,
    options: Options,
    clock: Clock,
    status: watch::Sender<Status>,
    metrics: Arc<Metrics>,
    letters: DeadLetters,
    runs: Runs,
    members: Builder,
    markers: Builder,
    rows: Rows,
    /// When a body that is not full leaves.
    leaves: Option<Instant>,
    /// The smallest body that was too large, less something.
    wire_limit: usize,
    ready: Vec<Body>,
    on_their_way: JoinSet<(Body, Outcome)>,
    /// Dead letters that are being replayed, with the key of what asked for it.
    replays: HashMap<u32, (DeadLetter, Bytes)>,
    next_replay: u32,
}

/// Runs the uploader of one connection until `shutdown`, then drains.
///
/// # Errors
/// When the queue is closed or breaks its contract.
pub async fn run(uploader: Uploader, shutdown: CancellationToken) -> Result<(), Error> {
    let Uploader {
        connection,
        queue,
        target,
        options,
        clock,
        status,
        drain,
    } = uploader;
    let metrics = Arc::new(Metrics::new(&connection));
    let (events, committer) = queue
        .join(topics::UPLOADER, &topics::records(&connection))
        .await?;
    let rules = Rules::new(target.rules.clone(), &options);
    let mut paused = rules.paused();
    let mut control = queue.watch(topics::CONTROL)?;
    let delivery = Delivery::new(
        target,
        rules,
        Arc::clone(&metrics),
        Arc::clone(&clock),
        &options,
    );
    let mut stage = Stage {
        gather: Gather::new(events, committer, MAX_OPEN),
        delivery: Arc::new(delivery),
        wire_limit: usize::try_from(options.max_wire_body.as_u64()).unwrap_or(usize::MAX),
        letters: DeadLetters::new(Arc::clone(&queue), &connection)?,
        connection,
        options,
        clock,
        status,
        metrics,
        runs: Runs::default(),
        members: Builder::new(ROWS_STREAM),
        markers: Builder::new(COLLECTION_STREAM),
        rows: Rows::new(),
        leaves: None,
        ready: Vec::new(),
        on_their_way: JoinSet::new(),
        replays: HashMap::new(),
        next_replay: 0,
    };
    stage.decide().await?;
    let mut stopping: Option<Instant> = None;
    loop {
        if stopping.is_some() {
            stage.flush();
        }
        stage.send_ready();
        if stopping.is_some() && stage.is_drained(paused.borrow().is_some()) {
            return Ok(());
        }
        let leaves = stage.leaves;
        stage
            .gather
            .set_taking(stopping.is_none() && stage.has_room());
        tokio::select! {
            biased;
            () = shutdown.cancelled(), if stopping.is_none() => {
                stopping = Some(Instant::now() + drain);
            }
            () = sleep_until(stopping), if stopping.is_some() => {
                tracing::warn!(connection = stage.connection, "stopping with records on their way; they are sent again");
                return Ok(());
            }
            Some(done) = stage.on_their_way.join_next() => if let Ok((body, outcome)) = done {
                stage.ended(body, outcome).await?;
            },
            () = sleep_until(leaves), if leaves.is_some() => stage.flush(),
            found = stage.gather.next() => stage.take(found?).await?,
            Ok(()) = paused.changed() => {
                let reason = paused.borrow_and_update().clone();
                stage.say(reason.as_deref());
            }
            Ok(()) = control.changed() => stage.decide().await?,
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Stage {
    fn now(&self) -> i64 {
        (self.clock)()
    }

    /// Whether more may be taken: bodies that wait for their turn hold up the queue, not memory.
    fn has_room(&self) -> bool {
        self.ready.is_empty()
    }

    /// Whether nothing is left that a stop should wait for: all that was taken is delivered, or none
    /// of it can be now. What is left is sent by the next process.
    fn is_drained(&self, is_paused: bool) -> bool {
        let is_idle = self.on_their_way.is_empty() && self.ready.is_empty();
        let is_empty = is_idle && self.members.is_empty() && self.markers.is_empty();
        self.gather.is_settled() && (is_empty || is_paused)
    }

    async fn take(&mut self, found: Gathered) -> Result<(), Error> {
        match found {
            Gathered::Assigned(partition, _) | Gathered::Revoked(partition) => {
                self.runs.forget(partition)
            }
            Gathered::Message(id, message) => match RECORD_BATCH.decode(&message.value) {
                Ok(batch) => self.fill(id, batch).await?,
                Err(error @ DecodeError::UnknownFingerprint(_)) => {
                    self.gather.hold(id.partition);
                    self.say(Some(&format!(
                        "partition {} of the records: {error}",
                        id.partition
                    )));
                }
                Err(error) => self.set_aside_message(id, &message, &error),
            },
            Gathered::Committed => {}
        }
        Ok(())
    }

    /// Writes the rows of a message into bodies.
    async fn fill(
        &mut self,
        id: MessageId,
        mut batch: cmsync_schemas::RecordBatch,
    ) -> Result<(), Error> {
        let oldest = self.now() - i64::try_from(OLDEST.as_micros()).unwrap_or(0);
        let time = batch.time_generated.max(oldest);
        let number = self.runs.open(id, &mut batch, time);
        let mut rows = std::mem::replace(&mut self.rows, Rows::new());
        rows.write(&batch, time);
        let max_raw = usize::try_from(self.options.max_raw_body.as_u64()).unwrap_or(usize::MAX);
        let mut from = 0;
        while from < rows.ends.len() {
            let start = if from == 0 {
                0
            } else {
                rows.ends[from - 1] + 2
            };
            let room = self.members.room(max_raw);
            let fit = rows.ends[from..].partition_point(|end| end - start <= room);
            // A row that is larger than any body goes alone, and is told by the service's answer.
            let count = if fit == 0 && self.members.is_empty() {
                1
            } else {
                fit
            };
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
            self.leaves
                .get_or_insert_with(|| Instant::now() + self.options.linger);
        }
        self.free_markers().await?;
        self.finish(number);
        self.metrics.open.set(self.gather.open() as f64);
        Ok(())
    }

    /// Lets markers go whose rows were all taken or set aside.
    async fn free_markers(&mut self) -> Result<(), Error> {
        for free in self.runs.take_free() {
            let FreeMarker {
                message,
                marker,
                run,
                group,
                site,
                time,
            } = free;
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
            let part = Part {
                message,
                first: 0,
                rows: 1,
            };
            if self
                .markers
                .room(usize::try_from(self.options.max_raw_body.as_u64()).unwrap_or(0))
                < text.len()
            {
                let body = self.markers.take();
                self.ready.push(body);
            }
            self.markers.add(&text, part, time);
            self.leaves
                .get_or_insert_with(|| Instant::now() + self.options.linger);
        }
        Ok(())
    }

    /// Closes bodies that are not full: their time has come.
    fn flush(&mut self) {
        self.leaves = None;
        for builder in [&mut self.members, &mut self.markers] {
            if !builder.is_empty() {
                self.ready.push(builder.take());
            }
        }
    }

    fn send_ready(&mut self) {
        let allowed = self.delivery.allowed.load(Ordering::Relaxed);
        while self.on_their_way.len() < allowed
            && let Some(body) = (!self.ready.is_empty()).then(|| self.ready.remove(0))
        {
            let is_too_large = body.bytes.len() > self.wire_limit && body.rows > 1;
            if is_too_large {
                let (left, right) = body.halves();
                self.ready.splice(0..0, [left, right]);
                continue;
            }
            let delivery = Arc::clone(&self.delivery);
            self.on_their_way.spawn(async move {
                let outcome = delivery.deliver(&body).await;
                (body, outcome)
            });
        }
        self.metrics.in_flight.set(self.on_their_way.len() as f64);
    }

    /// A body's way has ended.
    async fn ended(&mut self, body: Body, outcome: Outcome) -> Result<(), Error> {
        match outcome {
            Outcome::Delivered => {
                let now = self.now();
                self.status.send_if_modified(|status| {
                    let is_news = status.state == Health::Starting;
                    status.last_success = now;
                    if is_news {
                        (status.state, status.since) = (Health::Working, now);
                    }
                    is_news
                });
                self.done(&body);
            }
            Outcome::TooLarge if body.rows > 1 => {
                self.wire_limit = self.wire_limit.min((body.bytes.len() / 2).max(4_096));
                let (left, right) = body.halves();
                self.ready.splice(0..0, [left, right]);
            }
            Outcome::Refused(_) if body.rows > 1 => {
                let (left, right) = body.halves();
                self.ready.splice(0..0, [left, right]);
            }
            Outcome::TooLarge => self.set_aside(
                &body,
                "too_large",
                "a single record is larger than a body may be",
            ),
            Outcome::Refused(error) => self.set_aside(&body, "refused", &error),
        }
        self.free_markers().await
    }

    /// The rows of a body were taken, or set aside.
    fn done(&mut self, body: &Body) {
        for part in &body.parts {
            if part.message == REPLAYED {
                self.replayed(part.first, true);
                continue;
            }
            if body.stream == COLLECTION_STREAM {
                self.runs.marker_done(part.message);
            } else {
                self.runs.rows_done(part.message, part.rows);
            }
            self.finish(part.message);
        }
    }

    /// Finishes a message of which nothing is on its way.
    fn finish(&mut self, message: u64) {
        if let Some(open) = self.runs.take_finished(message) {
            self.gather.finish(open.id, open.letters, open.note);
        }
    }

    /// Sets the only row of a body aside.
    fn set_aside(&mut self, body: &Body, reason: &str, error: &str) {
        let Some(part) = body.parts.first() else {
            return;
        };
        if part.message == REPLAYED {
            // Refused again: it stays what it was, and the person may ask anew.
            self.replayed(part.first, false);
            return;
        }
        let payload = body.lines().into_iter().next().unwrap_or_default();
        let now = self.now();
        if let Some(open) = self.runs.get(part.message) {
            let run = if body.stream == COLLECTION_STREAM {
                ""
            } else {
                open.run()
            };
            let letter = DeadLetter {
                id: format!(
                    "{}/{}/{}/{}",
                    topics::records(&self.connection),
                    open.id.partition,
                    open.id.offset,
                    part.first
                ),
                connection: self.connection.clone(),
                stage: "uploader".into(),
                reason: reason.into(),
                error: error.into(),
                run_id: run.into(),
                seq: open.seq,
                group_id: open.group.clone(),
                first_seen: now,
                stream: body.stream.into(),
                payload,
            };
            tracing::error!(id = letter.id, reason, error, "record set aside");
            let output = self.letters.add(&letter);
            open.letters.push(output);
            self.metrics.dead_letters.increment(1);
        }
        self.done(body);
    }

    fn set_aside_message(&mut self, id: MessageId, message: &Message, error: &DecodeError) {
        let topic = topics::records(&self.connection);
        let letter = DeadLetter {
            id: format!("{topic}/{}/{}/0", id.partition, id.offset),
            connection: self.connection.clone(),
            stage: "uploader".into(),
            reason: "undecodable".into(),
            error: error.to_string(),
            run_id: String::new(),
            seq: 0,
            group_id: String::new(),
            first_seen: self.now(),
            stream: String::new(),
            payload: message.value.to_vec(),
        };
        self.metrics.dead_letters.increment(1);
        let output = self.letters.add(&letter);
        self.gather.finish(id, vec![output], String::new());
    }

    /// Does what people decided about dead letters.
    async fn decide(&mut self) -> Result<(), Error> {
        for Decision {
            control_key,
            letter,
            replays,
        } in self.letters.decisions().await?
        {
            let done = Output {
                topic: topics::CONTROL.into(),
                partition: 0,
                key: control_key.clone(),
                value: None,
            };
            let Some(letter) = letter else {
                self.gather.emit(vec![done]);
                continue;
            };
            if self
                .replays
                .values()
                .any(|(known, _)| known.id == letter.id)
            {
                continue;
            }
            if !replays {
                self.gather
                    .emit(vec![self.letters.forget(&letter.id), done]);
            } else if letter.stream.is_empty() {
                self.gather
                    .emit(vec![again(&letter), self.letters.forget(&letter.id), done]);
            } else {
                self.replay(letter, control_key);
            }
        }
        Ok(())
    }

    /// Sends a dead letter's row again, in a body of its own.
    fn replay(&mut self, letter: DeadLetter, control_key: Bytes) {
        let stream = if letter.stream == COLLECTION_STREAM {
            COLLECTION_STREAM
        } else {
            ROWS_STREAM
        };
        let number = self.next_replay;
        self.next_replay = number.wrapping_add(1);
        let mut builder = Builder::new(stream);
        builder.add(
            &letter.payload,
            Part {
                message: REPLAYED,
                first: number,
                rows: 1,
            },
            self.now(),
        );
        self.ready.push(builder.take());
        self.replays.insert(number, (letter, control_key));
    }

    /// A replay has ended: what asked for it is done, and the dead letter goes if it was taken.
    fn replayed(&mut self, number: u32, was_taken: bool) {
        if let Some((letter, key)) = self.replays.remove(&number) {
            let done = Output {
                topic: topics::CONTROL.into(),
                partition: 0,
                key,
                value: None,
            };
            let forget = was_taken.then(|| self.letters.forget(&letter.id));
            self.gather.emit(forget.into_iter().chain([done]).collect());
        }
    }

    fn say(&self, reason: Option<&str>) {
        let now = self.now();
        self.metrics
            .paused
            .set(if reason.is_some() { 1.0 } else { 0.0 });
        self.status.send_modify(|status| {
            status.state = if reason.is_some() {
                Health::Paused
            } else {
                Health::Working
            };
            status.reason = reason.unwrap_or_default().to_owned();
            status.since = now;
        });
    }
}

/// The message of a dead letter, as it stood in its topic.
fn again(letter: &DeadLetter) -> Output {
    let mut parts = letter.id.rsplitn(4, '/');
    let (_index, _offset, partition) = (parts.next(), parts.next(), parts.next());
    Output {
        topic: parts.next().unwrap_or_default().to_owned(),
        partition: partition.and_then(|p| p.parse().ok()).unwrap_or(0),
        key: Bytes::new(),
        value: Some(Bytes::from(letter.payload.clone())),
    }
}
