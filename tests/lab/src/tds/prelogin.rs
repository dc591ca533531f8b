//! The first message of either side (MS-TDS 2.2.6.5): whether what follows is encrypted.

use super::bytes::Reader;
use std::io;

const VERSION: u8 = 0;
const ENCRYPTION: u8 = 1;
const END: u8 = 0xFF;

/// What is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encryption {
    /// The login alone.
    Login,
    /// Everything.
    All,
    /// Nothing.
    None,
}

/// What the client asks for: 0 login, 1 and 3 all, 2 none, 4 all from the first byte on.
pub(super) fn asked(payload: &[u8]) -> io::Result<u8> {
    let mut options = Reader(payload);
    loop {
        let token = options.u8()?;
        if token == END {
            return Ok(2);
        }
        let place = options.take(4)?;
        let at = usize::from(u16::from_be_bytes([place[0], place[1]]));
        if token == ENCRYPTION {
            return payload.get(at).copied().ok_or_else(|| io::ErrorKind::InvalidData.into());
        }
    }
}

/// What the server makes of it; a server without TLS gives none.
pub(super) fn agreed(asked: u8, has_tls: bool) -> (Encryption, u8) {
    match asked {
        _ if !has_tls => (Encryption::None, 2),
        0 => (Encryption::Login, 0),
        2 => (Encryption::None, 2),
        4 => (Encryption::All, 4),
        _ => (Encryption::All, 1),
    }
}

/// The server's own: version 16, the encryption, no instance to speak of, no thread, no MARS.
pub(super) fn answer(encryption: u8) -> Vec<u8> {
    let options: [(u8, &[u8]); 5] = [
        (VERSION, &[16, 0, 0x10, 0, 0, 0]),
        (ENCRYPTION, &[encryption]),
        (2, &[0]),
        (3, &[]),
        (4, &[0]),
    ];
    let mut at = 5 * options.len() + 1;
    let (mut head, mut data) = (Vec::new(), Vec::new());
    for (token, value) in options {
        head.push(token);
        head.extend(u16::try_from(at).expect("a place").to_be_bytes());
        head.extend(u16::try_from(value.len()).expect("a length").to_be_bytes());
        data.extend_from_slice(value);
        at += value.len();
    }
    head.push(END);
    head.extend(data);
    head
}
