//! The console in a real Chromium: every page, and a day's work. The scenarios are in `tests/browser`; they
//! ask here for what happens outside the browser.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::console::shown;
use crate::console_connect::Begun;
use crate::rig::{Rig, listening, options, small};

/// What scenarios are made with.
pub(crate) const MODULES: &str = ".tools/browser/node_modules";

/// A scenario that runs.
pub(crate) struct Scenario {
    child: std::process::Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Scenario {
    async fn start(rig: &Rig, port: u16, name: &str) -> Self {
        Self::spawn(
            name,
            serde_json::json!({
                "base": format!("http://localhost:{port}"),
                "link": link(rig).await,
            }),
        )
    }

    pub(crate) fn spawn(name: &str, about: serde_json::Value) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let modules = root.join(MODULES);
        assert!(modules.exists(), "{} is missing: run `make e2e`", modules.display());
        let mut child = Command::new("node")
            .arg(root.join("tests/browser").join(name))
            .arg(about.to_string())
            .current_dir(&root)
            .env("CMSYNC_NODE_MODULES", modules)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// What it asks for next; `None` once it ended well.
    pub(crate) fn next(&mut self) -> Option<String> {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        if line.is_empty() {
            let mut wrong = String::new();
            let mut errors = self.child.stderr.take().unwrap();
            std::io::Read::read_to_string(&mut errors, &mut wrong).unwrap();
            let status = self.child.wait().unwrap();
            assert!(status.success(), "{wrong}");
            return None;
        }
        Some(line.trim().strip_prefix("ask ").unwrap_or_default().to_owned())
    }

    fn answer(&mut self, text: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{text}").unwrap();
    }
}

impl Drop for Scenario {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A link that signs in once.
async fn link(rig: &Rig) -> String {
    let output = rig.run(&["console"]).await;
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_whole_by_day_and_night_on_a_desk_and_on_a_phone() {
    let (rig, browser) = shown().await;
    let mut scenario = Scenario::start(&rig, browser.port(), "pages.mjs").await;
    let ended = tokio::task::spawn_blocking(move || scenario.next()).await.unwrap();
    assert_eq!(ended, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_set_up_in_the_browser() {
    let begun = Begun::new().await;
    let typed: serde_json::Map<String, serde_json::Value> =
        begun.typed().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let about = serde_json::json!({
        "base": format!("http://localhost:{}", begun.port),
        "link": begun.link().await,
        "typed": typed,
    });
    let mut scenario = Scenario::spawn("wizard.mjs", about);
    let ask = |mut scenario: Scenario| {
        tokio::task::spawn_blocking(move || {
            let asked = scenario.next();
            (scenario, asked)
        })
    };
    let (next, asked) = ask(scenario).await.unwrap();
    scenario = next;
    assert_eq!(asked.as_deref(), Some("equal"), "{}", begun.log());
    begun.until_equal().await;
    scenario.answer("done");
    assert_eq!(ask(scenario).await.unwrap().1, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_days_work_is_done_in_the_browser() {
    let mut rig = Rig::with(options(small()), r#"["PS100000", "PS100001"]"#, "").await;
    let (config, port) = listening(&rig.config);
    rig.config = config;
    rig.start();
    rig.until_equal(&["PS100000", "PS100001"].map(ToOwned::to_owned)).await;
    let mut scenario = Scenario::start(&rig, port, "work.mjs").await;
    loop {
        let (next, asked) = tokio::task::spawn_blocking(move || {
            let asked = scenario.next();
            (scenario, asked)
        })
        .await
        .unwrap();
        scenario = next;
        let Some(asked) = asked else { return };
        let said = act(&mut rig, &asked).await;
        scenario.answer(&said);
    }
}

/// Does what happens outside the browser.
async fn act(rig: &mut Rig, asked: &str) -> String {
    let mut words = asked.split(' ');
    match words.next().unwrap_or_default() {
        order @ ("pause" | "resume") => {
            assert!(rig.run(&["connection", order, "lab"]).await.status.success());
        }
        "equal" => {
            let kept: Vec<String> = words.map(ToOwned::to_owned).collect();
            rig.until_equal(&kept).await;
        }
        "secret" => {
            rig.give_secret("renewed~Q");
            return "renewed~Q".into();
        }
        "hold" => drop(rig.hold_removal("PS100003").await),
        "letter" => {
            let (members, others) =
                ["PS100003", "PS100000"].map(|id| rig.lab.world().computers(id)).into();
            let device = members.keys().find(|id| !others.contains_key(*id)).unwrap();
            // Of ids so near to each other, this one alone leaves 7.
            rig.lab.faults().bad_rows = Some(u64::from(*device) - 7);
            let resend = ["collections", "resend", "lab", "PS100003"];
            assert!(rig.run(&resend).await.status.success());
            until_letters(rig, 1).await;
        }
        "mended" => rig.lab.faults().bad_rows = None,
        "no-letters" => until_letters(rig, 0).await,
        "stop" => assert!(rig.terminate().await.success()),
        "start" => rig.start(),
        "link" => return link(rig).await,
        other => panic!("the scenario asks for `{other}`"),
    }
    "done".into()
}

async fn until_letters(rig: &mut Rig, count: usize) {
    let lab = Arc::clone(&rig.lab);
    let mut taken = lab.workspace.taken();
    let started = std::time::Instant::now();
    loop {
        assert!(started.elapsed() < crate::rig::PATIENCE, "never {count} letters");
        let letters = rig.json(&["dead-letters", "list"]).await;
        if letters.as_array().unwrap().len() == count {
            return;
        }
        drop(tokio::time::timeout(std::time::Duration::from_millis(200), taken.changed()).await);
    }
}
