//! Requests to the console and its API, over a socket, as whoever reaches the port may send them.

#![no_main]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use cmsync_console::{Console, Loopback, Probes, Ready};
use cmsync_control::history::{ChangeView, CollectionHistory, History};
use cmsync_control::{
    Change, Connect, Desk, Plan, Progress, Properties, Settings, SettingsError, Step, StepView,
    VisibleView,
};
use cmsync_queue::memory::{MemoryQueue, MemoryStore};
use cmsync_queue::{Queue as _, TopicKind, TopicSpec};
use cmsync_schemas::topics;
use libfuzzer_sys::fuzz_target;
use secrecy::SecretString;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Nothing can be changed or asked elsewhere.
struct Nothing;

fn refused<T>() -> Result<T, SettingsError> {
    Err(SettingsError::Refused("not here".into()))
}

#[async_trait]
impl Settings for Nothing {
    fn seen(&self) -> Result<String, SettingsError> {
        refused()
    }

    async fn properties(&self, _: &str) -> Result<Properties, SettingsError> {
        refused()
    }

    async fn visible(&self, _: &str) -> Result<Vec<VisibleView>, SettingsError> {
        refused()
    }

    async fn change(&self, _: &str, _: Change, _: &str) -> Result<String, SettingsError> {
        refused()
    }

    async fn verify_identity(&self, _: &str) -> Result<String, SettingsError> {
        refused()
    }

    async fn renew_secret(
        &self,
        _: &str,
        _: SecretString,
        _: Option<&str>,
    ) -> Result<String, SettingsError> {
        refused()
    }
}

#[async_trait]
impl Connect for Nothing {
    async fn drafts(&self) -> Vec<String> {
        Vec::new()
    }

    async fn discard(&self, _: &str) -> Result<(), SettingsError> {
        refused()
    }

    async fn step(
        &self,
        _: &str,
        _: Step,
        _: &[(String, String)],
    ) -> Result<StepView, SettingsError> {
        refused()
    }

    async fn keep_secret(&self, _: &str, _: SecretString) -> Result<(), SettingsError> {
        refused()
    }

    async fn plan(&self, _: &str) -> Result<Plan, SettingsError> {
        refused()
    }

    async fn begin(&self, _: &str) -> Result<(), SettingsError> {
        refused()
    }

    async fn progress(&self, _: &str) -> Option<Progress> {
        None
    }
}

#[async_trait]
impl History for Nothing {
    async fn of_collection(&self, _: &str, _: &str, _: &str) -> Result<CollectionHistory, String> {
        Err("not here".into())
    }

    async fn of_computer(
        &self,
        _: &str,
        _: &str,
        _: &str,
    ) -> Result<(u32, Vec<ChangeView>), String> {
        Err("not here".into())
    }
}

async fn serve(told: std::sync::mpsc::Sender<SocketAddr>) {
    // Whoever reads no answer must not end the program, whose main is not Rust's here.
    let _pipe = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::pipe());
    let queue = MemoryQueue::open(MemoryStore::new()).expect("a queue");
    let topic = |name: &str| TopicSpec {
        name: name.to_owned(),
        partitions: 1,
        kind: TopicKind::Compacted,
        max_bytes: u64::MAX,
    };
    let topics = [topics::STATE, topics::CONTROL, topics::STATUS, topics::ACTIVITY].map(topic);
    queue.declare(&topics).await.expect("topics");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    told.send(listener.local_addr().expect("an address")).expect("told");
    let console = Console {
        probes: Probes {
            metrics: Arc::new(|| "x 1\n".into()),
            readiness: Arc::new(|| Ready { missing: Vec::new(), owned: Vec::new() }),
        },
        desk: Desk::new(Arc::new(queue), Arc::new(|| 0)),
        clock: Arc::new(|| 0),
        configured: watch::channel(BTreeMap::new()).1,
        settings: Arc::new(Nothing),
        connect: Arc::new(Nothing),
        history: Arc::new(Nothing),
        passwords: None,
        openid: None,
        loopback: Loopback::Read,
    };
    cmsync_console::serve(Some(listener), None, console, CancellationToken::new()).await;
}

fn address() -> SocketAddr {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    *ADDRESS.get_or_init(|| {
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            // A task that panics must not do so unseen.
            let tell_and_end = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                tell_and_end(panic);
                std::process::abort();
            }));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(serve(tell));
        });
        told.recv().expect("an address")
    })
}

fuzz_target!(|data: &[u8]| {
    let Ok(mut socket) = TcpStream::connect(address()) else { return };
    drop(socket.set_read_timeout(Some(Duration::from_millis(5))));
    if socket.write_all(data).is_err() {
        return;
    }
    drop(socket.shutdown(std::net::Shutdown::Write));
    let mut answer = [0; 4_096];
    while let Ok(1..) = socket.read(&mut answer) {}
});
