//! What shows the account's rights: looked at before a cycle reads and after it, because what is read
//! with fewer rights looks like a loss.

use std::collections::BTreeMap;

use cmsync_configmgr::{Collection, Site as _};

use crate::connection::Connection;
use crate::cycle::ALL_SYSTEMS;
use crate::error::Error;
use crate::state::Kept;
use crate::work::beside;

/// Why a removal is held that may have been read before the rights came back. It stands in states that are
/// kept, as [`crate::holds::SHORT`] does: the words stay as they are.
pub(crate) const FEWER: &str = "the account had fewer rights a moment ago";

/// The account's rights as a cycle saw them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rights {
    /// All Systems was visible when all was well, and was before the reads and after them.
    pub(crate) all_systems: (bool, bool),
    /// The account's own row when all was well (empty: never read), and now.
    pub(crate) account: (String, Option<String>),
    /// Whether the cycle before saw fewer rights: what this one read may be from that time.
    pub(crate) were_fewer: bool,
}

impl Rights {
    /// Why what seems to be gone may be there, if so.
    pub(crate) fn reason(&self) -> Option<String> {
        if self.all_systems == (true, false) {
            return Some(
                "All Systems is not visible any longer: the account's rights may have changed"
                    .into(),
            );
        }
        if !self.account.0.is_empty() && self.account.1.as_ref() != Some(&self.account.0) {
            let how =
                if self.account.1.is_some() { "changed" } else { "cannot be read any longer" };
            return Some(format!(
                "the account's own administrative user {how}: its rights may have changed"
            ));
        }
        self.were_fewer.then(|| FEWER.to_owned())
    }

    /// Whether held removals may go by themselves after their time: only while the account is
    /// visibly as it was.
    pub(crate) fn are_as_before(&self) -> bool {
        self.all_systems.1
            && !self.account.0.is_empty()
            && self.account.1.as_ref() == Some(&self.account.0)
            && !self.were_fewer
    }
}

impl Connection {
    /// Whether the list shows less than was read before, of what is read now: what is not read loses nothing.
    pub(crate) fn shows_less(&self, wanted: &BTreeMap<String, Collection>) -> bool {
        let now = self.now();
        let shows_less = |listed: &Collection, kept: &Kept| {
            listed.member_count < kept.state.rows_read && self.is_dirty(listed, kept, now)
        };
        beside(&self.memory.collections, wanted).any(|(_, kept, listed)| match listed {
            Some(listed) => shows_less(listed, kept),
            None => !kept.state.held_vanished,
        })
    }

    /// After the list and before anything is read: remembers what later losses are judged by, where it is
    /// not known yet; and where the list shows less than before, looks whether that is why.
    pub(crate) async fn note_rights(
        &mut self,
        all_systems: bool,
        shows_less: bool,
    ) -> Result<(), Error> {
        // What was visible once is missed until a person has approved of a loss.
        let visible = self.memory.connection.all_systems_visible || all_systems;
        self.had_fewer_rights |= visible && !all_systems;
        self.unread_rights = None;
        let mut account = None;
        if shows_less || self.memory.connection.account.is_empty() {
            match self.site.account().await {
                Ok(found) => account = found,
                // What is added goes out all the same: the loss is not judged.
                Err(error) => self.unread_rights = Some(error),
            }
        }
        let connection = &mut self.memory.connection;
        if !connection.account.is_empty() && shows_less && self.unread_rights.is_none() {
            self.had_fewer_rights |= account.as_ref() != Some(&connection.account);
            account = None;
        }
        if self.had_fewer_rights {
            // Devices that are not shown now may be shown with the next read.
            self.no_record.clear();
        }
        if connection.all_systems_visible == visible && account.is_none() {
            return Ok(());
        }
        connection.all_systems_visible = visible;
        if let Some(account) = account {
            connection.account = account;
        }
        self.publisher.commit_connection(&self.memory).await
    }

    /// After the reads of a cycle that has something to judge.
    pub(crate) async fn look_at_rights(&mut self, all_systems: bool) -> Result<Rights, Error> {
        if let Some(error) = self.unread_rights.take() {
            self.forget_agreement();
            return Err(error.into());
        }
        let is_still = match all_systems {
            true => self.site.collections_of(&[ALL_SYSTEMS.to_owned()]).await,
            false => Ok(Vec::new()),
        };
        let probed = match is_still {
            Ok(found) => self.site.account().await.map(|account| (!found.is_empty(), account)),
            Err(error) => Err(error),
        };
        let (is_still, account) = probed.inspect_err(|_| self.forget_agreement())?;
        let known = &mut self.memory.connection;
        if known.account.is_empty()
            && let Some(account) = &account
        {
            known.account.clone_from(account);
            self.publisher.commit_connection(&self.memory).await?;
        }
        let known = &self.memory.connection;
        let mut rights = Rights {
            all_systems: (known.all_systems_visible, is_still),
            account: (known.account.clone(), account),
            were_fewer: false,
        };
        let are_fewer = rights.reason().is_some();
        rights.were_fewer = std::mem::replace(&mut self.had_fewer_rights, are_fewer);
        Ok(rights)
    }
}
