//! The writer of computer groups against a workspace in memory, in virtual time.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cmsync_azure::{AzureError, Refusal, SavedSearch, Tag};
use cmsync_queue::memory::{MemoryQueue, MemoryStore};
use cmsync_queue::{Output, Queue, TopicKind, TopicSpec};
use cmsync_schemas::{GROUP, Group, Health, Status, topics};
use cmsync_uploader::groups::{GroupOptions, GroupsWriter, Progress, SavedSearches, run};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const HOUR: Duration = Duration::from_secs(3_600);

#[derive(Default)]
struct State {
    searches: BTreeMap<String, SavedSearch>,
    writes: Vec<Instant>,
    /// Ids that are refused for themselves.
    refused: Vec<String>,
    /// Answers with 429 until then.
    throttled_until: Option<Instant>,
    /// Rights are missing.
    forbidden: bool,
}

#[derive(Default)]
struct InMemory(Mutex<State>);

fn refusal(status: u16) -> AzureError {
    let (what, scope, code) = ("write".into(), "workspace".into(), "Code".into());
    let (message, remedy) = ("refused".into(), String::new());
    AzureError::Refused(Box::new(Refusal { what, scope, status, code, message, remedy }))
}

impl InMemory {
    fn write(&self, id: &str, search: Option<&SavedSearch>) -> Result<(), AzureError> {
        let mut state = self.0.lock().unwrap();
        let now = Instant::now();
        state.writes.push(now);
        if state.forbidden {
            return Err(refusal(403));
        }
        if let Some(until) = state.throttled_until.filter(|until| now < *until) {
            return Err(AzureError::Throttled(until - now));
        }
        if state.refused.iter().any(|refused| refused == id) {
            return Err(refusal(400));
        }
        match search {
            Some(search) => state.searches.insert(id.to_owned(), search.clone()),
            None => state.searches.remove(id),
        };
        Ok(())
    }
}

#[async_trait]
impl SavedSearches for InMemory {
    async fn list(&self) -> Result<Vec<SavedSearch>, AzureError> {
        let state = self.0.lock().unwrap();
        if state.forbidden {
            return Err(refusal(403));
        }
        Ok(state.searches.values().cloned().collect())
    }

    async fn put(&self, search: &SavedSearch) -> Result<(), AzureError> {
        self.write(&search.id, Some(search))
    }

    async fn delete(&self, id: &str) -> Result<(), AzureError> {
        self.write(id, None)
    }
}

struct Rig {
    queue: Arc<MemoryQueue>,
    workspace: Arc<InMemory>,
    progress: watch::Receiver<Option<Progress>>,
    status: watch::Receiver<Status>,
    stop: CancellationToken,
}

fn group(number: u32, computers: &[&str]) -> Group {
    let computers: Vec<String> = computers.iter().map(|c| (*c).to_owned()).collect();
    Group {
        connection: "c".into(),
        site_code: "CAS".into(),
        collection_id: format!("PS1{number:05}"),
        name: format!("Collection {number}"),
        folder: "/".into(),
        members: 1,
        is_static: true,
        netbios_names: computers.clone(),
        computers,
        seq: 1,
    }
}

impl Rig {
    async fn new(options: GroupOptions, workspace: State) -> Self {
        let queue = Arc::new(MemoryQueue::open(MemoryStore::new()).unwrap());
        let topic = |name: String| {
            let kind = TopicKind::Compacted;
            TopicSpec { name, partitions: 1, kind, max_bytes: u64::MAX }
        };
        let topics = [topic(topics::groups("c")), topic(topics::CONTROL.to_owned())];
        queue.declare(&topics).await.unwrap();
        let workspace = Arc::new(InMemory(Mutex::new(workspace)));
        let status = watch::Sender::new(Status::starting("c", "groups", 0));
        let progress = watch::Sender::new(None);
        let (said, looked) = (status.subscribe(), progress.subscribe());
        let stop = CancellationToken::new();
        let writer = GroupsWriter {
            connection: "c".into(),
            queue: Arc::clone(&queue) as Arc<dyn Queue>,
            target: Arc::clone(&workspace) as Arc<dyn SavedSearches>,
            options,
            rests: (Duration::from_secs(1), Duration::from_secs(60)),
            clock: Arc::new(|| 1),
            status,
            progress,
        };
        tokio::spawn(run(writer, stop.clone()));
        Self { queue, workspace, progress: looked, status: said, stop }
    }

    async fn publish(&self, groups: &[Group]) {
        let output = |group: &Group| Output {
            topic: topics::groups("c"),
            partition: 0,
            key: group.collection_id.clone().into(),
            value: Some(GROUP.encode(group)),
        };
        for groups in groups.chunks(32) {
            self.queue.publish(groups.iter().map(output).collect()).await.unwrap();
        }
    }

    async fn remove(&self, group: &Group) {
        let key = group.collection_id.clone().into();
        let output = Output { topic: topics::groups("c"), partition: 0, key, value: None };
        self.queue.publish(vec![output]).await.unwrap();
    }

    /// Waits until all that was published is as it should be.
    async fn settled(&mut self) {
        let changes = *self.queue.watch(&topics::groups("c")).unwrap().borrow();
        let is_settled =
            |p: &Option<Progress>| p.is_some_and(|p| p.seen >= changes && p.behind == 0);
        let waiting = self.progress.wait_for(is_settled);
        tokio::time::timeout(HOUR * 100, waiting).await.unwrap().unwrap();
    }

    fn queries(&self) -> BTreeMap<String, String> {
        let state = self.workspace.0.lock().unwrap();
        state.searches.values().map(|s| (s.function_alias.clone(), s.query.clone())).collect()
    }

    fn writes(&self) -> usize {
        self.workspace.0.lock().unwrap().writes.len()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test(start_paused = true)]
async fn three_hundred_groups_that_change_at_once_stay_inside_the_budget_and_end_right() {
    let options = GroupOptions { writes_per_hour: 240, ..GroupOptions::default() };
    let mut rig = Rig::new(options, State::default()).await;
    let groups = |name: &str| (0..300).map(|n| group(n, &[name])).collect::<Vec<_>>();
    rig.publish(&groups("first")).await;
    rig.settled().await;
    rig.publish(&groups("second")).await;
    rig.settled().await;
    let queries = rig.queries();
    for number in 0..300 {
        let text = &queries[&format!("CMG_CAS_PS1{number:05}")];
        assert_eq!(text, "datatable(Computer:string)['second'] | distinct Computer");
        let short = &queries[&format!("CMG_PS1{number:05}")];
        assert_eq!(*short, format!("CMG_CAS_PS1{number:05} | distinct Computer"));
    }
    assert!(queries["ConfigMgrComputerGroup"].contains("GroupSource = 'SCCM'"));
    // Two for each group and the function for all, then one for each changed text.
    assert_eq!(rig.writes(), 300 * 2 + 1 + 300);
    let state = rig.workspace.0.lock().unwrap();
    for (index, first) in state.writes.iter().enumerate() {
        let within = state.writes[index..].iter().filter(|at| **at < *first + HOUR).count();
        assert!(within <= 240, "{within}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cmsync_did_not_make_is_never_touched() {
    let mut theirs = SavedSearch {
        id: "somebody".into(),
        category: "Mine".into(),
        display_name: "Mine".into(),
        query: "Heartbeat".into(),
        function_alias: "cmg_cas_ps100001".into(),
        tags: vec![Tag { name: "Group".into(), value: "Computer".into() }],
    };
    let mut state = State::default();
    state.searches.insert(theirs.id.clone(), theirs.clone());
    theirs.id = "cmsync-cmg_ps100002".into();
    theirs.function_alias = String::new();
    state.searches.insert(theirs.id.clone(), theirs);
    let before = state.searches.clone();
    let mut rig = Rig::new(GroupOptions::default(), state).await;
    rig.publish(&[group(1, &["a"]), group(2, &["b"])]).await;
    rig.settled().await;
    for (id, search) in &before {
        assert_eq!(rig.workspace.0.lock().unwrap().searches.get(id), Some(search));
    }
    let warnings = rig.status.wait_for(|s| s.warnings.len() == 2).await.unwrap().warnings.clone();
    assert!(warnings[0].contains("`CMG_CAS_PS100001`") && warnings[0].contains("rename it"));
    assert!(rig.queries().contains_key("CMG_CAS_PS100002"));
}

#[tokio::test(start_paused = true)]
async fn a_second_hierarchy_in_the_workspace_takes_the_short_names_away() {
    let mut rig = Rig::new(GroupOptions::default(), State::default()).await;
    rig.publish(&[group(1, &["a"])]).await;
    rig.settled().await;
    assert!(rig.queries().contains_key("CMG_PS100001"));
    let other = SavedSearch {
        id: "cmsync-cmg_pr1_ps100001".into(),
        function_alias: "CMG_PR1_PS100001".into(),
        tags: vec![Tag { name: "cmsync".into(), value: "PR1".into() }],
        ..SavedSearch::default()
    };
    rig.workspace.0.lock().unwrap().searches.insert(other.id.clone(), other);
    tokio::time::sleep(HOUR * 2).await;
    rig.settled().await;
    let names: Vec<String> = rig.queries().into_keys().collect();
    assert_eq!(names, ["CMG_CAS_PS100001", "CMG_PR1_PS100001", "ConfigMgrComputerGroup"]);
}

#[tokio::test(start_paused = true)]
async fn one_refused_group_holds_up_no_other_and_is_tried_again() {
    let state = State { refused: vec!["cmsync-cmg_cas_ps100001".into()], ..State::default() };
    let mut rig = Rig::new(GroupOptions::default(), state).await;
    rig.publish(&[group(1, &["a"]), group(2, &["b"])]).await;
    rig.settled().await;
    assert!(rig.queries().contains_key("CMG_CAS_PS100002"));
    let status = rig.status.wait_for(|s| !s.warnings.is_empty()).await.unwrap().clone();
    assert_eq!(status.state, Health::Working);
    rig.workspace.0.lock().unwrap().refused.clear();
    tokio::time::sleep(Duration::from_secs(300)).await;
    rig.settled().await;
    assert!(rig.queries().contains_key("CMG_CAS_PS100001"));
}

#[tokio::test(start_paused = true)]
async fn a_429_is_obeyed_and_missing_rights_pause_until_they_are_granted() {
    let until = Instant::now() + Duration::from_secs(120);
    let throttled = State { throttled_until: Some(until), ..State::default() };
    let mut rig = Rig::new(GroupOptions::default(), throttled).await;
    rig.publish(&[group(1, &["a"])]).await;
    rig.settled().await;
    let early = rig.workspace.0.lock().unwrap().writes.iter().filter(|at| **at < until).count();
    assert_eq!(early, 1, "one write met the 429 and none came before its end");

    rig.workspace.0.lock().unwrap().forbidden = true;
    rig.publish(&[group(1, &["b"])]).await;
    let status = rig.status.wait_for(|s| s.state == Health::Paused).await.unwrap().clone();
    assert!(status.reason.contains("computer groups") && status.reason.contains("refused"));
    rig.workspace.0.lock().unwrap().forbidden = false;
    rig.settled().await;
    assert!(rig.queries()["CMG_CAS_PS100001"].contains("'b'"));
    rig.status.wait_for(|s| s.state == Health::Working).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_deleted_group_comes_back_and_a_removed_collection_takes_its_own_away() {
    let mut rig = Rig::new(GroupOptions::default(), State::default()).await;
    let (kept, gone) = (group(1, &["a"]), group(2, &["b"]));
    rig.publish(&[kept, gone.clone()]).await;
    rig.settled().await;
    rig.workspace.0.lock().unwrap().searches.remove("cmsync-cmg_cas_ps100001");
    rig.remove(&gone).await;
    rig.settled().await;
    assert!(!rig.queries().contains_key("CMG_CAS_PS100002"));
    assert!(!rig.queries().contains_key("CMG_PS100002"));
    tokio::time::sleep(HOUR * 2).await;
    assert!(rig.queries().contains_key("CMG_CAS_PS100001"));
    let writes = rig.writes();
    tokio::time::sleep(HOUR * 5).await;
    assert_eq!(rig.writes(), writes, "nothing is written while nothing changes");
}

#[tokio::test(start_paused = true)]
async fn a_new_queue_deletes_no_group_before_it_can_know_all() {
    let mut old = SavedSearch {
        id: "cmsync-cmg_cas_ps100009".into(),
        function_alias: "CMG_CAS_PS100009".into(),
        ..SavedSearch::default()
    };
    old.tags.push(Tag { name: "cmsync".into(), value: "CAS".into() });
    let mut state = State::default();
    state.searches.insert(old.id.clone(), old);
    let mut rig = Rig::new(GroupOptions::default(), state).await;
    rig.publish(&[group(1, &["a"])]).await;
    rig.settled().await;
    tokio::time::sleep(HOUR / 2).await;
    assert!(rig.queries().contains_key("CMG_CAS_PS100009"));
    tokio::time::sleep(HOUR).await;
    assert!(!rig.queries().contains_key("CMG_CAS_PS100009"));
}

#[tokio::test(start_paused = true)]
async fn a_refused_deletion_rests_between_its_attempts() {
    let mut rig = Rig::new(GroupOptions::default(), State::default()).await;
    let (kept, gone) = (group(1, &["a"]), group(2, &["b"]));
    rig.publish(&[kept, gone.clone()]).await;
    rig.settled().await;
    let before = rig.writes();
    rig.workspace.0.lock().unwrap().refused = vec!["cmsync-cmg_cas_ps100002".into()];
    rig.remove(&gone).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let attempts = rig.writes() - before;
    assert!((5..40).contains(&attempts), "{attempts}");
    assert!(!rig.queries().contains_key("CMG_PS100002"));
    rig.workspace.0.lock().unwrap().refused.clear();
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(!rig.queries().contains_key("CMG_CAS_PS100002"));
}

#[tokio::test(start_paused = true)]
async fn the_last_collection_takes_its_group_away_too() {
    let mut rig = Rig::new(GroupOptions::default(), State::default()).await;
    let only = group(1, &["a"]);
    rig.publish(std::slice::from_ref(&only)).await;
    rig.settled().await;
    rig.remove(&only).await;
    rig.settled().await;
    assert_eq!(rig.queries().into_keys().collect::<Vec<_>>(), ["ConfigMgrComputerGroup"]);
}
