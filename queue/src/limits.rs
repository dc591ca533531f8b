//! What no commit may break, on any backend.

use crate::{Commit, Error, MAX_COMMIT_BYTES, MAX_COMMIT_MESSAGES, TopicKind};

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
