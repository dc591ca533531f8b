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
mod server;

use std::sync::Arc;

use askama::Template as _;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Html;
use axum::routing::get;
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
    async fn status(&self) -> Result<Vec<ConnectionView>, Error> {
        match self.desk.answer(Question::Status).await {
            Ok(Answer::Status(views)) => Ok(views),
            Ok(other) => Err(Error::Queue(format!("{other:?}"))),
            Err(error) => Err(Error::Queue(error.to_string())),
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
    server::run(listener, pages(shared).merge(probes::router(probes)), shutdown).await;
}

/// All that is for people, and their scripts.
fn pages(shared: Shared) -> Router {
    Router::new()
        .route("/", get(overview_page))
        .route("/events", get(live::events))
        .nest("/api/v1", api::router())
        .with_state(shared)
        .merge(assets::router())
        .fallback(async || (StatusCode::NOT_FOUND, "there is no such page\n"))
        .layer(axum::middleware::from_fn(guard::admit))
}

async fn overview_page(State(shared): State<Shared>) -> Result<Html<String>, Error> {
    let page = overview::Page { cards: shared.cards().await? };
    Ok(Html(page.render()?))
}
