//! Where questions are answered and orders taken.

use std::collections::BTreeMap;
use std::sync::Arc;

use cmsync_queue::{Error, Output, Queue};
use cmsync_schemas::{CONTROL, Clock, Control, Decision, Note, STATUS, Status, Subject, topics};

use crate::question::Question;
use crate::shelf::{self, Shelf};
use crate::state;
use crate::tickets::Tickets;
use crate::views::{Answer, ConnectionView, MemberView, StageView};

/// Orders that are published at a time.
const AT_ONCE: usize = 64;

/// Answers questions over a queue.
#[derive(Clone)]
pub struct Desk {
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) clock: Clock,
    log: Option<Log>,
    pub(crate) note: Option<Note>,
    tickets: Tickets,
}

/// Gives the last lines of the log.
pub type Log = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

impl Desk {
    /// A desk over this queue.
    #[must_use]
    pub fn new(queue: Arc<dyn Queue>, clock: Clock) -> Self {
        let shelf = Arc::new(Shelf::new(Arc::clone(&queue)));
        Self { queue, shelf, clock, log: None, note: None, tickets: Tickets::default() }
    }

    /// The same, of a process that keeps its last lines.
    #[must_use]
    pub fn with_log(self, log: Log) -> Self {
        Self { log: Some(log), ..self }
    }

    /// The same, which tells what it was asked for.
    #[must_use]
    pub fn with_note(self, note: Note) -> Self {
        Self { note: Some(note), ..self }
    }

    /// The queue that it is over.
    #[must_use]
    pub fn queue(&self) -> Arc<dyn Queue> {
        Arc::clone(&self.queue)
    }

    /// Tickets of those who may use the queue's directory.
    #[must_use]
    pub fn tickets(&self) -> &Tickets {
        &self.tickets
    }

    /// Answers a question or takes an order.
    ///
    /// # Errors
    /// When the queue fails; what cannot be done is an [`Answer::Refused`].
    pub async fn answer(&self, question: Question) -> Result<Answer, Error> {
        match question {
            Question::Status => self.status().await,
            Question::Pause { connection } => {
                self.order(
                    &connection,
                    (Subject::Pause, ""),
                    "pause",
                    "paused: the site is not read until it is resumed",
                )
                .await
            }
            Question::Resume { connection } => self.resume(&connection).await,
            Question::Resend { connection, collection } => {
                self.resend(&connection, collection).await
            }
            Question::RemoveCollections { connection, collections } => {
                self.remove_collections(&connection, &collections).await
            }
            Question::ForgetOrders { connection } => self.forget_orders(&connection).await,
            Question::KeepGroups { connection, keep } => self.keep_groups(&connection, keep).await,
            Question::LookAtGroups { connection } => {
                let subject = (Subject::Groups, topics::GROUPS_LOOK);
                self.order(&connection, subject, "look", "the groups are looked at").await
            }
            Question::Expected { .. }
            | Question::Searches { .. }
            | Question::Reporting { .. }
            | Question::RawLimit { .. }
            | Question::Hold { .. } => self.verification(question).await,
            Question::Log => Ok(match &self.log {
                Some(log) => Answer::Log(log()),
                None => Answer::Refused("cmsync does not run here: start it, and ask again".into()),
            }),
            Question::Ticket => {
                Ok(Answer::Refused("only a running cmsync gives tickets: start it".into()))
            }
            Question::Removals => self.removals().await,
            Question::DecideRemoval { connection, collection, approve, seen } => {
                self.decide_removal(&connection, &collection, Decision { approve, seen }).await
            }
            Question::DecideDeadLetter { id, replay } => self.decide_dead_letter(&id, replay).await,
            Question::DeadLetters
            | Question::Groups
            | Question::GroupsOf { .. }
            | Question::Members { .. } => self.whole(question).await,
        }
    }

    /// Answers that hold much: one at a time.
    async fn whole(&self, question: Question) -> Result<Answer, Error> {
        let _one = self.shelf.heavy.acquire().await;
        match question {
            Question::Expected { connection } => match self.has(&connection).await? {
                true => self.expected(&connection).await,
                false => Ok(refused_connection(&connection)),
            },
            Question::Searches { connection, show } => {
                crate::groups::searches(&*self.queue, &connection, show.into()).await
            }
            Question::Reporting { connection, names } => {
                crate::expected::reporting(&*self.queue, &connection, names).await
            }
            Question::DeadLetters => self.dead_letters().await,
            Question::Groups => self.groups().await,
            Question::GroupsOf { connection, computer } => match self.has(&connection).await? {
                true => self.groups_of(&connection, &computer).await,
                false => Ok(refused_connection(&connection)),
            },
            Question::Members { connection, collection } => {
                self.members(&connection, &collection).await
            }
            _ => Ok(Answer::Refused("not a question with a long answer".into())),
        }
    }

    /// What verification compares with, and what it asks of the uploader.
    async fn verification(&self, question: Question) -> Result<Answer, Error> {
        match question {
            Question::Expected { .. } | Question::Searches { .. } | Question::Reporting { .. } => {
                self.whole(question).await
            }
            Question::RawLimit { connection, bytes: Some(bytes) } => {
                let (subject, action) = ((Subject::RawLimit, ""), bytes.to_string());
                self.order(&connection, subject, &action, "larger bodies are sent").await
            }
            Question::RawLimit { connection, bytes: None } => {
                self.take_back(&connection, (Subject::RawLimit, "")).await?;
                Ok(Answer::Taken("smaller bodies are sent".into()))
            }
            Question::Hold { connection, until } => {
                let (subject, action) = ((Subject::Hold, ""), until.to_string());
                self.order(&connection, subject, &action, "nothing is sent until then").await
            }
            _ => Ok(Answer::Refused("not a question of verification".into())),
        }
    }

    pub(crate) async fn connections(&self) -> Result<Vec<String>, Error> {
        shelf::connections(&*self.queue).await
    }

    pub(crate) async fn has(&self, connection: &str) -> Result<bool, Error> {
        Ok(self.connections().await?.iter().any(|c| c == connection))
    }

    async fn status(&self) -> Result<Answer, Error> {
        let mut stages: BTreeMap<String, Vec<Status>> = BTreeMap::new();
        state::each(&*self.queue, (topics::STATUS, ""), |_, value| {
            if let Ok(status) = STATUS.decode(value) {
                stages.entry(status.connection.clone()).or_default().push(status);
            }
        })
        .await?;
        let mut paused = self.controls().await?;
        paused.retain(|order| order.subject == Subject::Pause || order.is_closing());
        let mut views = Vec::new();
        for name in self.connections().await? {
            let stages = stages.remove(&name).unwrap_or_default();
            let is_paused = paused.iter().any(|order| order.connection == name);
            views.push(self.connection(&name, &stages, is_paused).await?);
        }
        Ok(Answer::Status(views))
    }

    async fn connection(
        &self,
        name: &str,
        stages: &[Status],
        is_paused: bool,
    ) -> Result<ConnectionView, Error> {
        let waiting = self.shelf.backlog.of(name).await?;
        let producer = stages.iter().find(|s| s.stage == "producer");
        let letters = self.shelf.letters(name).await?;
        Ok(ConnectionView {
            connection: name.to_owned(),
            site_code: producer.map(|p| p.site_code.clone()).unwrap_or_default(),
            collections: producer.map_or(0, |p| p.collections),
            members: producer.map_or(0, |p| p.members),
            held_removals: producer.map_or(0, |p| p.holds),
            dead_letters: i64::try_from(letters).unwrap_or(i64::MAX),
            waiting_bytes: waiting.bytes,
            waiting_messages: waiting.changes + waiting.records,
            waiting_changes: waiting.changes,
            oldest_waiting: waiting.oldest.unwrap_or(0),
            is_paused,
            warnings: stages.iter().flat_map(|s| s.warnings.clone()).collect(),
            stages: stages
                .iter()
                .map(|s| StageView {
                    stage: s.stage.clone(),
                    state: s.state,
                    reason: s.reason.clone(),
                    cause: s.cause.clone(),
                    since: s.since,
                    last_success: s.last_success,
                    warnings: s.warnings.clone(),
                })
                .collect(),
        })
    }

    async fn expected(&self, connection: &str) -> Result<Answer, Error> {
        let mut view = crate::expected::of(&*self.queue, connection).await?;
        let mut aside: BTreeMap<String, u64> = BTreeMap::new();
        self.each_letter(connection, |l| *aside.entry(l.group_id).or_default() += 1).await?;
        for group in &mut view.groups {
            group.set_aside = aside.get(&group.collection).copied().unwrap_or(0);
        }
        let limits = self.orders(Subject::RawLimit).await?;
        let limit = limits.iter().find(|order| order.connection == connection);
        view.raw_limit = limit.and_then(|order| order.action.parse().ok()).unwrap_or(0);
        let waiting = self.shelf.backlog.of(connection).await?;
        view.waiting = waiting.changes + waiting.records;
        Ok(Answer::Expected(view))
    }

    async fn controls(&self) -> Result<Vec<Control>, Error> {
        let mut controls = Vec::new();
        state::each(&*self.queue, (topics::CONTROL, ""), |_, value| {
            controls.extend(CONTROL.decode(value));
        })
        .await?;
        Ok(controls)
    }

    /// What was ordered of a kind, and is not done yet.
    pub(crate) async fn orders(&self, subject: Subject) -> Result<Vec<Control>, Error> {
        let mut orders = self.controls().await?;
        orders.retain(|order| order.subject == subject);
        Ok(orders)
    }

    /// Writes an order onto the control topic.
    pub(crate) async fn order(
        &self,
        connection: &str,
        (subject, item): (Subject, &str),
        action: &str,
        then: &str,
    ) -> Result<Answer, Error> {
        if !self.has(connection).await? {
            return Ok(refused_connection(connection));
        }
        self.write(self.control(connection, (subject, item), action)).await?;
        Ok(Answer::Taken(then.to_owned()))
    }

    /// An order as the control topic has it.
    fn control(&self, connection: &str, (subject, item): (Subject, &str), action: &str) -> Output {
        let control = Control {
            connection: connection.to_owned(),
            subject,
            item: item.to_owned(),
            action: action.to_owned(),
            asked_at: (self.clock)(),
        };
        output(topics::control_key(connection, subject, item), Some(&control))
    }

    async fn write(&self, output: Output) -> Result<(), Error> {
        self.queue.publish(vec![output]).await.map(drop)
    }

    /// Takes an order back, or says that it is done.
    async fn take_back(
        &self,
        connection: &str,
        (subject, item): (Subject, &str),
    ) -> Result<(), Error> {
        self.write(output(topics::control_key(connection, subject, item), None)).await
    }

    async fn resume(&self, connection: &str) -> Result<Answer, Error> {
        if !self.has(connection).await? {
            return Ok(refused_connection(connection));
        }
        self.take_back(connection, (Subject::Pause, "")).await?;
        self.take_back(connection, (Subject::RemovedCollection, topics::ALL)).await?;
        Ok(Answer::Taken("resumed: the site is read again".into()))
    }

    async fn resend(&self, connection: &str, collection: Option<String>) -> Result<Answer, Error> {
        let id = collection.unwrap_or_default();
        let known = self.shelf.collections().await?;
        if !id.is_empty() && !known.contains_key(&(connection.to_owned(), id.clone())) {
            return Ok(Answer::Refused(format!(
                "connection `{connection}` keeps no collection `{id}`; see `cmsync groups list`"
            )));
        }
        self.order(connection, (Subject::Resend, &id), "resend", "it is sent whole from the state")
            .await
    }

    async fn remove_collections(
        &self,
        connection: &str,
        collections: &[String],
    ) -> Result<Answer, Error> {
        if !self.has(connection).await? {
            return Ok(refused_connection(connection));
        }
        let order =
            |id: &String| self.control(connection, (Subject::RemovedCollection, id), "remove");
        for some in collections.chunks(AT_ONCE) {
            self.queue.publish(some.iter().map(order).collect()).await?;
        }
        Ok(Answer::Taken("its rows are closed and its groups go".into()))
    }

    async fn forget_orders(&self, connection: &str) -> Result<Answer, Error> {
        for control in self.controls().await?.iter().filter(|c| c.connection == connection) {
            self.take_back(connection, (control.subject, &control.item)).await?;
        }
        Ok(Answer::Taken("its orders are forgotten".into()))
    }

    async fn keep_groups(&self, connection: &str, keep: bool) -> Result<Answer, Error> {
        let subject = (Subject::Groups, topics::GROUPS_OFF);
        if !keep {
            return self.order(connection, subject, "off", "its groups go").await;
        }
        if !self.has(connection).await? {
            return Ok(refused_connection(connection));
        }
        self.take_back(connection, subject).await?;
        Ok(Answer::Taken("its groups are kept".into()))
    }

    async fn members(&self, connection: &str, collection: &str) -> Result<Answer, Error> {
        let Some(devices) = state::members(&*self.queue, connection, collection).await? else {
            return Ok(Answer::Refused(format!(
                "connection `{connection}` keeps no collection `{collection}`; see `cmsync groups list`"
            )));
        };
        let view = |d: cmsync_schemas::Device| MemberView {
            resource_id: d.resource_id,
            computer: d.computer().to_owned(),
            netbios_name: d.netbios_name,
            assigned_site: d.assigned_site.filter(|s| !s.is_empty()),
        };
        Ok(Answer::Members(devices.into_iter().map(view).collect()))
    }
}

/// An entry of the control topic; without a value it goes.
fn output(key: String, control: Option<&Control>) -> Output {
    let value = control.map(|control| CONTROL.encode(control));
    Output { topic: topics::CONTROL.to_owned(), partition: 0, key: key.into(), value }
}

fn refused_connection(connection: &str) -> Answer {
    Answer::Refused(format!(
        "nothing is known of a connection `{connection}`: it has not run yet, or there is none of this name; \
         see `cmsync connection list`"
    ))
}
