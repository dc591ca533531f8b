//! Answers of the site database: after a log-in that is in order, tokens of TDS made of foreign bytes.

#![no_main]

use std::time::Duration;

use cmsync_configmgr::{
    CollectionsSink, DeviceScope, Encryption, Limits, MemberRow, Port, Site as _, SqlLogin,
    SqlSettings, SqlSite,
};
use cmsync_http::Secret;
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

struct Rows;

impl CollectionsSink for Rows {
    fn collection(&mut self, _: &str) {}

    fn row(&mut self, _: &MemberRow<'_>) {}
}

/// A message of the server in one packet.
fn packet(payload: &[u8]) -> Vec<u8> {
    let payload = &payload[..payload.len().min(32_000)];
    let length = u16::try_from(payload.len() + 8).expect("short").to_be_bytes();
    [&[4, 1, length[0], length[1], 0, 0, 1, 0], payload].concat()
}

/// Version and encryption (none), as a server tells them first.
fn greeting() -> Vec<u8> {
    let head = [0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 255];
    packet(&[&head[..], &[16, 0, 0, 0, 0, 0], &[2]].concat())
}

/// The log-in is accepted.
fn accepted() -> Vec<u8> {
    let name: Vec<u8> = "SQL".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let ack = [&[1, 0x74, 0, 0, 4, 3], &name[..], &[16, 0, 0, 0]].concat();
    let length = u16::try_from(ack.len()).expect("short").to_le_bytes();
    let done = [0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    packet(&[&[0xAD, length[0], length[1]], &ack[..], &done].concat())
}

/// Waits for a whole message of the client's; none where it ended.
async fn asked(socket: &mut TcpStream) -> Option<()> {
    loop {
        let mut head = [0; 8];
        socket.read_exact(&mut head).await.ok()?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let mut rest = vec![0; length.saturating_sub(8)];
        socket.read_exact(&mut rest).await.ok()?;
        if head[1] & 1 == 1 {
            return Some(());
        }
    }
}

async fn answer(listener: TcpListener, data: Vec<u8>) -> Option<()> {
    let mut answers = cmsync_fuzz::parts(&data).map(packet);
    loop {
        let (mut socket, _) = listener.accept().await.ok()?;
        for first in [greeting(), accepted()] {
            asked(&mut socket).await?;
            socket.write_all(&first).await.ok()?;
        }
        while asked(&mut socket).await.is_some() {
            let Some(next) = answers.next() else { return None };
            if socket.write_all(&next).await.is_err() {
                break;
            }
        }
    }
}

async fn ask(call: u8, data: Vec<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let answering = tokio::spawn(answer(listener, data));
    let settings = SqlSettings {
        server: "127.0.0.1".into(),
        port: Some(Port::Number(port)),
        database: "CM_PS1".into(),
        login: SqlLogin::Password { user: "reader".into(), password: Secret::Given("p".into()) },
        encryption: Encryption::None,
        ca_file: None,
        read_only: false,
        change_tracking: true,
        connections: 1,
        limits: Limits::default(),
        connect_timeout: Duration::from_millis(200),
        read_timeout: Duration::from_millis(10),
    };
    let site = SqlSite::new(settings, 3, None);
    let ids = ["PS100001".to_owned(), "PS100002".to_owned()];
    match call % 6 {
        0 => drop(site.collections().await),
        1 => drop(site.members_of(&ids, &mut Rows).await),
        2 => drop(site.collections_of(&ids).await),
        3 => drop(site.devices(&DeviceScope::After(-1)).await),
        4 => drop(site.hierarchy().await),
        _ => match site.tracked() {
            Some(tracked) => drop(tracked.track(Some(1)).await),
            None => drop(site.account().await),
        },
    }
    answering.abort();
}

fuzz_target!(|data: &[u8]| {
    let Some((call, data)) = data.split_first() else { return };
    // A server that sends no whole answer is waited for: that is not what is looked for here.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let asked = async {
        let within = Duration::from_millis(500);
        drop(tokio::time::timeout(within, ask(*call, data.to_vec())).await);
    };
    runtime.block_on(asked);
    runtime.shutdown_background();
});
