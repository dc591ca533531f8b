//! A connection's properties on two pages, as administrators know them: whom it is in Azure, and what goes
//! into which workspace.

use askama::Template;
use cmsync_control::Properties;

use super::connection;
use super::link::Link;
use crate::access::Frame;

/// A page of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tab {
    Identity,
    Workspace,
}

impl Tab {
    pub(crate) fn address(self, name: &str) -> Link {
        connection::address(name).part(match self {
            Self::Identity => "identity",
            Self::Workspace => "workspace",
        })
    }
}

/// What stands above both pages.
pub(crate) struct Head {
    name: String,
    description: String,
    connection: String,
    identity: String,
    workspace: String,
    /// What could not be done.
    wrong: String,
}

impl Head {
    fn new(properties: &Properties, wrong: String) -> Self {
        let name = &properties.connection;
        Self {
            connection: connection::address(name).to_string(),
            identity: Tab::Identity.address(name).to_string(),
            workspace: Tab::Workspace.address(name).to_string(),
            name: name.clone(),
            description: properties.description.clone(),
            wrong,
        }
    }
}

/// Whom a connection is in Azure.
#[derive(Template)]
#[template(path = "identity.html")]
pub(crate) struct Identity {
    frame: Frame,
    head: Head,
    of: Properties,
    has_secret: bool,
    /// The day that was typed.
    expires: String,
}

impl Identity {
    pub(crate) fn new(frame: Frame, of: Properties, wrong: String) -> Self {
        let head = Head::new(&of, wrong);
        let has_secret = of.identity.kind == "client secret";
        Self { frame, head, of, has_secret, expires: String::new() }
    }

    /// With what was typed besides the secret.
    pub(crate) fn typed(self, expires: String) -> Self {
        Self { expires, ..self }
    }
}

/// What goes into which workspace.
#[derive(Template)]
#[template(path = "workspace.html")]
pub(crate) struct Workspace {
    frame: Frame,
    head: Head,
    of: Properties,
    add: String,
}

impl Workspace {
    pub(crate) fn new(frame: Frame, of: Properties, wrong: String) -> Self {
        let head = Head::new(&of, wrong);
        let add = connection::address(&of.connection).part("collections").to_string();
        Self { frame, head, of, add }
    }
}

/// A change that the file does not take: for a person to copy.
#[derive(Template)]
#[template(path = "unwritable.html")]
pub(crate) struct NotWritten {
    pub(crate) frame: Frame,
    pub(crate) file: String,
    pub(crate) detail: String,
    pub(crate) text: String,
    /// The command that does all of it.
    pub(crate) command: String,
    pub(crate) back: String,
}
