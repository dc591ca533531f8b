//! The message queue between the stages: topics, partitions, transactions and the worker loops.
//!
//! The contract ([`Queue`], [`Events`], [`Committer`]) is written for Kafka's transactions: what a
//! stage takes, what it makes of it and what it remembers become durable together or not at all.
//! This crate moves bytes; what they mean is the business of `schemas`.
//!
//! Two backends share one broker ([`local`]) and differ in where bytes rest: [`embedded`] keeps them
//! in one file with one `fdatasync` a commit, [`memory`] keeps them in the process, for simulation.
//! [`kafka`] leaves all of it to Apache Kafka, for stages in processes of their own.

mod contract;
pub mod embedded;
mod error;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(not(feature = "kafka"))]
#[path = "kafka/absent.rs"]
pub mod kafka;
mod limits;
pub mod local;
pub mod memory;
mod metrics;
pub mod worker;

pub use contract::{
    Commit, Committed, Committer, Event, Events, MAX_COMMIT_BYTES, MAX_COMMIT_MESSAGES, Message,
    Output, PartitionLog, Position, Queue, State, StateEntry, TopicKind, TopicSpec, partition_for,
};
pub use error::Error;
pub use metrics::METRICS;
