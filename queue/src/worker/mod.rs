//! The two loops that stages run in: [`each`] takes one message and makes some outputs, [`gather`]
//! keeps many messages open and finishes each once, in any order.
//!
//! They repeat only the queue's own faults. What a message means, and what may be repeated towards
//! the outside, is the stage's business.

mod each;
mod gather;
mod owner;

use std::time::Duration;

pub use each::{Each, Handled, each};
pub use gather::{Gather, Gathered, MessageId};
pub use owner::while_owner;

use crate::{Error, Event, Events};

/// How long a loop rests after a failed read before it reads again.
const REST: Duration = Duration::from_millis(200);

/// The next event; waits out faults of the store below.
///
/// # Errors
/// When the queue is closed.
pub async fn next_event(events: &mut dyn Events) -> Result<Event, Error> {
    loop {
        match events.next().await {
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, "failed to read the queue; waiting and trying again");
                tokio::time::sleep(REST).await;
            }
            other => return other,
        }
    }
}
