//! Real servers for tests, in folders of their own on loopback, which end with the process that started
//! them: Apache Kafka of one node or three, a schema registry, a Kerberos realm.
//!
//! Kafka's jars come from Maven Central (`make kafka`). Time-outs are short, so that faults and their
//! recovery fit into tests.

#![expect(clippy::disallowed_methods, reason = "another process tells nobody when it is up")]

mod proxy;
mod realm;
mod registry;
mod running;
mod tokens;

pub use proxy::Proxy;
use realm::REALM;
pub use realm::Realm;
pub use registry::SchemaRegistry;
use running::Running;
use tokens::Signer;
pub use tokens::{AUDIENCE, KEY_ID};

use std::collections::BTreeSet;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Who may sign in at the secure listener.
pub const USER: &str = "cmsync";
/// One who may sign in and do nothing else.
pub const GUEST: &str = "guest";
/// Whom tokens may be for: their `sub`.
pub const TOKEN_USER: &str = "0b1ec700-0000-4000-8000-00000000a001";
/// The password of both.
pub const PASSWORD: &str = "correct horse";

const CLUSTER: &str = "Uqu0EjkgQ-68_uzFQjumkA";

/// Nodes of one cluster.
pub struct Broker {
    directory: tempfile::TempDir,
    jars: PathBuf,
    signer: Signer,
    /// The brokers' own words for Kerberos.
    kerberos: Option<Kerberos>,
    nodes: Vec<Node>,
}

/// How the brokers sign in to a realm, and where that is described.
struct Kerberos {
    keytab: PathBuf,
    config: PathBuf,
}

/// Who the brokers are in a realm.
const SERVICE: &str = "kafka/localhost";

struct Node {
    port: u16,
    /// TLS, and SCRAM-SHA-512.
    secure: u16,
    controller: u16,
    /// A listener behind a proxy, and the proxy that it sends clients to.
    behind: (u16, u16),
    running: Mutex<Option<Running>>,
}

/// The folder of a tool that the Makefile installs.
fn tool(name: &str) -> io::Result<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools").join(name);
    match own.is_dir() {
        true => Ok(own),
        false => Err(io::Error::other(format!("a tool is missing: run `make {name}`"))),
    }
}

/// A port of this machine that nobody listens at, and that this process gave to nobody else.
///
/// # Errors
/// When the system has none.
pub fn free_port() -> io::Result<u16> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        if GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port) {
            return Ok(port);
        }
    }
}

impl Broker {
    /// Starts so many nodes and waits until they answer.
    ///
    /// # Errors
    /// When the jars or Java are missing, or a node does not start.
    pub fn start(count: usize) -> io::Result<Self> {
        Self::start_with(count, None)
    }

    /// One node whose secure listener takes tickets of a realm too, as [`USER`] of it.
    ///
    /// # Errors
    /// When it does not start.
    pub fn in_realm(realm: &Realm) -> io::Result<Self> {
        let keytab = realm.add(SERVICE, "kafka.keytab")?;
        Self::start_with(1, Some(Kerberos { keytab, config: realm.path("krb5.conf") }))
    }

    fn start_with(count: usize, kerberos: Option<Kerberos>) -> io::Result<Self> {
        let jars = tool("kafka")?.join("lib");
        let directory = tempfile::Builder::new().prefix("cmsync-kafka").tempdir()?;
        let mut nodes = Vec::new();
        for _ in 0..count {
            let (port, secure, controller) = (free_port()?, free_port()?, free_port()?);
            let behind = (free_port()?, free_port()?);
            nodes.push(Node { port, secure, controller, behind, running: Mutex::default() });
        }
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let own = own.map_err(io::Error::other)?;
        let (key, certificate) = (own.signing_key.serialize_pem(), own.cert.pem());
        std::fs::write(directory.path().join("node.pem"), format!("{key}{certificate}"))?;
        std::fs::write(directory.path().join("ca.pem"), certificate)?;
        let signer = Signer::new(directory.path())?;
        let broker = Self { directory, jars, signer, kerberos, nodes };
        for node in 0..count {
            broker.format(node)?;
        }
        for node in 0..count {
            broker.launch(node)?;
        }
        for node in 0..count {
            broker.until_up(node)?;
        }
        Ok(broker)
    }

    /// One node for all tests of a process.
    ///
    /// # Panics
    /// When it does not start.
    #[expect(clippy::panic, reason = "a test stops where it fails")]
    pub fn shared() -> Arc<Self> {
        static SHARED: OnceLock<Arc<Broker>> = OnceLock::new();
        let start = || Arc::new(Self::start(1).unwrap_or_else(|e| panic!("no Kafka: {e}")));
        Arc::clone(SHARED.get_or_init(start))
    }

    /// `bootstrap.servers`.
    #[must_use]
    pub fn brokers(&self) -> String {
        let all = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
        all.collect::<Vec<_>>().join(",")
    }

    /// `bootstrap.servers` of the listener that wants TLS and a password.
    #[must_use]
    pub fn secure_brokers(&self) -> String {
        let all = self.nodes.iter().map(|node| format!("localhost:{}", node.secure));
        all.collect::<Vec<_>>().join(",")
    }

    /// A way to the first node that can be cut, with its `bootstrap.servers`.
    ///
    /// # Errors
    /// When there is one already.
    pub fn proxy(&self) -> io::Result<(Proxy, String)> {
        let node = self.nodes.first().ok_or_else(|| io::Error::other("no node"))?;
        let (to, port) = node.behind;
        Ok((Proxy::start(port, to)?, format!("127.0.0.1:{port}")))
    }

    /// The key, PEM, that tokens for that listener are signed with.
    #[must_use]
    pub fn token_key(&self) -> &str {
        &self.signer.key
    }

    /// The certificate authority of that listener, a PEM file.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Kills a node as `kill -9` does.
    pub fn kill(&self, node: usize) {
        if let Some(node) = self.nodes.get(node) {
            drop(node.running.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
    }

    /// Starts a node that was killed and waits until it answers.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&self, node: usize) -> io::Result<()> {
        self.launch(node)?;
        self.until_up(node)
    }

    /// The listener that wants TLS and a password or a token.
    fn secure_listener(&self) -> String {
        let (mechanism, tickets) = match &self.kerberos {
            None => ("", String::new()),
            Some(Kerberos { keytab, .. }) => (
                ",GSSAPI",
                format!(
                    "listener.name.secure.gssapi.sasl.jaas.config=com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true storeKey=true keyTab=\"{}\" principal=\"{SERVICE}@{REALM}\";\n\
                     sasl.kerberos.service.name=kafka\n",
                    keytab.display()
                ),
            ),
        };
        format!(
            "listener.name.secure.ssl.keystore.type=PEM\n\
             listener.name.secure.ssl.keystore.location={keystore}\n\
             listener.name.secure.sasl.enabled.mechanisms=SCRAM-SHA-512,OAUTHBEARER{mechanism}\n\
             listener.name.secure.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;\n\
             listener.name.secure.oauthbearer.sasl.server.callback.handler.class=org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler\n\
             listener.name.secure.oauthbearer.sasl.oauthbearer.jwks.endpoint.url=file://{keys}\n\
             listener.name.secure.oauthbearer.sasl.oauthbearer.expected.audience={AUDIENCE}\n\
             listener.name.secure.oauthbearer.connections.max.reauth.ms=60000\n\
             listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n{tickets}",
            keys = self.signer.keys_file.display(),
            keystore = self.directory.path().join("node.pem").display(),
        )
    }

    fn properties(&self, number: usize) -> io::Result<PathBuf> {
        let node = self.nodes.get(number).ok_or_else(|| io::Error::other("no such node"))?;
        let (id, copies) = (number + 1, self.nodes.len());
        let in_sync = copies.div_ceil(2).min(2);
        let folder = self.directory.path().join(format!("node-{id}"));
        let mut text = format!(
            "process.roles=broker,controller\n\
             node.id={id}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},SECURE://127.0.0.1:{secure},PROXIED://127.0.0.1:{behind},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port},SECURE://localhost:{secure},PROXIED://127.0.0.1:{proxied}\n\
             {secure_listener}\
             authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
             super.users=User:ANONYMOUS;User:{USER};User:{TOKEN_USER}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT,SECURE:SASL_SSL\n\
             log.dirs={folder}\n\
             num.partitions=1\n\
             default.replication.factor={copies}\n\
             min.insync.replicas={in_sync}\n\
             offsets.topic.replication.factor={copies}\n\
             offsets.topic.num.partitions=4\n\
             transaction.state.log.replication.factor={copies}\n\
             transaction.state.log.num.partitions=4\n\
             transaction.state.log.min.isr={in_sync}\n\
             share.coordinator.state.topic.replication.factor={copies}\n\
             share.coordinator.state.topic.min.isr={in_sync}\n\
             group.initial.rebalance.delay.ms=0\n\
             group.min.session.timeout.ms=500\n\
             group.consumer.min.session.timeout.ms=1000\n\
             group.consumer.session.timeout.ms=2000\n\
             group.consumer.min.heartbeat.interval.ms=100\n\
             group.consumer.heartbeat.interval.ms=300\n\
             auto.create.topics.enable=false\n\
             message.max.bytes=10485760\n\
             log.cleaner.dedupe.buffer.size=8388608\n\
             broker.session.timeout.ms=2000\n\
             broker.heartbeat.interval.ms=300\n\
             transaction.abort.timed.out.transaction.cleanup.interval.ms=1000\n\
             controller.quorum.election.timeout.ms=500\n\
             controller.quorum.fetch.timeout.ms=1000\n",
            port = node.port,
            secure = node.secure,
            behind = node.behind.0,
            proxied = node.behind.1,
            secure_listener = self.secure_listener(),
            controller = node.controller,
            folder = folder.display(),
        );
        let voters: Vec<String> = (1..)
            .zip(&self.nodes)
            .map(|(id, node)| format!("{id}@127.0.0.1:{}", node.controller))
            .collect();
        let quorum = match copies {
            1 => format!("controller.quorum.bootstrap.servers=127.0.0.1:{}", node.controller),
            _ => format!("controller.quorum.voters={}", voters.join(",")),
        };
        text.push_str(&quorum);
        let path = self.directory.path().join(format!("node-{id}.properties"));
        std::fs::write(&path, text)?;
        Ok(path)
    }

    fn java(&self, memory: &str) -> Command {
        let mut command = Command::new("java");
        if let Some(kerberos) = &self.kerberos {
            command.arg(format!("-Djava.security.krb5.conf={}", kerberos.config.display()));
        }
        command
            .arg(memory)
            .args(["-XX:+UseSerialGC", "-Xshare:auto"])
            .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
            .arg(format!(
                "-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=file://{}",
                self.signer.keys_file.display()
            ))
            .arg("-cp")
            .arg(format!("{}/*", self.jars.display()));
        command
    }

    fn format(&self, number: usize) -> io::Result<()> {
        let properties = self.properties(number)?;
        let mut command = self.java("-Xmx64m");
        command.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c"]).arg(properties);
        for name in [USER, GUEST] {
            let user = format!("SCRAM-SHA-512=[name={name},password={PASSWORD}]");
            command.args(["--add-scram", &user]);
        }
        if self.nodes.len() == 1 {
            command.arg("--standalone");
        }
        let output = command.output()?;
        match output.status.success() {
            true => Ok(()),
            false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned())),
        }
    }

    /// Starts a node that was killed, without waiting.
    ///
    /// # Errors
    /// When its process does not start.
    pub fn launch(&self, number: usize) -> io::Result<()> {
        let node = self.nodes.get(number).ok_or_else(|| io::Error::other("no such node"))?;
        let properties = self.properties(number)?;
        let mut java = self.java("-Xmx256m");
        java.arg("kafka.Kafka").arg(properties);
        let place = self.directory.path().join(format!("node-{number}"));
        let running = Running::start(&java, &place)?;
        *node.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
        Ok(())
    }

    /// Waits until a node answers.
    ///
    /// # Errors
    /// When it does not, with its log.
    pub fn until_up(&self, number: usize) -> io::Result<()> {
        let node = self.nodes.get(number).ok_or_else(|| io::Error::other("no such node"))?;
        let running = node.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref().ok_or_else(|| io::Error::other("it was killed"))?.until_up(node.port)
    }
}
