//! What the service manager is told of how the service is.

use std::time::Duration;

use windows_service::service::{
    ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::ServiceStatusHandle;

use super::manage::PATIENCE;

/// What the service manager is told.
#[derive(Clone, Copy)]
pub(super) struct Told(pub(super) ServiceStatusHandle);

impl Told {
    /// In `state`, with a number that grows while it is the same, and ended with `code` where it is.
    pub(super) fn is(self, state: ServiceState, steps: u32, code: u32) {
        // While it starts or stops there is nothing that it could be told.
        let controls_accepted = match state {
            ServiceState::Running => ServiceControlAccept::STOP | ServiceControlAccept::PRESHUTDOWN,
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
            checkpoint: if is_passing { steps } else { 0 },
            wait_hint: if is_passing { PATIENCE } else { Duration::ZERO },
            process_id: None,
        };
        if let Err(error) = self.0.set_service_status(status) {
            tracing::warn!(%error, "the service manager does not listen");
        }
    }
}
