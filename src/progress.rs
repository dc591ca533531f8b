//! What a person at a terminal sees while a run goes on.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use crate::metrics::Page;

/// Shows rows read and records delivered until `shutdown`, or with `until_caught_up` until
/// the first synchronisation has arrived; nothing without a terminal.
pub(crate) fn show(metrics: Page, shutdown: CancellationToken, until_caught_up: bool) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    tokio::spawn(async move {
        let bar = ProgressBar::new(0);
        let style =
            "{spinner} {msg} [{bar:30}] {human_pos}/{human_len} records delivered, {per_sec}";
        bar.set_style(
            ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        let mut ticks = tokio::time::interval(Duration::from_millis(250));
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = ticks.tick() => {}
            }
            let text = metrics.render();
            let published = sum(&text, "cmsync_producer_devices_published_total");
            let delivered = sum(&text, "cmsync_uploader_records_delivered_total");
            let is_first_over = sum(&text, "cmsync_producer_polls_total") > 0;
            if until_caught_up && is_first_over && delivered >= published {
                break;
            }
            bar.set_length(published);
            bar.set_position(delivered);
            bar.set_message(format!("{} rows read", sum(&text, "cmsync_producer_rows_read_total")));
        }
        bar.finish_and_clear();
    });
}

/// The sum of a metric over its labels.
fn sum(text: &str, name: &str) -> u64 {
    let values = text
        .lines()
        .filter(|line| line.starts_with(name))
        .filter_map(|line| line.rsplit(' ').next());
    values.filter_map(|value| value.parse::<u64>().ok()).sum()
}
