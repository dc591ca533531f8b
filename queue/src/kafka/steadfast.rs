//! Questions to the brokers: on threads that may wait, and again where that helps.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::Core;
use crate::Error;

/// Rest before brokers that do not answer are asked again.
const REST: Duration = Duration::from_secs(1);

/// Runs what waits for the brokers on a thread that may.
pub(super) async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(act).await.unwrap_or(Err(Error::Closed))
}

impl Core {
    /// Asks on such a thread, again until the brokers answer: whoever reads waits, as whoever writes
    /// does.
    pub(super) async fn steadfast<T: Send + 'static>(
        self: &Arc<Self>,
        act: impl Fn(&Self) -> Result<T, Error> + Send + Sync + 'static,
    ) -> Result<T, Error> {
        let (act, started) = (Arc::new(act), Instant::now());
        loop {
            let (core, act) = (Arc::clone(self), Arc::clone(&act));
            let outcome = blocking(move || act(&core)).await;
            match outcome {
                Err(error) if error.is_transient() && self.waits(started) => {
                    tracing::warn!(%error, "waiting for the brokers");
                    tokio::time::sleep(REST).await;
                }
                other => return other,
            }
        }
    }

    pub(super) fn waits(&self, started: Instant) -> bool {
        let patience = self.clients.options.patience;
        !self.is_closed() && patience.is_none_or(|patience| started.elapsed() < patience)
    }
}
