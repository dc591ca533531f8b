//! Work that one copy alone may do at a time.

use std::future::Future;

use tokio_util::sync::CancellationToken;

use super::next_event;
use crate::{Error, Event, Queue};

/// Runs `work` while this copy owns the only partition of a compacted topic, until `shutdown`. The
/// token that it is given is cancelled when another copy takes over; the same work starts again when
/// the partition comes back.
///
/// # Errors
/// Those of the work, or when the queue is closed.
pub async fn while_owner<W, F>(
    queue: &dyn Queue,
    (group, topic): (&str, &str),
    shutdown: &CancellationToken,
    mut work: W,
) -> Result<(), Error>
where
    W: FnMut(CancellationToken) -> F,
    F: Future<Output = Result<(), Error>>,
{
    // Who joined stays a member: its committer goes with its inbox.
    let (mut events, _committer) = queue.join(group, topic).await?;
    loop {
        // The event is let go of before the work begins: its state keeps a version of the file alive,
        // and none of the pages of that version can be used again.
        let is_owner = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            event = next_event(&mut *events) => matches!(event?, Event::Assigned { .. }),
        };
        if !is_owner {
            continue;
        }
        let token = shutdown.child_token();
        let mut running = std::pin::pin!(work(token.clone()));
        loop {
            tokio::select! {
                biased;
                ended = &mut running => return ended,
                event = next_event(&mut *events), if !token.is_cancelled() => {
                    if matches!(event?, Event::Revoked { .. }) {
                        tracing::info!(topic, "another copy takes over");
                        token.cancel();
                        running.await?;
                        break;
                    }
                }
            }
        }
    }
}
