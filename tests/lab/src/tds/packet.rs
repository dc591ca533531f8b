//! Packets and messages (MS-TDS 2.2.3): eight bytes of header, a type, and whether it is the last.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, WriteHalf};

pub(super) const BATCH: u8 = 0x01;
pub(super) const RPC: u8 = 0x03;
pub(super) const ANSWER: u8 = 0x04;
pub(super) const ATTENTION: u8 = 0x06;
pub(super) const TRANSACTION: u8 = 0x0E;
pub(super) const LOGIN: u8 = 0x10;
pub(super) const PRELOGIN: u8 = 0x12;

pub(super) const HEADER: usize = 8;
/// Packets of this size are taken by every client before the login is over.
pub(super) const FIRST_SIZE: usize = 4_096;
/// What a client may send in one message.
const LARGEST: usize = 16 << 20;
/// Rows gather to so much before they are written.
const BLOCK: usize = 256 << 10;

/// A connection, whatever is below it.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Where answers go.
pub(super) type Out = WriteHalf<Box<dyn Io>>;

/// What a client sent.
pub(super) struct Message {
    pub(super) kind: u8,
    pub(super) payload: Vec<u8>,
}

/// Reads a message; `None` at the end of the connection.
pub(super) async fn read<R: AsyncRead + Unpin + ?Sized>(io: &mut R) -> io::Result<Option<Message>> {
    let mut payload = Vec::new();
    loop {
        let mut header = [0; HEADER];
        match io.read_exact(&mut header).await {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof && payload.is_empty() => {
                return Ok(None);
            }
            other => other?,
        };
        let [kind, status, high, low, ..] = header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let rest = length.checked_sub(HEADER).ok_or(io::ErrorKind::InvalidData)?;
        let from = payload.len();
        if from + rest > LARGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        payload.resize(from + rest, 0);
        io.read_exact(&mut payload[from..]).await?;
        if status & 1 == 1 {
            return Ok(Some(Message { kind, payload }));
        }
    }
}

/// The packets of a message.
pub(super) fn frame(kind: u8, payload: &[u8], size: usize, is_end: bool, out: &mut Vec<u8>) {
    let mut parts = payload.chunks(size - HEADER).peekable();
    let mut id = 0_u8;
    while let Some(part) = parts.next() {
        let is_last = is_end && parts.peek().is_none();
        let length = u16::try_from(part.len() + HEADER).expect("a packet's size");
        let [high, low] = length.to_be_bytes();
        id = id.wrapping_add(1);
        out.extend([kind, u8::from(is_last), high, low, 0, 51, id, 0]);
        out.extend_from_slice(part);
    }
}

/// Writes an answer that is ready.
pub(super) async fn send<W: AsyncWrite + Unpin + ?Sized>(
    io: &mut W,
    payload: &[u8],
    size: usize,
) -> io::Result<()> {
    let mut out = Vec::new();
    frame(ANSWER, payload, size, true, &mut out);
    io.write_all(&out).await?;
    io.flush().await
}

/// Writes one answer, packet by packet. Its last token is always in the packet that ends it, which is
/// what clients look for.
pub(super) struct Answer<'a> {
    io: &'a mut Out,
    size: usize,
    pub(super) payload: Vec<u8>,
    out: Vec<u8>,
}

impl<'a> Answer<'a> {
    pub(super) fn new(io: &'a mut Out, size: usize) -> Self {
        Self { io, size, payload: Vec::with_capacity(BLOCK + 4_096), out: Vec::new() }
    }

    pub(super) fn is_full(&self) -> bool {
        self.payload.len() >= BLOCK
    }

    /// Writes whole packets, all but the last.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        let part = self.size - HEADER;
        let whole = self.payload.len().saturating_sub(1) / part * part;
        self.out.clear();
        frame(ANSWER, &self.payload[..whole], self.size, false, &mut self.out);
        self.io.write_all(&self.out).await?;
        self.payload.drain(..whole);
        Ok(())
    }

    /// Writes the rest.
    pub(super) async fn end(mut self) -> io::Result<()> {
        self.flush().await?;
        self.out.clear();
        frame(ANSWER, &self.payload, self.size, true, &mut self.out);
        self.io.write_all(&self.out).await?;
        self.io.flush().await
    }

    /// What there is, and no end.
    pub(super) async fn cut(self) -> io::Result<()> {
        let mut out = Vec::new();
        frame(ANSWER, &self.payload, self.size, false, &mut out);
        self.io.write_all(&out).await?;
        self.io.flush().await
    }
}
