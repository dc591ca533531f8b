//! What a connection did, told once a poll: for people, who read it, and not for each change.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cmsync_schemas::{Activity, Clock, Kind, Note, counted};

/// Collections that are named.
const NAMED: usize = 5;
/// Collections by whose id an entry is found.
const FOUND: usize = 20;

/// Tells what happened.
pub(crate) struct Diary {
    connection: String,
    clock: Clock,
    note: Note,
    untold: Mutex<Untold>,
}

/// What happened since the last time.
#[derive(Default)]
struct Untold {
    /// By collection: its name, and how many members came and went.
    changed: BTreeMap<String, (String, u64, u64)>,
    /// Collections that are gone, by their names.
    gone: Vec<(String, String)>,
    /// Collections that were sent whole, and their members.
    whole: (u64, u64),
    /// What happened to removals: the collection, and what.
    removals: Vec<(String, String)>,
}

impl Untold {
    fn largest(&self) -> Vec<(&String, &(String, u64, u64))> {
        let mut largest: Vec<_> = self.changed.iter().collect();
        largest.sort_by_key(|(_, (_, came, went))| Reverse(came + went));
        largest
    }

    /// The ids of the collections that changed most.
    fn most_changed(&self) -> Vec<&str> {
        self.largest().into_iter().take(FOUND).map(|(id, _)| id.as_str()).collect()
    }

    fn changes(&self) -> Option<String> {
        if self.changed.is_empty() {
            return None;
        }
        let sum = |of: fn(&(String, u64, u64)) -> u64| self.changed.values().map(of).sum::<u64>();
        let collections = counted(self.changed.len() as u64, "collection", "collections");
        let came = counted(sum(|(_, came, _)| *came), "member", "members");
        let largest = self.largest();
        let named = |(id, (name, came, went)): &(&String, &(String, u64, u64))| {
            format!("{name} ({id}) +{came} \u{2212}{went}")
        };
        let named: Vec<String> = largest.iter().take(NAMED).map(named).collect();
        let more = if largest.len() > NAMED { ", \u{2026}" } else { "" };
        let went = sum(|(_, _, went)| *went);
        Some(format!(
            "{collections} changed, {came} came and {went} went: {}{more}",
            named.join(", ")
        ))
    }
}

impl Diary {
    pub(crate) fn new(connection: &str, clock: Clock, note: Note) -> Self {
        Self { connection: connection.to_owned(), clock, note, untold: Mutex::default() }
    }

    fn untold(&self) -> MutexGuard<'_, Untold> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, kind: Kind, item: &str, text: String) {
        (self.note)(Activity::new(&self.connection, (self.clock)(), kind, item, text));
    }

    /// Members of a collection came and went.
    pub(crate) fn changed(&self, id: &str, name: &str, came: u64, went: u64) {
        if came == 0 && went == 0 {
            return;
        }
        let mut untold = self.untold();
        let entry = untold.changed.entry(id.to_owned()).or_default();
        *entry = (name.to_owned(), entry.1 + came, entry.2 + went);
    }

    /// A collection is gone.
    pub(crate) fn gone(&self, id: &str, name: &str) {
        self.untold().gone.push((id.to_owned(), name.to_owned()));
    }

    /// A collection was sent whole.
    pub(crate) fn sent_whole(&self, members: u64) {
        let mut untold = self.untold();
        untold.whole = (untold.whole.0 + 1, untold.whole.1 + members);
    }

    /// Something happened to what would go of a collection.
    pub(crate) fn removal(&self, id: &str, text: String) {
        self.untold().removals.push((id.to_owned(), text));
    }

    /// Each removal for itself, or of many the first ones together: lost rights hold thousands at once.
    fn tell_removals(&self, removals: Vec<(String, String)>) {
        if removals.len() <= NAMED {
            for (id, text) in removals {
                self.say(Kind::Removal, &id, text);
            }
            return;
        }
        let ids: Vec<&str> = removals.iter().take(FOUND).map(|(id, _)| id.as_str()).collect();
        let texts: Vec<&str> = removals.iter().take(NAMED).map(|(_, text)| text.as_str()).collect();
        let text = format!("{} collections: {}; \u{2026}", removals.len(), texts.join("; "));
        self.say(Kind::Removal, &ids.join(" "), text);
    }

    /// Tells what happened since the last time.
    pub(crate) fn tell(&self) {
        let untold = std::mem::take(&mut *self.untold());
        if let Some(text) = untold.changes() {
            self.say(Kind::Changes, &untold.most_changed().join(" "), text);
        }
        self.tell_removals(untold.removals);
        if !untold.gone.is_empty() {
            let collections = counted(untold.gone.len() as u64, "collection is", "collections are");
            let named = untold.gone.iter().take(NAMED).map(|(id, name)| format!("{name} ({id})"));
            let named: Vec<String> = named.collect();
            let ids: Vec<&str> = untold.gone.iter().take(FOUND).map(|(id, _)| &**id).collect();
            let more = if untold.gone.len() > NAMED { ", \u{2026}" } else { "" };
            let text = format!("{collections} gone: {}{more}", named.join(", "));
            self.say(Kind::Changes, &ids.join(" "), text);
        }
        if untold.whole.0 > 0 {
            let collections = counted(untold.whole.0, "collection", "collections");
            let members = counted(untold.whole.1, "member", "members");
            self.say(Kind::Snapshots, "", format!("{collections} sent whole: {members}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn told(happened: impl FnOnce(&Diary)) -> Vec<(String, String, String)> {
        let all = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&all);
        let note: Note = Arc::new(move |activity: Activity| {
            let Activity { kind, item, text, .. } = activity;
            kept.lock().unwrap().push((kind, item, text));
        });
        let diary = Diary::new("contoso", Arc::new(|| 7), note);
        happened(&diary);
        diary.tell();
        diary.tell();
        all.lock().unwrap().clone()
    }

    #[test]
    fn what_a_poll_found_is_one_entry_however_much_it_was() {
        let told = told(|diary| {
            for n in 0..7 {
                diary.changed(&format!("PS{n}"), &format!("C{n}"), n, 1);
            }
            diary.changed("PS6", "C6", 100, 0);
            diary.sent_whole(3);
            diary.sent_whole(4);
            diary.gone("PS9", "C9");
        });
        let texts: Vec<&str> = told.iter().map(|(_, _, text)| &**text).collect();
        assert_eq!(
            texts,
            [
                "7 collections changed, 121 members came and 7 went: C6 (PS6) +106 \u{2212}1, \
                 C5 (PS5) +5 \u{2212}1, C4 (PS4) +4 \u{2212}1, C3 (PS3) +3 \u{2212}1, C2 (PS2) +2 \u{2212}1, \u{2026}",
                "1 collection is gone: C9 (PS9)",
                "2 collections sent whole: 7 members",
            ]
        );
    }

    #[test]
    fn removals_are_told_each_or_of_many_together() {
        let of = |count: usize| {
            told(|diary| {
                (0..count).for_each(|n| diary.removal(&format!("PS{n}"), format!("held {n}")))
            })
        };
        assert_eq!(of(2).len(), 2);
        let many = of(3_000);
        assert_eq!(many.len(), 1);
        let (_, ids, text) = &many[0];
        assert_eq!(ids.split(' ').count(), FOUND);
        assert!(text.starts_with("3000 collections: held 0; held 1;"), "{text}");
    }

    #[test]
    fn one_collection_is_named_by_its_id_and_nothing_is_nothing() {
        let told = told(|diary| {
            diary.changed("PS1", "C1", 1, 0);
            diary.changed("PS2", "C2", 0, 0);
        });
        let one = "1 collection changed, 1 member came and 0 went: C1 (PS1) +1 \u{2212}0";
        assert_eq!(told, [("changes".into(), "PS1".into(), one.into())]);
    }
}
