//! Who asks.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::sign_in;
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
    /// A token of a script, in short.
    Token(String),
    /// An identity provider, with its own name of whoever it is.
    OpenId(String),
}

/// Characters of a subject (OpenID Connect Core 1.0, section 2).
const LONGEST_SUBJECT: usize = 255;

impl By {
    pub(crate) fn text(&self) -> &'static str {
        match self {
            Self::Ticket => "ticket",
            Self::Password(_) => "password",
            Self::Token(_) => "token",
            Self::OpenId(_) => "openid",
        }
    }

    /// The identity provider's name of whoever it is; empty where there is none.
    pub(crate) fn subject(&self) -> String {
        match self {
            Self::Ticket | Self::Password(_) | Self::Token(_) => String::new(),
            // It comes from outside.
            Self::OpenId(subject) => {
                subject.chars().filter(|c| !c.is_control()).take(LONGEST_SUBJECT).collect()
            }
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

    /// Name and subject, for the audit log; empty for somebody on this machine.
    pub(crate) fn who(&self) -> (&str, String) {
        self.person.as_ref().map_or(("", String::new()), |p| (&p.name, p.by.subject()))
    }

    /// What they signed in by.
    pub(crate) fn way(&self) -> &'static str {
        self.person.as_ref().map_or("", |person| person.by.text())
    }

    /// The same as people are told it: a script, or somebody whom a provider knows, is no user of the file.
    pub(crate) fn told(&self) -> String {
        match (self.who().0, self.way()) {
            (name, way @ ("token" | "openid")) => format!("{name} ({way})"),
            (name, _) => name.to_owned(),
        }
    }

    pub(crate) fn csrf(&self) -> &str {
        self.person.as_ref().map_or("", |person| &person.csrf)
    }

    /// Where one signs in, to come back to a page.
    pub(crate) fn sign_in(&self, next: &str) -> String {
        Link::to(sign_in::PATH).with("next", next).to_string()
    }

    /// Why no order is taken.
    pub(crate) fn reading(&self) -> &'static str {
        match self.person {
            Some(_) => "Your role is to read.",
            None => "You read as somebody on this machine.",
        }
    }
}
