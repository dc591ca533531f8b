//! The way to a node, which a test may cut without closing a connection: as when a cable is pulled.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Forwards connections to a node while it is open.
pub struct Proxy {
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    is_cut: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn wait(&self) {
        let is_cut = self.is_cut.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_while(is_cut, |is_cut| *is_cut));
    }

    fn set(&self, is_cut: bool) {
        *self.is_cut.lock().unwrap_or_else(PoisonError::into_inner) = is_cut;
        self.changed.notify_all();
    }
}

impl Proxy {
    /// Listens on a port and forwards to another, until the process ends.
    pub(crate) fn start(port: u16, to: u16) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let gate = Arc::new(Gate::default());
        let shared = Arc::clone(&gate);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(node) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                if let (Ok(from_client), Ok(to_node)) = (client.try_clone(), node.try_clone()) {
                    let (there, back) = (Arc::clone(&shared), Arc::clone(&shared));
                    std::thread::spawn(move || forward(from_client, to_node, &there));
                    std::thread::spawn(move || forward(node, client, &back));
                }
            }
        });
        Ok(Self { gate })
    }

    /// Nothing passes any longer; connections stay open.
    pub fn cut(&self) {
        self.gate.set(true);
    }

    /// What was held up passes, and all that follows.
    pub fn mend(&self) {
        self.gate.set(false);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.mend();
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, gate: &Gate) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count) = from.read(&mut buffer) {
        gate.wait();
        let Some(read) = buffer.get(..count).filter(|read| !read.is_empty()) else { break };
        if to.write_all(read).is_err() {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Both));
    drop(from.shutdown(Shutdown::Both));
}
