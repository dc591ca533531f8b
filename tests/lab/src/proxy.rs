//! The lab as a proxy: a `CONNECT` to a name of Azure ends at the lab itself, so that a cloud's own
//! addresses are used as they are.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest head of a request.
const MOST: usize = 8 * 1024;

/// Reads a `CONNECT` and answers it; gives the host that was asked for.
pub(crate) async fn accept(socket: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > MOST {
            return Err(io::Error::other("the head is too long"));
        }
        head.push(socket.read_u8().await?);
    }
    let text = String::from_utf8_lossy(&head);
    let target = text.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
    let host = target.and_then(|t| t.rsplit_once(':')).map(|(host, _)| host.to_owned());
    let Some(host) = host else {
        socket.write_all(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n").await?;
        return Err(io::Error::other("not a CONNECT"));
    };
    socket.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    Ok(host)
}
