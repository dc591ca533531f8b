//! What the service manager is asked for.

use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use cmsync_files::SERVICE;
use windows_service::service::{
    Service, ServiceAccess, ServiceExitCode, ServiceState, ServiceStatus,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

use super::ServiceCommand;
use super::install::{install, uninstall};

/// How long it may take to start or to stop: above `drain_deadline`.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
pub(super) const NOT_FOUND: i32 = 1060;
/// It runs already.
const RUNS: i32 = 1056;

/// A failure of the service manager, in the system's words with what to do.
pub(super) fn words(error: &windows_service::Error) -> String {
    let windows_service::Error::Winapi(error) = error else { return error.to_string() };
    let remedy = match error.raw_os_error() {
        Some(5) => "run it as an administrator (an elevated prompt)",
        Some(NOT_FOUND) => "there is no such service: `cmsync service install` makes it",
        Some(1057) => "the account is not known, or its password is needed (`--account`)",
        Some(1069) => {
            "the account may not log on as a service, or its password is wrong: grant `Log on as a \
             service`, for a group-managed account see Test-ADServiceAccount"
        }
        Some(1072) => "it is being removed: close services.msc and the event viewer, or restart",
        _ => return error.to_string(),
    };
    format!("{error}; {remedy}")
}

pub(super) fn told(error: windows_service::Error) -> anyhow::Error {
    anyhow::anyhow!("the service manager: {}", words(&error))
}

pub(super) fn open(access: ServiceAccess) -> Result<Service, windows_service::Error> {
    let manager = ServiceManager::local_computer(None::<&OsStr>, ServiceManagerAccess::CONNECT)?;
    manager.open_service(SERVICE, access)
}

/// Does what is asked, and says what was done.
pub(crate) fn manage(command: &ServiceCommand, config: &Path) -> anyhow::Result<String> {
    let config = std::path::absolute(config)?;
    let text = match command {
        ServiceCommand::Install { account } => install(&config, account.as_deref())?,
        ServiceCommand::Uninstall { purge } => uninstall(*purge)?,
        ServiceCommand::Start { if_configured } if *if_configured && !config.exists() => {
            format!("`{}` is not there yet: `cmsync connect` makes it", config.display())
        }
        ServiceCommand::Start { .. } => start()?,
        ServiceCommand::Stop => {
            stop(&open(ServiceAccess::QUERY_STATUS | ServiceAccess::STOP).map_err(told)?)?;
            "the service cmsync is stopped".into()
        }
        ServiceCommand::Status => status()?,
        // It is not asked for: it is what the service manager starts.
        ServiceCommand::Run => String::new(),
    };
    Ok(text)
}

fn start() -> anyhow::Result<String> {
    let service = open(ServiceAccess::QUERY_STATUS | ServiceAccess::START).map_err(told)?;
    settled(&service)?;
    if service.query_status().map_err(told)?.current_state != ServiceState::Running {
        match service.start::<&OsStr>(&[]) {
            // The system started it meanwhile, as at its own start.
            Err(windows_service::Error::Winapi(error)) if error.raw_os_error() == Some(RUNS) => {}
            started => started.map_err(told)?,
        }
        until(&service, ServiceState::Running)?;
    }
    Ok("the service cmsync is running".into())
}

/// Stops it, if it is not stopped yet; it drains first.
pub(super) fn stop(service: &Service) -> anyhow::Result<()> {
    settled(service)?;
    if service.query_status().map_err(told)?.current_state != ServiceState::Stopped {
        service.stop().map_err(told)?;
        until(service, ServiceState::Stopped)?;
    }
    Ok(())
}

/// Waits while it starts or stops: it hears nothing then.
fn settled(service: &Service) -> anyhow::Result<()> {
    let passing = |state| matches!(state, ServiceState::StartPending | ServiceState::StopPending);
    wait_while(service, passing).map(drop)
}

fn status() -> anyhow::Result<String> {
    let service = open(ServiceAccess::QUERY_STATUS | ServiceAccess::QUERY_CONFIG).map_err(told)?;
    let state = service.query_status().map_err(told)?.current_state;
    let config = service.query_config().map_err(told)?;
    let account = config.account_name.unwrap_or_default();
    Ok(format!("the service cmsync ({}) is {state:?}", account.display()))
}

/// Accounts that the service runs under, beside its own identity.
pub(crate) fn service_accounts() -> Vec<String> {
    let config = open(ServiceAccess::QUERY_CONFIG).and_then(|service| service.query_config());
    let account = config.ok().and_then(|config| config.account_name);
    account.map(|name| name.to_string_lossy().into_owned()).into_iter().collect()
}

/// Waits for a state.
fn until(service: &Service, wanted: ServiceState) -> anyhow::Result<()> {
    let passing = |state| state != wanted && state != ServiceState::Stopped;
    let status = wait_while(service, passing)?;
    if status.current_state == wanted {
        return Ok(());
    }
    let code = match status.exit_code {
        ServiceExitCode::Win32(code) | ServiceExitCode::ServiceSpecific(code) => code,
    };
    bail!(
        "it stopped at once (code {code}): why is in the event log (Application, source cmsync); \
         `cmsync check --offline` tells mistakes in the configuration"
    );
}

#[expect(clippy::disallowed_methods, reason = "the service manager tells nobody when it is so")]
fn wait_while(
    service: &Service,
    passing: impl Fn(ServiceState) -> bool,
) -> anyhow::Result<ServiceStatus> {
    let since = Instant::now();
    loop {
        let status = service.query_status().map_err(told)?;
        if !passing(status.current_state) {
            return Ok(status);
        }
        if since.elapsed() > PATIENCE {
            bail!("it is {:?} after {} s", status.current_state, PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
