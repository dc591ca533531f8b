//! Clients that are given up without anybody waiting for it.

use std::ops::Deref;

/// A client whose end is somebody else's work: the library waits for its threads then, up to a tenth of
/// a second and more where brokers are silent, and whoever lets go of it may hold a lock, or be a
/// thread that must not wait.
pub(super) struct Parting<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> Parting<T> {
    pub(super) fn new(client: T) -> Self {
        Self(Some(client))
    }
}

impl<T: Send + 'static> Deref for Parting<T> {
    type Target = T;

    #[expect(clippy::expect_used, reason = "it is there until the drop")]
    fn deref(&self) -> &T {
        self.0.as_ref().expect("dropped")
    }
}

impl<T: Send + 'static> Drop for Parting<T> {
    fn drop(&mut self) {
        let client = self.0.take();
        // Where no thread is to be had, it ends here.
        drop(std::thread::Builder::new().name("end a client".into()).spawn(|| drop(client)));
    }
}
