//! Traces: the way of a change, from the poll that saw it to its acceptance by the workspace.
//!
//! Stages may be processes of their own and share nothing but messages, so the id of a trace is worked
//! out from what every message carries: connection, collection and seq. A facade as that of `metrics`:
//! without a [`Sink`] nothing happens.

use std::sync::OnceLock;

/// Which change.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// The connection.
    pub connection: &'a str,
    /// The collection.
    pub collection: &'a str,
    /// Its seq.
    pub seq: i64,
}

/// A step of its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// From the beginning of the poll to what it led to.
    Poll,
    /// From change to records.
    Transform,
    /// From the uploader's hands to acceptance.
    Deliver,
}

impl Step {
    /// As a span has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Transform => "transform",
            Self::Deliver => "deliver",
        }
    }
}

/// A step that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Done<'a> {
    /// The change.
    pub change: Change<'a>,
    /// The step.
    pub step: Step,
    /// When it began; microseconds since 1970.
    pub from: i64,
    /// When it ended; microseconds since 1970.
    pub to: i64,
    /// Devices that it was about.
    pub devices: usize,
}

/// Takes steps.
pub trait Sink: Send + Sync {
    /// Takes one.
    fn take(&self, done: Done<'_>);
}

static SINK: OnceLock<Box<dyn Sink>> = OnceLock::new();

/// Lets a sink take all steps from now on. The first stays.
pub fn set_sink(sink: Box<dyn Sink>) {
    drop(SINK.set(sink));
}

/// Whether anyone takes steps.
#[must_use]
pub fn is_on() -> bool {
    SINK.get().is_some()
}

/// A step has ended.
pub fn done(done: Done<'_>) {
    if let Some(sink) = SINK.get() {
        sink.take(done);
    }
}

/// Ids of a change's trace: the same in every process and every version.
impl Change<'_> {
    /// 128 bits, never zero: FNV-1a of connection and collection, then the seq.
    #[must_use]
    pub fn trace_id(&self) -> u128 {
        let names = [self.connection.as_bytes(), b"/", self.collection.as_bytes()];
        let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        let high = names.into_iter().flatten().fold(0xcbf2_9ce4_8422_2325, fnv);
        (u128::from(high) << 64) | u128::from(self.seq.cast_unsigned())
    }

    /// Id of the poll's span, which the other steps stand under; never zero.
    #[must_use]
    pub fn root_id(&self) -> u64 {
        mixed(self.trace_id()) | 1
    }

    /// Whether it is among this share of all changes.
    #[must_use]
    pub fn is_sampled(&self, share: f64) -> bool {
        // The upper 53 bits make a number below 1.
        (mixed(self.trace_id()) >> 11) as f64 / (1_u64 << 53) as f64 <= share
    }
}

/// SplitMix64 over both halves: seqs of one moment are neighbours, their samples are not.
fn mixed(id: u128) -> u64 {
    let low = u64::try_from(id & u128::from(u64::MAX)).unwrap_or(0);
    let high = u64::try_from(id >> 64).unwrap_or(0);
    let mut mixed = (low ^ high).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changes_trace_has_the_same_id_everywhere_and_a_share_is_that_share() {
        let change = |seq| Change { connection: "contoso", collection: "PS100014", seq };
        // Written down: another process may be of another version.
        assert_eq!(change(1).trace_id(), 0x1ab2_9557_9c11_9f10_0000_0000_0000_0001);
        assert_ne!(change(1).root_id(), change(2).root_id());
        let sampled = (0..10_000).filter(|seq| change(*seq).is_sampled(0.1)).count();
        assert!((900..1_100).contains(&sampled), "{sampled}");
        assert!(change(7).is_sampled(1.0) && !change(7).is_sampled(0.0));
    }
}
