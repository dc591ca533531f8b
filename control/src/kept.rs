//! What is made from a topic and kept for the next who asks.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cmsync_queue::{Error, Queue};
use tokio::time::Instant;

/// What takes less than this to make is made before it is told; what takes longer, after.
const SOON: Duration = Duration::from_millis(100);
/// Between two times that it is made, at least so many times what it takes: a twentieth of a core.
const REST: u32 = 20;
/// What nobody asked for in so long is forgotten.
const IDLE: Duration = Duration::from_secs(15 * 60);

/// A value on its way.
type Making<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// Makes the value anew.
type Make<T> = Arc<dyn Fn() -> Making<T> + Send + Sync>;

/// A value that is made from a topic, anew when the topic changed.
pub(crate) struct Kept<T> {
    queue: Arc<dyn Queue>,
    topic: String,
    make: Make<T>,
    /// Held while it is made: whoever asks meanwhile waits for the same.
    making: Arc<tokio::sync::Mutex<()>>,
    held: Arc<Mutex<Option<Held<T>>>>,
}

struct Held<T> {
    value: Arc<T>,
    version: u64,
    made: Instant,
    took: Duration,
    used: Instant,
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self {
            queue: Arc::clone(&self.queue),
            topic: self.topic.clone(),
            make: Arc::clone(&self.make),
            making: Arc::clone(&self.making),
            held: Arc::clone(&self.held),
        }
    }
}

impl<T: Send + Sync + 'static> Kept<T> {
    /// A value that `make` makes of a queue and a connection's name.
    pub(crate) fn new<F, M>(
        queue: &Arc<dyn Queue>,
        topic: String,
        connection: &str,
        make: M,
    ) -> Self
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
        M: Fn(Arc<dyn Queue>, String) -> F + Send + Sync + 'static,
    {
        let (own, connection) = (Arc::clone(queue), connection.to_owned());
        let make: Make<T> = Arc::new(move || Box::pin(make(Arc::clone(&own), connection.clone())));
        let queue = Arc::clone(queue);
        Self { queue, topic, make, making: Arc::default(), held: Arc::default() }
    }

    /// The value as it is now, where that is soon told; otherwise as it was a moment ago, while it is
    /// made anew.
    pub(crate) async fn get(&self) -> Result<Arc<T>, Error> {
        let version = self.queue.version(&self.topic).await?;
        if let Some((value, is_soon)) = self.known(version) {
            match is_soon {
                None => return Ok(value),
                Some(false) => {
                    self.make_aside();
                    return Ok(value);
                }
                Some(true) => {}
            }
        }
        let _making = self.making.lock().await;
        // Somebody else may have made it.
        match self.known(version) {
            Some((value, None)) => Ok(value),
            _ => self.make_now().await,
        }
    }

    /// The value if it was made before; where it was not, it is made for the next who asks.
    pub(crate) async fn get_if_made(&self) -> Result<Option<Arc<T>>, Error> {
        let is_made = self.held.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if is_made {
            return self.get().await.map(Some);
        }
        self.make_aside();
        Ok(None)
    }

    /// What is held, and whether it is soon made anew: `None` where it need not be.
    fn known(&self, version: u64) -> Option<(Arc<T>, Option<bool>)> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = held.as_mut()?;
        held.used = Instant::now();
        let is_fresh = held.version == version
            || (held.took >= SOON && held.made.elapsed() < held.took * REST);
        Some((Arc::clone(&held.value), (!is_fresh).then_some(held.took < SOON)))
    }

    fn make_aside(&self) {
        let Ok(making) = Arc::clone(&self.making).try_lock_owned() else { return };
        let kept = self.clone();
        tokio::spawn(async move {
            if let Err(error) = kept.make_now().await {
                tracing::debug!(%error, topic = kept.topic, "it is not known anew");
            }
            drop(making);
        });
    }

    async fn make_now(&self) -> Result<Arc<T>, Error> {
        // Before it is read: what is committed meanwhile is read another time.
        let version = self.queue.version(&self.topic).await?;
        let started = Instant::now();
        let value = Arc::new((self.make)().await?);
        let now = Instant::now();
        let took = now - started;
        let made = Held { value: Arc::clone(&value), version, made: now, took, used: now };
        let before = self.held.lock().unwrap_or_else(PoisonError::into_inner).replace(made);
        if before.is_none() {
            tokio::spawn(forget_unused(Arc::downgrade(&self.held)));
        }
        Ok(value)
    }
}

/// Forgets what nobody asks for any longer.
async fn forget_unused<T>(held: std::sync::Weak<Mutex<Option<Held<T>>>>) {
    loop {
        tokio::time::sleep(IDLE).await;
        let Some(held) = held.upgrade() else { return };
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_none_or(|held| held.used.elapsed() >= IDLE) {
            *held = None;
            return;
        }
    }
}
