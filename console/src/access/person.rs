//! Who asks.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::pages::link::Link;

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// See everything.
    Reader,
    /// Give orders too.
    Operator,
}

impl Role {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Operator => "operator",
        }
    }
}

/// What somebody signed in by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum By {
    /// A ticket of this machine.
    Ticket,
    /// A password, in short: it lasts as long as the file has it.
    Password(String),
    /// An identity provider, with its own name of whoever it is.
    OpenId(String),
}

impl By {
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Ticket => "ticket",
            Self::Password(_) => "password",
            Self::OpenId(subject) => subject,
        }
    }
}

/// Somebody who signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) by: By,
    pub(crate) role: Role,
    /// What forms of theirs carry, and nobody else's.
    pub(crate) csrf: String,
}

/// What every page says around what it shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Frame {
    /// Who signed in; `None` for somebody on this machine.
    pub(crate) person: Option<Person>,
    /// From where.
    pub(crate) client: Option<IpAddr>,
    /// What was done a moment ago.
    pub(crate) said: Option<String>,
}

impl Frame {
    /// Whether orders are taken.
    pub(crate) fn may_act(&self) -> bool {
        self.person.as_ref().is_some_and(|person| person.role == Role::Operator)
    }

    /// # Errors
    /// Where no order is taken.
    pub(crate) fn must_act(&self) -> Result<(), Error> {
        if self.may_act() { Ok(()) } else { Err(Error::Operators) }
    }

    pub(crate) fn csrf(&self) -> &str {
        self.person.as_ref().map_or("", |person| &person.csrf)
    }

    /// Where one signs in, to come back to a page.
    pub(crate) fn sign_in(&self, next: &str) -> String {
        Link::to("/sign-in").with("next", next).to_string()
    }

    /// Why no order is taken.
    pub(crate) fn reading(&self) -> &'static str {
        match self.person {
            Some(_) => "Your role is to read.",
            None => "You read as somebody on this machine.",
        }
    }
}
