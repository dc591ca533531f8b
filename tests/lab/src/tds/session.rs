//! One connection, from its first byte to its last.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::evaluate::Facts;
use super::login::{self, Login};
use super::packet::{
    self, ANSWER, ATTENTION, Answer, FIRST_SIZE, Io, LOGIN, Message, Out, PRELOGIN, frame,
};
use super::prelogin::{self, Encryption};
use super::request::{self, Parameters, Request};
use super::select::{self, Context, Ended};
use super::sql::{self, Statement};
use super::token::{self, CANCELLED, COUNTED, FAILED, Failure, MORE};
use super::wrap::Wrap;
use crate::server::Lab;
use crate::world::World;

/// The server's name in its messages.
const SERVER: &str = "LAB";
/// How large packets may become.
const LARGEST_PLAIN: usize = 32_767;
const LARGEST_IN_TLS: usize = 16_383;
/// TLS from the first byte on: a record of its handshake.
const HANDSHAKE: u8 = 0x16;
/// Errors of this class and above end the connection.
const FATAL: u8 = 20;

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

async fn send<W: AsyncWrite + Unpin + ?Sized>(
    io: &mut W,
    payload: &[u8],
    size: usize,
) -> io::Result<()> {
    let mut out = Vec::new();
    frame(ANSWER, payload, size, true, &mut out);
    io.write_all(&out).await?;
    io.flush().await
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
                    return Session { lab: Arc::clone(lab), facts, size, frozen: None }
                        .run(io)
                        .await;
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

/// The database that the client wants.
fn open(lab: &Lab, login: &Login) -> Result<String, Failure> {
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

struct Session {
    lab: Arc<Lab>,
    facts: Facts,
    size: usize,
    /// What a snapshot transaction sees: `Some(None)` until its first read.
    frozen: Option<Option<Arc<World>>>,
}

/// What a client sends while it is answered.
struct Inbox {
    messages: mpsc::Receiver<Message>,
    next: Option<Message>,
}

impl Inbox {
    async fn next(&mut self) -> Option<Message> {
        match self.next.take() {
            Some(message) => Some(message),
            None => self.messages.recv().await,
        }
    }

    /// Whether the client wants no more of the answer that it gets.
    fn is_cancelled(&mut self) -> bool {
        match self.messages.try_recv() {
            Ok(message) if message.kind == ATTENTION => true,
            Ok(message) => {
                self.next = Some(message);
                false
            }
            Err(_) => false,
        }
    }
}

/// T-SQL and how it came.
struct Text {
    text: String,
    parameters: Parameters,
    is_procedure: bool,
}

impl Session {
    async fn run(mut self, io: Box<dyn Io>) -> io::Result<()> {
        let (mut from, mut to) = tokio::io::split(io);
        let (sender, messages) = mpsc::channel(4);
        let reading = tokio::spawn(async move {
            while let Ok(Some(message)) = packet::read(&mut from).await {
                if sender.send(message).await.is_err() {
                    break;
                }
            }
        });
        let mut inbox = Inbox { messages, next: None };
        let mut outcome = Ok(true);
        while let (Ok(true), Some(message)) = (&outcome, inbox.next().await) {
            outcome = if message.kind == ATTENTION {
                let mut out = Vec::new();
                token::done(CANCELLED, 0, &mut out);
                send(&mut to, &out, self.size).await.map(|()| true)
            } else {
                self.answer(&message, &mut to, &mut inbox).await
            };
        }
        reading.abort();
        outcome.map(drop)
    }

    /// Answers a request; false when the connection ends with it.
    async fn answer(
        &mut self,
        message: &Message,
        to: &mut Out,
        inbox: &mut Inbox,
    ) -> io::Result<bool> {
        let mut answer = Answer::new(to, self.size);
        let text = match request::read(message)? {
            Request::Sql { text, parameters, is_procedure } => {
                Text { text, parameters, is_procedure }
            }
            other => {
                self.simple(&other, &mut answer.payload);
                return answer.end().await.map(|()| true);
            }
        };
        let is_procedure = text.is_procedure;
        match self.batch(&text, &mut answer, inbox).await? {
            Ended::Cut => answer.cut().await.map(|()| false),
            Ended::Cancelled => {
                token::done(CANCELLED, 0, &mut answer.payload);
                answer.end().await.map(|()| true)
            }
            Ended::Failed(failure) => {
                token::error(&failure, SERVER, &mut answer.payload);
                if is_procedure {
                    token::done_procedure(FAILED, &mut answer.payload);
                } else {
                    token::done(FAILED, 0, &mut answer.payload);
                }
                answer.end().await.map(|()| failure.class < FATAL)
            }
            Ended::Rows(_) => {
                if is_procedure {
                    token::done_procedure(0, &mut answer.payload);
                }
                answer.end().await.map(|()| true)
            }
        }
    }

    /// Answers what is no T-SQL.
    fn simple(&mut self, request: &Request, out: &mut Vec<u8>) {
        match request {
            Request::Begin { is_snapshot } => {
                if *is_snapshot && let Err(failure) = self.isolate(true) {
                    token::error(&failure, SERVER, out);
                    return token::done(FAILED, 0, out);
                }
                self.facts.transactions = 1;
                token::transaction(8, 1, out);
                token::done(0, 0, out);
            }
            Request::End { kind, begins } => {
                self.facts.transactions = i64::from(*begins);
                self.frozen = self.frozen.take().map(|_| None);
                token::transaction(*kind, 1, out);
                if *begins {
                    token::transaction(8, 2, out);
                }
                token::done(0, 0, out);
            }
            Request::Procedure(name) if name.eq_ignore_ascii_case("sp_reset_connection") => {
                token::done_procedure(0, out);
            }
            Request::Procedure(name) => {
                let text = format!("Could not find stored procedure '{name}'.");
                token::error(&Failure::new(2_812, 16, text), SERVER, out);
                token::done_procedure(FAILED, out);
            }
            Request::Sql { .. } => {}
        }
    }

    /// Every statement of a batch, until one fails.
    async fn batch(
        &mut self,
        text: &Text,
        answer: &mut Answer<'_>,
        inbox: &mut Inbox,
    ) -> io::Result<Ended> {
        let statements = match sql::parse(&text.text, &text.parameters) {
            Ok(statements) => statements,
            Err(failure) => return Ok(Ended::Failed(failure)),
        };
        let mut left = statements.len();
        if left == 0 && !text.is_procedure {
            token::done(0, 0, &mut answer.payload);
        }
        for statement in statements {
            left -= 1;
            let rows = match statement {
                Statement::Select(select) => {
                    let (lab, world) = (Arc::clone(&self.lab), self.world());
                    let facts = self.facts.now(&lab);
                    let is_cancelled = &mut || inbox.is_cancelled();
                    let context = Context { lab: &lab, facts: &facts, world, is_cancelled };
                    match select::run(&select, context, answer).await? {
                        Ended::Rows(rows) => Some(rows),
                        other => return Ok(other),
                    }
                }
                other => match self.other(other, &mut answer.payload) {
                    Ok(()) => None,
                    Err(failure) => return Ok(Ended::Failed(failure)),
                },
            };
            let status = if rows.is_some() { COUNTED } else { 0 };
            let more = if left > 0 { MORE } else { 0 };
            if text.is_procedure {
                token::done_in_procedure(status | MORE, rows.unwrap_or(0), &mut answer.payload);
            } else {
                token::done(status | more, rows.unwrap_or(0), &mut answer.payload);
            }
        }
        Ok(Ended::Rows(0))
    }

    fn isolate(&mut self, is_snapshot: bool) -> Result<(), Failure> {
        if is_snapshot && self.lab.faults().sql.no_snapshots {
            let text = format!(
                "Snapshot isolation transaction failed accessing database '{}' because snapshot \
                 isolation is not allowed in this database.",
                self.facts.database
            );
            return Err(Failure::new(3_952, 16, text));
        }
        self.frozen = is_snapshot.then_some(None);
        Ok(())
    }

    fn other(&mut self, statement: Statement, out: &mut Vec<u8>) -> Result<(), Failure> {
        match statement {
            Statement::Use(name) => {
                let login = Login { database: name, is_read_only: true, ..Login::default() };
                let database = open(&self.lab, &login)?;
                token::changed(1, &database, &self.facts.database, out);
                self.facts.database = database;
            }
            Statement::Isolation { is_snapshot } => self.isolate(is_snapshot)?,
            Statement::Begin => self.facts.transactions += 1,
            Statement::Commit | Statement::Rollback => {
                self.facts.transactions = 0;
                self.frozen = self.frozen.take().map(|_| None);
            }
            Statement::Select(_) | Statement::Nothing => {}
        }
        Ok(())
    }

    /// What a statement sees: one moment of the hierarchy, and in a snapshot transaction always the same.
    fn world(&mut self) -> Arc<World> {
        let is_inside = self.facts.transactions > 0;
        match &mut self.frozen {
            Some(kept) if is_inside => {
                Arc::clone(kept.get_or_insert_with(|| Arc::new(self.lab.world().clone())))
            }
            _ => Arc::new(self.lab.world().clone()),
        }
    }
}
