//! What a lab serves, and to whom.

use std::path::PathBuf;

use crate::hosts::Shape;
use crate::world::Plan;

/// What a configuration that the lab writes reads the site through; the lab serves both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    AdminService,
    Sql,
    /// The same, with change tracking on and used.
    Tracked,
}

impl Source {
    /// Those beside the administration service, by their names in the environment.
    const NAMED: [(&str, Self); 2] = [("sql", Self::Sql), ("tracked", Self::Tracked)];

    /// By its name in the environment; the administration service without one.
    pub fn named(variable: &str) -> Self {
        let given = std::env::var(variable).unwrap_or_default();
        let found = Self::NAMED.iter().find(|(name, _)| *name == given);
        // Whatever is asked for and not served would pass all tests by another source.
        assert!(given.is_empty() || found.is_some(), "{variable}: the lab serves no `{given}`");
        found.map_or(Self::AdminService, |(_, source)| *source)
    }
}

/// What the lab serves.
#[derive(Debug, Clone)]
pub struct Options {
    pub plan: Plan,
    /// Plays captured answers instead of the generated hierarchy.
    pub captures: Option<PathBuf>,
    pub site_token: String,
    /// The site asks for Kerberos, with the keys that `KRB5_KTNAME` names, and lets this principal in.
    pub principal: Option<String>,
    pub tenant: String,
    pub client_id: String,
    pub client_secret: String,
    /// Seconds that a token lasts.
    pub token_lifetime: u64,
    /// Of the application's service principal.
    pub object_id: String,
    /// Signs tokens with this key (PEM, P-256), as Entra does for those who check it.
    pub signing_key: Option<String>,
    /// The certificate that the application has, PEM.
    pub certificate: Option<String>,
    /// A token of another issuer that the application trusts.
    pub federated_token: Option<String>,
    /// Where Azure Arc's agent keeps its key.
    pub arc_key_file: PathBuf,
    pub audience: String,
    /// Rules of the workspace, by their immutable ids.
    pub rules: Vec<String>,
    /// Whether there is nothing but a subscription, and the application has no role.
    pub is_bare: bool,
    /// Where services are.
    pub shape: Shape,
    /// Port to listen on; 0 takes a free one.
    pub port: u16,
    /// What configurations read.
    pub source: Source,
    /// Who may log in to the site database with a password.
    pub sql_user: String,
    pub sql_password: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            plan: Plan::default(),
            captures: None,
            site_token: "site-token-of-the-lab".into(),
            principal: None,
            tenant: "11111111-2222-3333-4444-555555555555".into(),
            client_id: "99999999-8888-7777-6666-555555555555".into(),
            client_secret: "secret-of-the-lab~Q".into(),
            token_lifetime: 3_599,
            object_id: cmsync_broker::TOKEN_USER.into(),
            signing_key: None,
            certificate: None,
            federated_token: None,
            arc_key_file: PathBuf::new(),
            audience: "https://monitor.azure.com".into(),
            rules: vec!["dcr-00000000000000000000000000000001".into()],
            is_bare: false,
            shape: Shape::Alone,
            port: 0,
            source: Source::AdminService,
            sql_user: "cmsync_reader".into(),
            sql_password: "password-of-the-lab~1".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_producers_promises_are_run_through_every_source() {
        let makefile = include_str!("../../../Makefile");
        let names: Vec<&str> = Source::NAMED.iter().map(|(name, _)| *name).collect();
        let wanted = format!("for source in {}; do CMSYNC_SOURCE=$$source", names.join(" "));
        assert!(makefile.contains(&wanted), "{wanted}");
    }
}
