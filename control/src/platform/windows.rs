//! A port on loopback, which any account of the machine can reach, and a token of this start that only
//! those can read who may use the queue's directory.

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
/// How long whoever connects may take to show it.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections that have not shown it yet; more wait.
const STRANGERS: usize = 32;

/// Takes commands.
pub(crate) struct Listener {
    path: PathBuf,
    socket: TcpListener,
    token: SecretString,
    strangers: Semaphore,
}

fn path_in(directory: &Path) -> PathBuf {
    directory.join("cmsync.port")
}

impl Listener {
    pub(crate) fn bind(directory: &Path) -> io::Result<Self> {
        let path = path_in(directory);
        let socket = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let bytes: [u8; TOKEN / 2] = rand::rng().random();
        let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let port = socket.local_addr()?.port();
        cmsync_files::replace(&path, format!("{port} {token}\n").as_bytes())?;
        let socket = TcpListener::from_std(socket)?;
        let strangers = Semaphore::new(STRANGERS);
        Ok(Self { path, socket, token: token.into(), strangers })
    }

    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        self.socket.accept().await.map(|(stream, _)| stream)
    }

    /// Who asks: whoever could read the token.
    pub(crate) async fn admit(&self, stream: &mut Stream) -> io::Result<String> {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let _turn = self.strangers.acquire().await.map_err(|_| denied())?;
        let mut shown = [0; TOKEN];
        tokio::time::timeout(PATIENCE, stream.read_exact(&mut shown)).await??;
        let wanted = self.token.expose_secret().as_bytes();
        let is_same = shown.iter().zip(wanted).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0;
        if is_same { Ok("an administrator of this machine".into()) } else { Err(denied()) }
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
    let (port, token) = text.trim_end().split_once(' ').ok_or_else(gone)?;
    let port: u16 = port.parse().map_err(|_| gone())?;
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(token.as_bytes()).await?;
    Ok(stream)
}
