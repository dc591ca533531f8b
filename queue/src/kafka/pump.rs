//! Serves the clients that nobody polls: what they say of their connections, and the tokens they ask
//! for, come with a poll alone.

#![expect(clippy::disallowed_methods, reason = "its thread is its own and may wait")]

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::BaseConsumer;

use super::client::{Link, lock};
use super::core::Core;
use super::reader::Reader;
use crate::Error;

/// How often they are served.
const BEAT: Duration = Duration::from_millis(100);

/// Consumers that are kept for the next read.
const KEPT: usize = 4;
/// How long a consumer that nobody polls is listened to.
const LISTEN: Duration = Duration::from_millis(1);

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

impl Reader {
    /// Keeps a consumer for the next read.
    pub(super) fn keep(&self, consumer: BaseConsumer<Link>) {
        let mut idle = lock(&self.idle);
        if idle.len() < KEPT {
            idle.push(consumer);
        }
    }

    /// Hears what the consumers say that nobody polls: it would pile up, and tokens would not come.
    fn serve(&self) {
        let groups: Vec<_> = lock(&self.groups).values().cloned().collect();
        let named = groups.iter().map(AsRef::as_ref).chain([&self.all, &self.stable]);
        for consumer in named {
            drop(consumer.poll(LISTEN));
        }
        let kept = lock(&self.idle).len();
        for _ in 0..kept {
            let mut idle = lock(&self.idle);
            if idle.is_empty() {
                return;
            }
            let consumer = idle.remove(0);
            drop(idle);
            drop(consumer.poll(LISTEN));
            self.keep(consumer);
        }
    }
}
