//! Handles: one series, or one for each value of a label.

use std::marker::PhantomData;

use metrics::{Counter, Gauge, Histogram, Unit};

use crate::Label;

/// What a field of `Metrics` is.
pub trait Handle: Sized {
    /// The handle of series that exist from now on.
    fn declared(name: &'static str, help: &'static str, labels: Vec<metrics::Label>) -> Self;

    /// A gauge becomes 0; what was counted stays.
    fn leave(&self) {}
}

/// Metrics of something that another copy may take over.
pub trait Leave {
    /// The gauges that carry the label of `each` become 0: another copy has it now, so that the largest of all
    /// copies is the truth.
    fn leave(&self);
}

/// The unit that a name says, by the conventions of Prometheus.
fn unit(name: &str) -> Unit {
    match name.trim_end_matches("_total") {
        base if base.ends_with("_seconds") => Unit::Seconds,
        base if base.ends_with("_bytes") => Unit::Bytes,
        _ => Unit::Count,
    }
}

impl Handle for Counter {
    fn declared(name: &'static str, help: &'static str, labels: Vec<metrics::Label>) -> Self {
        metrics::describe_counter!(name, unit(name), help.trim());
        metrics::counter!(name, labels)
    }
}

impl Handle for Gauge {
    fn declared(name: &'static str, help: &'static str, labels: Vec<metrics::Label>) -> Self {
        metrics::describe_gauge!(name, unit(name), help.trim());
        metrics::gauge!(name, labels)
    }

    fn leave(&self) {
        self.set(0.0);
    }
}

impl Handle for Histogram {
    fn declared(name: &'static str, help: &'static str, labels: Vec<metrics::Label>) -> Self {
        metrics::describe_histogram!(name, unit(name), help.trim());
        metrics::histogram!(name, labels)
    }
}

/// One handle for each value of a label.
pub struct By<L, H> {
    handles: Vec<H>,
    label: PhantomData<fn(L)>,
}

impl<L: Label, H> By<L, H> {
    /// The handle of a value.
    ///
    /// # Panics
    /// Never: there is one for each value.
    #[must_use]
    pub fn of(&self, value: L) -> &H {
        &self.handles[value.index()]
    }

    /// All values' handles, in the values' order.
    pub fn each(&self) -> impl Iterator<Item = &H> {
        self.handles.iter()
    }
}

impl<L: Label, H: Handle> Handle for By<L, H> {
    fn declared(name: &'static str, help: &'static str, labels: Vec<metrics::Label>) -> Self {
        let with = |value: &&'static str| {
            let mut labels = labels.clone();
            labels.push(metrics::Label::from_static_parts(L::NAME, value));
            H::declared(name, help, labels)
        };
        Self { handles: L::VALUES.iter().map(with).collect(), label: PhantomData }
    }

    fn leave(&self) {
        self.each().for_each(Handle::leave);
    }
}
