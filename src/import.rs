//! `cmsync import`: whether a connection sends.

use std::path::Path;

use cmsync_control::Question;
use cmsync_control::verify::Asks;
use toml_edit::{Item, value};

use crate::asks::Outside;
use crate::cli::ImportCommand;
use crate::collections::Seen;
use crate::config::Config;
use crate::connect::write;
use crate::{asks, config};

/// Enables or disables.
pub(crate) async fn run(
    config: &Config,
    path: &Path,
    command: ImportCommand,
) -> anyhow::Result<bool> {
    let (connection, how) = match command {
        ImportCommand::Enable { connection } => (connection, (true, false)),
        ImportCommand::Disable { connection, remove_groups } => {
            (connection, (false, remove_groups))
        }
    };
    let said = set(&Outside(config), config, (path, None), &connection, how).await?;
    eprintln!("{said}");
    Ok(true)
}

/// Turns sending on or off; what happens now, in words.
pub(crate) async fn set(
    asks: &dyn Asks,
    config: &Config,
    (path, seen): Seen<'_>,
    name: &str,
    (on, remove_groups): (bool, bool),
) -> anyhow::Result<String> {
    let was = config.connection(name)?.producer.import;
    write(path, seen, name, on)?;
    config::load(path, config::NO_SECRETS)?;
    let connection = name.to_owned();
    if on || remove_groups {
        let question = Question::KeepGroups { connection: connection.clone(), keep: on };
        order_if_known(asks, name, question).await?;
    }
    if !on {
        return Ok("disabled; a running cmsync stops sending within seconds".into());
    }
    if !was {
        order_if_known(asks, name, Question::Resend { connection, collection: None }).await?;
    }
    Ok("enabled; a running cmsync sends everything whole within seconds".into())
}

fn write(path: &Path, seen: Option<&str>, name: &str, import: bool) -> anyhow::Result<()> {
    write::change_seen(path, seen, |document| {
        let table = write::existing(document, name)?;
        match table.get_mut("import") {
            Some(Item::Value(found)) => {
                let decor = found.decor().clone();
                *found = import.into();
                *found.decor_mut() = decor;
            }
            _ => drop(table.insert("import", value(import))),
        }
        Ok(())
    })
}

/// A connection that never ran has nothing to send again and no groups.
async fn order_if_known(asks: &dyn Asks, name: &str, question: Question) -> anyhow::Result<()> {
    if asks::has_run(asks, name).await? { asks::order(asks, question).await } else { Ok(()) }
}
