//! Setting a connection up, page by page: what is answered, what was found, and what is to be done.

use askama::Template;
use cmsync_control::{Progress, StepView};

use super::link::Link;
use crate::access::Frame;

/// A page of the set-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum At {
    Site,
    Identity,
    Workspace,
    Collections,
    Summary,
    Progress,
}

impl At {
    const ALL: [Self; 5] =
        [Self::Site, Self::Identity, Self::Workspace, Self::Collections, Self::Summary];

    fn word(self) -> &'static str {
        match self {
            Self::Site => "site",
            Self::Identity => "identity",
            Self::Workspace => "workspace",
            Self::Collections => "collections",
            Self::Summary => "summary",
            Self::Progress => "progress",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Site => "Site",
            Self::Identity => "Identity",
            Self::Workspace => "Workspace",
            Self::Collections => "Collections",
            Self::Summary | Self::Progress => "Set up",
        }
    }

    pub(crate) fn address(self, name: &str) -> Link {
        Link::to("/connect").part(name).part(self.word())
    }

    /// The page after this one.
    pub(crate) fn next(self) -> Self {
        match self {
            Self::Site => Self::Identity,
            Self::Identity => Self::Workspace,
            Self::Workspace => Self::Collections,
            Self::Collections => Self::Summary,
            Self::Summary | Self::Progress => Self::Progress,
        }
    }

    /// The answers that its form gives.
    pub(crate) fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Site => &["description", "site.admin_service", "site.ca_file", "site.account"],
            Self::Identity => &[
                "workspace.cloud",
                "workspace.tenant_id",
                "workspace.client_id",
                "workspace.client_secret_expires",
                "setup.login",
            ],
            Self::Workspace => &[
                "setup.subscription",
                "setup.resource_group",
                "setup.workspace",
                "setup.location",
                "setup.pricing_tier",
                "setup.rules",
            ],
            Self::Collections => &["collections"],
            Self::Summary | Self::Progress => &[],
        }
    }
}

/// What stands on every page.
pub(crate) struct Form {
    pub(crate) name: String,
    /// The pages: title, address, whether it is this one.
    pub(crate) steps: Vec<(&'static str, String, bool)>,
    link: String,
    pub(crate) view: StepView,
}

impl Form {
    pub(crate) fn new(name: &str, at: At, view: StepView) -> Self {
        let step = |one: At| {
            let is_this = one == at || (at == At::Progress && one == At::Summary);
            (one.title(), one.address(name).to_string(), is_this)
        };
        let steps = At::ALL.map(step).into();
        Self { name: name.to_owned(), steps, link: at.address(name).to_string(), view }
    }

    /// What was answered; empty where nothing was.
    fn value(&self, key: &str) -> &str {
        let found = self.view.answers.iter().find(|(known, _)| known == key);
        found.map_or("", |(_, value)| value)
    }

    /// Several values, one a line.
    fn lines(&self, key: &str) -> String {
        let all = self.view.answers.iter().filter(|(known, _)| known == key);
        all.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// Whether the account that runs cmsync may sign in to the site, and no other.
    pub(crate) fn is_windows(&self) -> bool {
        std::env::consts::FAMILY == "windows"
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        !self.value(key).is_empty()
    }

    fn is(&self, key: &str, value: &str) -> bool {
        self.value(key) == value
    }

    pub(crate) fn wrong(&self) -> &str {
        self.view.wrong.as_deref().unwrap_or_default()
    }

    /// Choices as a form's values.
    fn choices(&self) -> Vec<(&str, String)> {
        let text = |answers: &Vec<(String, String)>| {
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(answers).finish()
        };
        self.view.choices.iter().map(|(label, answers)| (label.as_str(), text(answers))).collect()
    }
}

macro_rules! pages {
    ($($(#[$doc:meta])* $name:ident: $path:literal;)*) => {
        $($(#[$doc])*
        #[derive(Template)]
        #[template(path = $path)]
        pub(crate) struct $name {
            pub(crate) frame: Frame,
            pub(crate) of: Form,
        })*
    };
}

pages! {
    /// Where the site is, and as whom it is asked.
    Site: "connect_site.html";
    /// Whom cmsync is in Azure.
    Identity: "connect_identity.html";
    /// Which workspace.
    Workspace: "connect_workspace.html";
}

/// Set-ups that are not complete, and a new one.
#[derive(Template)]
#[template(path = "connect.html")]
pub(crate) struct Start {
    pub(crate) frame: Frame,
    pub(crate) drafts: Vec<(String, String)>,
    pub(crate) name: String,
    pub(crate) wrong: String,
}

/// What will be done.
#[derive(Template)]
#[template(path = "connect_summary.html")]
pub(crate) struct Summary {
    pub(crate) frame: Frame,
    pub(crate) of: Form,
    /// Each step with how it stands; or why that is not known.
    pub(crate) plan: Result<Vec<String>, String>,
}

/// How far it is.
#[derive(Template)]
#[template(path = "connect_progress.html")]
pub(crate) struct Doing {
    pub(crate) frame: Frame,
    pub(crate) of: Form,
    /// `None` where nothing was begun here.
    pub(crate) progress: Option<Progress>,
}
