//! How the lab misbehaves, on request.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// What goes wrong. A count is a number of requests from now on.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Site answers that are cut in the middle of their body.
    pub cut_answers: u32,
    /// Site answers with a status: (count, status, as a web page).
    pub site_status: (u32, u16, bool),
    /// Site answers that come after a stall.
    pub stalls: (u32, Duration),
    /// Collections whose rows are shortened to half, and how many reads of them.
    pub half_members: HashMap<String, u32>,
    /// Whether `MemberCount` is shortened along with them.
    pub half_counts: bool,
    /// Whether pages come in an order of their own.
    pub unordered: bool,
    /// Rows of one page whatever `$top` says, with a `nextLink`.
    pub link_pages: Option<usize>,
    /// Answers given word for word, by class.
    pub raw_answers: HashMap<String, String>,
    /// Collections whose members cannot be read: 500.
    pub unreadable: HashSet<String>,
    /// The account's own row is not shown.
    pub hides_account: bool,
    /// A site with Kerberos offers NTLM alone.
    pub offers_ntlm: bool,
    /// The service connection point is in offline mode.
    pub is_offline: bool,
    /// The account's role, which a change of rights changes.
    pub role: String,
    /// Every nth ingestion request gets 429, with this Retry-After.
    pub throttle_every: Option<(u64, u64)>,
    /// Ingestion requests that get 429, with this Retry-After.
    pub throttle_next: (u32, u64),
    /// Ingestion requests that all rules take within a span; those above get 429 until it has passed.
    pub quota: Option<Quota>,
    /// Largest body on the wire; 1,048,576 unless it is lowered.
    pub body_limit: Option<usize>,
    /// Rows whose ResourceId divided by this leaves 7 are refused with 400.
    pub bad_rows: Option<u64>,
    /// Ingestion answers with a status.
    pub ingestion_status: (u32, u16),
    /// Ingestion answers that are the page of a proxy (407).
    pub proxy_pages: u32,
    /// Connections that are reset after the body was taken.
    pub resets: u32,
    /// Rules that are refused with 403.
    pub refused_rules: HashSet<String>,
    /// Until when the token endpoint answers 503.
    pub token_down_until: Option<Instant>,
    /// The application's secret is taken for expired.
    pub secret_expired: bool,
    /// Roles that the application lacks.
    pub missing_roles: HashSet<String>,
    /// Writes that Resource Manager takes within a span; 1,200 within an hour unless it is changed.
    pub arm_writes: Option<(usize, Duration)>,
    /// The write with this number is taken and never answered by Resource Manager.
    pub hangs_after_write: Option<usize>,
    /// Ids of saved searches that are refused.
    pub refused_searches: HashSet<String>,
    /// Most rows of a query's answer; 500,000 unless it is lowered.
    pub query_rows: Option<usize>,
    /// What rules refused within a day: messages.
    pub rule_errors: Vec<String>,
    /// Seconds that the clocks of all services are behind.
    pub behind: i64,
    /// Time that an ingestion request takes.
    pub latency: Duration,
    /// Where the administration service says that the database listens.
    pub sql_port: u16,
    /// What goes wrong in the site database alone.
    pub sql: SqlFaults,
}

/// What goes wrong in the site database.
#[derive(Debug, Clone, Default)]
pub struct SqlFaults {
    /// Queries that fail, with a number of `sys.messages`: 1205 is a deadlock.
    pub errors: (u32, u32),
    /// Reads of members that break off after 2,500 rows.
    pub cut_members: u32,
    /// Reads of members that stand still after 2,500 rows, and for how long.
    pub stalled_members: (u32, Duration),
    /// The server speaks no TLS.
    pub no_tls: bool,
    /// Views that the account may not read.
    pub denied: HashSet<String>,
    /// Views that are not there.
    pub missing: HashSet<String>,
    /// Read committed snapshot is off.
    pub no_versions: bool,
    /// Snapshot isolation is not allowed.
    pub no_snapshots: bool,
    /// The database is read-only, as that of a secondary replica is.
    pub is_read_only: bool,
    /// It is a secondary replica that takes readers alone.
    pub is_secondary: bool,
    /// It is being restored.
    pub is_restoring: bool,
    /// Change tracking is on, and the oldest version that is kept.
    pub tracks_from: Option<i64>,
    /// Seconds that it is behind its primary replica, where the account may see that.
    pub lag: Option<i64>,
    /// `CollectionID` of `v_Collection` is a number, as in the other view.
    pub has_numeric_ids: bool,
    /// The collation tells capitals from small letters, in names of views and columns too.
    pub is_case_sensitive: bool,
    /// Readers are sent to another server.
    pub route_to: Option<(String, u16)>,
}

impl Faults {
    /// Sets what JSON names, for clients in other languages.
    pub(crate) fn set(&mut self, wanted: &serde_json::Value) {
        let number = |name: &str| wanted[name].as_u64().and_then(|n| u32::try_from(n).ok());
        if let Some(offers) = wanted["offers_ntlm"].as_bool() {
            self.offers_ntlm = offers;
        }
        if let Some(count) = number("throttle_next") {
            self.throttle_next = (count, 0);
        }
        if let Some(oldest) = wanted["tracks_from"].as_i64() {
            self.sql.tracks_from = Some(oldest);
        }
        if let Some(lag) = wanted["lag"].as_i64() {
            self.sql.lag = Some(lag);
        }
        if let Some(limit) = number("body_limit") {
            self.body_limit = (limit > 0).then_some(limit as usize);
        }
    }

    /// How many of its rows a read of a collection's members shows.
    pub(crate) fn shown(&mut self, collection: &str, rows: u64) -> u64 {
        let is_half = self.half_members.get_mut(collection).is_some_and(Self::take);
        if is_half { rows / 2 } else { rows }
    }

    /// What a collection's count says that it has.
    pub(crate) fn counted(&self, collection: &str, rows: u64) -> u64 {
        let is_half = self.half_members.get(collection).is_some_and(|reads| *reads > 0);
        if self.half_counts && is_half { rows / 2 } else { rows }
    }

    /// Takes one off a count; whether there was one.
    pub(crate) fn take(count: &mut u32) -> bool {
        let had = *count > 0;
        *count = count.saturating_sub(1);
        had
    }
}

/// So many requests within a span.
#[derive(Debug, Clone)]
pub struct Quota {
    limit: u32,
    span: Duration,
    since: Instant,
    taken: u32,
}

impl Quota {
    /// From now on.
    #[must_use]
    pub fn new(limit: u32, span: Duration) -> Self {
        Self { limit, span, since: Instant::now(), taken: 0 }
    }

    /// Takes a request; when it is refused, the seconds until the span has passed, rounded up.
    pub(crate) fn take(&mut self) -> Result<(), u64> {
        if self.since.elapsed() >= self.span {
            *self = Self::new(self.limit, self.span);
        }
        if self.taken < self.limit {
            self.taken += 1;
            return Ok(());
        }
        Err(self.span.saturating_sub(self.since.elapsed()).as_secs() + 1)
    }
}

/// What the lab counted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Requests to the administration service by class.
    pub site: HashMap<String, u64>,
    /// Those of them that list all collections: a poll makes one, and its recounts name what they count.
    #[serde(default)]
    pub lists: u64,
    /// Requests to ingestion.
    pub ingestion: u64,
    /// Bodies taken.
    pub bodies: u64,
    /// The largest body on the wire, in bytes.
    pub max_body: usize,
    /// Refused ingestion requests by status.
    pub refused: HashMap<u16, u64>,
    /// Token requests.
    pub tokens: u64,
    /// Snapshot transactions that were begun and ended at the site database.
    #[serde(default)]
    pub snapshots: (u64, u64),
    /// Connections to it that were encrypted from the first byte on.
    #[serde(default)]
    pub strict: u64,
    /// Writes that Resource Manager refused with 429.
    #[serde(default)]
    pub arm_throttled: u64,
    /// What was asked for without the right to it: actions of Azure, permissions of Graph, and whatever is no
    /// read of the site.
    #[serde(default)]
    pub forbidden: BTreeSet<String>,
}
