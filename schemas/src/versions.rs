//! Schemas of released versions that differ from today's, by fingerprint.

use apache_avro::Schema;
use apache_avro::rabin::Rabin;

/// Texts of schemas that a former version wrote and today's does not.
const OLDER: [&str; 1] = [include_str!("../avro/older/status.1.avsc")];

/// The schema with this Rabin fingerprint, if a released version wrote it.
pub(crate) fn find(fingerprint: u64) -> Option<Schema> {
    OLDER.iter().filter_map(|text| Schema::parse_str(text).ok()).find(|schema| {
        let digest = schema.fingerprint::<Rabin>().bytes;
        u64::from_le_bytes(digest.try_into().unwrap_or_default()) == fingerprint
    })
}
