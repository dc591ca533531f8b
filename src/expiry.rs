//! When the credentials of a connection end: told weeks before, where it can be known.

use std::sync::Arc;
use std::time::Duration;

use cmsync_azure::{Credential, Identity, Proof};
use cmsync_schemas::Status;
use jiff::civil::Date;
use secrecy::ExposeSecret as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Workspace;
use crate::connections;
use crate::metrics::{Metrics, ProcessMetrics};

/// From so many days before the end, it is told.
const TOLD_BEFORE: i64 = 30;
const DAY: i64 = 86_400;
/// How often it is looked at: a certificate's file may be renewed at any time.
const LOOK: Duration = Duration::from_secs(3_600);

/// The day that somebody wrote.
///
/// # Errors
/// When it is none, or one whose end is no time.
pub(crate) fn day_of(text: &str) -> Result<Date, String> {
    let day = text.trim().parse().ok().filter(|day| end_of(*day).is_some());
    day.ok_or_else(|| format!("`{text}` is no day, for example 2027-11-30"))
}

/// A day's last second, in seconds since 1970.
pub(crate) fn end_of(day: Date) -> Option<i64> {
    day.at(23, 59, 59, 0).in_tz("UTC").ok().map(|at| at.timestamp().as_second())
}

/// What ends, and when in seconds since 1970; `None` where it cannot be known, or does not end.
pub(crate) fn of(workspace: &Workspace) -> Option<(&'static str, i64)> {
    match &workspace.identity {
        Identity::Application { proof: Proof::Certificate(file), .. } => {
            file.read().ok().map(|certificate| ("certificate", certificate.not_after))
        }
        Identity::Application { proof: Proof::Secret(_), .. } => {
            workspace.secret_expires.map(|at| ("client secret", at))
        }
        _ => None,
    }
}

/// When the secret that a connection holds ends, as the directory knows it: of the application's
/// secrets with the same beginning, the last.
pub(crate) fn of_secret(
    workspace: &Workspace,
    application: &cmsync_azure::Application,
) -> Option<jiff::Timestamp> {
    let Identity::Application { proof: Proof::Secret(secret), .. } = &workspace.identity else {
        return None;
    };
    let held = secret.read().ok()?;
    let begins = |hint: &String| held.expose_secret().starts_with(hint.as_str());
    let ours = application.password_credentials.iter();
    ours.filter(|p| p.hint.as_ref().is_some_and(begins)).filter_map(|p| p.end_date_time).max()
}

/// The same as a day, asked of the directory where `credential` may.
pub(crate) async fn day_in_directory(
    workspace: &Workspace,
    client: &str,
    credential: Arc<Credential>,
) -> Option<String> {
    let graph = connections::graph(workspace, credential).ok()?;
    let application = graph.application(client).await.ok()??;
    of_secret(workspace, &application).map(day)
}

/// The day of a time, as the configuration writes it.
pub(crate) fn day(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

/// What to tell of an end, if it is time to.
pub(crate) fn warning(what: &str, at: i64, now: i64) -> Option<String> {
    let days = (at - now).div_euclid(DAY);
    let date = jiff::Timestamp::from_second(at).ok()?.strftime("%Y-%m-%d");
    match days {
        ..0 => Some(format!("the {what} ended on {date}: renew it")),
        0..=TOLD_BEFORE => Some(format!("the {what} ends on {date}, in {days} days: renew it")),
        _ => None,
    }
}

/// Keeps the metric and the warning of a connection until `stop`.
pub(crate) async fn keep(
    connection: String,
    workspace: Workspace,
    status: watch::Sender<Status>,
    stop: CancellationToken,
) {
    let metrics = Metrics::new(&connection);
    let mut told: Option<(String, i64)> = None;
    loop {
        let now = jiff::Timestamp::now().as_second();
        let found = of(&workspace);
        metrics.expiry.set(found.map_or(0, |(_, at)| at) as f64);
        let text = found.and_then(|(what, at)| warning(what, at, now));
        if let Some(text) = &text
            && told.as_ref().is_none_or(|(before, at)| before != text || now - at >= DAY)
        {
            tracing::warn!(connection, "{text}");
            told = Some((text.clone(), now));
        }
        let warnings: Vec<String> = text.into_iter().collect();
        status.send_if_modified(|status| {
            let is_news = status.warnings != warnings;
            status.warnings = warnings;
            is_news
        });
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// How often a ticket is looked at, and from when its end is told: whoever renews it does so in its last
/// half hour, or long before.
const TICKET_LOOK: Duration = Duration::from_secs(300);
/// Seconds before its end from which on it is told.
const TICKET_TOLD_BEFORE: i64 = 1_800;

/// Keeps the metric, and tells the end, of a site's ticket that nothing renews, until `stop`.
pub(crate) async fn keep_ticket(connection: String, principal: String, stop: CancellationToken) {
    let metrics = ProcessMetrics::new();
    loop {
        let asked = principal.clone();
        let lasts = tokio::task::spawn_blocking(move || cmsync_configmgr::ticket_lasts(&asked));
        match lasts.await.map_err(|e| e.to_string()).flatten() {
            Ok(left) => {
                let left = i64::try_from(left.as_secs()).unwrap_or(0);
                let at = jiff::Timestamp::now().as_second() + left;
                metrics.ticket_expiry.set(at as f64);
                if left < TICKET_TOLD_BEFORE {
                    let minutes = left / 60;
                    tracing::warn!(
                        connection,
                        minutes,
                        "the site's ticket ends soon: get another with kinit, or use a keytab"
                    );
                }
            }
            Err(error) => tracing::warn!(connection, error, "the site's ticket is not known"),
        }
        tokio::select! {
            () = stop.cancelled() => return metrics.ticket_expiry.set(0.0),
            () = tokio::time::sleep(TICKET_LOOK) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_from_thirty_days_before() {
        let at = 1_800_000_000;
        assert_eq!(warning("client secret", at, at - 31 * DAY), None);
        let soon = warning("client secret", at, at - 30 * DAY).unwrap();
        assert_eq!(soon, "the client secret ends on 2027-01-15, in 30 days: renew it");
        let late = warning("certificate", at, at + 1).unwrap();
        assert_eq!(late, "the certificate ended on 2027-01-15: renew it");
    }
}
