//! Taking over a partition of state.

#![expect(clippy::disallowed_methods, reason = "its threads are its own and may wait")]

use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::member::Member;
use super::writer::Writer;

/// Rest before a partition's state is read again.
const REST: Duration = Duration::from_secs(1);

/// Fences the former owner of a partition of state, then reads what it left.
pub(super) fn restore(core: &Core, member: &Member, (partition, epoch): (u32, u64)) {
    let id = core.clients.name(&format!("{}-{partition}", member.group));
    let topic = (member.topic.as_str(), member.partitions);
    while member.holds(partition, epoch) && !core.is_closed() && !member.is_stopping() {
        let outcome = Writer::open(&core.clients, &id).and_then(|writer| {
            let entries =
                core.reader.table(topic, partition, || member.metrics.restored.increment(1))?;
            let positions = core.reader.positions(&core.clients.name(&member.group), topic)?;
            Ok((writer, positions.get(partition as usize).cloned().flatten(), entries))
        });
        match outcome {
            Ok((writer, position, entries)) => {
                member.restored((partition, epoch), Arc::new(writer), (position, entries));
                return;
            }
            Err(error) => {
                tracing::warn!(%error, partition, "cannot take over a partition of state yet");
                std::thread::sleep(REST);
            }
        }
    }
}
