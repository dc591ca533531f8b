//! What happened, for people: on a compacted topic of which the oldest entries go, so that it is the same
//! whichever process is asked, and survives a restart.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use cmsync_queue::{Error, Output, Queue};
use cmsync_schemas::{ACTIVITY, Activity, Kind, Note, topics};

use crate::desk::Desk;
use crate::lists::first_of;
use crate::question::{Order, Question};
use crate::state;
use crate::tickets::token;
use crate::views::Answer;

/// Entries of a connection that are kept of what people asked for and decided, and as many of all else; there
/// may be [`SLACK`] more for a while.
pub const KEPT: usize = 2_000;
/// Entries after which a process that writes looks at how many there are.
pub const SLACK: usize = 200;
/// Messages of one commit.
const AT_ONCE: usize = 64;
/// Characters of a text: names come from outside.
const LONGEST: usize = 2_000;

/// Which entries somebody looks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Looked {
    /// Of one connection; empty for all.
    pub connection: String,
    /// Of one kind, as [`cmsync_schemas::Kind::text`] has it; empty for all.
    pub kind: String,
    /// About one collection, stage or dead letter; empty for all.
    pub item: String,
}

impl Looked {
    fn has(&self, activity: &Activity) -> bool {
        let is = |wanted: &str, own: &str| wanted.is_empty() || wanted == own;
        // An entry may be about several.
        let is_about = self.item.is_empty() || activity.item.split(' ').any(|own| own == self.item);
        is_about && is(&self.kind, &activity.kind) && is(&self.connection, &activity.connection)
    }
}

/// Ordered by time within a connection and its part, and of its own however many are written at once.
fn key(activity: &Activity) -> String {
    let own: String = token().chars().take(8).collect();
    let asked = [Kind::Order, Kind::Removal, Kind::Configuration].map(Kind::text);
    // What a person did is not pushed out by what happens each minute.
    let part = if asked.contains(&activity.kind.as_str()) { "asked" } else { "seen" };
    format!("{}/{part}/{:016x}/{own}", activity.connection, activity.at.max(0))
}

/// Copies of cmsync tell the same within this time, in microseconds.
const ALIKE: i64 = 60_000_000;

/// Whether another copy told it already.
fn is_told(before: &[Activity], entry: &Activity) -> bool {
    let is_near = |other: &&Activity| other.at - entry.at < ALIKE;
    before.iter().rev().take_while(is_near).any(|other| {
        let Activity { connection, at: _, kind, item, text, who } = other;
        *text == entry.text
            && (connection, kind, item, who)
                == (&entry.connection, &entry.kind, &entry.item, &entry.who)
    })
}

fn output(key: String, activity: Option<&Activity>) -> Output {
    let value = activity.map(|activity| ACTIVITY.encode(activity));
    Output { topic: topics::ACTIVITY.to_owned(), partition: 0, key: key.into(), value }
}

/// Writes entries.
///
/// # Errors
/// The queue's.
pub async fn write(queue: &dyn Queue, mut entries: Vec<Activity>) -> Result<(), Error> {
    for entry in &mut entries {
        if let Some((end, _)) = entry.text.char_indices().nth(LONGEST) {
            entry.text.truncate(end);
        }
    }
    for some in entries.chunks(AT_ONCE) {
        let outputs = some.iter().map(|entry| output(key(entry), Some(entry))).collect();
        queue.publish(outputs).await?;
    }
    Ok(())
}

/// Lets the oldest entries go, of one connection or with none of all.
///
/// # Errors
/// The queue's.
pub async fn trim(queue: &dyn Queue, connection: Option<&str>) -> Result<(), Error> {
    let prefix = connection.map_or(String::new(), |connection| format!("{connection}/"));
    let mut parts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    state::each(queue, (topics::ACTIVITY, &prefix), |key, _| {
        let Ok(key) = std::str::from_utf8(key) else { return };
        let part = key.rsplitn(3, '/').nth(2).unwrap_or_default();
        parts.entry(part.to_owned()).or_default().push(key.to_owned());
    })
    .await?;
    for keys in parts.values_mut() {
        keys.sort_unstable();
        keys.truncate(keys.len().saturating_sub(KEPT));
        for some in keys.chunks(AT_ONCE) {
            queue.publish(some.iter().map(|key| output(key.clone(), None)).collect()).await?;
        }
    }
    Ok(())
}

impl Desk {
    /// Where others tell what happened.
    #[must_use]
    pub fn noting(&self) -> Note {
        self.note.clone().unwrap_or_else(|| Arc::new(drop))
    }

    /// Tells what happened.
    pub fn note(&self, connection: &str, kind: Kind, (item, text): (&str, String), who: &str) {
        if let Some(note) = &self.note {
            let activity = Activity::new(connection, (self.clock)(), kind, item, text);
            note(Activity { who: who.to_owned(), ..activity });
        }
    }

    /// The same as [`Self::answer`], for somebody: an order that was taken is told with who asked for it.
    ///
    /// # Errors
    /// As there.
    pub async fn answer_as(&self, who: &str, question: Question) -> Result<Answer, Error> {
        let order = question.order();
        let answer = self.answer(question).await?;
        if let Some(Order { connection, item, text }) = order
            && !matches!(answer, Answer::Refused(_))
        {
            self.note(&connection, Kind::Order, (&item, text), who);
        }
        Ok(answer)
    }

    /// Some of the entries, newest first, with how many there are: beyond the end those of the last page.
    ///
    /// # Errors
    /// The queue's.
    pub async fn list_activity(
        &self,
        looked: &Looked,
        first: usize,
        count: usize,
    ) -> Result<(usize, Vec<Activity>), Error> {
        let prefix = match looked.connection.as_str() {
            "" => String::new(),
            connection => format!("{connection}/"),
        };
        // All of them are looked through: one look at a time.
        let _one = self.shelf.heavy.acquire().await;
        let mut found = Vec::new();
        state::each(&*self.queue, (topics::ACTIVITY, &prefix), |_, value| {
            // What a newer version wrote is for that one.
            found.extend(ACTIVITY.decode(value).ok().filter(|entry| looked.has(entry)));
        })
        .await?;
        found.sort_by_key(|entry| Reverse(entry.at));
        let mut once: Vec<Activity> = Vec::with_capacity(found.len());
        for entry in found {
            if !is_told(&once, &entry) {
                once.push(entry);
            }
        }
        let all = once.len();
        let first = first_of(first, count, all);
        Ok((all, once.into_iter().skip(first).take(count).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cmsync_queue::memory::{MemoryQueue, MemoryStore};
    use cmsync_queue::{TopicKind, TopicSpec};

    async fn desk() -> Desk {
        let queue = Arc::new(MemoryQueue::open(MemoryStore::new()).unwrap());
        let name = topics::ACTIVITY.to_owned();
        let kind = TopicKind::Compacted;
        let spec = TopicSpec { name, partitions: 1, kind, max_bytes: u64::MAX };
        queue.declare(&[spec]).await.unwrap();
        Desk::new(queue, Arc::new(|| 0))
    }

    fn entry(connection: &str, at: i64, kind: Kind) -> Activity {
        Activity::new(connection, at, kind, "PS100014", format!("at {at}"))
    }

    #[tokio::test]
    async fn what_happened_is_listed_from_the_newest_and_found_by_what_it_is() {
        let desk = desk().await;
        let kinds = [Kind::Changes, Kind::Order, Kind::Changes];
        let entries = (0..).zip(kinds).map(|(at, kind)| entry("a", at, kind)).collect();
        write(&*desk.queue, entries).await.unwrap();
        write(&*desk.queue, vec![entry("ab", 7, Kind::Changes)]).await.unwrap();
        let texts = async |connection: &str, kind: &str, first| {
            let looked =
                Looked { connection: connection.into(), kind: kind.into(), item: String::new() };
            let (all, some) = desk.list_activity(&looked, first, 2).await.unwrap();
            (all, some.into_iter().map(|entry| entry.text).collect::<Vec<_>>())
        };
        assert_eq!(texts("", "", 0).await, (4, vec!["at 7".into(), "at 2".into()]));
        assert_eq!(texts("", "", 3).await, (4, vec!["at 0".into()]));
        assert_eq!(texts("a", "changes", 0).await, (2, vec!["at 2".into(), "at 0".into()]));
        assert_eq!(texts("ab", "order", 0).await, (0, vec![]));
    }

    #[tokio::test]
    async fn the_oldest_of_a_connection_go_and_no_others() {
        let desk = desk().await;
        let count = i64::try_from(KEPT).unwrap() + 50;
        let many = (0..count).map(|at| entry("a", at, Kind::Changes)).collect();
        write(&*desk.queue, many).await.unwrap();
        write(&*desk.queue, vec![entry("a", -1, Kind::Order)]).await.unwrap();
        write(&*desk.queue, vec![entry("b", 0, Kind::Order)]).await.unwrap();
        trim(&*desk.queue, Some("a")).await.unwrap();
        let of = async |connection: &str| {
            let looked = Looked { connection: connection.into(), ..Looked::default() };
            desk.list_activity(&looked, 0, usize::MAX).await.unwrap()
        };
        let (all, kept) = of("a").await;
        // What was asked for is older than all of it, and stays.
        let times: Vec<i64> = kept.iter().rev().map(|entry| entry.at).take(2).collect();
        assert_eq!((all, times), (KEPT + 1, vec![-1, 50]));
        trim(&*desk.queue, None).await.unwrap();
        assert_eq!(of("a").await.0, KEPT + 1);
        assert_eq!(of("b").await.0, 1);
    }

    #[tokio::test]
    async fn what_several_copies_tell_is_listed_once_and_found_by_each_of_its_items() {
        let desk = desk().await;
        let told = |at| Activity {
            item: "PS1 PS2".into(),
            text: "x".into(),
            ..entry("a", at, Kind::Stage)
        };
        write(&*desk.queue, vec![told(5), told(9), told(9 + ALIKE)]).await.unwrap();
        let of = async |item: &str| {
            let looked = Looked { item: item.into(), ..Looked::default() };
            desk.list_activity(&looked, 0, 9).await.unwrap().0
        };
        assert_eq!((of("").await, of("PS2").await, of("PS").await), (2, 2, 0));
    }

    #[tokio::test]
    async fn a_text_that_came_from_outside_is_bounded() {
        let desk = desk().await;
        let long = Activity { text: "ü".repeat(10_000), ..entry("a", 1, Kind::Stage) };
        write(&*desk.queue, vec![long]).await.unwrap();
        let (_, kept) = desk.list_activity(&Looked::default(), 0, 1).await.unwrap();
        assert_eq!(kept[0].text.chars().count(), LONGEST);
    }
}
