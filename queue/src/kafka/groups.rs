//! Asks after groups from outside of them: where they stand, and whether anybody is in one.

use std::sync::Arc;

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::KafkaResult;
use rdkafka::types::RDKafkaErrorCode::{IllegalGeneration, RebalanceInProgress, UnknownMemberId};

use super::client::{Link, PATIENCE, lock, offsets, whole};
use super::reader::{Reader, number};
use crate::{Error, Position};

impl Reader {
    /// Where a group stands, after every transaction that is on its way.
    pub(super) fn positions(
        &self,
        group: &str,
        (topic, partitions): (&str, u32),
    ) -> Result<Vec<Option<Position>>, Error> {
        let told = positions_of(&*self.group(group)?, &self.clients.name(topic), partitions);
        told.map_err(|e| self.clients.failed("ask", &e))
    }

    /// Whether a group has members. Whatever its protocol is, brokers take a position from outside of
    /// it as long as it has none; what they list tells of the classic protocol alone. The position is
    /// one in a topic that the group does not read.
    pub(super) fn has_members(&self, group: &str, aside: &str) -> Result<bool, Error> {
        let consumer = self.group(group)?;
        let asked = offsets(&self.clients.name(aside), [(0, Offset::Offset(0))]);
        let Err(error) = asked.and_then(|list| consumer.commit(&list, CommitMode::Sync)) else {
            return Ok(false);
        };
        match error.rdkafka_error_code() {
            Some(UnknownMemberId | IllegalGeneration | RebalanceInProgress) => Ok(true),
            _ => Err(self.clients.failed("ask", &error)),
        }
    }

    /// The consumer that asks after a group; never a member of it.
    fn group(&self, group: &str) -> Result<Arc<BaseConsumer<Link>>, Error> {
        let mut groups = lock(&self.groups);
        if let Some(found) = groups.get(group) {
            return Ok(Arc::clone(found));
        }
        let link = self.clients.link.clone();
        let made = Arc::new(self.clients.consumer(group, "read_committed", link, &[])?);
        groups.insert(group.to_owned(), Arc::clone(&made));
        Ok(made)
    }
}

/// Where a consumer's group stands on the partitions of a topic of so many, after every transaction
/// that is on its way; an error where the answer for one of them is missing.
fn positions_of(
    consumer: &BaseConsumer<Link>,
    full: &str,
    partitions: u32,
) -> KafkaResult<Vec<Option<Position>>> {
    let asked = offsets(full, (0..partitions).map(|partition| (partition, Offset::Invalid)))?;
    let told = whole(consumer.committed_offsets(asked, PATIENCE * 2)?)?;
    let mut positions = vec![None; partitions as usize];
    for element in told.elements() {
        let slot = usize::try_from(element.partition()).ok().and_then(|p| positions.get_mut(p));
        if let (Some(slot), Some(offset)) = (slot, number(element.offset())) {
            *slot = Some(Position { offset, note: element.metadata().to_owned() });
        }
    }
    Ok(positions)
}
