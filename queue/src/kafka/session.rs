//! A member's life in its group: the thread that polls, and what happens when partitions come and go.

#![expect(clippy::disallowed_methods, reason = "its threads are its own and may wait")]

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{Link, at, offsets};
use super::core::Core;
use super::holdings::Standing;
use super::member::Member;
use super::options::GroupProtocol;
use super::restore::restore;
use crate::{Error, Event, Events, Message, TopicKind};

/// How long one poll waits.
const POLL: Duration = Duration::from_millis(50);
/// How long one attempt to read from another place may take: nothing is polled meanwhile.
const SEEK: Duration = Duration::from_secs(1);
/// How long reading waits for room before its partitions are paused.
const ROOM_PATIENCE: Duration = Duration::from_secs(1);
/// How long one poll waits while the last commit ends.
const SHORT: Duration = Duration::from_millis(1);
/// Rest before positions are asked for again.
const REST: Duration = Duration::from_secs(1);

/// What the consumer of a member tells it.
pub(super) struct Group {
    link: Link,
    core: Arc<Core>,
    member: Arc<Member>,
    runtime: tokio::runtime::Handle,
}

pub(super) type GroupConsumer = BaseConsumer<Group>;

impl ClientContext for Group {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.link.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.link.error(error, reason);
    }

    fn generate_oauth_token(
        &self,
        config: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.link.generate_oauth_token(config)
    }
}

impl ConsumerContext for Group {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance {
            self.arrive(list);
        } else if let Rebalance::Revoke(list) = rebalance {
            // What was lost belongs to another already.
            let patience = match consumer.assignment_lost() {
                true => Duration::ZERO,
                false => self.core.clients.options.drain,
            };
            let partitions = numbers(list);
            if !partitions.is_empty() {
                tracing::info!(group = self.member.group, ?partitions, "partitions go");
                self.member.leaving(&partitions, patience);
            }
            // The library remembers a pause for when a partition comes back; nobody would end it.
            drop(consumer.resume(list));
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance
            && self.member.kind == TopicKind::Compacted
        {
            self.state_given(consumer, &numbers(list));
        }
    }
}

fn numbers(list: &TopicPartitionList) -> Vec<u32> {
    list.elements().iter().filter_map(|e| u32::try_from(e.partition()).ok()).collect()
}

impl Group {
    fn list(&self, partitions: &[u32]) -> TopicPartitionList {
        let all = partitions.iter().map(|partition| (*partition, Offset::Invalid));
        offsets(&self.member.full, all).unwrap_or_default()
    }

    /// Partitions come: says where reading starts in each.
    fn arrive(&self, list: &TopicPartitionList) {
        let partitions = numbers(list);
        if !partitions.is_empty() {
            tracing::info!(group = self.member.group, ?partitions, "partitions come");
        }
        let is_log = self.member.kind == TopicKind::Log;
        let standings = if is_log { self.standings() } else { Vec::new() };
        for mut element in list.elements() {
            let partition = u32::try_from(element.partition()).unwrap_or(u32::MAX);
            let standing = standings.get(partition as usize).cloned();
            // Of state nothing is taken as messages.
            let start = standing.as_ref().map_or(Offset::End, |standing| at(standing.next));
            if let Err(error) = element.set_offset(start) {
                tracing::warn!(%error, partition, "cannot say where reading starts");
            }
            if let Some(standing) = standing {
                self.member.given(partition, standing);
            }
        }
    }

    /// Partitions of state are this member's: each is read, then the stage is told.
    fn state_given(&self, consumer: &BaseConsumer<Self>, partitions: &[u32]) {
        drop(consumer.pause(&self.list(partitions)));
        for partition in partitions {
            let given = (*partition, self.member.given(*partition, Standing::default()));
            let (core, member) = (Arc::clone(&self.core), Arc::clone(&self.member));
            self.runtime.spawn_blocking(move || restore(&core, &member, given));
        }
    }

    /// What is owned is to be read from what is committed again.
    fn again(&self, consumer: &BaseConsumer<Self>) {
        let partitions = self.member.owned();
        if self.member.kind == TopicKind::Compacted {
            return self.state_given(consumer, &partitions);
        }
        let standings = self.standings();
        for partition in partitions {
            if let Some(standing) = standings.get(partition as usize) {
                self.member.again(partition, standing.clone());
            }
        }
    }

    /// Where the group stands in each partition of the topic; asked until the brokers answer, because
    /// nothing can start without it. Not by the member's own consumer: nobody polls it meanwhile.
    fn standings(&self) -> Vec<Standing> {
        let (core, member) = (&self.core, &self.member);
        let topic = (member.topic.as_str(), member.partitions);
        loop {
            let positions = core.reader.positions(&core.clients.name(&member.group), topic);
            let all = positions.and_then(|positions| {
                Ok((positions, core.reader.starts(topic)?, core.reader.written(topic)?))
            });
            match all {
                Ok((positions, starts, ends)) => {
                    let standings = positions.into_iter().zip(starts.into_iter().zip(ends));
                    return standings.map(|(told, log)| Standing::new(told, log)).collect();
                }
                Err(error) if core.is_closed() || member.is_stopping() => {
                    tracing::debug!(%error, "stopped while positions were asked for");
                    return Vec::new();
                }
                Err(error) => {
                    tracing::warn!(%error, group = member.group, "no positions yet");
                    std::thread::sleep(REST);
                }
            }
        }
    }
}

/// The polling thread.
struct Poller {
    core: Arc<Core>,
    member: Arc<Member>,
    consumer: Arc<GroupConsumer>,
    /// Paused at the brokers.
    paused: BTreeSet<u32>,
    is_throttled: bool,
}

impl Poller {
    fn run(mut self) {
        while !self.core.is_closed() {
            let orders = self.member.take_orders();
            if orders.stop {
                break;
            }
            if orders.rejoin {
                self.rejoin();
            }
            if orders.rewind {
                self.member.void();
                // What is on its way moves the positions that are asked for next.
                if self.member.settle(|| self.core.is_closed() || self.member.is_stopping()) {
                    self.consumer.context().again(&self.consumer);
                }
            }
            self.go_back();
            self.is_throttled = !self.member.has_room(ROOM_PATIENCE);
            self.follow_pauses();
            if let Some(found) = self.consumer.poll(POLL) {
                self.take(found);
            }
        }
        self.member.end();
        let Self { member, mut consumer, .. } = self;
        // The last handle leaves the group: one that still commits is waited for.
        let last = loop {
            match Arc::try_unwrap(consumer) {
                Ok(last) => break last,
                Err(shared) => consumer = shared,
            }
            drop(consumer.poll(SHORT));
        };
        drop(last);
        member.left.send_replace(true);
    }

    fn take(&self, found: Result<rdkafka::message::BorrowedMessage<'_>, KafkaError>) {
        match found {
            Ok(message) if self.member.kind == TopicKind::Log => {
                let taken = Message {
                    offset: u64::try_from(message.offset()).unwrap_or(0),
                    key: Bytes::copy_from_slice(message.key().unwrap_or_default()),
                    value: Bytes::copy_from_slice(message.payload().unwrap_or_default()),
                };
                self.member.came(u32::try_from(message.partition()).unwrap_or(0), taken);
            }
            Ok(_) => {}
            Err(error) => {
                use RDKafkaErrorCode::{
                    GroupAuthorizationFailed, InvalidSessionTimeout, TopicAuthorizationFailed,
                    UnsupportedFeature, UnsupportedVersion,
                };
                let (group, topic) = (&self.member.group, &self.member.full);
                match error.rdkafka_error_code() {
                    Some(RDKafkaErrorCode::AutoOffsetReset) => {
                        tracing::warn!(group, topic, "what was to be read next is not there");
                        self.member.lost();
                    }
                    Some(
                        GroupAuthorizationFailed
                        | TopicAuthorizationFailed
                        | InvalidSessionTimeout
                        | UnsupportedFeature
                        | UnsupportedVersion,
                    ) => {
                        let error = self.core.clients.failed("read from", &error);
                        tracing::error!(%error, group, topic, "a member cannot take anything");
                    }
                    _ => tracing::debug!(%error, group, topic, "a poll failed"),
                }
                self.member.metrics.poll_failures.increment(1);
            }
        }
    }

    /// Reads again what was dropped while nobody wanted it.
    fn go_back(&self) {
        let gaps = self.member.gaps();
        if gaps.is_empty() {
            return;
        }
        let wanted = offsets(&self.member.full, gaps.into_iter().map(|(of, next)| (of, at(next))));
        let sought = wanted.and_then(|list| self.consumer.seek_partitions(list, SEEK));
        match sought {
            Ok(told) => {
                // The call may succeed and a partition not.
                for element in told.elements() {
                    match (element.error(), u32::try_from(element.partition())) {
                        (Ok(()), Ok(partition)) => self.member.is_back(partition),
                        (error, partition) => {
                            tracing::debug!(?error, ?partition, "cannot go back yet");
                        }
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "cannot go back yet"),
        }
    }

    fn follow_pauses(&mut self) {
        if self.member.kind == TopicKind::Compacted {
            return;
        }
        let owned: BTreeSet<u32> = self.member.owned().into_iter().collect();
        let wanted: BTreeSet<u32> = match self.is_throttled {
            true => owned.clone(),
            false => self.member.paused().intersection(&owned).copied().collect(),
        };
        if wanted == self.paused {
            return;
        }
        let context = self.consumer.context();
        let more: Vec<u32> = wanted.difference(&self.paused).copied().collect();
        let fewer: Vec<u32> =
            self.paused.difference(&wanted).filter(|p| owned.contains(p)).copied().collect();
        let changed = self
            .consumer
            .pause(&context.list(&more))
            .and_then(|()| self.consumer.resume(&context.list(&fewer)));
        match changed {
            Ok(()) => self.paused = wanted,
            Err(error) => tracing::debug!(%error, "cannot pause or resume yet"),
        }
    }

    fn rejoin(&self) {
        self.consumer.unsubscribe();
        let is_left = || self.consumer.assignment().is_ok_and(|list| list.count() == 0);
        while !is_left() && !self.core.is_closed() {
            drop(self.consumer.poll(POLL));
        }
        if let Err(error) = self.consumer.subscribe(&[&self.member.full]) {
            tracing::error!(%error, "cannot join again");
            self.member.end();
        }
    }
}

/// Joins the group: its thread runs until the inbox is dropped.
pub(super) fn join(
    core: &Arc<Core>,
    member: &Arc<Member>,
) -> Result<(Inbox, Weak<GroupConsumer>), Error> {
    let session = core.clients.options.session_timeout.as_millis();
    let (session, heartbeat) = (session.to_string(), (session / 10).max(100).to_string());
    let classic = [
        ("session.timeout.ms", session.as_str()),
        ("heartbeat.interval.ms", heartbeat.as_str()),
        ("partition.assignment.strategy", "cooperative-sticky"),
    ];
    let mut more = match core.clients.options.group_protocol {
        GroupProtocol::Classic => classic.to_vec(),
        GroupProtocol::Consumer => vec![("group.protocol", "consumer")],
    };
    more.push(("fetch.wait.max.ms", "100"));
    // A jump over what was deleted is not made in silence.
    more.push(("auto.offset.reset", "error"));
    let context = Group {
        link: core.clients.link.clone(),
        core: Arc::clone(core),
        member: Arc::clone(member),
        runtime: tokio::runtime::Handle::current(),
    };
    let group = core.clients.name(&member.group);
    let consumer = core.clients.consumer(&group, "read_committed", context, &more)?;
    let subscribed = consumer.subscribe(&[&member.full]);
    subscribed.map_err(|e| core.clients.failed("join a group of", &e))?;
    let consumer = Arc::new(consumer);
    let weak = Arc::downgrade(&consumer);
    let poller = Poller {
        core: Arc::clone(core),
        member: Arc::clone(member),
        consumer,
        paused: BTreeSet::new(),
        is_throttled: false,
    };
    let thread = std::thread::Builder::new().name(format!("poll {}", member.topic));
    thread.spawn(|| poller.run()).map_err(|e| Error::storage("poll", e))?;
    Ok((Inbox { member: Arc::clone(member) }, weak))
}

/// A member's inbox.
pub(super) struct Inbox {
    member: Arc<Member>,
}

#[async_trait]
impl Events for Inbox {
    async fn next(&mut self) -> Result<Event, Error> {
        self.member.next().await
    }

    fn pause(&mut self, partition: u32) {
        self.member.pause(partition, true);
    }

    fn resume(&mut self, partition: u32) {
        self.member.pause(partition, false);
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.member.order(|orders| orders.stop = true);
    }
}
