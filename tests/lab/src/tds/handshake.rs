//! How a client comes in: encryption, login, database.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::evaluate::Facts;
use super::login::{self, Login};
use super::packet::{self, FIRST_SIZE, Io, LOGIN, Message, PRELOGIN, send};
use super::prelogin::{self, Encryption};
use super::session::{SERVER, Session};
use super::token::{self, FAILED, Failure};
use super::wrap::Wrap;
use crate::server::Lab;

/// How large packets may become.
const LARGEST_PLAIN: usize = 32_767;
const LARGEST_IN_TLS: usize = 16_383;
/// TLS from the first byte on: a record of its handshake.
const HANDSHAKE: u8 = 0x16;

/// How TLS is spoken.
pub(super) struct Acceptors {
    /// Within packets: TLS 1.2 without resumption, as what comes after a handshake of 1.3 would
    /// still be in packets.
    pub(super) wrapped: TlsAcceptor,
    /// Outside of everything (TDS 8.0).
    pub(super) strict: TlsAcceptor,
}

/// Serves a connection. A client that goes away, or a fault that was asked for, is no news.
pub(super) async fn serve(lab: Arc<Lab>, acceptors: Arc<Acceptors>, socket: TcpStream) {
    drop(socket.set_nodelay(true));
    drop(begin(&lab, &acceptors, socket).await);
}

async fn begin(lab: &Arc<Lab>, acceptors: &Acceptors, socket: TcpStream) -> io::Result<()> {
    let mut first = [0];
    socket.peek(&mut first).await?;
    if first[0] == HANDSHAKE {
        let mut tls = acceptors.strict.accept(socket).await?;
        greet(&mut tls, lab).await?;
        lab.counts().strict += 1;
        let login = packet::read(&mut tls).await?;
        return enter(lab, Box::new(tls), login, LARGEST_IN_TLS).await;
    }
    let mut socket = socket;
    match greet(&mut socket, lab).await? {
        Encryption::None => {
            let login = packet::read(&mut socket).await?;
            enter(lab, Box::new(socket), login, LARGEST_PLAIN).await
        }
        encryption => {
            let mut tls = acceptors.wrapped.accept(Wrap::new(socket)).await?;
            tls.get_mut().0.is_wrapped = false;
            let login = packet::read(&mut tls).await?;
            if encryption == Encryption::Login {
                let plain = tls.into_inner().0.into_inner();
                return enter(lab, Box::new(plain), login, LARGEST_PLAIN).await;
            }
            enter(lab, Box::new(tls), login, LARGEST_IN_TLS).await
        }
    }
}

/// The first messages of both sides.
async fn greet<S: Io>(io: &mut S, lab: &Lab) -> io::Result<Encryption> {
    let Some(Message { kind: PRELOGIN, payload }) = packet::read(io).await? else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let has_tls = !lab.faults().sql.no_tls;
    let (encryption, answer) = prelogin::agreed(prelogin::asked(&payload)?, has_tls);
    send(io, &prelogin::answer(answer), FIRST_SIZE).await?;
    Ok(encryption)
}

/// Lets a client in, or not, and answers what it asks.
async fn enter(
    lab: &Arc<Lab>,
    mut io: Box<dyn Io>,
    login: Option<Message>,
    largest: usize,
) -> io::Result<()> {
    let Some(Message { kind: LOGIN, payload }) = login else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let login = login::read(&payload)?;
    let refused = match admit(lab, &login) {
        Ok((user, answer)) => {
            if let Some(answer) = answer {
                let mut security = Vec::new();
                token::security(&answer, &mut security);
                // In a message of its own, with the login's answer at once after it.
                send(&mut *io, &security, FIRST_SIZE).await?;
            }
            match open(lab, &login) {
                Ok(database) => {
                    let size = login.packet_size.clamp(512, largest);
                    let facts = Facts::new(lab, user, database);
                    let route = lab.faults().sql.route_to.clone().filter(|_| login.is_read_only);
                    send(&mut *io, &welcome(&facts, size, route), FIRST_SIZE).await?;
                    return Session::new(lab, facts, size).run(io).await;
                }
                // As SQL Server does it: why, and that the login failed for it.
                Err(failure) => vec![failure, login_failed(&login.user)],
            }
        }
        Err(failure) => vec![failure],
    };
    let mut out = Vec::new();
    for failure in &refused {
        token::error(failure, SERVER, &mut out);
    }
    token::done(FAILED, 0, &mut out);
    send(&mut *io, &out, FIRST_SIZE).await
}

fn login_failed(user: &str) -> Failure {
    Failure::new(18_456, 14, format!("Login failed for user '{user}'."))
}

/// Who the client is, and what Kerberos answers it.
fn admit(lab: &Lab, login: &Login) -> Result<(String, Option<Vec<u8>>), Failure> {
    if let Some(ticket) = &login.security {
        let principal = lab.options.principal.as_deref().unwrap_or_default();
        let answer = crate::negotiate::enter(ticket, principal).map_err(|why| {
            let text = format!("Login failed. The login is from an untrusted domain and cannot be used with Integrated authentication. ({why})");
            Failure::new(18_452, 14, text)
        })?;
        return Ok((principal.to_owned(), Some(answer)));
    }
    let is_known = login.user == lab.options.sql_user && login.password == lab.options.sql_password;
    if is_known { Ok((login.user.clone(), None)) } else { Err(login_failed(&login.user)) }
}

fn welcome(facts: &Facts, size: usize, route: Option<(String, u16)>) -> Vec<u8> {
    let mut out = Vec::new();
    token::changed(1, &facts.database, "master", &mut out);
    let text = format!("Changed database context to '{}'.", facts.database);
    token::info(5_701, &text, SERVER, &mut out);
    token::collation(&mut out);
    token::changed(2, "us_english", "", &mut out);
    token::info(5_703, "Changed language setting to us_english.", SERVER, &mut out);
    token::login(&mut out);
    token::changed(4, &size.to_string(), "4096", &mut out);
    if let Some((host, port)) = route {
        token::routing(&host, port, &mut out);
    }
    token::done(0, 0, &mut out);
    out
}

/// The database that the client wants.
pub(super) fn open(lab: &Lab, login: &Login) -> Result<String, Failure> {
    let own = lab.database();
    let faults = lab.faults();
    let wanted = if login.database.is_empty() { "master" } else { &login.database };
    if wanted.eq_ignore_ascii_case("master") {
        return Ok("master".into());
    }
    if !wanted.eq_ignore_ascii_case(&own) {
        let text =
            format!("Cannot open database \"{wanted}\" requested by the login. The login failed.");
        return Err(Failure::new(4_060, 11, text));
    }
    if faults.sql.is_restoring {
        let text = format!("Database '{own}' cannot be opened. It is in the middle of a restore.");
        return Err(Failure::new(927, 14, text));
    }
    if faults.sql.is_secondary && !login.is_read_only {
        let text = format!(
            "The target database ('{own}') is in an availability group and is currently accessible \
             for connections when the application intent is set to read only."
        );
        return Err(Failure::new(978, 14, text));
    }
    Ok(own)
}
