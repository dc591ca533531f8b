//! cmsync as a service of Windows: the service manager starts it, tells it to stop, and starts it again
//! when it failed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use cmsync_files::SERVICE;
use tokio_util::sync::CancellationToken;
use windows_service::service::{ServiceControl, ServiceState};
use windows_service::service_control_handler::{self, ServiceControlHandlerResult};
use windows_service::{define_windows_service, service_dispatcher};

use super::events::{Kind, report};
use super::rotating::Rotating;
use super::system::log_file;
use super::told::Told;
use crate::host::Host;
use crate::{BAD_USE, LAST_WAIT, config, logging, pipeline};

/// How often a start that goes on says so.
const STEP: Duration = Duration::from_secs(10);

/// What the service manager hands over in no other way.
static CONFIGURATION: OnceLock<PathBuf> = OnceLock::new();
/// How its own thread is told.
static TOLD: OnceLock<Told> = OnceLock::new();

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

/// Runs until it is told to stop.
fn run(path: &Path, told: Told, stop: CancellationToken) -> anyhow::Result<()> {
    let log = log_file(path);
    let log =
        Rotating::open(&log).with_context(|| format!("failed to open `{}`", log.display()))?;
    let running = CancellationToken::new();
    let (starting, runs) = (running.clone(), running.clone().drop_guard());
    let runtime = crate::runtime()?;
    // A queue that is repaired first takes its time.
    runtime.spawn(async move {
        for steps in 2.. {
            tokio::select! {
                () = starting.cancelled() => return,
                () = tokio::time::sleep(STEP) => told.is(ServiceState::StartPending, steps, 0),
            }
        }
    });
    let host = Host {
        stop,
        running: Arc::new(move || {
            running.cancel();
            told.is(ServiceState::Running, 0, 0);
            report(Kind::Note, concat!("cmsync ", env!("CARGO_PKG_VERSION"), " is running"));
        }),
    };
    let config = config::load(path, &[])?;
    let logging = logging::start(config.log_format, &config.log_level, Some(Box::new(log)));
    let ran = pipeline::run(config, path.to_owned(), (false, Vec::new()), (&logging, host));
    let outcome = runtime.block_on(ran);
    drop(runs);
    runtime.shutdown_timeout(LAST_WAIT);
    outcome.map(drop)
}

fn started(_: Vec<OsString>) {
    let config = CONFIGURATION.get().cloned().unwrap_or_default();
    let stop = CancellationToken::new();
    let asked = stop.clone();
    let handler = move |control| match control {
        ServiceControl::Stop | ServiceControl::Preshutdown => {
            // Told here, before another control can come: the handler is gone after the first.
            if let Some(told) = TOLD.get() {
                told.is(ServiceState::StopPending, 1, 0);
            }
            asked.cancel();
            ServiceControlHandlerResult::NoError
        }
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        _ => ServiceControlHandlerResult::NotImplemented,
    };
    let told = match service_control_handler::register(SERVICE, handler) {
        Ok(handle) => *TOLD.get_or_init(|| Told(handle)),
        Err(error) => {
            let words = super::manage::words(&error);
            return report(Kind::Fault, &format!("cmsync: the service manager: {words}"));
        }
    };
    told.is(ServiceState::StartPending, 1, 0);
    let code = match run(&config, told, stop) {
        Ok(()) => {
            report(Kind::Note, "cmsync stopped");
            0
        }
        Err(error) => {
            report(Kind::Fault, &format!("cmsync: {error:#}"));
            crate::code_of(&error).into()
        }
    };
    told.is(ServiceState::Stopped, 0, code);
}
