//! A token for the client that administers topics.
//!
//! Consumers and producers ask for tokens when they are polled. `rdkafka`'s `AdminClient` reads a queue
//! of its own alone, so what it asks is never heard, and the crate has no safe call to give it a token.

#![expect(unsafe_code, reason = "the one call of the library that `rdkafka` does not wrap")]

use std::ffi::{CString, c_char};
use std::ptr;

use rdkafka::admin::AdminClient;
use rdkafka::bindings::rd_kafka_oauthbearer_set_token;
use rdkafka::client::ClientContext;
use rdkafka::types::RDKafkaRespErr;
use secrecy::ExposeSecret as _;

use super::options::Token;

/// Room for why a token is not taken.
const TOLD: usize = 512;

/// Gives a client its token.
pub(super) fn give<C: ClientContext>(admin: &AdminClient<C>, token: &Token) -> Result<(), String> {
    let text = |text: &str| CString::new(text).map_err(|_| "a token with a zero byte".to_owned());
    let (value, principal) = (text(token.value.expose_secret())?, text(&token.principal)?);
    let mut told: [c_char; TOLD] = [0; TOLD];
    // SAFETY: the client lives as long as `admin`; both texts end with a zero and outlive the call,
    // which copies them; no extensions are given; `told` is as long as is said.
    let code = unsafe {
        rd_kafka_oauthbearer_set_token(
            admin.inner().native_ptr(),
            value.as_ptr(),
            token.expires,
            principal.as_ptr(),
            ptr::null_mut(),
            0,
            told.as_mut_ptr(),
            told.len(),
        )
    };
    if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Ok(());
    }
    let told: Vec<u8> =
        told.iter().map(|c| c.cast_unsigned()).take_while(|byte| *byte != 0).collect();
    Err(String::from_utf8_lossy(&told).into_owned())
}
