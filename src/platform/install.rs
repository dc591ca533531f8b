//! Makes the service and what it needs, and removes it.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use cmsync_files::SERVICE;
use secrecy::ExposeSecret as _;
use windows_service::service::{
    Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceErrorControl,
    ServiceFailureActions, ServiceFailureResetPeriod, ServiceInfo, ServiceSidType,
    ServiceStartType, ServiceType,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

use super::manage::{NOT_FOUND, PATIENCE, open, stop, told};
use super::{events, system};

/// Nobody's password, no rights on the machine, and on the network the machine's own account.
const VIRTUAL: &str = r"NT SERVICE\cmsync";
/// After a failure it is started again so much later.
const AGAIN: [Duration; 3] =
    [Duration::from_secs(10), Duration::from_secs(10), Duration::from_secs(60)];
const DESCRIPTION: &str =
    "Keeps Configuration Manager's device collections present in a Log Analytics workspace.";
/// The service manager does not know a setting: Wine's knows few.
const INVALID_LEVEL: i32 = 124;
const DAY: Duration = Duration::from_secs(24 * 3_600);

fn info(config: &Path, account: &str) -> anyhow::Result<ServiceInfo> {
    let is_of_a_person = !account.ends_with('$')
        && !account.to_uppercase().starts_with("NT ")
        && !account.eq_ignore_ascii_case("LocalSystem");
    let password = match is_of_a_person {
        true => Some(crate::secret::asked(&format!("Password of {account}"))?),
        false => None,
    };
    let arguments =
        [OsStr::new("--config"), config.as_os_str(), OsStr::new("service"), OsStr::new("run")];
    Ok(ServiceInfo {
        name: SERVICE.into(),
        display_name: "cmsync: collections in Log Analytics".into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: std::env::current_exe()?,
        launch_arguments: arguments.into_iter().map(OsString::from).collect(),
        dependencies: Vec::new(),
        account_name: Some(account.into()),
        account_password: password.map(|p| p.expose_secret().into()),
    })
}

/// Makes the service and its directories, or brings what is there up to date; what is there keeps its
/// account, and with it its password, unless another is given.
pub(super) fn install(config: &Path, account: Option<&str>) -> anyhow::Result<String> {
    let before = open(ServiceAccess::all()).ok();
    let found = before.as_ref().and_then(|service| service.query_config().ok());
    let had = found.as_ref().and_then(|found| found.account_name.as_ref());
    let had = had.map(|name| name.to_string_lossy().into_owned());
    let mut info = match (account, &had) {
        (None, Some(_)) => ServiceInfo { account_name: None, ..info(config, VIRTUAL)? },
        (account, _) => info(config, account.unwrap_or(VIRTUAL))?,
    };
    // Whoever disabled it has a reason.
    info.start_type = found.map_or(ServiceStartType::AutoStart, |found| found.start_type);
    directories(config)?;
    let account = account.map(str::to_owned).or(had).unwrap_or_else(|| VIRTUAL.into());
    let service = match before {
        Some(service) => service.change_config(&info).map(|()| service),
        None => {
            let access = ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE;
            ServiceManager::local_computer(None::<&OsStr>, access)
                .and_then(|manager| manager.create_service(&info, ServiceAccess::all()))
        }
    };
    settle(&service.map_err(told)?).map_err(told)?;
    events::register().context("the event log")?;
    Ok(format!("the service cmsync runs as {account} with `{}`", config.display()))
}

/// Keeps cmsync's own directory from others, and with it what is in it; a configuration that is elsewhere
/// is in somebody else's.
fn directories(config: &Path) -> anyhow::Result<()> {
    let (home, log) = (system::configuration(), system::log_file(config));
    let made = |directory: &Path| {
        cmsync_files::create_directory(directory)?;
        // One that was there may be open to others, or somebody else's.
        if Some(directory) == home.parent() { cmsync_files::restrict(directory) } else { Ok(()) }
    };
    for directory in [home.parent(), log.parent()].into_iter().flatten() {
        made(directory)
            .with_context(|| format!("failed to keep `{}` from others", directory.display()))?;
    }
    Ok(())
}

/// What is set of a service beside its making; what this system does not have is passed over.
fn settle(service: &Service) -> windows_service::Result<()> {
    let restart = |delay| ServiceAction { action_type: ServiceActionType::Restart, delay };
    let failure = ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(DAY),
        reboot_msg: None,
        command: None,
        actions: Some(AGAIN.map(restart).to_vec()),
    };
    let settings = [
        service.set_description(DESCRIPTION),
        service.set_delayed_auto_start(true),
        // Files are granted to the service, whatever its account.
        service.set_config_service_sid_info(ServiceSidType::Unrestricted),
        service.set_preshutdown_timeout(PATIENCE),
        service.update_failure_actions(failure),
        service.set_failure_actions_on_non_crash_failures(true),
    ];
    let is_known = |error: &windows_service::Error| match error {
        windows_service::Error::Winapi(error) => error.raw_os_error() != Some(INVALID_LEVEL),
        _ => true,
    };
    settings.into_iter().filter_map(Result::err).find(is_known).map_or(Ok(()), Err)
}

pub(super) fn uninstall(is_purged: bool) -> anyhow::Result<String> {
    let access = ServiceAccess::QUERY_STATUS | ServiceAccess::STOP | ServiceAccess::DELETE;
    let is_there = match open(access) {
        Ok(service) => {
            stop(&service)?;
            service.delete().map_err(told)?;
            // Whether or not the event viewer knew it.
            events::forget().unwrap_or_default();
            true
        }
        Err(windows_service::Error::Winapi(error)) if error.raw_os_error() == Some(NOT_FOUND) => {
            false
        }
        Err(error) => return Err(told(error)),
    };
    let service =
        if is_there { "the service cmsync is removed" } else { "there is no service cmsync" };
    let configuration = system::configuration();
    let home = configuration.parent().filter(|home| is_purged && home.exists());
    let Some(home) = home else {
        return Ok(format!("{service}; configuration, queue and logs are kept"));
    };
    let shown = home.display();
    std::fs::remove_dir_all(home)
        .with_context(|| format!("{service}; failed to delete `{shown}`"))?;
    Ok(format!("{service}; `{shown}` is deleted"))
}
