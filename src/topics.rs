//! `cmsync topics`: makes the queue's topics, and checks that they lose nothing.

use cmsync_queue::{Queue, TopicSpec};
use cmsync_schemas::{Subject, topics};

use crate::cli::TopicsCommand;
use crate::config::Config;
use crate::{connections, installation, pipeline, queue};

/// The groups whose members write to topics, or take from them.
const GROUPS: [&str; 3] = [topics::PRODUCER, topics::TRANSFORMER, topics::UPLOADER];

/// Declares what all connections share; the number of partitions of the producer's state. On brokers
/// that is fixed when the topic is made: a connection's state lies in one of them by their number.
///
/// # Errors
/// When the topic was changed by hand, or the queue fails.
pub(crate) async fn declare_shared(config: &Config, queue: &dyn Queue) -> anyhow::Result<u32> {
    let found = match config.kafka {
        Some(_) => made_with(&queue.topics().await?),
        None => None,
    };
    let partitions = found.unwrap_or(config.partitions);
    queue.declare(&pipeline::shared_topics(partitions)).await?;
    if config.kafka.is_some() {
        let written = written(queue).await?;
        anyhow::ensure!(
            found.is_none() || written.is_none_or(|written| written == partitions),
            "topic `{}` has {partitions} partitions and its state was written with {}: each \
             connection's state lies where their number put it. Delete the topic and run `cmsync topics \
             create`: every collection is then sent whole",
            topics::STATE,
            written.unwrap_or_default(),
        );
        if written != Some(partitions) {
            let subject = (Subject::StatePartitions, String::new());
            installation::tell(queue, subject, partitions.to_string(), pipeline::clock()()).await?;
        }
    }
    Ok(partitions)
}

/// The partitions that the state's topic has, where it is there.
fn made_with(topics: &[TopicSpec]) -> Option<u32> {
    topics.iter().find(|spec| spec.name == topics::STATE).map(|spec| spec.partitions)
}

/// The partitions that the state was written with.
async fn written(queue: &dyn Queue) -> anyhow::Result<Option<u32>> {
    let told = installation::told(queue, Subject::StatePartitions).await?;
    Ok(told.first().and_then(|control| control.action.parse().ok()))
}

/// Every topic of the configuration.
fn wanted(config: &Config, state_partitions: u32) -> Vec<TopicSpec> {
    let share = config.share();
    let own = config
        .connections
        .keys()
        .flat_map(|name| connections::topics_of(name, config.partitions, share));
    pipeline::shared_topics(state_partitions).into_iter().chain(own).collect()
}

/// Whether all topics are there as they should be; in words.
///
/// # Errors
/// What is missing or wrong, with the command that repairs it.
pub(crate) async fn check(config: &Config, queue: &dyn Queue) -> anyhow::Result<String> {
    let found = queue.topics().await?;
    let wanted = wanted(config, made_with(&found).unwrap_or(config.partitions));
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|spec| !found.iter().any(|there| there.name == spec.name))
        .map(|spec| spec.name.as_str())
        .collect();
    if !missing.is_empty() {
        anyhow::bail!(
            "topics are missing: {}; `cmsync topics create` makes them",
            missing.join(", ")
        );
    }
    declare_shared(config, queue).await?;
    queue.declare(&wanted).await?;
    Ok(format!("{} topics are as they should be", wanted.len()))
}

/// Makes or checks topics; true when all are right.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(crate) async fn run(
    config: &Config,
    command: TopicsCommand,
    as_json: bool,
) -> anyhow::Result<bool> {
    if config.kafka.is_none() {
        if as_json {
            println!("{}", serde_json::json!({ "topics": 0, "grown": 0 }));
        } else {
            println!("the embedded queue makes its topics itself: there is nothing to do");
        }
        return Ok(true);
    }
    let queue::Opened { queue, kafka, .. } = queue::open_probed(config).await?;
    let mut grown = 0;
    if let TopicsCommand::Create = command {
        let wanted = wanted(config, declare_shared(config, &*queue).await?);
        if let Some(kafka) = kafka {
            grown = kafka.grow(&wanted, &GROUPS, topics::CONTROL).await?;
        }
        queue.declare(&wanted).await?;
    }
    let told = check(config, &*queue).await?;
    if as_json {
        let count = wanted(config, 1).len();
        println!("{}", serde_json::json!({ "topics": count, "grown": grown }));
    } else {
        if grown > 0 {
            println!("{grown} topics have {} partitions now", config.partitions);
        }
        println!("{told}");
    }
    Ok(true)
}
