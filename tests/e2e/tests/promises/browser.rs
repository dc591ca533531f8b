//! A browser as far as tests need one: what it sends and keeps, each byte of it known.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::rig::PATIENCE;

/// What a browser holds and sends.
#[derive(Clone)]
pub(crate) struct Browser {
    port: u16,
    host: String,
    /// Further lines of each request.
    pub(crate) headers: String,
    pub(crate) cookie: Option<String>,
    version: &'static str,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    fn of(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The value of a hidden field.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let (_, rest) = self.body.split_once(&format!("name=\"{name}\" value=\""))?;
        rest.split_once('"').map(|(value, _)| value.to_owned())
    }
}

impl Browser {
    /// On the machine itself.
    pub(crate) fn here(port: u16) -> Self {
        Self {
            port,
            host: format!("localhost:{port}"),
            headers: String::new(),
            cookie: None,
            version: "HTTP/1.1",
        }
    }

    /// Behind a proxy that names the client.
    pub(crate) fn elsewhere(port: u16, client: &str) -> Self {
        let headers = format!("X-Forwarded-For: {client}\r\nX-Forwarded-Proto: https\r\n");
        Self { port, host: "cmsync.example".into(), headers, cookie: None, version: "HTTP/1.1" }
    }

    /// The port that it asks at.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// As proxies ask that say nothing of themselves.
    pub(crate) fn old(&self) -> Self {
        Self { version: "HTTP/1.0", ..self.clone() }
    }

    /// Asked for by another name.
    pub(crate) fn by(&self, host: &str) -> Self {
        Self { host: host.to_owned(), ..self.clone() }
    }

    /// With one more line in each request.
    pub(crate) fn with(&self, line: &str) -> Self {
        Self { headers: format!("{}{line}\r\n", self.headers), ..self.clone() }
    }

    fn head(&self, method: &str, path: &str) -> String {
        let cookie = self.cookie.as_ref().map(|own| format!("Cookie: {own}\r\n"));
        let (host, headers, cookie) = (&self.host, &self.headers, cookie.unwrap_or_default());
        format!("{method} {path} {}\r\nHost: {host}\r\n{headers}{cookie}", self.version)
    }

    /// Begins a request and gives what comes, unread.
    pub(crate) fn open(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "{}\r\n", self.head("GET", path)).unwrap();
        stream
    }

    /// Connects and says nothing.
    pub(crate) fn silent(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).unwrap()
    }

    /// Begins a form of so many bytes and sends these of them.
    pub(crate) fn begun(&self, path: &str, length: usize, body: &str) -> TcpStream {
        let mut stream = self.silent();
        let head = self.head("POST", path);
        write!(stream, "{head}Content-Length: {length}\r\n\r\n{body}").unwrap();
        stream
    }

    /// The first answer: connections that have no place are closed without one.
    pub(crate) fn until_answered(&self, path: &str) -> Answer {
        let started = std::time::Instant::now();
        loop {
            let mut bytes = Vec::new();
            let read = TcpStream::connect(("127.0.0.1", self.port)).and_then(|mut stream| {
                stream.set_read_timeout(Some(PATIENCE))?;
                write!(stream, "{}Connection: close\r\n\r\n", self.head("GET", path))?;
                stream.read_to_end(&mut bytes)
            });
            if read.is_ok() && !bytes.is_empty() {
                return Answer::of(&String::from_utf8_lossy(&bytes));
            }
            assert!(started.elapsed() < PATIENCE, "{path} is never answered");
        }
    }

    fn send(&self, head: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "{head}Connection: close\r\n\r\n{body}").unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        Answer::of(&String::from_utf8_lossy(&bytes))
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send(&self.head("GET", path), "")
    }

    /// Sends a form as it is.
    pub(crate) fn post(&self, path: &str, form: &str) -> Answer {
        self.post_as("application/x-www-form-urlencoded", path, form)
    }

    /// The same, of another kind.
    pub(crate) fn post_as(&self, kind: &str, path: &str, body: &str) -> Answer {
        let head = self.head("POST", path);
        let about = format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len());
        self.send(&(head + &about), body)
    }

    /// Sends a form with what a page of this browser's session carries, from a page of this console.
    pub(crate) fn order(&self, page: &str, path: &str, form: &str) -> Answer {
        let csrf = self.get(page).field("csrf").unwrap();
        let scheme = if self.headers.contains("https") { "https" } else { "http" };
        let own = self.with(&format!("Origin: {scheme}://{}", self.host));
        own.with("Sec-Fetch-Site: same-origin").post(path, &format!("csrf={csrf}&{form}"))
    }

    /// Keeps the cookie of an answer.
    pub(crate) fn keep(&mut self, answer: &Answer) {
        let cookie = answer.header("set-cookie").and_then(|text| text.split(';').next());
        self.cookie = cookie.map(ToOwned::to_owned);
    }

    /// Signs in by a form.
    pub(crate) fn sign_in(&mut self, form: &str) -> Answer {
        let answer = self.post("/sign-in", form);
        self.keep(&answer);
        answer
    }
}

/// Reads until a text has come.
pub(crate) fn until_read(stream: &mut TcpStream, wanted: &str) -> String {
    let (mut text, mut bytes) = (String::new(), [0; 4_096]);
    while !text.contains(wanted) {
        let read = stream.read(&mut bytes).unwrap();
        assert!(read > 0, "ended without `{wanted}`: {text}");
        text += &String::from_utf8_lossy(&bytes[..read]);
    }
    text
}
