//! Who may see pages, and who may give orders.
//!
//! There are two ways in. On the machine itself ([`Entrance::Loopback`]) whoever may use a local port sees
//! pages, unless a sign-in is asked for there too; orders are for those who signed in, which whoever may
//! use the queue's directory does by a ticket. From elsewhere ([`Entrance::Beyond`]) nothing is shown
//! without a sign-in, by a name that the configuration gives, over TLS or through a proxy that it names.

mod attempts;
mod entrance;
mod form;
mod guard;
mod openid;
mod passwords;
mod person;
mod sessions;
mod sign_in;

use std::path::PathBuf;
use std::sync::Arc;

use cmsync_control::Tickets;
use cmsync_openid::OpenId;

pub(crate) use attempts::network;
pub(crate) use entrance::Entrance;
pub use entrance::{Beyond, Loopback};
pub(crate) use form::Fields;
pub(crate) use guard::{Admission, Gate, MAX_BODY, admit};
pub use passwords::{User, users};
pub(crate) use person::Frame;
pub use person::Role;
#[cfg(test)]
pub(crate) use person::{By, Person};
pub(crate) use sign_in::router;

use attempts::Attempts;
use passwords::Passwords;
use sessions::Sessions;

/// Who is known, and who is here.
#[derive(Clone)]
pub(crate) struct Access {
    sessions: Sessions,
    passwords: Arc<Passwords>,
    attempts: Arc<Attempts>,
    tickets: Tickets,
    openid: Option<Arc<openid::Elsewhere>>,
}

impl Access {
    pub(crate) fn new(
        passwords: Option<PathBuf>,
        openid: Option<Arc<OpenId>>,
        tickets: Tickets,
    ) -> Self {
        Self {
            sessions: Sessions::default(),
            passwords: Arc::new(Passwords::new(passwords)),
            attempts: Arc::default(),
            tickets,
            openid: openid.map(|provider| Arc::new(openid::Elsewhere::new(provider))),
        }
    }
}
