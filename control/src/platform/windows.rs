//! A port on loopback, which any account of the machine can reach, and two tokens of this start that only
//! those can read who may use the queue's directory: one that a command shows, and one that it is shown,
//! since the port of a process that was killed may be another's by now.

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::Rng as _;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

pub(crate) type Stream = TcpStream;

/// Bytes of a token, in hexadecimal digits.
const TOKEN: usize = 64;
/// How long whoever connects, or is connected to, may take to show theirs.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections that have not shown theirs yet; more are turned away.
const STRANGERS: usize = 32;

/// Takes commands.
pub(crate) struct Listener {
    path: PathBuf,
    socket: TcpListener,
    theirs: SecretString,
    ours: SecretString,
    strangers: Semaphore,
}

fn path_in(directory: &Path) -> PathBuf {
    directory.join("cmsync.port")
}

fn token() -> SecretString {
    let bytes: [u8; TOKEN / 2] = rand::rng().random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

fn denied() -> io::Error {
    io::ErrorKind::PermissionDenied.into()
}

/// Reads a token and compares it.
async fn is_shown(stream: &mut Stream, wanted: &str) -> io::Result<bool> {
    let mut shown = [0; TOKEN];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut shown)).await??;
    let differs = shown.iter().zip(wanted.as_bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    Ok(wanted.len() == TOKEN && differs == 0)
}

impl Listener {
    pub(crate) fn bind(directory: &Path) -> io::Result<Self> {
        let path = path_in(directory);
        let socket = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let (theirs, ours) = (token(), token());
        let port = socket.local_addr()?.port();
        let text = format!("{port} {} {}\n", theirs.expose_secret(), ours.expose_secret());
        cmsync_files::replace(&path, text.as_bytes())?;
        let socket = TcpListener::from_std(socket)?;
        Ok(Self { path, socket, theirs, ours, strangers: Semaphore::new(STRANGERS) })
    }

    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        self.socket.accept().await.map(|(stream, _)| stream)
    }

    /// Who asks: whoever could read the tokens.
    pub(crate) async fn admit(&self, stream: &mut Stream) -> io::Result<String> {
        let _turn = self.strangers.try_acquire().map_err(|_| denied())?;
        if !is_shown(stream, self.theirs.expose_secret()).await? {
            return Err(denied());
        }
        stream.write_all(self.ours.expose_secret().as_bytes()).await?;
        Ok("an administrator of this machine".into())
    }

    pub(crate) fn remove(&self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

/// Reaches the running process.
pub(crate) async fn connect(directory: &Path) -> io::Result<Stream> {
    let path = path_in(directory);
    let text = std::fs::read_to_string(&path).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            let shown = path.display();
            let text = format!("`{shown}`: {error}: run it as an administrator");
            io::Error::new(error.kind(), text)
        }
        _ => error,
    })?;
    let gone = || io::Error::from(io::ErrorKind::NotFound);
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [port, theirs, ours] = parts[..] else { return Err(gone()) };
    let port: u16 = port.parse().map_err(|_| gone())?;
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(theirs.as_bytes()).await?;
    // Whoever does not show it is another program.
    match is_shown(&mut stream, ours).await {
        Ok(true) => Ok(stream),
        Ok(false) | Err(_) => Err(gone()),
    }
}
