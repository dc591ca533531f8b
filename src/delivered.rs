//! Whether a run with `--once` has delivered everything.

use std::time::Duration;

use cmsync_schemas::topics;

use crate::supervisor::Supervisor;

/// How long `--once` waits for a workspace that takes nothing.
const ONCE_PATIENCE: Duration = Duration::from_secs(120);

/// Whether a run with `once` has done all that it was for; says what it has not.
pub(crate) async fn is_delivered(
    supervisor: &Supervisor,
    outcome: &cmsync_producer::Outcome,
    dead_letters_before: usize,
) -> anyhow::Result<bool> {
    if supervisor.shutdown.is_cancelled() {
        eprintln!("cmsync: stopped before everything was delivered");
        return Ok(false);
    }
    for (connection, reason) in outcome.failed.iter().chain(&supervisor.refused) {
        eprintln!("cmsync: {connection}: {reason}");
    }
    if outcome.held > 0 {
        eprintln!("cmsync: {} removals are held: see `cmsync removals list`", outcome.held);
    }
    let is_delivered = supervisor.wait_delivered().await?;
    let aside = supervisor.dead_letters().await?.saturating_sub(dead_letters_before);
    if aside > 0 {
        eprintln!("cmsync: {aside} records were set aside: see `cmsync dead-letters list`");
    }
    let is_well = outcome.failed.is_empty() && supervisor.refused.is_empty() && outcome.held == 0;
    let is_all = is_well && is_delivered && aside == 0;
    if is_all {
        tracing::info!("everything is delivered");
    }
    Ok(is_all)
}

impl Supervisor {
    /// Records and messages that are set aside now.
    pub(crate) async fn dead_letters(&self) -> anyhow::Result<usize> {
        let mut count = 0;
        for name in self.config.connections.keys() {
            count += self.queue.scan(&topics::dead_letters(name)).await?.count();
        }
        Ok(count)
    }

    /// Messages and computer groups that wait for a connection's workspace.
    async fn open(&self, name: &str) -> anyhow::Result<u64> {
        let mut open = 0;
        for (topic, group) in [
            (topics::changes(name), topics::TRANSFORMER),
            (topics::records(name), topics::UPLOADER),
        ] {
            open += self.queue.log(&topic, group).await?.iter().map(|log| log.waiting).sum::<u64>();
        }
        if let Some(progress) = self.groups.get(name) {
            let changes = *self.queue.watch(&topics::groups(name))?.borrow();
            open += match *progress.borrow() {
                // What may not be written yet is not waited for.
                Some(progress) if progress.seen == changes && progress.is_spent => 0,
                Some(progress) if progress.seen == changes => progress.behind as u64,
                _ => 1,
            };
        }
        Ok(open)
    }

    /// What waits for the workspaces of connections that were started, and of those that were not.
    async fn open_by_start(&self) -> anyhow::Result<(u64, u64)> {
        let (mut started, mut refused) = (0, 0);
        for name in self.config.connections.keys() {
            let is_refused = self.refused.iter().any(|(of, _)| of == name);
            *(if is_refused { &mut refused } else { &mut started }) += self.open(name).await?;
        }
        Ok((started, refused))
    }

    /// Whether every computer group is written; says how many are not.
    fn groups_are_written(&self) -> bool {
        let behind = self.groups.iter().filter_map(|(name, progress)| {
            progress.borrow().filter(|p| p.behind > 0).map(|p| (name, p.behind))
        });
        let behind: Vec<_> = behind.collect();
        for (name, count) in &behind {
            eprintln!(
                "cmsync: {name}: {count} computer groups wait for the write budget; the next run goes on"
            );
        }
        behind.is_empty()
    }

    /// Waits until nothing waits for any workspace; false when one takes nothing for too long, or
    /// something waits for one whose connection was not started.
    async fn wait_delivered(&self) -> anyhow::Result<bool> {
        let mut waited = Duration::ZERO;
        let tick = Duration::from_millis(100);
        let mut before = u64::MAX;
        loop {
            let (open, of_refused) = self.open_by_start().await?;
            if open == 0 {
                if of_refused > 0 {
                    say_undelivered(of_refused);
                }
                return Ok(self.groups_are_written() && of_refused == 0);
            }
            waited = if open < before { Duration::ZERO } else { waited + tick };
            before = open;
            if waited > ONCE_PATIENCE || self.shutdown.is_cancelled() {
                for name in self.config.connections.keys() {
                    let stages = ["uploader", "groups"].map(|stage| self.board.get(name, stage));
                    for status in stages.iter().flatten().filter(|s| !s.reason.is_empty()) {
                        eprintln!("cmsync: {name}: {}", status.reason);
                    }
                }
                say_undelivered(open + of_refused);
                return Ok(false);
            }
            tokio::time::sleep(tick).await;
        }
    }
}

fn say_undelivered(open: u64) {
    eprintln!(
        "cmsync: {open} messages and computer groups were not delivered; they stay in the queue"
    );
}
