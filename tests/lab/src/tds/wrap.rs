//! TLS inside TDS: a handshake's bytes travel in packets of type 12; afterwards TLS is outside.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::packet::{FIRST_SIZE, HEADER, PRELOGIN, frame};

/// A connection below TLS.
pub(super) struct Wrap<S> {
    io: S,
    /// Whether bytes are in packets.
    pub(super) is_wrapped: bool,
    header: [u8; HEADER],
    has: usize,
    left: usize,
    waiting: Vec<u8>,
    out: Vec<u8>,
    written: usize,
}

impl<S> Wrap<S> {
    pub(super) fn new(io: S) -> Self {
        let (waiting, out) = (Vec::new(), Vec::new());
        Self {
            io,
            is_wrapped: true,
            header: [0; HEADER],
            has: 0,
            left: 0,
            waiting,
            out,
            written: 0,
        }
    }

    pub(super) fn into_inner(self) -> S {
        self.io
    }
}

/// Reads at most `most` bytes; how many came.
fn read_some<S: AsyncRead + Unpin>(
    io: &mut S,
    cx: &mut Context<'_>,
    into: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(into);
    ready!(Pin::new(io).poll_read(cx, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}

impl<S: AsyncRead + Unpin> AsyncRead for Wrap<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_wrapped {
            return Pin::new(&mut this.io).poll_read(cx, buffer);
        }
        while this.left == 0 {
            while this.has < HEADER {
                let n = ready!(read_some(&mut this.io, cx, &mut this.header[this.has..]))?;
                if n == 0 {
                    return Poll::Ready(Ok(()));
                }
                this.has += n;
            }
            if this.header[0] != PRELOGIN {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            let length = usize::from(u16::from_be_bytes([this.header[2], this.header[3]]));
            this.left = length.checked_sub(HEADER).ok_or(io::ErrorKind::InvalidData)?;
            this.has = 0;
        }
        // Never beyond the packet: what follows it may no longer be wrapped.
        let most = this.left.min(buffer.remaining());
        let n = ready!(read_some(&mut this.io, cx, buffer.initialize_unfilled_to(most)))?;
        buffer.advance(n);
        this.left -= n;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wrap<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.is_wrapped {
            return Pin::new(&mut this.io).poll_write(cx, bytes);
        }
        this.waiting.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.out.is_empty() && !this.waiting.is_empty() {
            frame(PRELOGIN, &this.waiting, FIRST_SIZE, true, &mut this.out);
            this.waiting.clear();
        }
        while this.written < this.out.len() {
            let rest = &this.out[this.written..];
            this.written += ready!(Pin::new(&mut this.io).poll_write(cx, rest))?;
        }
        this.out.clear();
        this.written = 0;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
