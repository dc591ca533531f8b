//! `cmsync topics`: makes the queue's topics, and checks that they lose nothing.

use cmsync_queue::{Queue, TopicSpec};

use crate::cli::TopicsCommand;
use crate::config::Config;
use crate::{connections, pipeline, queue};

/// Every topic of the configuration.
fn wanted(config: &Config) -> Vec<TopicSpec> {
    let share = config.share();
    let own = config
        .connections
        .keys()
        .flat_map(|name| connections::topics_of(name, config.partitions, share));
    pipeline::shared_topics(config.partitions).into_iter().chain(own).collect()
}

/// Whether all topics are there as they should be; in words.
///
/// # Errors
/// What is missing or wrong, with the command that repairs it.
pub(crate) async fn check(config: &Config, queue: &dyn Queue) -> anyhow::Result<String> {
    let wanted = wanted(config);
    let found = queue.topics().await?;
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
    let queue = queue::open_probed(config).await?;
    if let TopicsCommand::Create = command {
        queue.declare(&wanted(config)).await?;
    }
    let told = check(config, &*queue).await?;
    if as_json {
        println!("{}", serde_json::json!({ "topics": wanted(config).len() }));
    } else {
        println!("{told}");
    }
    Ok(true)
}
