//! Messages of the queue, in either framing, and keys of the state.

#![no_main]

use std::sync::OnceLock;

use cmsync_schemas::topics::StateKey;
use cmsync_schemas::{
    ACTIVITY, CHANGE, COLLECTION_STATE, CONNECTION_STATE, CONTROL, DEAD_LETTER, DEVICE_CHUNK,
    GROUP, RECORD_BATCH, STATUS, framed, unframed,
};
use libfuzzer_sys::fuzz_target;

/// What is read must be written so that it is read the same.
macro_rules! round {
    ($($codec:ident)*, $bytes:expr) => {
        $(if let Ok(message) = $codec.decode($bytes) {
            let again = $codec.decode(&$codec.encode(&message));
            assert!(again.is_ok_and(|again| again == message), stringify!($codec));
        })*
    };
}

fuzz_target!(|data: &[u8]| {
    let Some((which, datum)) = data.split_first() else { return };
    // Under a fingerprint that is known the datum itself is read.
    static KNOWN: OnceLock<Vec<u64>> = OnceLock::new();
    let known = KNOWN.get_or_init(|| {
        let avsc = cmsync_schemas::schemas().map(|(_, avsc)| avsc);
        avsc.filter_map(cmsync_schemas::fingerprint).collect()
    });
    let fingerprint = known[usize::from(*which) % known.len()];
    for bytes in [data.to_vec(), framed(fingerprint, datum)] {
        round!(CHANGE RECORD_BATCH GROUP DEAD_LETTER CONTROL STATUS ACTIVITY CONNECTION_STATE COLLECTION_STATE DEVICE_CHUNK, &bytes);
        let _ = unframed(&bytes);
    }
    if let Some((connection, key)) = StateKey::decode(data) {
        let again = key.encode(connection);
        assert_eq!(StateKey::decode(again.as_bytes()), Some((connection, key)));
    }
});
