//! How a stage declares its metrics: once, as a struct whose field comments are the help texts.

/// Declares `Metrics`, a struct of handles labelled by connection. Made with a connection's name,
/// all its series exist from the start, so that an alert sees a zero. The crate that uses it
/// depends on `metrics`.
#[macro_export]
macro_rules! declare_metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ident = $name:literal;)*) => {
        pub(crate) struct Metrics { $($(#[doc = $help])+ pub(crate) $field: metrics::$kind,)* }
        impl Metrics {
            pub(crate) fn new(connection: &str) -> Self {
                $($crate::declare_metrics!(@describe $kind, $name, concat!($($help),+));)*
                Self { $($field: $crate::declare_metrics!(@make $kind, $name, connection),)* }
            }
        }
    };
    (@describe Counter, $name:literal, $help:expr) => { metrics::describe_counter!($name, $help) };
    (@describe Gauge, $name:literal, $help:expr) => { metrics::describe_gauge!($name, $help) };
    (@describe Histogram, $name:literal, $help:expr) => { metrics::describe_histogram!($name, $help) };
    (@make Counter, $name:literal, $c:expr) => {
        metrics::counter!($name, "connection" => $c.to_owned())
    };
    (@make Gauge, $name:literal, $c:expr) => { metrics::gauge!($name, "connection" => $c.to_owned()) };
    (@make Histogram, $name:literal, $c:expr) => {
        metrics::histogram!($name, "connection" => $c.to_owned())
    };
}
