//! The login of the Azure CLI, for set-up by a person.

use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use tokio::process::Command;

use crate::TokenError;
use crate::credential::Granted;

/// How long it may take: it may have to ask for a new token itself.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Printed {
    access_token: SecretString,
    #[serde(rename = "expires_on", default)]
    expires_on: Option<u64>,
}

/// Asks `az` for a token.
pub(crate) async fn ask(tenant: Option<&str>, audience: &str) -> Result<Granted, TokenError> {
    let fail = |detail: String| TokenError::AzureCli(detail);
    // On Windows it is a script, which is found by its whole name alone.
    let mut command = Command::new(if std::env::consts::OS == "windows" { "az.cmd" } else { "az" });
    command.kill_on_drop(true);
    command.args(["account", "get-access-token", "--output", "json", "--resource", audience]);
    if let Some(tenant) = tenant {
        command.args(["--tenant", tenant]);
    }
    let output = tokio::time::timeout(PATIENCE, command.output()).await.map_err(|_| {
        fail("`az` does not answer: try `az account get-access-token` by hand".into())
    })?;
    let output =
        output.map_err(|e| fail(format!("`az` cannot be run ({e}): install the Azure CLI")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let first = said.lines().next().unwrap_or_default();
        return Err(fail(format!("{first}; sign in with `az login`")));
    }
    let printed: Printed = serde_json::from_slice(&output.stdout)
        .map_err(|_| fail("`az` printed no token that can be read: update the Azure CLI".into()))?;
    Ok(Granted::until(printed.access_token, printed.expires_on))
}
