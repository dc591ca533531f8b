//! What a client asks for once it is in (MS-TDS 2.2.6.6, 2.2.6.7 and 2.2.6.9).

use std::collections::HashMap;
use std::io;

use super::bytes::{Reader, text};
use super::packet::{BATCH, Message, RPC, TRANSACTION};
use super::value::Value;

/// Parameters by their names, `@` included, in lower case.
pub(super) type Parameters = HashMap<String, Value<'static>>;

const EXECUTE_SQL: u16 = 10;
const NO_LENGTH: u64 = u64::MAX;
/// An isolation level.
const SNAPSHOT: u8 = 5;

/// A request.
#[derive(Debug)]
pub(super) enum Request {
    /// T-SQL; as a procedure's text, with parameters, or as a batch.
    Sql { text: String, parameters: Parameters, is_procedure: bool },
    /// A procedure by name.
    Procedure(String),
    /// A transaction begins; whether all that it reads is of one moment.
    Begin { is_snapshot: bool },
    /// It ends; whether another begins at once.
    End { kind: u8, begins: bool },
}

/// Reads a request.
pub(super) fn read(message: &Message) -> io::Result<Request> {
    let mut reader = Reader(&message.payload);
    let headers = reader.u32()? as usize;
    reader.take(headers.checked_sub(4).ok_or(io::ErrorKind::InvalidData)?)?;
    match message.kind {
        BATCH => Ok(Request::Sql {
            text: text(reader.0)?,
            parameters: Parameters::new(),
            is_procedure: false,
        }),
        RPC => procedure(reader),
        TRANSACTION => match reader.u16()? {
            5 => Ok(Request::Begin { is_snapshot: !reader.is_empty() && reader.u8()? == SNAPSHOT }),
            kind @ (7 | 8) => {
                reader.short_text()?;
                let begins = !reader.is_empty() && reader.u8()? & 1 == 1;
                Ok(Request::End { kind: if kind == 7 { 9 } else { 10 }, begins })
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        },
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn procedure(mut reader: Reader<'_>) -> io::Result<Request> {
    let name = match reader.u16()? {
        0xFFFF => Err(reader.u16()?),
        count => Ok(text(reader.take(2 * usize::from(count))?)?),
    };
    reader.u16()?;
    match name {
        Ok(name) if !name.eq_ignore_ascii_case("sp_executesql") => {
            return Ok(Request::Procedure(name));
        }
        Err(id) if id != EXECUTE_SQL => return Ok(Request::Procedure(format!("#{id}"))),
        _ => {}
    }
    let mut values = Vec::new();
    while !reader.is_empty() {
        let name = reader.short_text()?;
        reader.u8()?;
        values.push((name, value(&mut reader)?));
    }
    let mut values = values.into_iter();
    let Some((_, Value::Text(sql))) = values.next() else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    // The declarations give names to parameters that have none.
    let declared = match values.next() {
        Some((_, Value::Text(declared))) => declared.into_owned(),
        _ => String::new(),
    };
    let names = declared.split(',').filter_map(|d| d.split_whitespace().next());
    let names = names.chain(std::iter::repeat(""));
    let parameters = values
        .zip(names)
        .map(|((own, value), declared)| {
            let name = if own.is_empty() { declared.to_owned() } else { own };
            (name.to_lowercase(), value)
        })
        .collect();
    Ok(Request::Sql { text: sql.into_owned(), parameters, is_procedure: true })
}

/// A parameter: its type and its value.
fn value(reader: &mut Reader<'_>) -> io::Result<Value<'static>> {
    let number = |bytes: &[u8]| {
        let mut wide = if bytes.last().is_some_and(|b| b & 0x80 != 0) && bytes.len() > 1 {
            [0xFF; 8]
        } else {
            [0; 8]
        };
        wide.get_mut(..bytes.len()).ok_or(io::ErrorKind::InvalidData)?.copy_from_slice(bytes);
        io::Result::Ok(Value::Number(i64::from_le_bytes(wide)))
    };
    Ok(match reader.u8()? {
        0x1F => Value::Null,
        fixed @ (0x30 | 0x32 | 0x34 | 0x38 | 0x7F) => {
            let length = match fixed {
                0x34 => 2,
                0x38 => 4,
                0x7F => 8,
                _ => 1,
            };
            number(reader.take(length)?)?
        }
        0x26 | 0x68 => {
            reader.u8()?;
            match usize::from(reader.u8()?) {
                0 => Value::Null,
                length => number(reader.take(length)?)?,
            }
        }
        0x6F => {
            reader.u8()?;
            match reader.u8()? {
                8 => Value::Time(reader.i32()?, reader.u32()?),
                _ => Value::Null,
            }
        }
        wide @ (0xE7 | 0xEF | 0xA7 | 0xAF) => {
            let most = reader.u16()?;
            reader.take(5)?;
            let Some(bytes) = long_value(reader, most)? else { return Ok(Value::Null) };
            if wide & 0x40 == 0 {
                Value::text(bytes.iter().map(|b| char::from(*b)).collect::<String>())
            } else {
                Value::text(text(&bytes)?)
            }
        }
        _ => return Err(io::ErrorKind::Unsupported.into()),
    })
}

/// A text's bytes, in one piece or in several (MS-TDS 2.2.5.2.3).
fn long_value(reader: &mut Reader<'_>, most: u16) -> io::Result<Option<Vec<u8>>> {
    if most != 0xFFFF {
        return match reader.u16()? {
            0xFFFF => Ok(None),
            length => Ok(Some(reader.take(usize::from(length))?.to_vec())),
        };
    }
    if reader.u64()? == NO_LENGTH {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    loop {
        match reader.u32()? as usize {
            0 => return Ok(Some(bytes)),
            length => bytes.extend_from_slice(reader.take(length)?),
        }
    }
}
