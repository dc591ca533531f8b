//! TLS with servers that are too old, wrong or broken: refused, with words that say why.

#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it fails")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cmsync_http::{Client, Error, Settings};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use reqwest::Method;

/// OpenSSL as it comes with Python: it still speaks what rustls does not.
const SERVER: &str = r#"
import socket, ssl, sys
oldest, newest, ciphers, chain = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.set_ciphers(ciphers + ":@SECLEVEL=0")
context.minimum_version, context.maximum_version = ssl.TLSVersion[oldest], ssl.TLSVersion[newest]
context.load_cert_chain(chain)
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    client, _ = listener.accept()
    try:
        with context.wrap_socket(client, server_side=True) as served:
            served.recv(65536)
            served.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    except OSError:
        pass
"#;

/// A server, ended with this.
struct Server(Child, u16);

impl Server {
    fn start(versions: (&str, &str), ciphers: &str, chain: &Path) -> Self {
        let mut child = Command::new("python3")
            .args(["-W", "ignore", "-c", SERVER, versions.0, versions.1, ciphers])
            .arg(chain)
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output");
        BufReader::new(stdout).read_line(&mut line).expect("its port");
        let port = line.trim().parse().expect("its port");
        Self(child, port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// An authority in `directory`, and what it signs.
struct Authority {
    directory: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new(directory: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = directory.join(name);
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("ca.pem"), issuer.pem()).unwrap();
        Self { directory, issuer }
    }

    /// A certificate for `host`, valid from one year to another, with its key.
    fn chain(&self, host: &str, (from, until): (i32, i32)) -> PathBuf {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        (params.not_before, params.not_after) =
            (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let path = self.directory.join(format!("{host}-{from}-{until}.pem"));
        std::fs::write(&path, leaf.pem() + &key.serialize_pem()).unwrap();
        path
    }

    fn client(&self) -> Client {
        let ca_file = Some(self.directory.join("ca.pem"));
        let settings = Settings {
            ca_file,
            direct: true,
            connect_timeout: Duration::from_secs(2),
            ..Settings::default()
        };
        Client::new("site", &settings).unwrap()
    }
}

const GOOD: (i32, i32) = (2020, 2999);
const TODAY: &str = "ECDHE+AESGCM";
const NEW: (&str, &str) = ("TLSv1_2", "TLSv1_3");

async fn ask(client: &Client, port: u16) -> Result<(), Error> {
    let url = format!("https://localhost:{port}/AdminService/wmi/SMS_Site?secret=1");
    let request = client.request(Method::GET, url.parse().unwrap());
    client.open(request).await.map(drop)
}

#[tokio::test]
async fn what_is_new_enough_and_signed_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "own");
    let chain = authority.chain("localhost", GOOD);
    for version in ["TLSv1_2", "TLSv1_3"] {
        let server = Server::start((version, version), TODAY, &chain);
        ask(&authority.client(), server.1).await.unwrap();
    }
}

#[tokio::test]
async fn old_versions_and_ciphers_are_refused_with_what_is_needed() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "own");
    let chain = authority.chain("localhost", GOOD);
    for (versions, ciphers) in [
        (("TLSv1", "TLSv1"), "ALL"),
        (("TLSv1", "TLSv1_1"), "ALL"),
        (("TLSv1_2", "TLSv1_2"), "ECDHE-ECDSA-AES128-SHA"),
        (("TLSv1_2", "TLSv1_2"), "aNULL"),
    ] {
        let server = Server::start(versions, ciphers, &chain);
        let error = ask(&authority.client(), server.1).await.unwrap_err();
        assert!(matches!(error, Error::Tls { .. }), "{versions:?} {ciphers}: {error:?}");
        let text = error.to_string();
        assert!(text.contains("TLS 1.2") && text.contains("localhost"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}

#[tokio::test]
async fn certificates_of_others_of_another_name_or_another_time_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "own");
    let stranger = Authority::new(directory.path(), "stranger");
    for (chain, why) in [
        (stranger.chain("localhost", GOOD), "UnknownIssuer"),
        (authority.chain("cm.contoso.com", GOOD), "cm.contoso.com"),
        (authority.chain("localhost", (2020, 2021)), "expired"),
        (authority.chain("localhost", (2998, 2999)), "not valid yet"),
    ] {
        let server = Server::start(NEW, TODAY, &chain);
        let error = ask(&authority.client(), server.1).await.unwrap_err();
        assert!(matches!(error, Error::Certificate { .. }), "{chain:?}: {error:?}");
        assert!(error.to_string().contains(why), "{error}");
        assert!(!error.is_transient());
    }
}

/// What a server does after it has heard the greeting.
type Answer = fn(&mut std::net::TcpStream);

#[tokio::test]
async fn what_is_no_tls_ends_as_an_error_and_a_silent_server_with_its_time() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "own");
    let http: Answer =
        |socket| drop(socket.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"));
    let zeros: Answer = |socket| drop(socket.write_all(&[0; 64 * 1024]));
    // A handshake record whose length is above what one may have.
    let huge: Answer = |socket| drop(socket.write_all(&[22, 3, 3, 0xff, 0xff, 2, 0xff, 0xff]));
    // A ServerHello that is cut.
    let cut: Answer = |socket| drop(socket.write_all(&[22, 3, 3, 0, 122, 2, 0, 0, 118, 3, 3]));
    let closes: Answer = |_| ();
    let silent: Answer = |socket| drop(socket.read(&mut [0; 1]));
    for (name, answer) in [
        ("http", http),
        ("zeros", zeros),
        ("huge", huge),
        ("cut", cut),
        ("closes", closes),
        ("silent", silent),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            drop(socket.read(&mut [0; 4096]));
            answer(&mut socket);
        });
        let error = ask(&authority.client(), port).await.unwrap_err();
        let is_expected = match name {
            "http" | "zeros" | "huge" => matches!(error, Error::Tls { .. }),
            "silent" => matches!(error, Error::Timeout { .. }),
            _ => matches!(error, Error::Connect { .. } | Error::Cut { .. }),
        };
        assert!(is_expected, "{name}: {error:?}");
        assert!(error.is_transient(), "{name}");
        server.join().unwrap();
    }
}
