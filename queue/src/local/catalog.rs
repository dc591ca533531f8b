//! Who owns what, and how far everybody is: the broker's picture of its store, in memory.
//!
//! The store is the truth about what is durable; this picture is built from it at open and moves
//! only after a batch was applied. Ownership (members, epochs) lives here alone: a process that
//! ends owns nothing.

use std::collections::{BTreeMap, HashMap, VecDeque};

use tokio::sync::watch;

use super::store::{Batch, Extent, Stored, TopicPartition};
use super::versions::Versions;
use crate::{Error, Position, TopicSpec};

/// One topic.
pub(crate) struct Topic {
    pub(crate) id: u32,
    pub(crate) spec: TopicSpec,
    pub(crate) extents: Vec<Extent>,
    pub(crate) versions: Versions,
}

impl Topic {
    pub(crate) fn bytes(&self) -> u64 {
        self.extents.iter().map(|e| e.bytes).sum()
    }
}

/// A partition's ownership change that its member has not heard of yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    Assigned(u32),
    Revoked(u32),
}

#[derive(Default)]
struct Group {
    /// Members in the order in which they joined.
    members: Vec<u64>,
    /// Partition to owner and epoch; the epoch moves with each assignment.
    owners: BTreeMap<u32, (u64, u64)>,
    notices: HashMap<u64, VecDeque<Notice>>,
}

/// The broker's picture.
#[derive(Default)]
pub(crate) struct Catalog {
    topics: BTreeMap<String, Topic>,
    names: HashMap<u32, String>,
    positions: BTreeMap<(TopicPartition, String), Position>,
    groups: HashMap<(String, String), Group>,
    next_topic: u32,
    next_member: u64,
    next_epoch: u64,
    closed: bool,
}

impl Catalog {
    pub(crate) fn from_stored(stored: Stored) -> Self {
        let mut catalog = Self::default();
        for topic in stored.topics {
            let spec = TopicSpec {
                name: topic.name,
                partitions: topic.partitions,
                kind: topic.kind,
                max_bytes: u64::MAX,
            };
            catalog.add_topic(topic.id, spec);
        }
        catalog.set_extents(&stored.extents);
        for (at, group, position) in stored.positions {
            catalog.positions.insert((at, group), position);
        }
        catalog
    }

    /// Ends the queue: whoever waits is woken and told.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.topics.values_mut().for_each(|topic| topic.versions.touch());
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(crate) fn add_topic(&mut self, id: u32, spec: TopicSpec) {
        self.next_topic = self.next_topic.max(id + 1);
        self.names.insert(id, spec.name.clone());
        let extents = vec![Extent::default(); spec.partitions as usize];
        self.topics
            .insert(spec.name.clone(), Topic { id, spec, extents, versions: Versions::default() });
    }

    pub(crate) fn remove_topic(&mut self, name: &str) {
        if let Some(mut topic) = self.topics.remove(name) {
            self.names.remove(&topic.id);
            self.positions.retain(|((id, _), _), _| *id != topic.id);
            self.groups.retain(|(_, of), _| of != name);
            topic.versions.touch();
        }
    }

    pub(crate) fn next_topic_id(&self) -> u32 {
        self.next_topic
    }

    pub(crate) fn topic(&self, name: &str) -> Result<&Topic, Error> {
        self.topics.get(name).ok_or_else(|| Error::UnknownTopic(name.to_owned()))
    }

    pub(crate) fn topic_mut(&mut self, name: &str) -> Option<&mut Topic> {
        self.topics.get_mut(name)
    }

    pub(crate) fn subscribe(&mut self, topic: &str) -> Result<watch::Receiver<u64>, Error> {
        let topic =
            self.topics.get_mut(topic).ok_or_else(|| Error::UnknownTopic(topic.to_owned()))?;
        Ok(topic.versions.subscribe())
    }

    pub(crate) fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.topics.values()
    }

    pub(crate) fn position(&self, at: TopicPartition, group: &str) -> Option<&Position> {
        self.positions.get(&(at, group.to_owned()))
    }

    /// The lowest offset that a group other than `moving` may still want.
    pub(crate) fn needed_from(&self, at: TopicPartition, moving: &str, to: u64) -> u64 {
        self.positions
            .range((at, String::new())..)
            .take_while(|((tp, _), _)| *tp == at)
            .filter(|((_, group), _)| group != moving)
            .map(|(_, p)| p.offset)
            .fold(to, u64::min)
    }

    pub(crate) fn set_extents(&mut self, extents: &[(TopicPartition, Extent)]) {
        for ((id, partition), extent) in extents {
            let Some(name) = self.names.get(id) else {
                continue;
            };
            if let Some(topic) = self.topics.get_mut(name)
                && let Some(slot) = topic.extents.get_mut(*partition as usize)
            {
                *slot = *extent;
            }
        }
    }

    /// Takes over what a batch made durable and wakes whoever waits for it.
    pub(crate) fn applied(&mut self, batch: &Batch, extents: &[(TopicPartition, Extent)]) {
        self.set_extents(extents);
        for (at, group, position) in &batch.positions {
            self.positions.insert((*at, group.clone()), position.clone());
        }
        let mut touched: Vec<u32> = extents.iter().map(|((id, _), _)| *id).collect();
        touched.extend(batch.positions.iter().map(|((id, _), ..)| *id));
        touched.sort_unstable();
        touched.dedup();
        for id in touched {
            if let Some(topic) = self.names.get(&id).and_then(|n| self.topics.get_mut(n)) {
                topic.versions.touch();
            }
        }
    }

    pub(crate) fn join(&mut self, group: &str, topic: &str) -> Result<u64, Error> {
        self.topic(topic)?;
        self.next_member += 1;
        let member = self.next_member;
        let key = (group.to_owned(), topic.to_owned());
        self.groups.entry(key.clone()).or_default().members.push(member);
        self.rebalance(&key);
        Ok(member)
    }

    pub(crate) fn leave(&mut self, group: &str, topic: &str, member: u64) {
        let key = (group.to_owned(), topic.to_owned());
        if let Some(found) = self.groups.get_mut(&key) {
            found.members.retain(|m| *m != member);
            found.notices.remove(&member);
            self.rebalance(&key);
        }
    }

    /// Spreads partitions over members; those that stay where they are keep their epoch.
    fn rebalance(&mut self, key: &(String, String)) {
        let Some(topic) = self.topics.get_mut(&key.1) else {
            return;
        };
        let Some(group) = self.groups.get_mut(key) else {
            return;
        };
        for partition in 0..topic.spec.partitions {
            let before = group.owners.get(&partition).map(|(member, _)| *member);
            let count = group.members.len();
            let after = (count > 0).then(|| group.members[partition as usize % count]);
            if before == after {
                continue;
            }
            if let Some(old) = before
                && group.members.contains(&old)
            {
                group.notices.entry(old).or_default().push_back(Notice::Revoked(partition));
            }
            group.owners.remove(&partition);
            if let Some(new) = after {
                self.next_epoch += 1;
                group.owners.insert(partition, (new, self.next_epoch));
                group.notices.entry(new).or_default().push_back(Notice::Assigned(partition));
            }
        }
        topic.versions.touch();
    }

    /// Gives the partitions of a group to the same members anew: what they had open is void.
    pub(crate) fn reassign(&mut self, group: &str, topic: &str, only: Option<u64>) {
        let key = (group.to_owned(), topic.to_owned());
        let Some(found) = self.groups.get_mut(&key) else {
            return;
        };
        for (partition, (member, epoch)) in &mut found.owners {
            if only.is_none_or(|m| m == *member) {
                self.next_epoch += 1;
                *epoch = self.next_epoch;
                let notices = found.notices.entry(*member).or_default();
                if !notices.contains(&Notice::Assigned(*partition)) {
                    notices.push_back(Notice::Revoked(*partition));
                    notices.push_back(Notice::Assigned(*partition));
                }
            }
        }
        if let Some(topic) = self.topics.get_mut(topic) {
            topic.versions.touch();
        }
    }

    /// How many notices wait for a member.
    pub(crate) fn notices(&self, group: &str, topic: &str, member: u64) -> usize {
        let key = (group.to_owned(), topic.to_owned());
        let found = self.groups.get(&key).and_then(|found| found.notices.get(&member));
        found.map_or(0, VecDeque::len)
    }

    pub(crate) fn next_notice(&mut self, group: &str, topic: &str, member: u64) -> Option<Notice> {
        let key = (group.to_owned(), topic.to_owned());
        self.groups.get_mut(&key)?.notices.get_mut(&member)?.pop_front()
    }

    /// The epoch under which `member` owns a partition now.
    pub(crate) fn epoch(
        &self,
        group: &str,
        topic: &str,
        member: u64,
        partition: u32,
    ) -> Option<u64> {
        let key = (group.to_owned(), topic.to_owned());
        let (owner, epoch) = self.groups.get(&key)?.owners.get(&partition)?;
        (*owner == member).then_some(*epoch)
    }
}
