//! The site database of a connection.

use cmsync_configmgr::{Encryption, Port, SqlLogin, SqlSettings};

use super::checker::Checker;
use super::{AdminService, raw, site_identity};

/// More than a database needs to be kept busy with.
const MOST_CONNECTIONS: usize = 8;

/// How the site database is reached and who reads it; the Kerberos account, if it is one.
#[derive(Debug, Clone)]
pub(crate) struct Sql {
    pub(crate) settings: SqlSettings,
    pub(crate) account: Option<raw::Kerberos>,
    /// What tells where the database is, where that is not written.
    pub(crate) finder: Option<AdminService>,
}

/// The database of a site that has one.
pub(super) fn check(
    checker: &mut Checker,
    path: &str,
    (site, written): (&raw::Site, &raw::Sql),
) -> Option<Sql> {
    let at = format!("{path}.sql");
    check_place(checker, &at, site, written);
    let within = (1..=MOST_CONNECTIONS).contains(&written.connections);
    let message = format!("must lie between 1 and {MOST_CONNECTIONS}");
    checker.require(within, &format!("{at}.connections"), &message);
    let port = match (written.port, &written.instance) {
        (Some(_), Some(_)) => {
            checker.wrong(&format!("{at}.instance"), "is not used beside `port`: give one of them");
            return None;
        }
        (None, Some(instance)) => Some(Port::Instance(instance.clone())),
        (port, None) => port.map(Port::Number),
    };
    if written.encryption == Encryption::None {
        let is_loopback = matches!(written.server.as_str(), "localhost" | "127.0.0.1" | "::1");
        let message = "may be `none` with `allow_insecure` and a loopback address alone";
        let is_allowed = site.allow_insecure && is_loopback;
        checker.require(is_allowed, &format!("{at}.encryption"), message);
    }
    let (login, account) = login(checker, path, site, written)?;
    Some(Sql {
        settings: SqlSettings {
            server: written.server.clone(),
            port,
            database: written.database.clone(),
            login,
            encryption: written.encryption,
            ca_file: site.ca_file.clone(),
            read_only: written.read_only,
            change_tracking: written.change_tracking,
            connections: written.connections,
            limits: site.limits(),
            connect_timeout: site.connect_timeout,
            read_timeout: site.read_timeout,
        },
        account,
        finder: None,
    })
}

/// Server and database, or what tells them.
fn check_place(checker: &mut Checker, at: &str, site: &raw::Site, written: &raw::Sql) {
    let is_name = |text: &str| !text.is_empty() && !text.contains(|c: char| c.is_control());
    let message = "is missing: give the database server's full name, for example sql01.contoso.com, or the \
                   `admin_service` that tells it";
    let is_asked_for = !site.admin_service.is_empty();
    let is_given = |text: &str| is_name(text) || (text.is_empty() && is_asked_for);
    checker.require(is_given(&written.server), &format!("{at}.server"), message);
    let is_host = |text: &str| !text.contains(['\\', ',', ';', '/', ' ']);
    let message = "must be a name alone: write `port` and `instance` beside it";
    checker.require(is_host(&written.server), &format!("{at}.server"), message);
    let message = "must be the site database's name, CM_<site code>";
    checker.require(is_given(&written.database), &format!("{at}.database"), message);
}

/// A login of SQL Server's own, or the site's Kerberos account.
fn login(
    checker: &mut Checker,
    path: &str,
    site: &raw::Site,
    written: &raw::Sql,
) -> Option<(SqlLogin, Option<raw::Kerberos>)> {
    let kerberos = site.authentication.as_ref().and_then(|a| a.kerberos.as_ref());
    let is_integrated = site.authentication.as_ref().is_some_and(|a| a.integrated);
    match (&written.user, &written.password_file, kerberos) {
        (Some(user), Some(file), _) => {
            let password = checker.secret(&format!("{path}.sql.password_file"), file);
            Some((SqlLogin::Password { user: user.clone(), password }, None))
        }
        (None, None, Some(account)) => {
            let at = format!("{path}.authentication.kerberos");
            site_identity::principal(checker, &at, account);
            Some((SqlLogin::Integrated, Some(account.clone())))
        }
        (None, None, None) if is_integrated => {
            site_identity::this_account(checker, &format!("{path}.authentication.integrated"));
            Some((SqlLogin::Integrated, None))
        }
        _ => {
            let message = "needs `user` and `password_file`, or the site's `authentication` with \
                           Kerberos or, on Windows, { integrated = true }";
            checker.wrong(&format!("{path}.sql"), message);
            None
        }
    }
}
