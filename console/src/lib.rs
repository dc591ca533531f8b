//! The web page over [`cmsync_control`], its API, and the probes.
//!
//! It owns who may see and order ([`access`]), what pages look like, `/api/v1`, the probes, and a day of samples
//! of its own `/metrics`. All else is an answer of control's desk, or of its traits `Settings`, `Connect` and
//! `History`; an order goes to one of these. All files are in the program, and pages ask no other host.
//! [`access`] decides who sees pages and who gives orders; [`probes`] are for machines and need no sign-in.

mod access;
mod api;
mod assets;
mod certificate;
mod configured;
mod connect;
mod csv;
mod error;
mod live;
mod pages;
mod probes;
mod routes;
mod samples;
mod server;
mod settings;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use cmsync_control::history::History;
use cmsync_control::{
    Answer, Connect, ConnectionView, Desk, Order, Question, Settings, Truth, judge,
};
use cmsync_openid::OpenId;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use access::{Access, Entrance, Frame, Gate};
use error::Error;
use pages::overview;
use samples::Samples;

pub use access::{Beyond, Loopback, Role, User, users};
pub use certificate::tls;
pub use configured::Configured;
pub use probes::{MetricsPage, Probes, Readiness, Ready};

/// Wall time, in microseconds since 1970.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What the configuration says of each connection.
pub type AllConfigured = BTreeMap<String, Configured>;

/// What is served.
#[derive(Clone)]
pub struct Console {
    /// For machines.
    pub probes: Probes,
    /// Answers and takes orders.
    pub desk: Desk,
    /// Wall time.
    pub clock: Clock,
    /// What the configuration says.
    pub configured: watch::Receiver<AllConfigured>,
    /// Reads and changes the configuration.
    pub settings: Arc<dyn Settings>,
    /// Sets connections up.
    pub connect: Arc<dyn Connect>,
    /// Asks workspaces for what was.
    pub history: Arc<dyn History>,
    /// The file of those who have a password.
    pub passwords: Option<PathBuf>,
    /// Where people who are elsewhere sign in.
    pub openid: Option<Arc<OpenId>>,
    /// What the machine's own users see.
    pub loopback: Loopback,
}

/// A listener for people who are elsewhere.
pub struct Elsewhere {
    /// Listens.
    pub listener: TcpListener,
    /// By which name, and through whom.
    pub beyond: Beyond,
    /// Where TLS ends here.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

#[derive(Clone)]
struct Shared {
    desk: Desk,
    clock: Clock,
    live: live::Live,
    configured: watch::Receiver<AllConfigured>,
    settings: Arc<dyn Settings>,
    connect: Arc<dyn Connect>,
    history: Arc<dyn History>,
    samples: Samples,
}

impl Shared {
    async fn ask(&self, question: Question) -> Result<Answer, Error> {
        match self.desk.answer(question).await? {
            Answer::Refused(reason) => Err(Error::Missing(reason)),
            answer => Ok(answer),
        }
    }

    /// Has something done that somebody asked for: said in the log, and told once it was taken.
    async fn order(&self, frame: &Frame, question: Question) -> Result<Answer, Error> {
        if let Some(Order { connection, item, text }) = question.order() {
            routes::note(frame, &text, &connection, &item);
        }
        match self.desk.answer_as(&frame.told(), question).await? {
            Answer::Refused(reason) => Err(Error::Declined(reason)),
            answer => Ok(answer),
        }
    }

    fn now(&self) -> i64 {
        (self.clock)()
    }

    /// What the configuration says of a connection: the defaults of one that is no longer there.
    fn configured(&self, connection: &str) -> Configured {
        self.configured.borrow().get(connection).cloned().unwrap_or_default()
    }

    async fn status(&self) -> Result<Vec<ConnectionView>, Error> {
        match self.ask(Question::Status).await? {
            Answer::Status(views) => Ok(views),
            _ => Err(Error::Unexpected),
        }
    }

    /// How a connection is.
    async fn view(&self, connection: &str) -> Result<ConnectionView, Error> {
        let found = self.status().await?.into_iter().find(|view| view.connection == connection);
        found.ok_or_else(|| Error::Missing(format!("there is no connection `{connection}`")))
    }

    fn judge(&self, view: &ConnectionView) -> Truth {
        judge(view, self.now(), self.configured(&view.connection).poll)
    }

    async fn looks(&self) -> Result<Vec<overview::Look>, Error> {
        let mut looks = Vec::new();
        let views = self.status().await?;
        let is_alone = views.len() == 1;
        for view in views {
            let truth = self.judge(&view);
            let computers = self.desk.computers_if_known(&view.connection).await?;
            let configured = self.configured(&view.connection);
            let oldest_snapshot = self.desk.oldest_snapshot(&view.connection).await?;
            let since = self.samples.since(&view.connection, truth.verdict);
            let lately = self.samples.lately(&view.connection, is_alone);
            looks.push(overview::Look {
                truth,
                since,
                lately,
                computers,
                configured,
                oldest_snapshot,
                view,
            });
        }
        Ok(looks)
    }

    async fn cards(&self) -> Result<overview::Cards, Error> {
        Ok(overview::Cards::new(&self.looks().await?, self.now()))
    }
}

/// Serves until `shutdown`: probes and the machine's own users at `listener`, and people who are elsewhere.
pub async fn serve(
    listener: Option<TcpListener>,
    elsewhere: Option<Elsewhere>,
    console: Console,
    shutdown: CancellationToken,
) {
    let Console { probes, desk, clock, configured, settings, connect, history, .. } = console;
    let (writer, cards) = watch::channel("".into());
    let access = Access::new(console.passwords, console.openid, desk.tickets().clone());
    let (live, samples) = (live::Live::new(cards), Samples::default());
    let shared = Shared { desk, clock, live, configured, settings, connect, history, samples };
    tokio::spawn(live::keep(shared.clone(), writer, shutdown.clone()));
    tokio::spawn(samples::keep(shared.clone(), Arc::clone(&probes.metrics), shutdown.clone()));
    let pages = |entrance| routes::all(shared.clone(), Gate { entrance, access: access.clone() });
    let own = async {
        if let Some(listener) = listener {
            let router = pages(Entrance::Loopback(console.loopback)).merge(probes::router(probes));
            server::run(listener, (None, &[]), router, shutdown.clone()).await;
        }
    };
    let others = async {
        if let Some(Elsewhere { listener, beyond, tls }) = elsewhere {
            let proxies = beyond.proxies.clone();
            let router = pages(Entrance::Beyond(beyond));
            let way = (tls.map(TlsAcceptor::from), proxies.as_slice());
            server::run(listener, way, router, shutdown.clone()).await;
        }
    };
    tokio::join!(own, others);
}
