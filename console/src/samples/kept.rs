//! Lines of samples in two grains: ten seconds for an hour, two minutes for a day.

use std::collections::{HashMap, VecDeque};

/// Samples of the fine grain: an hour.
const FINE: usize = 360;
/// Samples of the coarse grain: a day.
const COARSE: usize = 720;
/// Fine samples that make a coarse one.
const EACH: usize = 12;
/// Seconds between two of those, where none is late.
const COARSE_STEP: f64 = 120.0;
/// Seconds of a day.
const DAY: f64 = 86_400.0;

/// What a coarse sample says of its fine ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fold {
    Mean,
    Most,
    Last,
}

/// A span of time that ends now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Span {
    Minute,
    #[default]
    Hour,
    Day,
}

/// A value of a line; `None` where there is none now.
pub(crate) type Value = (String, Fold, Option<f64>);

/// All lines, with the times that they share.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    fine: Grain,
    coarse: Grain,
    /// Fine samples since the last coarse one.
    since: usize,
}

#[derive(Debug, Default)]
struct Grain {
    /// Seconds since 1970.
    times: VecDeque<f64>,
    /// As many values as times, each; not a number where there was none.
    lines: HashMap<String, VecDeque<f32>>,
}

#[expect(clippy::cast_possible_truncation, reason = "a line is drawn a few hundred dots high")]
fn narrow(value: Option<f64>) -> f32 {
    value.map_or(f32::NAN, |value| value as f32)
}

impl Grain {
    fn push(&mut self, most: usize, at: f64, values: &[(String, f32)]) {
        self.times.push_back(at);
        for (key, value) in values {
            let line = self.lines.entry(key.clone()).or_default();
            // One that begins now had no value before.
            line.resize(self.times.len() - 1, f32::NAN);
            line.push_back(*value);
        }
        let count = self.times.len();
        for line in self.lines.values_mut() {
            line.resize(count, f32::NAN);
        }
        if count > most {
            self.times.pop_front();
            for line in self.lines.values_mut() {
                line.pop_front();
            }
        }
        self.lines.retain(|_, line| line.iter().any(|value| !value.is_nan()));
    }
}

impl Grain {
    /// What a rate made after a moment: each value holds from the time before, the first for a step.
    fn grown(&self, key: &str, after: f64, step: f64) -> Option<f64> {
        let line = self.lines.get(key)?;
        let before = self.times.iter().skip(1).zip(&self.times).map(|(now, before)| now - before);
        let steps = std::iter::once(step).chain(before);
        let values = self.times.iter().zip(steps).zip(line);
        let known = values.filter(|((at, _), value)| **at > after && !value.is_nan());
        let grown: Vec<f64> =
            known.map(|((_, step), value)| step.max(0.0) * f64::from(*value)).collect();
        (!grown.is_empty()).then(|| grown.iter().sum())
    }
}

fn fold(values: impl Iterator<Item = f32>, fold: Fold) -> f32 {
    let values: Vec<f32> = values.filter(|value| !value.is_nan()).collect();
    let count = f32::from(u16::try_from(values.len()).unwrap_or(u16::MAX));
    match fold {
        _ if values.is_empty() => f32::NAN,
        Fold::Mean => values.iter().sum::<f32>() / count,
        Fold::Most => values.iter().copied().fold(f32::MIN, f32::max),
        Fold::Last => values.last().copied().unwrap_or(f32::NAN),
    }
}

impl Kept {
    /// Takes values in, all of one moment.
    pub(crate) fn push(&mut self, at: f64, values: &[Value]) {
        let fine: Vec<(String, f32)> =
            values.iter().map(|(key, _, value)| (key.clone(), narrow(*value))).collect();
        self.fine.push(FINE, at, &fine);
        self.since += 1;
        if self.since < EACH {
            return;
        }
        self.since = 0;
        let folded: Vec<(String, f32)> = values
            .iter()
            .filter_map(|(key, how, _)| {
                let line = self.fine.lines.get(key)?;
                Some((key.clone(), fold(line.iter().rev().take(EACH).rev().copied(), *how)))
            })
            .collect();
        self.coarse.push(COARSE, at, &folded);
    }

    /// Times of a span, seconds since 1970.
    pub(crate) fn times(&self, span: Span) -> Vec<f64> {
        self.grain(span).times.iter().copied().collect()
    }

    /// Values of a line, one for each time; `None` where there was none.
    pub(crate) fn line(&self, key: &str, span: Span) -> Vec<Option<f32>> {
        let grain = self.grain(span);
        match grain.lines.get(key) {
            Some(line) => line.iter().map(|value| (!value.is_nan()).then_some(*value)).collect(),
            None => vec![None; grain.times.len()],
        }
    }

    /// How much a rate made over a span, rounded; `None` where it is not known.
    pub(crate) fn sum(&self, key: &str, span: Span) -> Option<u64> {
        let last = *self.fine.times.back()?;
        // Of the day, what is not in the coarse grain yet.
        let folded = self.coarse.times.back().copied().unwrap_or(f64::MIN);
        let from = if span == Span::Minute { last - 60.0 } else { folded };
        let day = || self.coarse.grown(key, last - DAY, COARSE_STEP);
        let parts = [
            self.fine.grown(key, from, super::RHYTHM.as_secs_f64()),
            (span == Span::Day).then(day).flatten(),
        ];
        let known: Vec<f64> = parts.into_iter().flatten().collect();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        (!known.is_empty()).then(|| known.iter().sum::<f64>().round().max(0.0) as u64)
    }

    /// Whether a day was sampled.
    pub(crate) fn is_full_day(&self) -> bool {
        let ends = self.coarse.times.front().zip(self.coarse.times.back());
        ends.is_some_and(|(first, last)| last - first + COARSE_STEP >= DAY)
    }

    fn grain(&self, span: Span) -> &Grain {
        if span == Span::Day { &self.coarse } else { &self.fine }
    }
}
