//! `cmsync import`: whether a connection sends.

use std::path::Path;

use anyhow::bail;
use cmsync_control::{Answer, Question};
use toml_edit::{Item, value};

use crate::cli::ImportCommand;
use crate::config::Config;
use crate::connect::write;
use crate::{commands, config};

/// Enables or disables.
pub(crate) async fn run(
    config: &Config,
    path: &Path,
    command: ImportCommand,
) -> anyhow::Result<bool> {
    match command {
        ImportCommand::Enable { connection } => {
            let was = config.connection(&connection)?.producer.import;
            set(path, &connection, true)?;
            let config = config::load(path, &[])?;
            let question = Question::KeepGroups { connection: connection.clone(), keep: true };
            told(commands::ask(&config, question).await?)?;
            if !was {
                let question = Question::Resend { connection, collection: None };
                told(commands::ask(&config, question).await?)?;
            }
            eprintln!("enabled; a running cmsync sends everything whole within seconds");
        }
        ImportCommand::Disable { connection, remove_groups } => {
            config.connection(&connection)?;
            set(path, &connection, false)?;
            if remove_groups {
                let question = Question::KeepGroups { connection, keep: false };
                told(commands::ask(&config::load(path, &[])?, question).await?)?;
            }
            eprintln!("disabled; a running cmsync stops sending within seconds");
        }
    }
    Ok(true)
}

fn set(path: &Path, name: &str, import: bool) -> anyhow::Result<()> {
    write::change(path, |document| {
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
fn told(answer: Answer) -> anyhow::Result<()> {
    match answer {
        Answer::Refused(reason) if !reason.contains("there is no connection") => bail!(reason),
        _ => Ok(()),
    }
}
