//! `cmsync disconnect`: closes what was sent, and takes back what set-up made, and only that.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use cmsync_azure::{Role, WorkspaceId};
use cmsync_control::setup::{Others, Setup, Target};
use cmsync_control::{ALL, ConnectionView, Question};

use crate::asks::{self, Outside};
use crate::cli::DisconnectArgs;
use crate::config::{Config, Connection};
use crate::connect::write;
use crate::host::Host;
use crate::{connections, logging, pipeline};

/// How long the rows' end is waited for.
const PATIENCE: Duration = Duration::from_secs(600);
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// Takes a connection back; true when all is done.
pub(crate) async fn run(
    config: Config,
    path: &Path,
    args: &DisconnectArgs,
) -> anyhow::Result<bool> {
    let name = &args.connection;
    let connection = config.connection(name)?.clone();
    let setup = setup(&config, name, &connection).await?;
    let taken = match &setup {
        Some((setup, others)) => setup.leftovers(args.delete_tables, *others).await?,
        None => cmsync_control::setup::Taken::default(),
    };
    eprintln!("What taking `{name}` back does:");
    eprintln!("  closed: its rows; its collections have no members any longer");
    for ours in &taken.ours {
        eprintln!("  taken back: {ours}");
    }
    for kept in &taken.kept {
        eprintln!("  stays: {kept}");
    }
    if !args.yes && !confirmed(name)? {
        eprintln!("nothing was changed");
        return Ok(false);
    }
    if !args.abandon_rows {
        close(&config, path, name).await?;
    }
    if let Some((setup, others)) = &setup {
        // What the groups' writer did not take away yet is found again.
        for leftover in setup.leftovers(args.delete_tables, *others).await?.ours {
            setup.take_back(&leftover).await?;
            eprintln!("  ✓ {leftover}");
        }
    }
    // The order to close it stays: copies with another file would send everything anew.
    write::change(path, |document| {
        write::remove(document, name);
        Ok(())
    })?;
    eprintln!("`{name}` is taken back; its secrets' files are yours to delete");
    Ok(true)
}

fn confirmed(name: &str) -> anyhow::Result<bool> {
    use std::io::IsTerminal as _;
    if !std::io::stdin().is_terminal() {
        let text =
            format!("nobody can be asked here: `--yes` says that `{name}` is to be taken back");
        return Err(crate::BadUse(text).into());
    }
    let asked = inquire::Confirm::new("Take it back?").with_default(false);
    Ok(tokio::task::block_in_place(|| asked.prompt())?)
}

/// Who else writes into the connection's workspace.
fn others(config: &Config, name: &str, site_code: &str, views: &[ConnectionView]) -> Others {
    let neighbours = config.neighbours().remove(name).unwrap_or_default();
    let is_same = |view: &&ConnectionView| {
        neighbours.contains(&view.connection) && view.site_code == site_code
    };
    match (neighbours.is_empty(), views.iter().find(is_same)) {
        (true, _) => Others::None,
        (false, None) => Others::Sites,
        (false, Some(_)) => Others::SameSite,
    }
}

/// The set-up of the connection, where it has a workspace.
async fn setup(
    config: &Config,
    name: &str,
    connection: &Connection,
) -> anyhow::Result<Option<(Setup, Others)>> {
    let workspace = &connection.workspace;
    let Some(id) = &connection.written().workspace.resource_id else {
        return Ok(None);
    };
    let id: WorkspaceId = id.parse().map_err(anyhow::Error::msg)?;
    let views = asks::views(&Outside(config)).await?;
    let known = views.iter().find(|v| v.connection == name && !v.site_code.is_empty());
    let site_code = match known {
        Some(view) => view.site_code.clone(),
        None => connections::site(&connection.site)?.hierarchy().await?.this_site,
    };
    let others = others(config, name, &site_code, &views);
    let own = connections::credential(workspace)?;
    let principal = own.principal(&workspace.endpoints.ingestion_audience).await?.object_id;
    let tenant = &connection.written().workspace.tenant_id;
    let cli = connections::azure_cli(workspace, tenant)?;
    let caller = if connections::may_manage(workspace, &cli).await { cli } else { own };
    let target = Target {
        connection: name.to_owned(),
        site_code,
        workspace: id,
        new: None,
        principal,
        rules: u32::try_from(workspace.rules.len()).unwrap_or(1),
        groups_role: Some(Role::log_analytics_contributor()),
    };
    Ok(Some((Setup::new(connections::manager(workspace, caller)?, target), others)))
}

/// Closes the rows of every collection and waits until the workspace has taken that.
async fn close(config: &Config, path: &Path, name: &str) -> anyhow::Result<()> {
    let asks = Outside(config);
    if !asks::has_run(&asks, name).await? {
        return Ok(());
    }
    let (connection, collections) = (name.to_owned(), vec![ALL.to_owned()]);
    asks::order(&asks, Question::RemoveCollections { connection, collections }).await?;
    // On Kafka the copies that run do it.
    let socket = cmsync_control::local_api::ask(&config.queue_directory, &Question::Status);
    if config.kafka.is_none() && socket.await?.is_none() {
        let logging = logging::start(config.log_format, "warn", None);
        let mut alone = config.clone();
        alone.connections.retain(|other, _| other == name);
        // Nobody watches it, and the port may be another's.
        alone.listen = None;
        let how = (&logging, Host::default());
        pipeline::run(alone, path.to_owned(), (true, Vec::new()), how).await?;
    }
    let started = Instant::now();
    loop {
        let view = asks::views(&asks).await?.into_iter().find(|v| v.connection == name);
        let view = view.context("the connection is not known any longer")?;
        let is_closed = view.collections == 0 && view.waiting_messages == 0;
        if is_closed {
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            bail!(
                "the rows could not be closed: {} messages wait; see `cmsync status`. Nothing was \
                 taken back in Azure. `--abandon-rows` goes on without",
                view.waiting_messages
            );
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
