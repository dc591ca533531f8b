//! More partitions for topics that are there.

use std::sync::Arc;

use rdkafka::admin::NewPartitions;
use rdkafka::error::KafkaError;

use super::core::Core;
use super::steadfast::blocking;
use super::topics::options;
use crate::{Error, TopicKind, TopicSpec};

impl Core {
    /// Gives logs the partitions that are missing; how many logs grew.
    ///
    /// Which partition a key belongs to depends on their number. So that what was written before is
    /// never overtaken, no group has members and nothing waits for one. Compacted topics stay as they are:
    /// what they hold lies where their number put it.
    pub(super) async fn grow(
        self: &Arc<Self>,
        topics: &[TopicSpec],
        groups: &[&str],
        aside: &str,
    ) -> Result<usize, Error> {
        let found = self.steadfast(|core| core.reader.topics()).await?;
        let mut growing = Vec::new();
        for spec in topics.iter().filter(|spec| spec.kind == TopicKind::Log) {
            let there = found.iter().find(|(name, _)| *name == spec.name);
            if let Some((_, partitions)) = there.filter(|(_, there)| *there < spec.partitions) {
                growing.push((spec, TopicSpec { partitions: *partitions, ..spec.clone() }));
            }
        }
        if growing.is_empty() {
            return Ok(0);
        }
        // Twice: a broker that is just starting knows no groups, and a copy may have come meanwhile.
        for _ in 0..2 {
            for group in groups {
                self.is_left(group, aside).await?;
            }
            for (_, there) in &growing {
                self.is_drained(there).await?;
            }
        }
        let names: Vec<String> =
            growing.iter().map(|(spec, _)| self.clients.name(&spec.name)).collect();
        let wanted: Vec<NewPartitions<'_>> = growing
            .iter()
            .zip(&names)
            .map(|((spec, _), name)| NewPartitions::new(name, spec.partitions as usize))
            .collect();
        let made = self.admin().await?.create_partitions(&wanted, &options()).await;
        let failed = |e: KafkaError| self.clients.failed("add partitions to topics of", &e);
        for result in made.map_err(failed)? {
            result.map_err(|(_, code)| failed(KafkaError::AdminOp(code)))?;
        }
        let specs: Vec<&TopicSpec> = growing.iter().map(|(spec, _)| *spec).collect();
        self.until_seen(&specs, true).await?;
        for spec in &specs {
            self.forget(&spec.name);
        }
        Ok(specs.len())
    }

    /// An error where somebody is in the group.
    async fn is_left(self: &Arc<Self>, group: &str, aside: &str) -> Result<(), Error> {
        let (core, name, aside) = (Arc::clone(self), self.clients.name(group), aside.to_owned());
        match blocking(move || core.reader.has_members(&name, &aside)).await? {
            false => Ok(()),
            true => Err(self.busy(group, "copies of it run: stop them".to_owned())),
        }
    }

    /// An error where messages of a log were not taken.
    async fn is_drained(self: &Arc<Self>, spec: &TopicSpec) -> Result<(), Error> {
        for group in (self.clients.options.readers)(&spec.name) {
            let (core, of, by) = (Arc::clone(self), spec.clone(), group.clone());
            let logs = blocking(move || core.log(&of, &by)).await?;
            let waiting: u64 = logs.iter().map(|log| log.waiting).sum();
            if waiting > 0 {
                let reason = format!("{waiting} messages of `{}` wait for it", spec.name);
                return Err(self.busy(
                    &group,
                    format!("{reason}: run it with `queue.partitions` as before until none does"),
                ));
            }
        }
        Ok(())
    }

    fn busy(&self, group: &str, problem: String) -> Error {
        Error::NotDrained { group: self.clients.name(group), problem }
    }
}
