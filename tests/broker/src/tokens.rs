//! Whom the broker believes tokens of: the holder of one key, whose public part it reads.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use serde_json::json;

/// The name of the key, as tokens tell it.
pub const KEY_ID: &str = "lab";
/// What tokens for the broker are for.
pub const AUDIENCE: &str = "https://contoso.servicebus.windows.net";

/// A key that signs tokens, in a folder.
pub(crate) struct Signer {
    pub(crate) key: String,
    pub(crate) keys_file: PathBuf,
}

impl Signer {
    pub(crate) fn new(directory: &Path) -> io::Result<Self> {
        let pair = rcgen::KeyPair::generate().map_err(io::Error::other)?;
        // An uncompressed point: 4, x and y.
        let (x, y) = pair.public_key_raw().get(1..).unwrap_or_default().split_at(32);
        let key = json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": KEY_ID,
            "x": BASE64.encode(x), "y": BASE64.encode(y),
        });
        let keys_file = directory.join("keys.json");
        std::fs::write(&keys_file, json!({ "keys": [key] }).to_string())?;
        Ok(Self { key: pair.serialize_pem(), keys_file })
    }
}
