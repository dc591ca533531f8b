//! One connection once its client is in: what it asks, one request after the other.

use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::evaluate::Facts;
use super::handshake::open;
use super::login::Login;
use super::packet::{self, ATTENTION, Answer, Io, Message, Out, send};
use super::request::{self, Parameters, Request};
use super::select::{self, Context, Ended};
use super::sql::{self, Statement};
use super::token::{self, CANCELLED, COUNTED, FAILED, Failure, MORE};
use crate::server::Lab;
use crate::world::World;

/// The server's name in its messages.
pub(super) const SERVER: &str = "LAB";
/// Errors of this class and above end the connection.
const FATAL: u8 = 20;

pub(super) struct Session {
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
    pub(super) fn new(lab: &Arc<Lab>, facts: Facts, size: usize) -> Self {
        Self { lab: Arc::clone(lab), facts, size, frozen: None }
    }

    pub(super) async fn run(mut self, io: Box<dyn Io>) -> io::Result<()> {
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
        let mut closing = self.lab.closing.subscribe();
        while matches!(outcome, Ok(true)) {
            let message = tokio::select! {
                message = inbox.next() => message,
                _ = closing.changed() => break,
            };
            let Some(message) = message else { break };
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
                self.lab.counts().snapshots.0 += u64::from(*is_snapshot);
                token::transaction(8, 1, out);
                token::done(0, 0, out);
            }
            Request::End { kind, begins } => {
                self.facts.transactions = i64::from(*begins);
                self.lab.counts().snapshots.1 += u64::from(self.frozen.is_some());
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
