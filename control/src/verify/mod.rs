//! Whether the workspace is right: what a reader would see there, against the state.
//!
//! Counts and sums of every group are worked out in the workspace, one row a group; members are read
//! only where they differ. What changed a moment ago may not be visible yet and is not judged.

mod members;
mod report;

use std::collections::BTreeMap;

use async_trait::async_trait;
use cmsync_azure::{Query, QueryError, ResourceManager, SavedSearch, WorkspaceId};
use cmsync_schemas::kql::Names;
use cmsync_schemas::searches::{OWNER_TAG, SHARED, Show};
use cmsync_schemas::{Clock, questions};

use crate::question::Question;
use crate::setup::{self, Heartbeats, SetupError};
use crate::views::{Answer, ExpectedGroup, ExpectedView};

pub use report::{Finding, Kind, Report};

/// Run id of the large test body.
pub const LARGE_BODY: &str = "large-body";
/// Groups that differ and whose members are read, at most: beyond, something larger is wrong.
const MOST_READ: usize = 50;

/// Answers questions about what is to be there.
#[async_trait]
pub trait Asks: Send + Sync {
    /// The answer.
    ///
    /// # Errors
    /// When nobody can answer.
    async fn ask(&self, question: Question) -> Result<Answer, String>;
}

/// Looks at one connection's workspace.
pub struct Verifier {
    /// Asks the workspace.
    pub query: Query,
    /// The workspace's id.
    pub workspace: String,
    /// Looks at the workspace itself, where its resource id is known.
    pub manager: Option<(ResourceManager, WorkspaceId)>,
    /// Names and window of computer groups, where they are kept.
    pub groups: Option<(Names, u32)>,
    /// How far back readers look, in days.
    pub days: u32,
    /// What changed within so many microseconds is not judged.
    pub settle: i64,
    /// Rows of the large test body; `None` where it is not looked for.
    pub large_body: Option<u64>,
    /// Wall time.
    pub clock: Clock,
}

/// A group as the workspace shows it.
struct Seen {
    name: String,
    count: i64,
    sum: i64,
}

impl Verifier {
    /// Looks at everything.
    ///
    /// # Errors
    /// One sentence: nobody could answer, or the workspace cannot be asked.
    pub async fn verify(&self, connection: &str, asks: &dyn Asks) -> Result<Report, String> {
        let question = Question::Expected { connection: connection.to_owned() };
        let expected = match asks.ask(question).await? {
            Answer::Expected(view) => view,
            Answer::Refused(reason) => return Err(reason),
            _ => return Err("the running cmsync is of another version: restart it".into()),
        };
        let mut report = Report::new(connection, &expected);
        self.workspace_itself(&mut report).await;
        match self.sums(&expected.site_code).await {
            Ok(seen) => self.compare(asks, &expected, seen, &mut report).await?,
            Err(error) => report.add(Finding::of(Kind::Query, error.to_string())),
        }
        self.others(&expected, &mut report).await;
        self.searches(connection, asks, &expected.site_code, &mut report).await?;
        self.heartbeats(connection, asks, &mut report).await?;
        Ok(report)
    }

    async fn sums(&self, site_code: &str) -> Result<BTreeMap<String, Seen>, QueryError> {
        let text = questions::group_sums(site_code, self.days);
        let mut seen = BTreeMap::new();
        for row in self.query.rows(&self.workspace, &text).await? {
            let text = |at: usize| row.get(at).and_then(|v| v.as_str()).unwrap_or_default();
            let number = |at: usize| row.get(at).and_then(serde_json::Value::as_i64).unwrap_or(0);
            let group = Seen { name: text(1).to_owned(), count: number(2), sum: number(3) };
            seen.insert(text(0).to_owned(), group);
        }
        Ok(seen)
    }

    async fn compare(
        &self,
        asks: &dyn Asks,
        expected: &ExpectedView,
        mut seen: BTreeMap<String, Seen>,
        report: &mut Report,
    ) -> Result<(), String> {
        let now = (self.clock)();
        let mut read = 0;
        for group in &expected.groups {
            let found = seen.remove(&group.collection);
            let is_same = found.as_ref().is_some_and(|f| {
                (f.count, f.sum, &f.name) == (group.count, group.sum, &group.name)
            });
            if is_same {
                continue;
            }
            if group.changed_at + self.settle > now || group.is_sending {
                report.unsettled += 1;
                continue;
            }
            let difference = match found {
                None => Finding::group(Kind::Missing, group, "no snapshot is in the workspace"),
                Some(found) if (found.count, found.sum) == (group.count, group.sum) => {
                    let text = format!("named `{}` there, not `{}`", found.name, group.name);
                    Finding::group(Kind::Name, group, &text)
                }
                Some(_) if read >= MOST_READ => {
                    Finding::group(Kind::Members, group, "its members differ")
                }
                Some(_) => {
                    read += 1;
                    self.members(asks, expected, group).await?
                }
            };
            report.add(difference.with_waiting(expected.waiting > 0));
        }
        for (id, found) in seen {
            let text = format!("{} members of a collection that is not kept", found.count);
            report.add(Finding { collection: Some(id), ..Finding::of(Kind::Stale, text) });
        }
        Ok(())
    }

    /// The cap, and the tables' columns.
    async fn workspace_itself(&self, report: &mut Report) {
        let Some((manager, id)) = &self.manager else {
            return;
        };
        match manager.workspace(id).await {
            Ok(Some(found)) => {
                let capping = found.properties.capping.unwrap_or_default();
                if capping.data_ingestion_status.as_deref() == Some("OverQuota") {
                    let reset = capping.quota_next_reset_time.unwrap_or_default();
                    report.over_quota_until =
                        reset.parse::<jiff::Timestamp>().ok().map(|at| at.as_microsecond());
                    let text = format!(
                        "the workspace is over its daily cap and stores nothing until {reset}: raise \
                         the cap, or wait"
                    );
                    report.add(Finding::of(Kind::Cap, text));
                }
            }
            Ok(None) => {
                let text = format!("{id} does not exist, or was deleted");
                report.add(Finding::of(Kind::Workspace, text));
            }
            Err(error) => report.add(Finding::of(Kind::Workspace, error.to_string())),
        }
        for (table, lacks) in setup::lacking(manager, id).await {
            report.add(Finding::of(Kind::Table, format!("table {table} {lacks}")));
        }
    }

    /// Other installations, the rules' errors, and the large test body.
    async fn others(&self, expected: &ExpectedView, report: &mut Report) {
        let ask = |text: String| async move { self.query.rows(&self.workspace, &text).await };
        match ask(questions::instances(&expected.site_code)).await {
            Ok(rows) => report.instances(&rows, &expected.instance),
            Err(error) => report.add(Finding::of(Kind::Query, error.to_string())),
        }
        match ask(questions::collection_errors()).await {
            Ok(rows) => report.errors(&rows),
            Err(error) => report.add(Finding::of(Kind::Query, error.to_string())),
        }
        if let Some(wanted) = self.large_body
            && let Ok(rows) = ask(questions::large_body_rows(LARGE_BODY)).await
        {
            let count = rows.first().and_then(|r| r.first()).and_then(serde_json::Value::as_u64);
            report.large_body_seen = count == Some(wanted);
        }
    }

    /// Saved searches against what they should say.
    async fn searches(
        &self,
        connection: &str,
        asks: &dyn Asks,
        site: &str,
        report: &mut Report,
    ) -> Result<(), String> {
        let (Some((manager, id)), Some((names, days))) = (&self.manager, self.groups) else {
            return Ok(());
        };
        let found = match manager.saved_searches(id).await {
            Ok(found) => found,
            Err(error) => {
                report.add(Finding::of(Kind::Groups, error.to_string()));
                return Ok(());
            }
        };
        let owner = |s: &SavedSearch| s.tag(OWNER_TAG).map(ToOwned::to_owned);
        let is_other = |of: &str| of != site && of != SHARED;
        let is_alone = !found.iter().any(|s| owner(s).is_some_and(|of| is_other(&of)));
        let show = Show { names, days, is_alone };
        let question = Question::Searches { connection: connection.to_owned(), show: show.into() };
        let Answer::Searches(wanted) = asks.ask(question).await? else {
            return Ok(());
        };
        report.groups(&found, &wanted, (site, (self.clock)() - self.settle));
        Ok(())
    }

    async fn heartbeats(
        &self,
        connection: &str,
        asks: &dyn Asks,
        report: &mut Report,
    ) -> Result<(), String> {
        let names = match setup::reporting(&self.query, &self.workspace).await {
            Ok(names) => names,
            Err(SetupError::Query(error)) => {
                report.add(Finding::of(Kind::Query, error.to_string()));
                return Ok(());
            }
            Err(error) => return Err(error.to_string()),
        };
        let question = Question::Reporting {
            connection: connection.to_owned(),
            names: names.into_iter().collect(),
        };
        if let Answer::Reporting { computers, by_fqdn, by_netbios } = asks.ask(question).await? {
            report.heartbeats = Some(Heartbeats { computers, by_fqdn, by_netbios });
        }
        Ok(())
    }

    fn differing(group: &ExpectedGroup, counts: (u64, u64, u64)) -> Finding {
        let (missing, extra, wrong) = counts;
        let kind = if extra + wrong == 0 && missing > 0 && missing <= group.set_aside {
            Kind::SetAside
        } else {
            Kind::Members
        };
        let text = format!("{missing} members missing, {extra} too many, {wrong} with other names");
        Finding { missing, extra, wrong, ..Finding::group(kind, group, &text) }
    }
}
