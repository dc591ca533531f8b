//! A Unix socket in the queue's directory.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

pub(crate) type Stream = UnixStream;

/// Bytes of a socket's path that every Unix takes.
const LONGEST: usize = 100;

/// Takes commands.
pub(crate) struct Listener {
    path: PathBuf,
    socket: UnixListener,
}

fn path_in(directory: &Path) -> PathBuf {
    directory.join("cmsync.sock")
}

/// Another name of the socket where its own is too long for the system, for as long as the directory is
/// open.
fn short(path: &Path) -> io::Result<(PathBuf, Option<File>)> {
    let directory = path.parent().filter(|_| path.as_os_str().len() > LONGEST);
    let Some(directory) = directory else { return Ok((path.to_owned(), None)) };
    let open = File::open(directory)?;
    Ok((path_in(Path::new(&format!("/proc/self/fd/{}", open.as_raw_fd()))), Some(open)))
}

impl Listener {
    pub(crate) fn bind(directory: &Path) -> io::Result<Self> {
        let path = path_in(directory);
        if let Err(error) = std::fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let (name, _open) = short(&path)?;
        let socket = UnixListener::bind(name)?;
        Ok(Self { path, socket })
    }

    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        self.socket.accept().await.map(|(stream, _)| stream)
    }

    /// Who asks: the directory's mode has let them in.
    #[expect(clippy::unused_async, reason = "as on Windows")]
    pub(crate) async fn admit(&self, stream: &mut Stream) -> io::Result<String> {
        stream.peer_cred().map(|peer| format!("uid {} on this machine", peer.uid()))
    }

    pub(crate) fn remove(&self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

/// Reaches the running process.
pub(crate) async fn connect(directory: &Path) -> io::Result<Stream> {
    let path = path_in(directory);
    let (name, _open) = short(&path)?;
    UnixStream::connect(name).await.map_err(|error| {
        let shown = path.display();
        match error.kind() {
            io::ErrorKind::PermissionDenied => {
                let text = format!(
                    "`{shown}`: {error}: run it as root, or as the user that cmsync runs as"
                );
                io::Error::new(error.kind(), text)
            }
            _ => error,
        }
    })
}
