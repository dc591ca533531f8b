//! The web page over [`cmsync_control`], its API, and the probes.
//!
//! Everything that a page shows is an answer of control's desk, and everything that it does will be an
//! order to it: no logic is here a second time. All files are in the program, and pages ask no other
//! host. [`guard`] decides who sees pages; [`probes`] are for machines and need no sign-in.

mod api;
mod assets;
mod error;
mod guard;
mod live;
mod pages;
mod probes;
mod routes;
mod server;

use std::sync::Arc;

use cmsync_control::{Answer, ConnectionView, Desk, Question};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use error::Error;
use pages::overview;

pub use probes::{MetricsPage, Probes, Readiness, Ready};

/// Wall time, in microseconds since 1970.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What is served.
#[derive(Clone)]
pub struct Console {
    /// For machines.
    pub probes: Probes,
    /// Answers and takes orders.
    pub desk: Desk,
    /// Wall time.
    pub clock: Clock,
}

#[derive(Clone)]
struct Shared {
    desk: Desk,
    clock: Clock,
    live: live::Live,
}

impl Shared {
    async fn ask(&self, question: Question) -> Result<Answer, Error> {
        match self.desk.answer(question).await {
            Ok(Answer::Refused(reason)) => Err(Error::Refused(reason)),
            Ok(answer) => Ok(answer),
            Err(error) => Err(Error::Queue(error.to_string())),
        }
    }

    async fn status(&self) -> Result<Vec<ConnectionView>, Error> {
        match self.ask(Question::Status).await? {
            Answer::Status(views) => Ok(views),
            _ => Err(Error::Unexpected),
        }
    }

    async fn cards(&self) -> Result<overview::Cards, Error> {
        Ok(overview::Cards::new(&self.status().await?, (self.clock)()))
    }
}

/// Serves until `shutdown`.
pub async fn serve(listener: TcpListener, console: Console, shutdown: CancellationToken) {
    let Console { probes, desk, clock } = console;
    let (writer, cards) = watch::channel("".into());
    let shared = Shared { desk, clock, live: live::Live::new(cards) };
    tokio::spawn(live::keep(shared.clone(), writer, shutdown.clone()));
    server::run(listener, routes::all(shared).merge(probes::router(probes)), shutdown).await;
}
