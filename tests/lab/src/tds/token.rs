//! Tokens of answers (MS-TDS 2.2.7).

use super::value::{Column, Value};

pub(super) const MORE: u16 = 0x01;
pub(super) const FAILED: u16 = 0x02;
pub(super) const COUNTED: u16 = 0x10;
pub(super) const CANCELLED: u16 = 0x20;
const SELECT: u16 = 0xC1;

/// Latin1_General_CI_AS, code page 1252.
pub(super) const COLLATION: [u8; 5] = [0x09, 0x04, 0xD0, 0x00, 0x34];

/// What a server refuses with.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    /// Its number in `sys.messages`.
    pub(super) number: u32,
    /// How bad it is: 20 and above end the connection.
    pub(super) class: u8,
    pub(super) text: String,
}

impl Failure {
    pub(super) fn new(number: u32, class: u8, text: impl Into<String>) -> Self {
        Self { number, class, text: text.into() }
    }
}

fn wide(text: &str, out: &mut Vec<u8>) {
    out.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
}

fn short(text: &str, out: &mut Vec<u8>) {
    out.push(u8::try_from(text.encode_utf16().count()).expect("a short text"));
    wide(text, out);
}

fn long(text: &str, out: &mut Vec<u8>) {
    let count = u16::try_from(text.encode_utf16().count()).expect("a text");
    out.extend(count.to_le_bytes());
    wide(text, out);
}

/// A token with its length in two bytes before its body.
fn sized(token: u8, body: &[u8], out: &mut Vec<u8>) {
    out.push(token);
    out.extend(u16::try_from(body.len()).expect("a token's length").to_le_bytes());
    out.extend_from_slice(body);
}

pub(super) fn done(status: u16, rows: u64, out: &mut Vec<u8>) {
    ended(0xFD, status, rows, out);
}

pub(super) fn done_in_procedure(status: u16, rows: u64, out: &mut Vec<u8>) {
    ended(0xFF, status, rows, out);
}

/// The end of a procedure, which returns 0.
pub(super) fn done_procedure(status: u16, out: &mut Vec<u8>) {
    out.extend([0x79, 0, 0, 0, 0]);
    ended(0xFE, status, 0, out);
}

fn ended(token: u8, status: u16, rows: u64, out: &mut Vec<u8>) {
    out.push(token);
    out.extend(status.to_le_bytes());
    let command = if status & COUNTED == 0 { 0 } else { SELECT };
    out.extend(command.to_le_bytes());
    out.extend(rows.to_le_bytes());
}

pub(super) fn error(failure: &Failure, server: &str, out: &mut Vec<u8>) {
    message(0xAA, (failure.number, failure.class), &failure.text, server, out);
}

pub(super) fn info(number: u32, text: &str, server: &str, out: &mut Vec<u8>) {
    message(0xAB, (number, 0), text, server, out);
}

fn message(token: u8, (number, class): (u32, u8), text: &str, server: &str, out: &mut Vec<u8>) {
    let mut body = number.to_le_bytes().to_vec();
    body.extend([1, class]);
    long(text, &mut body);
    short(server, &mut body);
    short("", &mut body);
    body.extend(1_u32.to_le_bytes());
    sized(token, &body, out);
}

/// 1 database, 2 language, 4 packet size.
pub(super) fn changed(kind: u8, new: &str, old: &str, out: &mut Vec<u8>) {
    let mut body = vec![kind];
    short(new, &mut body);
    short(old, &mut body);
    sized(0xE3, &body, out);
}

pub(super) fn collation(out: &mut Vec<u8>) {
    let mut body = vec![7, 5];
    body.extend(COLLATION);
    body.push(0);
    sized(0xE3, &body, out);
}

/// A transaction began (8), was committed (9) or rolled back (10).
pub(super) fn transaction(kind: u8, descriptor: u64, out: &mut Vec<u8>) {
    let mut body = vec![kind];
    if kind == 8 {
        body.push(8);
        body.extend(descriptor.to_le_bytes());
        body.push(0);
    } else {
        body.extend([0, 8]);
        body.extend(descriptor.to_le_bytes());
    }
    sized(0xE3, &body, out);
}

/// Another server is to be asked (20).
pub(super) fn routing(host: &str, port: u16, out: &mut Vec<u8>) {
    let mut value = vec![0];
    value.extend(port.to_le_bytes());
    long(host, &mut value);
    let mut body = vec![20];
    body.extend(u16::try_from(value.len()).expect("a host's name").to_le_bytes());
    body.extend(value);
    body.extend([0, 0]);
    sized(0xE3, &body, out);
}

pub(super) fn login(out: &mut Vec<u8>) {
    let mut body = vec![1, 0x74, 0, 0, 4];
    short("Microsoft SQL Server", &mut body);
    body.extend([16, 0, 0x10, 0]);
    sized(0xAD, &body, out);
}

pub(super) fn security(token: &[u8], out: &mut Vec<u8>) {
    sized(0xED, token, out);
}

pub(super) fn columns(columns: &[Column], out: &mut Vec<u8>) {
    out.push(0x81);
    out.extend(u16::try_from(columns.len()).expect("columns").to_le_bytes());
    for column in columns {
        out.extend([0, 0, 0, 0, 9, 0]);
        column.kind.info(out);
        short(&column.name, out);
    }
}

pub(super) fn row(values: &[Value<'_>], columns: &[Column], out: &mut Vec<u8>) {
    out.push(0xD1);
    for (value, column) in values.iter().zip(columns) {
        value.write(column.kind, out);
    }
}
