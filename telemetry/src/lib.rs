//! How a crate declares what it counts, once, as a struct whose field comments are the help texts; and the steps
//! of a trace ([`trace`]).
//!
//! [`declare!`] makes the struct of handles and the list of what was declared, from which the buckets
//! of histograms and `docs/metrics.md` come. Made when a part starts, all series of that part exist from
//! then on, so that an alert sees a zero instead of nothing. Values of labels are closed sets ([`label!`]),
//! but for the one that a struct is made with, such as a connection's name.

mod handle;
pub mod trace;

pub use handle::{By, Handle, Leave};

/// Bounds for what takes from milliseconds to an hour, in seconds.
pub const SECONDS: &[f64] =
    &[0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3_600.0];

/// A metric as it was declared.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// `Counter`, `Gauge` or `Histogram`.
    pub kind: &'static str,
    /// What it says.
    pub help: &'static str,
    /// The label that its struct is made with, if there is one.
    pub each: Option<&'static str>,
    /// A label of a closed set, with its values.
    pub by: Option<(&'static str, &'static [&'static str])>,
    /// A histogram's bounds.
    pub buckets: &'static [f64],
}

/// A label whose values are a closed set.
pub trait Label: Copy + 'static {
    /// Its name.
    const NAME: &'static str;
    /// All its values.
    const VALUES: &'static [&'static str];
    /// Where this value is among them.
    fn index(self) -> usize;
}

/// Declares an enum as a label: `pub enum Outcome: "outcome" { Done = "done", Failed = "failed" }`.
#[macro_export]
macro_rules! label {
    ($(#[$doc:meta])* $vis:vis enum $type:ident: $name:literal {
        $($(#[$each:meta])* $variant:ident = $value:literal),* $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        $vis enum $type { $($(#[$each])* $variant),* }

        impl $crate::Label for $type {
            const NAME: &'static str = $name;
            const VALUES: &'static [&'static str] = &[$($value),*];
            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

/// Declares `Metrics` and the list `METRICS`. Fields of `each "…"` carry that label, whose value
/// [`Metrics::new`] takes; those of `all` are shared by everything in the process. `Counter[Outcome]` is one counter
/// for each value of a [`label!`]; `Histogram(BOUNDS)` has these bounds.
#[macro_export]
macro_rules! declare {
    (each $label:literal { $($each:tt)* } $(all { $($all:tt)* })?) => {
        $crate::declare!(@struct (Some($label)) { $($each)* } { $($($all)*)? });

        impl Metrics {
            /// All series of this value of the label, which exist from now on.
            pub(crate) fn new(value: &str) -> Self {
                Self::labelled(vec![metrics::Label::new($label, value.to_owned())])
            }
        }
    };
    (all { $($all:tt)* }) => {
        $crate::declare!(@struct (None) {} { $($all)* });

        impl Metrics {
            /// All series, which exist from now on.
            pub(crate) fn new() -> Self {
                Self::labelled(Vec::new())
            }
        }
    };
    (@struct ($label:expr)
        { $($(#[doc = $ehelp:literal])+ $efield:ident: $ekind:ident $([$eby:ty])? $(($ebounds:expr))? = $ename:literal;)* }
        { $($(#[doc = $ahelp:literal])+ $afield:ident: $akind:ident $([$aby:ty])? $(($abounds:expr))? = $aname:literal;)* }
    ) => {
        /// Handles of what is counted.
        pub(crate) struct Metrics {
            $($(#[doc = $ehelp])+ pub(crate) $efield: $crate::declare!(@type $ekind $([$eby])?),)*
            $($(#[doc = $ahelp])+ pub(crate) $afield: $crate::declare!(@type $akind $([$aby])?),)*
        }

        impl Metrics {
            fn labelled(labels: Vec<metrics::Label>) -> Self {
                Self {
                    $($efield: $crate::Handle::declared(
                        $ename, concat!($($ehelp),+), labels.clone()),)*
                    $($afield: $crate::Handle::declared($aname, concat!($($ahelp),+), Vec::new()),)*
                }
            }
        }

        impl $crate::Leave for Metrics {
            fn leave(&self) {
                $($crate::Handle::leave(&self.$efield);)*
            }
        }

        /// What this crate counts.
        pub const METRICS: &[$crate::Metric] = &[
            $($crate::Metric {
                name: $ename, kind: stringify!($ekind), help: concat!($($ehelp),+),
                each: $label,
                by: $crate::declare!(@by $($eby)?), buckets: $crate::declare!(@buckets $($ebounds)?),
            },)*
            $($crate::Metric {
                name: $aname, kind: stringify!($akind), help: concat!($($ahelp),+), each: None,
                by: $crate::declare!(@by $($aby)?), buckets: $crate::declare!(@buckets $($abounds)?),
            },)*
        ];
    };
    (@type $kind:ident) => { metrics::$kind };
    (@type $kind:ident [$by:ty]) => { $crate::By<$by, metrics::$kind> };
    (@by) => { None };
    (@by $by:ty) => { Some((<$by as $crate::Label>::NAME, <$by as $crate::Label>::VALUES)) };
    (@buckets) => { &[] };
    (@buckets $bounds:expr) => { $bounds };
}

#[cfg(test)]
#[expect(unreachable_pub, reason = "crates export their list, a test does not")]
mod tests {
    use super::*;

    label! {
        /// How it ended.
        pub(crate) enum Outcome: "outcome" { Done = "done", Failed = "failed" }
    }

    declare! {
        each "connection" {
            /// Tries,
            /// of whatever.
            tries: Counter[Outcome] = "cmsync_test_tries_total";
        }
        all {
            /// Time of a try.
            seconds: Histogram(SECONDS) = "cmsync_test_seconds";
        }
    }

    #[test]
    fn what_is_declared_is_listed() {
        let metrics = Metrics::new("contoso");
        metrics.seconds.record(1.0);
        assert_eq!(metrics.tries.each().count(), Outcome::VALUES.len());
        metrics.tries.of(Outcome::Done).increment(1);
        metrics.tries.of(Outcome::Failed).increment(1);
        let [tries, seconds] = METRICS else { panic!("{METRICS:?}") };
        assert_eq!((tries.kind, tries.each), ("Counter", Some("connection")));
        assert_eq!(tries.by, Some(("outcome", &["done", "failed"][..])));
        assert_eq!(tries.help.trim(), "Tries, of whatever.");
        assert_eq!((seconds.each, seconds.buckets.len()), (None, SECONDS.len()));
    }
}
