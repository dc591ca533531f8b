//! LOGIN7 (MS-TDS 2.2.6.4).

use std::io;

use super::bytes::{Reader, text};

/// What a client says of itself.
#[derive(Debug, Default)]
pub(super) struct Login {
    pub(super) packet_size: usize,
    pub(super) user: String,
    pub(super) password: String,
    pub(super) database: String,
    /// The first token of Kerberos, where no password is used.
    pub(super) security: Option<Vec<u8>>,
    /// `ApplicationIntent=ReadOnly`.
    pub(super) is_read_only: bool,
}

/// Reads the message.
pub(super) fn read(payload: &[u8]) -> io::Result<Login> {
    let part = |at: usize, length: usize| {
        let end = at.checked_add(length).ok_or(io::ErrorKind::InvalidData)?;
        payload.get(at..end).ok_or(io::Error::from(io::ErrorKind::InvalidData))
    };
    let place = |at: usize| -> io::Result<(usize, usize)> {
        let mut reader = Reader(part(at, 4)?);
        Ok((usize::from(reader.u16()?), usize::from(reader.u16()?)))
    };
    let wide = |at: usize| -> io::Result<&[u8]> {
        match place(at)? {
            (_, 0) => Ok(&[]),
            (from, count) => part(from, 2 * count),
        }
    };
    let mut size = Reader(part(8, 4)?);
    let flags = part(24, 4)?;
    let clear: Vec<u8> = wide(44)?.iter().map(|b| (b ^ 0xA5).rotate_left(4)).collect();
    let is_integrated = flags[1] & 0x80 != 0;
    let security = match place(78)? {
        (_, 0) => Vec::new(),
        (from, length) => part(from, length)?.to_vec(),
    };
    Ok(Login {
        packet_size: size.u32()? as usize,
        user: text(wide(40)?)?,
        password: text(&clear)?,
        database: text(wide(68)?)?,
        security: is_integrated.then_some(security),
        is_read_only: flags[2] & 0x20 != 0,
    })
}
