//! Topics as the brokers keep them: made, and checked so that their settings lose nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::client::{Link, PATIENCE, at, offsets, whole};
use super::core::Core;
use super::steadfast::blocking;
use super::token;
use crate::{Error, TopicKind, TopicSpec};

/// How long a topic that was made or removed is waited for.
const SETTLE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long a cluster may take to have as many brokers as there are to be copies.
const GATHER: Duration = Duration::from_secs(5);
/// The smallest limit of a message that fits those of cmsync.
const MESSAGE_BYTES: u64 = 1_000_000;
/// What gives a log more partitions.
const GROWS: &str =
    ": `cmsync topics create` adds partitions when every copy is stopped and nothing waits";
/// The command that repairs a topic.
const REPAIR: &str = "`cmsync topics create` makes what is missing; to change what is there: \
     kafka-configs --alter --entity-type topics";

pub(super) fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE))
}

impl Core {
    pub(super) async fn admin(&self) -> Result<AdminClient<Link>, Error> {
        let (config, link) = (self.clients.config(&[]), self.clients.link.clone());
        let admin = AdminClient::from_config_and_context(&config, link)
            .map_err(|e| self.clients.failed("ask", &e))?;
        if let Some(source) = self.clients.options.token.clone() {
            let given = |token| token::give(&admin, &token);
            let token = blocking(move || Ok(source())).await?;
            token.and_then(given).map_err(|detail| self.clients.unsigned(detail))?;
        }
        Ok(admin)
    }

    /// Looks at which topics there are.
    pub(super) async fn refresh(self: &Arc<Self>) -> Result<(), Error> {
        let found = self.steadfast(|core| core.reader.topics()).await?;
        self.learn(found).await
    }

    /// Remembers topics that were found.
    pub(super) async fn learn(&self, found: Vec<(String, u32)>) -> Result<(), Error> {
        let unknown: Vec<_> =
            found.into_iter().filter(|(name, _)| self.known(name).is_none()).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = unknown.iter().map(|(name, _)| name.clone()).collect();
        let settings = self.settings(&names).await?;
        for ((name, partitions), settings) in unknown.into_iter().zip(settings) {
            // Others may have topics here that this principal may not look at.
            let Ok(settings) = settings else { continue };
            let kind = settings.kind();
            self.remember(TopicSpec { name, partitions, kind, max_bytes: u64::MAX });
        }
        Ok(())
    }

    /// The settings of topics that are there, in their order.
    async fn settings(&self, names: &[String]) -> Result<Vec<Result<Settings, Error>>, Error> {
        let admin = self.admin().await?;
        let full: Vec<String> = names.iter().map(|name| self.clients.name(name)).collect();
        let asked: Vec<_> = full.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        let told = admin.describe_configs(&asked, &options()).await;
        let told = told.map_err(|e| self.clients.failed("ask", &e))?;
        let one = |(result, name): (Result<ConfigResource, RDKafkaErrorCode>, &String)| {
            result.map(Settings).map_err(|code| {
                let error = self.clients.failed("ask", &KafkaError::AdminOp(code));
                tracing::debug!(%error, name, "no settings");
                error
            })
        };
        Ok(told.into_iter().zip(names).map(one).collect())
    }

    /// Makes the topics that are missing and checks those that are there.
    pub(super) async fn declare(self: &Arc<Self>, topics: &[TopicSpec]) -> Result<(), Error> {
        // Seeing that a topic is there says nothing of its settings.
        let new: Vec<&TopicSpec> = topics.iter().filter(|spec| !self.is_checked(spec)).collect();
        if !new.is_empty() {
            let found = self.steadfast(|core| core.reader.topics()).await?;
            let is_there = |spec: &&&TopicSpec| found.iter().any(|(name, _)| *name == spec.name);
            let (there, missing): (Vec<_>, Vec<_>) = new.iter().partition(is_there);
            self.check_topics(&there, &found).await?;
            if !self.create(&missing).await? {
                // Somebody else made one meanwhile.
                let found = self.steadfast(|core| core.reader.topics()).await?;
                self.check_topics(&missing, &found).await?;
            }
        }
        for spec in topics {
            self.checked(spec.clone());
        }
        Ok(())
    }

    /// Refuses topics whose settings would lose data.
    async fn check_topics(
        &self,
        specs: &[&TopicSpec],
        found: &[(String, u32)],
    ) -> Result<(), Error> {
        let names: Vec<String> = specs.iter().map(|spec| spec.name.clone()).collect();
        if names.is_empty() {
            return Ok(());
        }
        for (spec, settings) in specs.iter().zip(self.settings(&names).await?) {
            let settings = settings?;
            self.keeps(&spec.name, settings.retention());
            let partitions = found.iter().find(|(name, _)| *name == spec.name).map_or(0, |f| f.1);
            let same =
                |partitions: u32, kind: TopicKind| format!("{partitions} partitions, {kind:?}");
            let (found, mut wanted) =
                (same(partitions, settings.kind()), same(spec.partitions, spec.kind));
            if found != wanted {
                let topic = self.clients.name(&spec.name);
                if spec.kind == TopicKind::Log && partitions < spec.partitions {
                    wanted.push_str(GROWS);
                }
                return Err(Error::TopicDiffers { topic, found, wanted });
            }
            if let Some(problem) = settings.problem(spec.kind, self.clients.options.min_retention) {
                let (topic, remedy) = (self.clients.name(&spec.name), REPAIR.to_owned());
                return Err(Error::TopicSettings { topic, problem, remedy });
            }
        }
        Ok(())
    }

    /// Makes topics; false where one of them was there already.
    async fn create(self: &Arc<Self>, missing: &[&TopicSpec]) -> Result<bool, Error> {
        if missing.is_empty() {
            return Ok(true);
        }
        let options_of = &self.clients.options;
        let retention = options_of.retention.as_millis().to_string();
        let in_sync = options_of.min_in_sync.to_string();
        let names: Vec<String> = missing.iter().map(|spec| self.clients.name(&spec.name)).collect();
        let wanted = missing.iter().zip(&names).map(|(spec, name)| {
            let replication = TopicReplication::Fixed(options_of.replication);
            let partitions = i32::try_from(spec.partitions).unwrap_or(1);
            let topic = NewTopic::new(name, partitions, replication)
                .set("min.insync.replicas", &in_sync)
                .set("unclean.leader.election.enable", "false")
                .set("max.message.bytes", "2000000");
            match spec.kind {
                TopicKind::Log => topic
                    .set("cleanup.policy", "delete")
                    .set("retention.ms", &retention)
                    .set("retention.bytes", "-1"),
                // Small segments: only closed ones are compacted, and restoring reads the rest.
                TopicKind::Compacted => topic
                    .set("cleanup.policy", "compact")
                    .set("min.cleanable.dirty.ratio", "0.2")
                    .set("segment.bytes", "67108864")
                    .set("segment.ms", "3600000"),
            }
        });
        let wanted: Vec<NewTopic<'_>> = wanted.collect();
        let (started, mut is_new) = (Instant::now(), true);
        loop {
            let made = self.admin().await?.create_topics(&wanted, &options()).await;
            let made = made.map_err(|e| self.clients.failed("make topics on", &e))?;
            let failed = made.into_iter().find_map(|result| match result {
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {
                    is_new = false;
                    None
                }
                other => other.err(),
            });
            match failed {
                None => break,
                // One that was just removed is still being deleted.
                Some((_, RDKafkaErrorCode::OperationTimedOut)) if started.elapsed() < SETTLE => {}
                // Brokers that were just started have not all come yet.
                Some((_, RDKafkaErrorCode::InvalidReplicationFactor))
                    if started.elapsed() < GATHER => {}
                Some((topic, code)) => {
                    let problem = format!("it is missing and cannot be made ({code})");
                    let remedy = "`cmsync topics create` makes it with a principal that may".into();
                    return Err(Error::TopicSettings { topic, problem, remedy });
                }
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        for spec in missing {
            self.keeps(&spec.name, Some(options_of.retention));
        }
        self.until_seen(missing, true).await?;
        Ok(is_new)
    }

    /// Waits until the brokers show topics, or no longer do.
    pub(super) async fn until_seen(
        self: &Arc<Self>,
        specs: &[&TopicSpec],
        wanted: bool,
    ) -> Result<(), Error> {
        let started = Instant::now();
        loop {
            let found = self.steadfast(|core| core.reader.topics()).await?;
            let is_there = |spec: &&TopicSpec| {
                found.iter().any(|(name, count)| *name == spec.name && *count == spec.partitions)
            };
            let seen = specs.iter().filter(|spec| is_there(spec)).count();
            if seen == if wanted { specs.len() } else { 0 } {
                return Ok(());
            }
            if started.elapsed() > SETTLE {
                let detail = "topics are not seen as they should be".to_owned();
                return Err(self.clients.broker_error("make topics on", detail));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Deletes a partition's messages below an offset, as retention does: a test asks.
    pub(super) async fn delete_below(
        &self,
        topic: &str,
        (partition, offset): (u32, u64),
    ) -> Result<(), Error> {
        let below = offsets(&self.clients.name(topic), [(partition, at(offset))]);
        let failed = |e: KafkaError| self.clients.failed("delete messages of", &e);
        let deleted = self.admin().await?.delete_records(&below.map_err(failed)?, &options()).await;
        deleted.and_then(whole).map(drop).map_err(failed)
    }

    /// Removes topics.
    pub(super) async fn remove(self: &Arc<Self>, names: &[String]) -> Result<(), Error> {
        let mut there = Vec::new();
        for name in names {
            match self.topic(name).await {
                Ok(spec) => there.push(spec),
                Err(Error::UnknownTopic(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let full: Vec<String> = there.iter().map(|spec| self.clients.name(&spec.name)).collect();
        let asked: Vec<&str> = full.iter().map(String::as_str).collect();
        if asked.is_empty() {
            return Ok(());
        }
        let removed = self.admin().await?.delete_topics(&asked, &options()).await;
        let removed = removed.map_err(|e| self.clients.failed("remove topics from", &e))?;
        for result in removed {
            if let Err((_, code)) = result
                && code != RDKafkaErrorCode::UnknownTopicOrPartition
            {
                return Err(self.clients.failed("remove topics from", &KafkaError::AdminOp(code)));
            }
        }
        for spec in &there {
            self.forget(&spec.name);
        }
        let specs: Vec<&TopicSpec> = there.iter().collect();
        self.until_seen(&specs, false).await
    }
}

/// A topic's settings.
struct Settings(ConfigResource);

impl Settings {
    fn get(&self, name: &str) -> &str {
        self.0.get(name).and_then(|entry| entry.value.as_deref()).unwrap_or_default()
    }

    /// After what time messages are deleted, if they are.
    fn retention(&self) -> Option<Duration> {
        self.get("retention.ms").parse().ok().map(Duration::from_millis)
    }

    fn kind(&self) -> TopicKind {
        match self.get("cleanup.policy").contains("compact") {
            true => TopicKind::Compacted,
            false => TopicKind::Log,
        }
    }

    /// What would lose data.
    fn problem(&self, kind: TopicKind, min_retention: Duration) -> Option<String> {
        let number = |name: &str| self.get(name).parse::<i128>().ok();
        if kind == TopicKind::Compacted && self.get("cleanup.policy") != "compact" {
            let policy = self.get("cleanup.policy");
            return Some(format!(
                "cleanup.policy is `{policy}` and would delete what is needed: it must be `compact`"
            ));
        }
        let kept = number("retention.ms").unwrap_or(-1);
        let needed = i128::try_from(min_retention.as_millis()).unwrap_or(i128::MAX);
        if kind == TopicKind::Log && kept >= 0 && kept < needed {
            return Some(format!(
                "retention.ms is {kept} and must be {needed} at least: what waits longer would be deleted"
            ));
        }
        if kind == TopicKind::Log && number("retention.bytes").unwrap_or(-1) >= 0 {
            return Some(
                "retention.bytes is set and would delete what nobody took yet: it must be -1"
                    .into(),
            );
        }
        let largest = number("max.message.bytes").unwrap_or(i128::MAX);
        if largest < i128::from(MESSAGE_BYTES) {
            return Some(format!(
                "max.message.bytes is {largest} and must be {MESSAGE_BYTES} at least"
            ));
        }
        if self.get("unclean.leader.election.enable") == "true" {
            return Some("unclean.leader.election.enable is true: a leader that lags would lose what is acknowledged".into());
        }
        None
    }
}
