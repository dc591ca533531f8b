//! What no commit may break, on any backend.

use std::collections::BTreeMap;

use crate::{Commit, Error, MAX_COMMIT_BYTES, MAX_COMMIT_MESSAGES, Output, TopicKind};

/// Bytes that outputs need in each topic: tombstones need none.
pub(crate) fn wanted(outputs: &[Output]) -> BTreeMap<&str, u64> {
    let mut wanted = BTreeMap::new();
    for output in outputs.iter().filter(|o| o.value.is_some()) {
        *wanted.entry(output.topic.as_str()).or_default() += output.size() as u64;
    }
    wanted
}

/// Whether a topic that holds so many bytes takes so many more. An empty topic takes any: a single
/// message above the limit must not wait for ever.
pub(crate) fn fits(held: u64, bytes: u64, max: u64) -> bool {
    held == 0 || held.saturating_add(bytes) <= max
}

/// Refuses what breaks the contract, before anything of it is taken. `topic` knows partitions and
/// kind by name; `own` is the topic of the member that commits.
pub(crate) fn check(
    commit: &Commit,
    own: Option<&str>,
    topic: impl Fn(&str) -> Result<(u32, TopicKind), Error>,
) -> Result<(), Error> {
    if commit.outputs.len() > MAX_COMMIT_MESSAGES {
        let found = commit.outputs.len();
        return Err(Error::InvalidCommit(format!(
            "{found} messages, at most {MAX_COMMIT_MESSAGES}"
        )));
    }
    if commit.bytes() > MAX_COMMIT_BYTES && commit.outputs.len() + commit.state.len() > 1 {
        let found = commit.bytes();
        return Err(Error::InvalidCommit(format!("{found} bytes, at most {MAX_COMMIT_BYTES}")));
    }
    for output in &commit.outputs {
        let (partitions, kind) = topic(&output.topic)?;
        if output.partition >= partitions {
            let (name, partition) = (&output.topic, output.partition);
            return Err(Error::InvalidCommit(format!(
                "topic `{name}` has no partition {partition}"
            )));
        }
        if output.value.is_none() && kind == TopicKind::Log {
            let name = &output.topic;
            return Err(Error::InvalidCommit(format!("a tombstone for the log topic `{name}`")));
        }
    }
    if let Some(own) = own
        && !commit.state.is_empty()
        && topic(own).is_ok_and(|(_, kind)| kind == TopicKind::Log)
    {
        return Err(Error::InvalidCommit(format!("state for the log topic `{own}`")));
    }
    Ok(())
}
