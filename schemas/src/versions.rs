//! Schemas of released versions that differ from today's, by fingerprint.

use std::borrow::Cow;

use apache_avro::Schema;
use apache_avro::rabin::Rabin;

/// Texts of schemas that a former version wrote and today's does not.
const OLDER: &[&str] = &[include_str!("../released/status.1.avsc")];

/// The schema that is written: in a build that stands for a version to come, one with a field more.
pub(crate) fn written(text: &str) -> Cow<'_, str> {
    if cfg!(feature = "next") {
        let more = r#""fields": [{"name": "more", "type": "string", "default": ""},"#;
        Cow::Owned(text.replacen("\"fields\": [", more, 1))
    } else {
        Cow::Borrowed(text)
    }
}

/// What a build that stands for a version to come reads as well: all of today.
fn today() -> impl Iterator<Item = &'static str> {
    let is_older = cfg!(feature = "next");
    crate::SCHEMAS.iter().map(|(_, text)| *text).filter(move |_| is_older)
}

/// The schema with this Rabin fingerprint, if a released version wrote it.
pub(crate) fn find(fingerprint: u64) -> Option<Schema> {
    OLDER.iter().copied().chain(today()).filter_map(|text| Schema::parse_str(text).ok()).find(
        |schema| {
            let digest = schema.fingerprint::<Rabin>().bytes;
            u64::from_le_bytes(digest.try_into().unwrap_or_default()) == fingerprint
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_to_come_writes_another_schema_and_reads_todays() {
        for (file, text) in crate::SCHEMAS {
            assert_eq!(written(text) != *text, cfg!(feature = "next"), "{file}");
        }
    }
}
