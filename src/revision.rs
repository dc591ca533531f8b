//! Which configuration counts where several hosts have one: that with the highest `revision`. A
//! producer with an older one owns nothing, so that a host that was forgotten does not undo what
//! was changed.

use std::future::Future;
use std::sync::Arc;

use cmsync_queue::{Error, Queue};
use cmsync_schemas::{Clock, Subject, topics};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::installation;
use crate::status_board::StatusBoard;

/// Compares this copy's configuration with those of the others.
#[derive(Clone)]
pub(crate) struct Revisions {
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) clock: Clock,
    pub(crate) board: StatusBoard,
    /// This copy's own.
    pub(crate) own: watch::Receiver<u64>,
}

impl Revisions {
    /// Runs `work` while no other copy has a newer configuration, until it ends by itself; the token
    /// that it is given is cancelled when one comes, and the same work starts again when this copy's
    /// file has followed.
    pub(crate) async fn while_newest<T, E: From<Error>, F: Future<Output = Result<T, E>>>(
        mut self,
        shutdown: CancellationToken,
        mut work: impl FnMut(CancellationToken) -> F,
    ) -> Result<T, E> {
        loop {
            let stop = shutdown.child_token();
            let is_stopping = tokio::select! {
                biased;
                () = shutdown.cancelled() => true,
                newest = self.until(true) => newest.map(|()| false)?,
            };
            let mut running = std::pin::pin!(work(stop.clone()));
            tokio::select! {
                biased;
                ended = &mut running => return ended,
                outdated = self.until(false), if !is_stopping => outdated?,
            }
            stop.cancel();
            running.await?;
        }
    }

    /// Waits until this copy's configuration is the newest, or no longer is. Tells all of one that is
    /// newer than theirs.
    async fn until(&mut self, wanted: bool) -> Result<(), Error> {
        let mut control = self.queue.watch(topics::CONTROL)?;
        loop {
            let own = *self.own.borrow_and_update();
            let newest = self.newest().await?;
            if own > newest {
                self.tell(own).await?;
            }
            self.board.hold(self.reason(own, newest));
            if (own >= newest) == wanted {
                return Ok(());
            }
            tokio::select! {
                Ok(()) = control.changed() => {}
                Ok(()) = self.own.changed() => {}
                else => std::future::pending().await,
            }
        }
    }

    fn reason(&self, own: u64, newest: u64) -> Option<String> {
        let reason = (own < newest).then(|| {
            format!(
                "the configuration's `revision` is {own} and another copy's is {newest}: this producer \
                 owns nothing until the file here is the newer one"
            )
        })?;
        tracing::error!("{reason}");
        Some(reason)
    }

    async fn newest(&self) -> Result<u64, Error> {
        let told = installation::told(&*self.queue, Subject::Revision).await?;
        let all = told.iter().filter_map(|control| control.item.parse().ok());
        Ok(all.max().unwrap_or(0))
    }

    /// Each revision has a key of its own: of two that are told at once the higher one stands.
    async fn tell(&self, own: u64) -> Result<(), Error> {
        let subject = (Subject::Revision, own.to_string());
        installation::tell(&*self.queue, subject, String::new(), (self.clock)()).await
    }
}
