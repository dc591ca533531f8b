//! SQL Server Browser: which port an instance listens on.
//!
//! One datagram asks (4 and the instance's name), one answers: 5, a length, and `name;value;` pairs of
//! one instance, `tcp` among them (MC-SQLR 2.2).

use std::io;
use std::time::Duration;

use tokio::net::UdpSocket;

/// Where it listens.
pub(super) const BROWSER_PORT: u16 = 1434;
const PATIENCE: Duration = Duration::from_secs(2);
/// A datagram may get lost.
const TRIES: usize = 3;

/// Asks the server's browser for an instance's port.
pub(super) async fn port(server: &str, browser: u16, instance: &str) -> Result<u16, String> {
    let told = |error: io::Error| error.to_string();
    let address = tokio::net::lookup_host((server, browser)).await.map_err(told)?.next();
    let address = address.ok_or_else(|| format!("`{server}` has no address"))?;
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await.map_err(told)?;
    socket.connect(address).await.map_err(told)?;
    let mut question = vec![4];
    question.extend_from_slice(instance.as_bytes());
    question.push(0);
    let mut answer = vec![0; 2_048];
    for _ in 0..TRIES {
        socket.send(&question).await.map_err(told)?;
        if let Ok(received) = tokio::time::timeout(PATIENCE, socket.recv(&mut answer)).await {
            let length = received.map_err(|e| format!("SQL Server Browser does not run: {e}"))?;
            let answer = answer.get(..length).unwrap_or_default();
            return read(answer)
                .ok_or_else(|| format!("SQL Server Browser knows no TCP port of `{instance}`"));
        }
    }
    Err(format!(
        "SQL Server Browser at {server} (UDP {browser}) does not answer: start it, or name the \
         instance's port"
    ))
}

/// The `tcp` of an answer.
fn read(answer: &[u8]) -> Option<u16> {
    let text = answer.get(3..).filter(|_| answer.first() == Some(&5))?;
    let text = std::str::from_utf8(text).ok()?;
    let mut parts = text.split(';');
    while let Some(name) = parts.next() {
        let value = parts.next()?;
        if name.eq_ignore_ascii_case("tcp") {
            return value.parse().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_an_instance_is_read_and_nonsense_is_none() {
        let answer = |text: &str| [&[5, 0, 0], text.as_bytes()].concat();
        let good = "ServerName;LAB;InstanceName;CM;IsClustered;No;Version;16.0.4000.1;tcp;17001;;";
        assert_eq!(read(&answer(good)), Some(17_001));
        for bad in ["", "tcp", "tcp;;", "tcp;99999;", "np;1;", ";;;;"] {
            assert_eq!(read(&answer(bad)), None, "{bad}");
        }
        assert_eq!(read(&[]), None);
    }
}
