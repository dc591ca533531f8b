//! What people asked for, from the control topic.

use std::collections::BTreeMap;

use cmsync_schemas::{CONTROL, Control, Subject, topics};

use crate::connection::Connection;
use crate::error::Error;

impl Connection {
    pub(crate) fn is_paused(&self) -> bool {
        self.asked.values().any(|c| c.subject == Subject::Pause)
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.asked.values().any(Control::is_closing)
    }

    /// Does what people asked for, and says so by a tombstone.
    pub(crate) async fn apply_control(&mut self) -> Result<(), Error> {
        if self.clock_is_wrong {
            return Ok(());
        }
        let mut asked = BTreeMap::new();
        for entry in self.queue.scan(topics::CONTROL).await? {
            let (key, value) = entry?;
            if let Ok(control) = CONTROL.decode(&value)
                && control.connection == self.config.name
            {
                asked.insert(String::from_utf8_lossy(&key).into_owned(), control);
            }
        }
        let lasts = |control: &Control| control.subject == Subject::Pause || control.is_closing();
        self.asked =
            asked.iter().filter(|(_, c)| lasts(c)).map(|(k, c)| (k.clone(), c.clone())).collect();
        for (key, control) in &asked {
            let is_done = match control.subject {
                Subject::Resend => self.resend(&control.item).await?,
                Subject::Removal => self.decide_removal(&control.item, &control.action).await?,
                Subject::RemovedCollection => self.take_off(&control.item).await?,
                Subject::Pause
                | Subject::DeadLetter
                | Subject::Groups
                | Subject::RawLimit
                | Subject::Hold
                | Subject::Revision
                | Subject::StatePartitions => false,
            };
            if is_done {
                self.publisher.flush().await?;
                self.queue
                    .publish(vec![cmsync_queue::Output {
                        topic: topics::CONTROL.to_owned(),
                        partition: 0,
                        key: key.clone().into(),
                        value: None,
                    }])
                    .await?;
            }
        }
        Ok(())
    }

    /// Removes a collection that a person took off the list, or with [`topics::ALL`] every one; false while
    /// it is to be kept in mind: the list still has it, or the whole connection is being closed.
    async fn take_off(&mut self, id: &str) -> Result<bool, Error> {
        if id == topics::ALL {
            let ids: Vec<String> = self.memory.collections.keys().cloned().collect();
            // The order stays: what it did is told once.
            let is_news = !ids.is_empty() || self.status.borrow().collections != 0;
            for id in ids {
                self.publisher.removed(&mut self.memory, &id).await?;
            }
            if is_news {
                self.report();
            }
            return Ok(false);
        }
        let Some(kept) = self.memory.collections.get(id) else {
            return Ok(true);
        };
        if self.config.selection.keeps(id, &kept.state.name, &kept.state.folder) {
            return Ok(false);
        }
        self.publisher.removed(&mut self.memory, id).await?;
        Ok(true)
    }

    /// Sends a collection, or with an empty id all of them, whole again.
    async fn resend(&mut self, id: &str) -> Result<bool, Error> {
        let ids: Vec<String> = match self.memory.collections.contains_key(id) {
            true => vec![id.to_owned()],
            false if id.is_empty() => self.memory.collections.keys().cloned().collect(),
            false => Vec::new(),
        };
        for id in ids {
            if let Some(kept) = self.memory.collections.get_mut(&id) {
                (kept.state.start_seq, kept.state.sending) = (0, false);
            }
            self.publisher.commit_collection(&self.memory, &id).await?;
        }
        Ok(true)
    }
}
