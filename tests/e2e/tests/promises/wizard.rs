//! `cmsync connect` as a person uses it: through a real pseudo-terminal, down to 40 columns.

use std::io::{Read as _, Write as _};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use crate::connect::{BY_CLI, Desk};
use crate::rig::{binary, options, own_variables, small};

/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(60);
const DOWN: &str = "\u{1b}[B";
const CTRL_C: &str = "\u{3}";

/// A person at a terminal.
struct Person {
    screen: vt100::Parser,
    output: Receiver<Vec<u8>>,
    keys: Box<dyn std::io::Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    /// Everything that was shown.
    all: String,
    _terminal: Box<dyn MasterPty + Send>,
}

impl Person {
    fn sits_down(desk: &Desk, arguments: &[&str], (rows, cols): (u16, u16)) -> Self {
        let size = PtySize { rows, cols, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(binary());
        command.arg("--config");
        command.arg(&desk.config);
        command.args(arguments);
        command.env("TERM", "xterm-256color");
        let path = std::env::var("PATH").unwrap();
        let bin = desk.directory.path().join("bin");
        command.env("PATH", format!("{}:{path}", bin.display()));
        own_variables().for_each(|name| command.env_remove(name));
        let child = pair.slave.spawn_command(command).unwrap();
        let mut reader = pair.master.try_clone_reader().unwrap();
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        let keys = pair.master.take_writer().unwrap();
        let screen = vt100::Parser::new(rows, cols, 5_000);
        Self { screen, output, keys, child, all: String::new(), _terminal: pair.master }
    }

    /// What is on the screen, without the breaks of its lines.
    fn shown(&self) -> String {
        let rows = self.screen.screen().rows(0, self.screen.screen().size().1);
        rows.map(|row| row.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
    }

    fn reads_on(&mut self, wait: Duration) -> bool {
        let Ok(bytes) = self.output.recv_timeout(wait) else {
            return false;
        };
        self.all.push_str(&String::from_utf8_lossy(&bytes));
        self.screen.process(&bytes);
        // A terminal is asked where its cursor is.
        if bytes.windows(4).any(|w| w == b"\x1b[6n") {
            let (row, column) = self.screen.screen().cursor_position();
            let answer = format!("\u{1b}[{};{}R", row + 1, column + 1);
            self.keys.write_all(answer.as_bytes()).unwrap();
        }
        true
    }

    /// Reads until the question is asked.
    fn until(&mut self, question: &str) {
        let started = Instant::now();
        let squeezed = |text: &str| text.split_whitespace().collect::<String>();
        let wanted = squeezed(question);
        while !squeezed(&self.shown()).contains(&wanted) {
            assert!(started.elapsed() < PATIENCE, "no `{question}` on:\n{}", self.shown());
            self.reads_on(Duration::from_millis(200));
        }
    }

    fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Waits for a question and answers it.
    fn answers(&mut self, question: &str, keys: &str) {
        self.until(question);
        self.types(&format!("{keys}\r"));
    }

    /// Reads to the end; whether all went well.
    fn ends(&mut self) -> bool {
        let started = Instant::now();
        loop {
            while self.reads_on(Duration::from_millis(50)) {}
            if let Some(status) = self.child.try_wait().unwrap() {
                while self.reads_on(Duration::from_millis(50)) {}
                return status.success();
            }
            assert!(started.elapsed() < PATIENCE, "it does not end:\n{}", self.shown());
        }
    }
}

/// A desk whose configuration knows where the lab's Azure is, and nothing else.
async fn desk() -> Desk {
    let desk = Desk::new(options(small()), BY_CLI).await;
    desk.lab.resources().put_workspace("Enabled");
    desk
}

/// What a pretend cloud needs besides what a person would be asked.
fn lab_endpoints(desk: &Desk) -> Vec<String> {
    let url = desk.lab.url();
    let ca = desk.directory.path().join("lab-ca.pem");
    let mut arguments: Vec<String> = ["authority", "query", "resource_manager", "graph"]
        .iter()
        .map(|key| format!("workspace.endpoints.{key}={url}"))
        .collect();
    arguments.push(format!("workspace.ca_file={}", ca.display()));
    arguments.into_iter().flat_map(|pair| ["--set".to_owned(), pair]).collect()
}

fn sits_down(desk: &Desk, size: (u16, u16)) -> Person {
    let endpoints = lab_endpoints(desk);
    let mut arguments = vec!["connect"];
    arguments.extend(endpoints.iter().map(String::as_str));
    Person::sits_down(desk, &arguments, size)
}

/// The pages of the site and the identity.
fn first_pages(person: &mut Person, desk: &Desk) {
    let file = |name: &str| desk.directory.path().join(name).display().to_string();
    person.answers("Name of the connection", "lab");
    person.answers("Description", "The lab");
    person.answers("Administration service", &format!("{}/AdminService_TokenAuth", desk.lab.url()));
    person.answers("Certificate authority", &file("lab-ca.pem"));
    person.answers("How is the site signed in to?", "");
    person.answers("File with a bearer token", &file("site-token"));
    person.answers("Logon name of the account", "CONTOSO\\svc-cmsync");
    person.until("top tier of");
    person.answers("How does cmsync sign in?", "");
    person.answers("Client secret", &desk.lab.options.client_secret);
    person.answers("Day on which it ends", "");
    person.answers("Directory (tenant) id", &desk.lab.options.tenant);
    person.answers("Application (client) id", &desk.lab.options.client_id);
    person.answers("Who sets up in Azure?", "");
    person.until("cmsync of the lab");
    person.until("Contoso Lab");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_at_a_terminal_gets_from_nothing_to_equal_groups() {
    let desk = desk().await;
    tokio::task::block_in_place(|| {
        let mut person = sits_down(&desk, (40, 100));
        person.until("What you need");
        first_pages(&mut person, &desk);
        person.answers("Workspace", "");
        person.answers("Which collections?", DOWN);
        person.answers("Pattern", "*");
        person.until("memberships");
        person.until("send heartbeats to this workspace");
        person.answers("Import now?", "");
        person.until("data collection rule: would be made");
        person.answers("Go on?", "");
        let is_well = person.ends();
        assert!(is_well && person.shown().contains("Complete"), "{}", person.shown());
        assert!(!person.all.contains(&desk.lab.options.client_secret), "the secret was shown");
    });
    desk.assert_equal();
    let secret = desk.directory.path().join("lab.client-secret");
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
    let writes = desk.writes();
    let again = desk.run(&["connect", "lab", "--yes"]).await;
    crate::connect::assert_done(&again);
    assert_eq!(desk.writes(), writes);
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_columns_are_enough() {
    let desk = desk().await;
    tokio::task::block_in_place(|| {
        let mut person = sits_down(&desk, (60, 40));
        first_pages(&mut person, &desk);
        person.answers("Workspace", "");
        person.answers("Which collections?", "");
        // Marked by its number, one of them.
        person.until("Collections");
        person.types("PS100003");
        person.until("PS100003");
        person.types(" \r");
        person.answers("Import now?", "n");
        person.answers("Go on?", "");
        assert!(person.ends(), "{}", person.shown());
    });
    let file = std::fs::read_to_string(&desk.config).unwrap();
    assert!(
        file.contains("collections = [\"PS100003\"]") && file.contains("import = false"),
        "{file}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_at_any_page_it_goes_on_with_the_answers_that_were_given() {
    let desk = desk().await;
    tokio::task::block_in_place(|| {
        let pages = answers(&desk);
        for (stop, _) in &pages {
            stops_at(&desk, &pages, stop);
        }
        let mut person = sits_down(&desk, (40, 100));
        answer_until(&mut person, &pages, "nothing");
        assert!(person.ends(), "{}", person.shown());
    });
    desk.assert_equal();
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_at_the_pages_of_another_way_nothing_was_changed() {
    let desk = desk().await;
    let down = |times: usize| DOWN.repeat(times);
    let sign_in = "How is the site signed in to?";
    let identity = "How does cmsync sign in?";
    tokio::task::block_in_place(|| {
        for (choices, stop) in [
            (vec![(sign_in, down(1))], "Principal"),
            (vec![(sign_in, down(1)), ("Principal", "a@B".into())], "Keytab"),
            (vec![(sign_in, down(2)), ("Principal", "a@B".into())], "Ticket cache"),
            (vec![(sign_in, down(3))], "Application ID URI"),
            (vec![(identity, down(1))], "Certificate and key"),
            (vec![("Application (client) id", "wrong".into())], "Answer again?"),
            (vec![("Which collections?", String::new())], "Collections"),
            (vec![("Which collections?", down(2))], "Folder"),
        ] {
            let mut pages = answers(&desk);
            pages.retain(|(question, _)| choices.iter().all(|(chosen, _)| chosen != question));
            pages.extend(choices);
            stops_at(&desk, &pages, stop);
            drop(std::fs::remove_file(desk.directory.path().join("cmsync-connect-lab.toml")));
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_may_take_the_tokens_of_the_identity_in_azure() {
    let desk = desk().await;
    tokio::task::block_in_place(|| {
        let mut pages = answers(&desk);
        pages.retain(|(question, _)| !question.starts_with("How is the site"));
        pages.push(("How is the site signed in to?", DOWN.repeat(3)));
        pages.push(("Application ID URI", cmsync_lab::server::SITE_AUDIENCE.into()));
        let mut person = sits_down(&desk, (40, 100));
        answer_until(&mut person, &pages, "nothing");
        assert!(person.ends(), "{}", person.shown());
    });
    let file = std::fs::read_to_string(&desk.config).unwrap();
    assert!(file.contains("entra") && !file.contains("bearer_token_file"), "{file}");
    desk.assert_equal();
}

fn stops_at(desk: &Desk, pages: &[(&str, String)], stop: &str) {
    let mut person = sits_down(desk, (40, 100));
    answer_until(&mut person, pages, stop);
    person.types(CTRL_C);
    assert!(!person.ends(), "{stop}: {}", person.shown());
    assert!(person.shown().contains("stopped"), "{stop}: {}", person.shown());
    assert_eq!(desk.writes(), 0, "{stop}");
}

/// What is asked on the shortest way, and its answers.
fn answers(desk: &Desk) -> Vec<(&'static str, String)> {
    let file = |name: &str| desk.directory.path().join(name).display().to_string();
    vec![
        ("Name of the connection", "lab".to_owned()),
        ("Description", "The lab".to_owned()),
        ("Administration service", format!("{}/AdminService_TokenAuth", desk.lab.url())),
        ("Certificate authority of the site", file("lab-ca.pem")),
        ("How is the site signed in to?", String::new()),
        ("File with a bearer token", file("site-token")),
        ("Logon name of the account", "CONTOSO\\svc-cmsync".to_owned()),
        ("How does cmsync sign in?", String::new()),
        ("Client secret", desk.lab.options.client_secret.clone()),
        ("Day on which it ends", String::new()),
        ("Directory (tenant) id", desk.lab.options.tenant.clone()),
        ("Application (client) id", desk.lab.options.client_id.clone()),
        ("Who sets up in Azure?", String::new()),
        ("Workspace", String::new()),
        ("Which collections?", DOWN.to_owned()),
        ("Pattern", "*".to_owned()),
        ("Import now?", String::new()),
        ("Go on?", String::new()),
    ]
}

/// Answers whatever is asked, until `stop` is.
fn answer_until(person: &mut Person, answers: &[(&str, String)], stop: &str) {
    let started = Instant::now();
    let mut answered = std::collections::BTreeSet::new();
    loop {
        assert!(started.elapsed() < PATIENCE, "no `{stop}` on:\n{}", person.shown());
        // The line that waits for an answer begins with a question mark.
        let shown = person.shown();
        let open = shown.lines().rfind(|line| line.starts_with("? ")).unwrap_or_default();
        if open.contains(stop) {
            return;
        }
        let known = answers.iter().find(|(question, _)| open.contains(question));
        match known {
            Some((question, keys)) if answered.insert(*question) => {
                person.types(&format!("{keys}\r"));
                if *question == "Go on?" {
                    return;
                }
            }
            _ => drop(person.reads_on(Duration::from_millis(100))),
        }
    }
}
