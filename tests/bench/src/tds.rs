//! The client for SQL Server alone: it reads what cmsync reads, by the same query, and throws it away.

use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tiberius::{AuthMethod, Client, Config, QueryItem};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt as _};

use crate::process;
use crate::source::file;

/// As many connections as cmsync has.
const CONNECTIONS: usize = 4;

/// What it came to.
#[derive(Serialize, Deserialize)]
pub(crate) struct Alone {
    pub(crate) rows: f64,
    pub(crate) seconds: f64,
    pub(crate) cpu: f64,
}

impl Alone {
    pub(crate) fn rate(&self) -> f64 {
        self.rows / self.seconds
    }
}

/// Reads all members of the lab whose files are in `directory`, and prints an [`Alone`].
#[tokio::main]
#[expect(clippy::print_stdout, reason = "whoever started it reads this")]
pub(crate) async fn read_alone(directory: &Path) -> anyhow::Result<()> {
    let mut session = connect(directory).await?;
    let query = "SELECT c.CollectionID FROM dbo.v_Collection AS c WHERE c.CollectionType = 2";
    let mut stream = session.query(query, &[]).await?;
    let mut ids = Vec::new();
    while let Some(item) = stream.try_next().await? {
        if let QueryItem::Row(row) = item {
            ids.push(row.try_get::<&str, _>(0)?.context("no id")?.to_owned());
        }
    }
    drop(stream);
    let started = Instant::now();
    let mut reads = JoinSet::new();
    for share in 0..CONNECTIONS {
        let own: Vec<String> = ids.iter().skip(share).step_by(CONNECTIONS).cloned().collect();
        let session = connect(directory).await?;
        reads.spawn(read(session, own));
    }
    let mut rows = 0.0;
    while let Some(read) = reads.join_next().await {
        rows += read??;
    }
    let seconds = started.elapsed().as_secs_f64();
    let alone = Alone { rows, seconds, cpu: process::cpu(std::process::id())? };
    println!("{}", serde_json::to_string(&alone)?);
    Ok(())
}

type Session = Client<Compat<TcpStream>>;

async fn connect(directory: &Path) -> anyhow::Result<Session> {
    let port = file(directory, "lab-sql")?.trim().parse()?;
    let mut config = Config::new();
    config.host("localhost");
    config.port(port);
    config.database("CM_CAS");
    config.packet_size(32_767);
    config.trust_cert_ca_bundle(file(directory, "lab-ca.pem")?.into_bytes());
    config
        .authentication(AuthMethod::sql_server("cmsync_reader", file(directory, "sql-password")?));
    let socket = TcpStream::connect(("localhost", port)).await?;
    socket.set_nodelay(true)?;
    Ok(Client::connect(config, socket.compat_write()).await?)
}

/// How many rows these collections have.
async fn read(mut session: Session, collections: Vec<String>) -> anyhow::Result<f64> {
    let mut rows = 0.0;
    for collection in collections {
        let query = format!(
            "SELECT m.ResourceID, m.ResourceType, m.Name, m.SiteCode, m.IsObsolete, \
             m.IsDecommissioned FROM dbo.v_FullCollectionMembership AS m \
             WHERE m.CollectionID = '{collection}' ORDER BY m.ResourceID"
        );
        let mut stream = session.query(query, &[]).await?;
        while let Some(item) = stream.try_next().await? {
            rows += if matches!(item, QueryItem::Row(_)) { 1.0 } else { 0.0 };
        }
    }
    Ok(rows)
}
