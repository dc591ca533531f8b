//! What can go wrong with a queue, and what the reader should do about it.

use std::path::PathBuf;

/// A failure of the queue itself. A lost assignment or an aborted commit is not one: see
/// [`crate::Committed`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process owns the directory. Its commands go through its local API.
    #[error("queue directory `{}` is in use by another cmsync process: stop that one first; commands \
             other than `run` reach it as it runs", .0.display())]
    Locked(PathBuf),
    /// The file's checksums or its structure are wrong. Nothing is repaired by guessing.
    #[error("queue file `{}` is damaged ({detail}); move the directory away and start again: \
             every collection is then sent whole, nothing has to be saved", .path.display())]
    Damaged {
        /// The queue's file.
        path: PathBuf,
        /// What the store said.
        detail: String,
    },
    /// The file was written by another version of the format.
    #[error("queue file `{}` has format {found}, this cmsync reads {expected}; use the version \
             that wrote it to drain it, or move it away", .path.display())]
    Format {
        /// The queue's file.
        path: PathBuf,
        /// The version found.
        found: u64,
        /// The version that this build writes.
        expected: u64,
    },
    /// A topic exists with other partitions or another kind than was asked for.
    #[error("topic `{topic}` exists with {found}, not {wanted}")]
    TopicDiffers {
        /// The topic's name.
        topic: String,
        /// What exists.
        found: String,
        /// What was declared.
        wanted: String,
    },
    /// A topic cannot have more partitions as long as something is on its way.
    #[error(
        "no partitions are added: which one a collection is in depends on their number, and `{group}` \
             is not done: {problem}"
    )]
    NotDrained {
        /// The group that is not done.
        group: String,
        /// Why, and what to do.
        problem: String,
    },
    /// The topic was never declared.
    #[error("topic `{0}` does not exist")]
    UnknownTopic(String),
    /// A commit broke the contract's limits, or a message its topic's.
    #[error("invalid commit: {0}")]
    InvalidCommit(String),
    /// The queue was closed or crashed; open it again.
    #[error("queue is closed")]
    Closed,
    /// The brokers cannot be reached, or do not answer as they should.
    #[error("failed to {action} the brokers {brokers}: {detail}")]
    Broker {
        /// What was tried.
        action: &'static str,
        /// `bootstrap.servers`.
        brokers: String,
        /// Why.
        detail: String,
    },
    /// The brokers refuse it to this principal.
    #[error(
        "the brokers do not allow this principal to {action} them: {detail}; grant it with \
             kafka-acls, or use another principal"
    )]
    NotAllowed {
        /// What was tried.
        action: &'static str,
        /// What was refused.
        detail: String,
    },
    /// The brokers lack what is needed.
    #[error(
        "the brokers cannot {action}: {detail}; they must be Apache Kafka 2.5 or newer, or speak its \
             protocol with transactions"
    )]
    TooOld {
        /// What was tried.
        action: &'static str,
        /// What is missing.
        detail: String,
    },
    /// librdkafka does not take a setting.
    #[error("`{key}` cannot be set so: {detail}")]
    Setting {
        /// Its name.
        key: String,
        /// Why.
        detail: String,
    },
    /// A topic's settings would lose data.
    #[error("topic `{topic}`: {problem}; {remedy}")]
    TopicSettings {
        /// The topic's name.
        topic: String,
        /// What is wrong.
        problem: String,
        /// The command that repairs it.
        remedy: String,
    },
    /// The place of the queue's file cannot be used.
    #[error(
        "`{}` cannot be used for the queue: {detail}; give it to the user that cmsync runs as, or name \
         another directory", .path.display()
    )]
    Place {
        /// The directory, or the file in it.
        path: PathBuf,
        /// What the system says.
        detail: String,
    },
    /// The store below failed. Writers wait and repeat, scans for a minute; readers see this.
    #[error("failed to {action} queue storage: {source}")]
    Storage {
        /// What was tried.
        action: &'static str,
        /// The store's own error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// Wraps a failure of the store below.
    pub(crate) fn storage(
        action: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Storage { action, source: source.into() }
    }

    /// Whether the same call may succeed later without anyone acting.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Storage { .. } | Self::Broker { .. })
    }
}
