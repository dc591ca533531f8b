//! Writes down what happened, beside everything else: a stage that notes something waits for nothing, and
//! what finds no room is counted instead.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cmsync_control::activity::{self, SLACK};
use cmsync_queue::Queue;
use cmsync_schemas::{Activity, Clock, Kind, Note};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Entries that wait to be written.
const ROOM: usize = 1_000;

/// Whoever writes it down.
pub(crate) struct Journal {
    pub(crate) note: Note,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

/// How long the last entries have at the end.
const PATIENCE: Duration = Duration::from_secs(2);

impl Journal {
    /// Writes what is noted, until [`Self::end`].
    pub(crate) fn start(queue: Arc<dyn Queue>, clock: Clock) -> Self {
        let (sender, receiver) = mpsc::channel(ROOM);
        let (missed, stop) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
        let kept = keep((queue, clock), receiver, Arc::clone(&missed), stop.clone());
        let note: Note = Arc::new(move |activity| {
            if sender.try_send(activity).is_err() {
                missed.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { note, stop, task: tokio::spawn(kept) }
    }

    /// Writes what waits still: for whoever is done with everything that may be noted.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        drop(tokio::time::timeout(PATIENCE, self.task).await);
    }
}

async fn keep(
    (queue, clock): (Arc<dyn Queue>, Clock),
    mut noted: mpsc::Receiver<Activity>,
    missed: Arc<AtomicU64>,
    stop: CancellationToken,
) {
    // Former processes left as many as they wrote since they last looked.
    let mut is_trimmed = false;
    let mut since: BTreeMap<String, usize> = BTreeMap::new();
    loop {
        let mut some = Vec::new();
        tokio::select! {
            biased;
            count = noted.recv_many(&mut some, ROOM) => if count == 0 { return },
            () = stop.cancelled(), if !noted.is_closed() => noted.close(),
        }
        let lost = missed.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let text = format!("{lost} things that happened at once were not written down");
            some.push(Activity::new("", clock(), Kind::Stage, "", text));
        }
        for entry in &some {
            *since.entry(entry.connection.clone()).or_default() += 1;
        }
        let mut written = activity::write(&*queue, some).await;
        if !is_trimmed && written.is_ok() {
            written = activity::trim(&*queue, None).await;
            is_trimmed = written.is_ok();
        }
        for (connection, own) in since.iter_mut().filter(|(_, own)| **own >= SLACK) {
            if written.is_ok() {
                written = activity::trim(&*queue, Some(connection)).await;
                *own = 0;
            }
        }
        if let Err(error) = written {
            tracing::warn!(%error, "what happened is not written down");
        }
    }
}
