//! Serves the clients that nobody polls: what they say of their connections, and the tokens they ask
//! for, come with a poll alone.

#![expect(clippy::disallowed_methods, reason = "its thread is its own and may wait")]

use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use crate::Error;

/// How often they are served.
const BEAT: Duration = Duration::from_millis(100);

/// Serves a queue's readers until it is closed.
pub(super) fn start(core: &Arc<Core>) -> Result<(), Error> {
    let core = Arc::downgrade(core);
    let thread = std::thread::Builder::new().name("serve clients".into());
    let serve = move || {
        while let Some(core) = core.upgrade().filter(|core| !core.is_closed()) {
            core.reader.serve();
            drop(core);
            std::thread::sleep(BEAT);
        }
    };
    thread.spawn(serve).map(drop).map_err(|e| Error::storage("serve", e))
}
