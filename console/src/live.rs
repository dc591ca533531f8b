//! Pages that are looked at keep themselves up to date: the overview's cards are written once for all
//! who look, and sent as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use askama::Template as _;
use axum::Extension;
use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::WatchStream;
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;

use crate::Shared;
use crate::access::Admission;
use crate::error::Error;
use crate::pages::overview;
use crate::server::Lasting;

/// Between two looks.
const RHYTHM: Duration = Duration::from_secs(2);
/// After which what did not change is written with its new times.
const REWRITE: Duration = Duration::from_secs(10);
/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Streams at a time: each holds a connection for as long as a page is open.
const STREAMS: usize = 100;

/// What is sent to whoever looks.
#[derive(Clone)]
pub(crate) struct Live {
    cards: watch::Receiver<Arc<str>>,
    room: Arc<Semaphore>,
}

impl Live {
    pub(crate) fn new(cards: watch::Receiver<Arc<str>>) -> Self {
        Self { cards, room: Arc::new(Semaphore::new(STREAMS)) }
    }
}

/// Writes the cards while somebody looks, until `shutdown`: then the streams end, with the sender.
pub(crate) async fn keep(
    shared: Shared,
    cards: watch::Sender<Arc<str>>,
    shutdown: CancellationToken,
) {
    let (mut last, mut written) = (None, Instant::now());
    let mut ticks = tokio::time::interval(RHYTHM);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if shared.live.room.available_permits() == STREAMS {
            continue;
        }
        let look = tokio::time::timeout(PATIENCE, shared.looks());
        let found = tokio::select! {
            () = shutdown.cancelled() => return,
            found = look => found,
        };
        let now = (shared.clock)();
        let (next, views) = match found {
            // Times alone are written anew now and then: whoever reads or marks a text is not disturbed.
            Ok(Ok(views)) if Some(&views) == last.as_ref() && written.elapsed() < REWRITE => {
                continue;
            }
            Ok(Ok(looks)) => (overview::Cards::new(&looks, now), Some(looks)),
            Ok(Err(error)) => (overview::Cards::unknown(error.to_string(), now), None),
            Err(_) => (overview::Cards::unknown("the queue does not answer".into(), now), None),
        };
        (last, written) = (views, Instant::now());
        match next.render() {
            Ok(text) => drop(cards.send_replace(text.into())),
            Err(error) => tracing::error!(%error, "failed to write the overview"),
        }
    }
}

/// The cards, again and again.
pub(crate) async fn events(
    State(shared): State<Shared>,
    Extension(lasting): Extension<Lasting>,
    Extension(admission): Extension<Admission>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Error> {
    let live = shared.live;
    let place = live.room.try_acquire_owned().map_err(|_| Error::TooMany)?;
    lasting.set();
    let stream = WatchStream::from_changes(live.cards).take_while(move |_| admission.lasts()).map(
        move |text| {
            // Held until the stream is dropped.
            let _held: &OwnedSemaphorePermit = &place;
            Ok(Event::default().event("cards").data(&*text))
        },
    );
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}
