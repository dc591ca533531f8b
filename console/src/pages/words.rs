//! How pages say numbers and times.

use jiff::Timestamp;

use crate::samples::Unit;

/// With spaces between thousands, as every language reads them.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

/// A value of a plot, with three digits and its unit.
pub(crate) fn amount(value: f64, unit: Unit) -> String {
    if unit == Unit::Seconds && value >= 120.0 {
        return match value >= 7_200.0 {
            true => format!("{:.1} h", value / 3_600.0),
            false => format!("{:.0} min", value / 60.0),
        };
    }
    let (base, prefixes) = match unit {
        Unit::Bytes => (1_024.0, [" ", " Ki", " Mi", " Gi", " Ti"]),
        _ => (1_000.0, ["", "k", "M", "G", "T"]),
    };
    let (mut value, mut step) = (value, 0);
    while value.abs() >= base && step + 1 < prefixes.len() {
        (value, step) = (value / base, step + 1);
    }
    let digits = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    // 7.00 is 7, and 0.50 is 0.5.
    let text = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &*text };
    let prefix = prefixes.get(step).copied().unwrap_or_default();
    let unit = match unit {
        Unit::PerSecond => "/s",
        Unit::PerMinute => "/min",
        Unit::Seconds => " s",
        Unit::Bytes => "B",
        Unit::Count => "",
    };
    format!("{text}{prefix}{unit}")
}

/// A text that an order was answered with, as a sentence of its own.
pub(crate) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), letters.as_str())
}

/// How long ago a time is, both in microseconds since 1970.
pub(crate) fn ago(time: i64, now: i64) -> String {
    format!("{} ago", span(time, now))
}

/// The same, without a word.
pub(crate) fn span(time: i64, now: i64) -> String {
    let seconds = (now - time).max(0) / 1_000_000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// How long until a time, both in microseconds since 1970.
pub(crate) fn until(time: i64, now: i64) -> String {
    let seconds = (time - now) / 1_000_000;
    match seconds {
        ..60 => "now".to_owned(),
        60..3_600 => format!("in {} min", seconds / 60),
        3_600..172_800 => format!("in {} h", seconds / 3_600),
        _ => format!("in {} days", seconds / 86_400),
    }
}

/// A time, for machines and for people.
pub(crate) struct Time {
    pub(crate) stamp: String,
    pub(crate) ago: String,
}

impl Time {
    pub(crate) fn new(time: i64, now: i64) -> Self {
        Self { stamp: stamp(time), ago: ago(time, now) }
    }
}

/// A time as machines read it; empty for never.
pub(crate) fn stamp(micros: i64) -> String {
    let time = Timestamp::from_microsecond(micros).ok().filter(|_| micros > 0);
    time.map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()).unwrap_or_default()
}

/// The time of day, as the machine's own zone has it.
pub(crate) fn clock(micros: i64) -> String {
    let time = Timestamp::from_microsecond(micros).unwrap_or_default();
    time.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S %Z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let said = [0, 999, 1_000, 825_000, 30_700_000].map(number);
        assert_eq!(
            said.map(|s| s.replace('\u{202f}', " ")),
            ["0", "999", "1 000", "825 000", "30 700 000"]
        );
    }

    #[test]
    fn amounts_have_three_digits_and_a_unit() {
        for (value, unit, said) in [
            (0.0, Unit::Count, "0"),
            (7.0, Unit::PerMinute, "7/min"),
            (0.5, Unit::Seconds, "0.5 s"),
            (300.0, Unit::Seconds, "5 min"),
            (86_400.0, Unit::Seconds, "24.0 h"),
            (1_234.0, Unit::PerSecond, "1.23k/s"),
            (825_000.0, Unit::Count, "825k"),
            (9_437_184.0, Unit::Bytes, "9 MiB"),
            (512.0, Unit::Bytes, "512 B"),
        ] {
            assert_eq!(amount(value, unit), said);
        }
    }

    #[test]
    fn times_are_said_in_one_unit() {
        let now = 10_000_000_000_000;
        let said = [5, 65, 7_300, 400_000].map(|seconds: i64| ago(now - seconds * 1_000_000, now));
        assert_eq!(said, ["5 s ago", "1 min ago", "2 h ago", "4 days ago"]);
        assert_eq!(ago(now + 9, now), "0 s ago");
        let said =
            [-5, 65, 7_300, 400_000].map(|seconds: i64| until(now + seconds * 1_000_000, now));
        assert_eq!(said, ["now", "in 1 min", "in 2 h", "in 4 days"]);
        assert_eq!(stamp(0), "");
        assert_eq!(stamp(1_800_000_000_000_000), "2027-01-15T08:00:00Z");
    }
}
