//! The contract between the stages, the control messages and the workspace.
//!
//! `avro/*.avsc` is the contract; the types here are its Rust form. No I/O happens in this crate.

mod activity;
mod decision;
mod framing;
pub mod kql;
mod messages;
pub mod questions;
pub mod searches;
mod status;
pub mod tables;
pub mod topics;
mod versions;

use std::sync::LazyLock;

pub use activity::{Activity, Kind, Note, counted};
pub use decision::{Decision, print_of};
pub use framing::{Codec, DecodeError, fingerprint, framed, unframed};
pub use messages::*;
pub use status::{Cause, Health, Status};

macro_rules! codecs {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $file:literal;)*) => {
        $($(#[$doc])*
        pub static $name: LazyLock<Codec<$type>> =
            LazyLock::new(|| Codec::new(&versions::written(include_str!(concat!("../avro/", $file)))));)*

        /// Every schema by its file name, for compatibility tests.
        pub const SCHEMAS: &[(&str, &str)] =
            &[$(($file, include_str!(concat!("../avro/", $file)))),*];
    };
}

/// Every schema by its record's full name.
pub fn schemas() -> impl Iterator<Item = (String, &'static str)> {
    SCHEMAS.iter().filter_map(|(_, text)| {
        let schema: serde_json::Value = serde_json::from_str(text).ok()?;
        let part = |key: &str| schema.get(key)?.as_str().map(str::to_owned);
        Some((format!("{}.{}", part("namespace")?, part("name")?), *text))
    })
}

codecs! {
    /// Producer to transformer.
    CHANGE: Change = "change.avsc";
    /// Transformer to uploader.
    RECORD_BATCH: RecordBatch = "record_batch.avsc";
    /// Producer to the writer of computer groups.
    GROUP: Group = "group.avsc";
    /// What was set aside.
    DEAD_LETTER: DeadLetter = "dead_letter.avsc";
    /// What a person asked for.
    CONTROL: Control = "control.avsc";
    /// How a stage is.
    STATUS: Status = "status.avsc";
    /// What happened.
    ACTIVITY: Activity = "activity.avsc";
    /// What the producer remembers of a connection.
    CONNECTION_STATE: ConnectionState = "connection_state.avsc";
    /// What the producer remembers of a collection.
    COLLECTION_STATE: CollectionState = "collection_state.avsc";
    /// Part of the producer's table of devices.
    DEVICE_CHUNK: DeviceChunk = "device_chunk.avsc";
}

/// Wall time in microseconds since 1970, as a handle that a simulation replaces.
pub type Clock = std::sync::Arc<dyn Fn() -> i64 + Send + Sync>;

/// Seconds that a machine's clock may be from another's: seqs order rows, and the service replaces wild
/// times.
pub const MAX_CLOCK_SKEW: i64 = 300;
