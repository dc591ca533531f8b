//! A page of `/metrics`, read back ("Exposition formats": lines of a name, labels and a value).

use std::collections::HashMap;

/// Values by their series, written as the page has them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Reading {
    values: HashMap<String, f64>,
    /// Buckets of a histogram: upper bounds with counts.
    buckets: HashMap<String, Vec<(f64, f64)>>,
}

impl Reading {
    /// Reads what plots need of a page: anything else is left out.
    pub(crate) fn of(page: &str) -> Self {
        let mut reading = Self::default();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            match series.split_once("_bucket{le=\"") {
                Some((name, bound)) => {
                    let bound = bound.trim_end_matches("\"}");
                    if let Ok(bound) = bound.parse::<f64>() {
                        reading.buckets.entry(name.to_owned()).or_default().push((bound, value));
                    }
                }
                None => drop(reading.values.insert(series.to_owned(), value)),
            }
        }
        reading
    }

    /// A value of the process, or of a connection.
    pub(crate) fn value(&self, name: &str, connection: Option<&str>) -> Option<f64> {
        match connection {
            None => self.values.get(name).copied(),
            Some(connection) => {
                self.values.get(&format!("{name}{{connection=\"{connection}\"}}")).copied()
            }
        }
    }

    /// The connections that a metric has values of.
    pub(crate) fn connections<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let of = move |series: &'a String| {
            let rest = series.strip_prefix(name)?.strip_prefix("{connection=\"")?;
            rest.strip_suffix("\"}")
        };
        self.values.keys().filter_map(of)
    }

    /// The bound below which a share of what a histogram took in since `before` lies; `None` where it took
    /// in nothing.
    pub(crate) fn quantile(&self, name: &str, before: &Self, share: f64) -> Option<f64> {
        let now = self.buckets.get(name)?;
        let empty = Vec::new();
        let then = before.buckets.get(name).unwrap_or(&empty);
        let counts: Vec<(f64, f64)> = now
            .iter()
            .map(|(bound, count)| {
                let earlier = then.iter().find(|(own, _)| own == bound).map_or(0.0, |(_, c)| *c);
                (*bound, count - earlier)
            })
            .collect();
        let all = counts.last().map(|(_, count)| *count).filter(|all| *all > 0.0)?;
        let wanted = all * share;
        let (mut low, mut below) = (0.0, 0.0);
        for (bound, count) in counts {
            if count >= wanted {
                // Within a bucket all values are taken for spread evenly; the last has no end.
                let within = (wanted - below) / (count - below).max(1.0);
                return Some(if bound.is_finite() { low + (bound - low) * within } else { low });
            }
            (low, below) = (bound, count);
        }
        Some(low)
    }
}
