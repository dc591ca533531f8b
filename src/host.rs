//! What runs this process: a terminal, an init system, or the service manager of Windows.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

/// How whoever runs this process is told of it, and tells it to stop beside the system's signals.
pub(crate) struct Host {
    /// Cancelled when it is to stop.
    pub(crate) stop: CancellationToken,
    /// Called once all parts run.
    pub(crate) running: Arc<dyn Fn() + Send + Sync>,
}

impl Default for Host {
    fn default() -> Self {
        Self { stop: CancellationToken::new(), running: Arc::new(|| ()) }
    }
}
