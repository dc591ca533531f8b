//! The site database: SQL Server's protocol (MS-TDS 7.4 and, with TLS from the first byte, 8.0) over the
//! same hierarchy that the administration service shows.

mod bytes;
mod catalog;
mod evaluate;
mod handshake;
mod login;
mod packet;
mod prelogin;
mod request;
mod schema;
mod select;
mod session;
mod sql;
mod token;
mod trouble;
mod value;
mod views;
mod wrap;

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use self::handshake::Acceptors;
use crate::server::Lab;
use crate::tls::Identity;

/// Serves clients until the runtime ends.
pub(crate) async fn serve(lab: Arc<Lab>, listener: TcpListener, identity: Identity) {
    let mut wrapped = identity.server(&[&rustls::version::TLS12]);
    wrapped.session_storage = Arc::new(NoServerSessionStorage {});
    let mut strict = identity.server(rustls::ALL_VERSIONS);
    strict.alpn_protocols = vec![b"tds/8.0".to_vec()];
    let acceptor = |config: ServerConfig| TlsAcceptor::from(Arc::new(config));
    let acceptors = Arc::new(Acceptors { wrapped: acceptor(wrapped), strict: acceptor(strict) });
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(handshake::serve(Arc::clone(&lab), Arc::clone(&acceptors), socket));
    }
}
