//! What is set aside, and what a person decides about it.

use bytes::Bytes;
use cmsync_queue::worker::MessageId;
use cmsync_queue::{Error, Message, Output};
use cmsync_schemas::tables::{COLLECTION_STREAM, MEMBER_STREAM};
use cmsync_schemas::{DeadLetter, DecodeError, topics};

use crate::body::{Body, Builder, Part};
use crate::dead_letters::Decision;
use crate::metrics::Aside;
use crate::stage::Stage;

/// Number of a body's part that belongs to no message: a dead letter that is replayed.
pub(crate) const REPLAYED: u64 = u64::MAX;

impl Stage {
    /// Sets the only row of a body aside.
    pub(crate) fn set_aside(&mut self, body: &Body, reason: Aside, error: &str) {
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
            let run = if body.stream == COLLECTION_STREAM { "" } else { open.run() };
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
                reason: reason.text().into(),
                error: error.into(),
                run_id: run.into(),
                seq: open.seq,
                group_id: open.group.clone(),
                first_seen: now,
                stream: body.stream.into(),
                payload,
            };
            let (collection, run) = (&letter.group_id, &letter.run_id);
            let why = reason.text();
            tracing::error!(
                id = letter.id,
                collection,
                run,
                reason = why,
                error,
                "record set aside"
            );
            let output = self.letters.add(&letter);
            open.letters.push(output);
            self.metrics.dead_letters.of(reason).increment(1);
        }
        self.done(body);
    }

    pub(crate) fn set_aside_message(
        &mut self,
        id: MessageId,
        message: &Message,
        error: &DecodeError,
    ) {
        let topic = topics::records(&self.connection);
        let letter = DeadLetter {
            id: format!("{topic}/{}/{}/0", id.partition, id.offset),
            connection: self.connection.clone(),
            stage: "uploader".into(),
            reason: Aside::Undecodable.text().into(),
            error: error.to_string(),
            run_id: String::new(),
            seq: 0,
            group_id: String::new(),
            first_seen: self.now(),
            stream: String::new(),
            payload: message.value.to_vec(),
        };
        self.metrics.dead_letters.of(Aside::Undecodable).increment(1);
        let output = self.letters.add(&letter);
        self.gather.finish(id, vec![output], String::new());
    }

    /// Does what people decided about dead letters.
    pub(crate) async fn decide(&mut self) -> Result<(), Error> {
        if !self.decides {
            return Ok(());
        }
        let decisions = self.letters.decisions().await?;
        self.emitted.retain(|key| decisions.iter().any(|decision| decision.control_key == *key));
        for Decision { control_key, letter, replays } in decisions {
            let done = Output {
                topic: topics::CONTROL.into(),
                partition: 0,
                key: control_key.clone(),
                value: None,
            };
            let Some(letter) = letter else {
                self.letters.settle(vec![done]).await?;
                continue;
            };
            if self.replays.values().any(|(known, _)| known.id == letter.id) {
                continue;
            }
            if !replays {
                self.letters.settle(vec![self.letters.forget(&letter.id), done]).await?;
            } else if letter.stream.is_empty() {
                // Once, however often is looked before it is written.
                if self.emitted.insert(control_key) {
                    self.gather.emit(vec![again(&letter), self.letters.forget(&letter.id), done]);
                }
            } else {
                self.replay(letter, control_key);
            }
        }
        Ok(())
    }

    /// Sends a dead letter's row again, in a body of its own.
    pub(crate) fn replay(&mut self, letter: DeadLetter, control_key: Bytes) {
        let stream =
            if letter.stream == COLLECTION_STREAM { COLLECTION_STREAM } else { MEMBER_STREAM };
        let number = self.next_replay;
        self.next_replay = number.wrapping_add(1);
        let mut builder = Builder::new(stream);
        builder.add(
            &letter.payload,
            Part { message: REPLAYED, first: number, rows: 1 },
            self.now(),
        );
        self.ready.push(builder.take());
        self.replays.insert(number, (letter, control_key));
    }

    /// A replay has ended: what asked for it is done, and the dead letter goes if it was taken.
    pub(crate) fn replayed(&mut self, number: u32, was_taken: bool) {
        if let Some((letter, key)) = self.replays.remove(&number) {
            let done = Output { topic: topics::CONTROL.into(), partition: 0, key, value: None };
            let forget = was_taken.then(|| self.letters.forget(&letter.id));
            self.settled.extend(forget.into_iter().chain([done]));
        }
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
