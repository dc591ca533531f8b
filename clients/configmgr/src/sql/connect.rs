//! A connection to the site database.

use std::io;

use secrecy::ExposeSecret as _;
use tiberius::{AuthMethod, Client, Config, EncryptionLevel};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt as _};

use crate::Nature;

use super::browser::{self, BROWSER_PORT};
use super::failure::{Failure, failure};
use super::settings::{Encryption, Port, SqlLogin, SqlSettings};

/// What queries go to.
pub(super) type Session = Client<Compat<TcpStream>>;

/// Packets as large as a server takes them; it answers with the size that it agrees to.
const PACKET: u32 = 32_767;
/// SQL Server's.
const DEFAULT_PORT: u16 = 1433;
/// Servers that send readers on: a listener to a replica, and that once more.
const MOST_HOPS: usize = 3;

/// A server and its port.
pub(super) type Place = (String, u16);

/// Connects and logs in: at `known`, or where the settings lead; gives the place where it ended.
pub(super) async fn connect(
    settings: &SqlSettings,
    known: Option<Place>,
) -> Result<(Session, Place), Failure> {
    let mut place = match known {
        Some(place) => place,
        None => listener(settings).await?,
    };
    for _ in 0..MOST_HOPS {
        let socket = timeout(settings.connect_timeout, dial(&place)).await;
        let unreachable = |error: &dyn std::fmt::Display| Failure {
            text: format!("{}:{} cannot be reached: {error}", place.0, place.1),
            nature: Nature::Transient,
        };
        let socket = match socket {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => return Err(unreachable(&error)),
            Err(_) => return Err(unreachable(&"it does not answer")),
        };
        drop(socket.set_nodelay(true));
        match log_in(config(settings, &place)?, socket).await {
            Ok(session) => return Ok((session, place)),
            Err(tiberius::error::Error::Routing { host, port }) => place = (host, port),
            Err(error) => return Err(failure(&error)),
        }
    }
    let text = format!("{} sends readers from one server to the other", settings.server);
    Err(Failure { text, nature: Nature::Transient })
}

/// Kerberos may wait for the realm's servers, and the library does so on the spot: it waits on a thread
/// of its own.
async fn log_in(config: Config, socket: TcpStream) -> tiberius::Result<Session> {
    let runtime = tokio::runtime::Handle::current();
    let connect = move || runtime.block_on(Client::connect(config, socket.compat_write()));
    let connected = tokio::task::spawn_blocking(connect).await;
    connected.unwrap_or_else(|error| {
        let (kind, message) = (io::ErrorKind::Other, error.to_string());
        Err(tiberius::error::Error::Io { kind, message })
    })
}

/// Where the settings lead at first.
async fn listener(settings: &SqlSettings) -> Result<Place, Failure> {
    let port = match &settings.port {
        None => DEFAULT_PORT,
        Some(Port::Number(port)) => *port,
        Some(Port::Instance(instance)) => browser::port(&settings.server, BROWSER_PORT, instance)
            .await
            .map_err(|text| Failure { text, nature: Nature::Transient })?,
    };
    Ok((settings.server.clone(), port))
}

/// All addresses of a name at once, as an availability group's listener has one in each network and
/// only one of them answers; the first that does.
async fn dial((host, port): &(String, u16)) -> io::Result<TcpStream> {
    let mut tries = JoinSet::new();
    for address in tokio::net::lookup_host((host.as_str(), *port)).await? {
        tries.spawn(TcpStream::connect(address));
    }
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    while let Some(tried) = tries.join_next().await {
        match tried {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(error)) => last = error,
            Err(_) => {}
        }
    }
    Err(last)
}

fn config(settings: &SqlSettings, (host, port): &(String, u16)) -> Result<Config, Failure> {
    let told = |text: String| Failure { text, nature: Nature::Lasting };
    let mut config = Config::new();
    config.host(host);
    config.port(*port);
    config.database(&settings.database);
    config.application_name("cmsync");
    // One name with half a character must not end the read of all others.
    config.lossy_utf16_decoding(true);
    config.packet_size(PACKET);
    config.readonly(settings.read_only);
    config.handshake_timeout(Some(settings.connect_timeout));
    config.command_timeout(Some(settings.read_timeout));
    config.encryption(match settings.encryption {
        Encryption::Required => EncryptionLevel::Required,
        Encryption::Strict => EncryptionLevel::Strict,
        Encryption::None => EncryptionLevel::NotSupported,
    });
    if let Some(file) = &settings.ca_file {
        let ca = std::fs::read(file).map_err(|e| told(format!("`{}`: {e}", file.display())))?;
        config.trust_cert_ca_bundle(ca);
    }
    config.authentication(match &settings.login {
        SqlLogin::Password { user, password } => {
            let password = password.read().map_err(|e| told(e.to_string()))?;
            AuthMethod::sql_server(user, password.expose_secret())
        }
        #[cfg(feature = "kerberos")]
        SqlLogin::Integrated => AuthMethod::Integrated,
        #[cfg(not(feature = "kerberos"))]
        SqlLogin::Integrated => return Err(told("this build has no Kerberos".into())),
    });
    Ok(config)
}
