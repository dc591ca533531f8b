//! cmsync as a service of Windows: the service manager starts it, tells it to stop, and starts it again
//! when it failed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cmsync_files::SERVICE;
use file_rotate::suffix::AppendCount;
use file_rotate::{ContentLimit, FileRotate, compression::Compression};
use tokio_util::sync::CancellationToken;
use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{
    self, ServiceControlHandlerResult, ServiceStatusHandle,
};
use windows_service::{define_windows_service, service_dispatcher};

use super::events::{Kind, report};
use super::system::log_file;
use crate::host::Host;
use crate::{BAD_USE, LAST_WAIT, config, logging, pipeline};

/// Bytes of a log file, and how many are kept beside the newest.
const LOG_BYTES: usize = 16 * 1024 * 1024;
const LOG_FILES: usize = 7;
/// How long the service manager waits for a start, and for a stop: above `drain_deadline`.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the service manager hands over in no other way.
static CONFIGURATION: OnceLock<PathBuf> = OnceLock::new();

define_windows_service!(entry, started);

/// Runs as a service, where the service manager started this process.
pub(crate) fn run_service(config: PathBuf) -> ExitCode {
    CONFIGURATION.get_or_init(|| config);
    match service_dispatcher::start(SERVICE, entry) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!(
                "cmsync: the service manager did not start this ({}): `cmsync service start` has it \
                 do so, `cmsync run` runs here",
                super::manage::words(&error)
            );
            ExitCode::from(BAD_USE)
        }
    }
}

/// What the service manager is told.
#[derive(Clone, Copy)]
struct Told(ServiceStatusHandle);

impl Told {
    fn is(self, state: ServiceState, code: u32) {
        let controls_accepted = match state {
            ServiceState::Running => {
                ServiceControlAccept::STOP
                    | ServiceControlAccept::SHUTDOWN
                    | ServiceControlAccept::PRESHUTDOWN
            }
            _ => ServiceControlAccept::empty(),
        };
        let exit_code = match code {
            0 => ServiceExitCode::NO_ERROR,
            code => ServiceExitCode::ServiceSpecific(code),
        };
        let is_passing = matches!(state, ServiceState::StartPending | ServiceState::StopPending);
        let status = ServiceStatus {
            service_type: ServiceType::OWN_PROCESS,
            current_state: state,
            controls_accepted,
            exit_code,
            checkpoint: u32::from(is_passing),
            wait_hint: if is_passing { PATIENCE } else { Duration::ZERO },
            process_id: None,
        };
        if let Err(error) = self.0.set_service_status(status) {
            tracing::warn!(%error, "the service manager does not listen");
        }
    }
}

/// Runs until it is told to stop.
fn run(path: PathBuf, mut host: Host) -> anyhow::Result<()> {
    let runtime = crate::runtime()?;
    let config = config::load(&path, &[])?;
    let logging = logging::start(config.log_format, &config.log_level, host.log.take());
    let ran = pipeline::run(config, path, (false, Vec::new()), (&logging, host));
    let outcome = runtime.block_on(ran);
    runtime.shutdown_timeout(LAST_WAIT);
    outcome.map(drop)
}

fn started(_: Vec<OsString>) {
    let config = CONFIGURATION.get().cloned().unwrap_or_default();
    let stop = CancellationToken::new();
    let asked = stop.clone();
    let handler = move |control| match control {
        ServiceControl::Stop | ServiceControl::Shutdown | ServiceControl::Preshutdown => {
            asked.cancel();
            ServiceControlHandlerResult::NoError
        }
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        _ => ServiceControlHandlerResult::NotImplemented,
    };
    let told = match service_control_handler::register(SERVICE, handler) {
        Ok(handle) => Told(handle),
        Err(error) => {
            let words = super::manage::words(&error);
            return report(Kind::Fault, &format!("cmsync: the service manager: {words}"));
        }
    };
    told.is(ServiceState::StartPending, 0);
    let log = log_file(&config);
    let host = Host {
        stop,
        running: Arc::new(move || {
            told.is(ServiceState::Running, 0);
            report(Kind::Note, concat!("cmsync ", env!("CARGO_PKG_VERSION"), " is running"));
        }),
        stopping: Arc::new(move || told.is(ServiceState::StopPending, 0)),
        log: Some(Box::new(FileRotate::new(
            log,
            AppendCount::new(LOG_FILES),
            ContentLimit::BytesSurpassed(LOG_BYTES),
            Compression::None,
            None,
        ))),
    };
    let code = match run(config, host) {
        Ok(()) => {
            report(Kind::Note, "cmsync stopped");
            0
        }
        Err(error) => {
            report(Kind::Fault, &format!("cmsync: {error:#}"));
            let is_bad_use = error.downcast_ref::<config::Mistakes>().is_some();
            if is_bad_use { u32::from(BAD_USE) } else { 1 }
        }
    };
    told.is(ServiceState::Stopped, code);
}
