//! What runs this process: a terminal, an init system, or the service manager of Windows.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

/// How whoever runs this process is told of it, and tells it to stop beside the system's signals.
pub(crate) struct Host {
    /// Cancelled when it is to stop.
    pub(crate) stop: CancellationToken,
    /// Called once all parts run.
    pub(crate) running: Arc<dyn Fn() + Send + Sync>,
    /// Called when it begins to stop.
    pub(crate) stopping: Arc<dyn Fn() + Send + Sync>,
    /// Where its log goes; standard error without it.
    pub(crate) log: Option<Box<dyn std::io::Write + Send>>,
}

impl Default for Host {
    fn default() -> Self {
        let nothing = Arc::new(|| ());
        Self {
            stop: CancellationToken::new(),
            running: nothing.clone(),
            stopping: nothing,
            log: None,
        }
    }
}
