//! Tells whoever waits that a topic changed: in the order in which they began to wait for it.

use tokio::sync::watch;

/// A number that grows, and who is told. Each has a channel of its own: of the many receivers of one
/// channel tokio wakes some by chance before others, and a simulation would not go the same way twice.
#[derive(Default)]
pub(crate) struct Versions {
    latest: u64,
    told: Vec<watch::Sender<u64>>,
}

impl Versions {
    pub(crate) fn latest(&self) -> u64 {
        self.latest
    }

    pub(crate) fn subscribe(&mut self) -> watch::Receiver<u64> {
        self.told.retain(|told| !told.is_closed());
        let (sender, receiver) = watch::channel(self.latest);
        self.told.push(sender);
        receiver
    }

    pub(crate) fn touch(&mut self) {
        self.latest += 1;
        self.told.retain(|told| told.send(self.latest).is_ok());
    }
}
