use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::*;

/// Series that a connection has, at most: a process may keep a hundred, and a scrape must stay small.
const MOST: usize = 25;

/// The reference of all metrics, as `docs/metrics.md` has it.
fn reference() -> String {
    let mut metrics: Vec<&Metric> = all().collect();
    metrics.sort_by_key(|metric| metric.name);
    let mut text = format!(
        "# Metrics\n\n\
         What `/metrics` shows, made from the code (`CMSYNC_WRITE_DOCS=1 cargo test -p cmsync metrics`). A process shows \
         what its stages count. Series with the label `connection` are at most {MOST} a connection; values of all other labels \
         are closed sets, and all are there from the start. The usual `process_*` metrics come with them.\n\n\
         | metric | type | labels | what it says |\n|---|---|---|---|\n",
    );
    for metric in metrics {
        let each = metric.each.map(|label| format!("`{label}`"));
        let by = metric.by.map(|(label, values)| format!("`{label}`: {}", values.join(", ")));
        let labels = each.into_iter().chain(by).collect::<Vec<_>>().join("; ");
        let kind = metric.kind.to_lowercase();
        let help = metric.help.trim();
        writeln!(text, "| `{}` | {kind} | {labels} | {help} |", metric.name).unwrap();
    }
    text
}

#[cfg_attr(not(feature = "kafka"), ignore = "it tells those of Kafka too")]
#[test]
fn the_reference_of_metrics_is_what_the_code_declares() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    if std::env::var_os("CMSYNC_WRITE_DOCS").is_some() {
        std::fs::write(path, reference()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), reference());
}

#[test]
fn names_keep_the_conventions_of_prometheus_and_each_is_declared_once() {
    let mut names = BTreeSet::new();
    for metric in all() {
        let Metric { name, kind, help, .. } = metric;
        assert!(names.insert(name), "{name} twice");
        assert!(name.starts_with("cmsync_"), "{name}");
        assert_eq!(name.ends_with("_total"), *kind == "Counter", "{name}");
        assert!(help.trim().ends_with('.'), "{name}: {help}");
        assert_eq!(metric.buckets.is_empty(), *kind != "Histogram", "{name}");
        assert!(metric.buckets.is_sorted(), "{name}");
    }
}

#[test]
fn a_connection_has_few_series_and_no_histogram() {
    let of_connection = || all().filter(|metric| metric.each == Some("connection"));
    let series: usize = of_connection().map(|m| m.by.map_or(1, |(_, v)| v.len())).sum();
    assert!(series <= MOST, "{series}");
    assert!(of_connection().all(|metric| metric.kind != "Histogram"));
}

#[test]
fn a_series_says_which_connection_it_is_of() {
    assert_eq!(connection_of("cmsync_x{connection=\"contoso\",a=\"b\"} 1"), Some("contoso"));
    assert_eq!(connection_of("cmsync_x{a=\"b\"} 1"), None);
    assert_eq!(connection_of("# HELP cmsync_x of a connection."), None);
}
