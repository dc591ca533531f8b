//! The console: what it changes of the configuration, and what it does when it cannot.

use std::path::PathBuf;

use crate::browser::{Answer, Browser};
use crate::console::signed_in;
use crate::rig::{Rig, listening, options, small};

/// A rig with two collections of its own choice, and an operator's browser.
async fn operated() -> (Rig, Browser) {
    let mut rig = Rig::with(options(small()), r#"["PS100000", "PS100001"]"#, "").await;
    let (config, port): (PathBuf, u16) = listening(&rig.config);
    rig.config = config;
    rig.start();
    let kept = ["PS100000", "PS100001"].map(ToOwned::to_owned);
    rig.until_equal(&kept).await;
    let browser = signed_in(&rig, &Browser::here(port)).await;
    (rig, browser)
}

const WORKSPACE: &str = "/connections/lab/workspace";
const COLLECTIONS: &str = "/connections/lab/collections";
const IDENTITY: &str = "/connections/lab/identity";

fn seen(browser: &Browser, page: &str) -> String {
    browser.get(page).field("seen").unwrap()
}

/// What the page says that an answer leads to.
pub(crate) fn said(browser: &Browser, answer: &Answer) -> String {
    let page = browser.get(answer.header("location").unwrap_or("/nothing")).body;
    let (_, rest) = page.split_once("<p class=\"done\" role=\"status\">").unwrap_or_default();
    rest.split_once('<').map(|(said, _)| said.to_owned()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_are_added_and_removed_on_their_page() {
    let (mut rig, browser) = operated().await;
    let page = browser.get(&format!("{COLLECTIONS}?q=PS100003"));
    assert!(page.body.contains("value=\"PS100003\""), "{}", page.body);
    assert!(!page.body.contains("value=\"PS100000\""), "what is kept is not offered");
    let print = page.field("seen").unwrap();
    let form = format!("seen={print}&entry=PS100003&entry=PS100002");
    let added = browser.order(WORKSPACE, COLLECTIONS, &form);
    assert_eq!(added.status, 303, "{added:?}");
    assert!(said(&browser, &added).contains("added"), "{added:?}");
    let kept = ["PS100000", "PS100001", "PS100002", "PS100003"].map(ToOwned::to_owned);
    rig.until_equal(&kept).await;
    let entries = browser.get(WORKSPACE).body;
    assert!(entries.contains("value=\"&#34;PS100003&#34;\""), "{entries}");
    let form = format!("seen={}&entry=%22PS100001%22", seen(&browser, WORKSPACE));
    let removed = browser.order(WORKSPACE, &format!("{COLLECTIONS}/remove"), &form);
    assert!(
        said(&browser, &removed).contains("the rows of 1 collection are closed"),
        "{removed:?}"
    );
    rig.until_equal(&["PS100000", "PS100002", "PS100003"].map(ToOwned::to_owned)).await;
    let lab = std::sync::Arc::clone(&rig.lab);
    let left = ["PS100000", "PS100002", "PS100003"].map(ToOwned::to_owned);
    rig.until(move || lab.compare_groups(&left).is_empty().then_some(())).await;
    let file = std::fs::read_to_string(&rig.config).unwrap();
    assert!(file.contains("PS100003") && !file.contains("PS100001"), "{file}");
    // The last is not removed so, and nothing that is not there is added.
    let print = seen(&browser, WORKSPACE);
    for (path, form) in [
        (COLLECTIONS.to_owned(), "entry=PS1XXXXX"),
        (COLLECTIONS.to_owned(), "pattern=Nothing+fits+*"),
        (COLLECTIONS.to_owned(), ""),
        (format!("{COLLECTIONS}/remove"), ""),
        (format!("{COLLECTIONS}/remove"), "entry=PS1XXXXX"),
        (format!("{COLLECTIONS}/remove"), "entry=PS100000&entry=PS100002&entry=PS100003"),
    ] {
        let refused = browser.order(WORKSPACE, &path, &format!("seen={print}&{form}"));
        assert_eq!(refused.status, 422, "{form}: {refused:?}");
        assert!(refused.body.contains("role=\"alert\""), "{form}: {refused:?}");
    }
    assert_eq!(std::fs::read_to_string(&rig.config).unwrap(), file);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_older_than_the_file_overwrites_nothing() {
    let (rig, browser) = operated().await;
    let print = seen(&browser, WORKSPACE);
    assert!(rig.run(&["collections", "add", "lab", "PS100003"]).await.status.success());
    let file = std::fs::read_to_string(&rig.config).unwrap();
    let form = format!("seen={print}&entry=%22PS100003%22");
    let stale = browser.order(WORKSPACE, &format!("{COLLECTIONS}/remove"), &form);
    assert_eq!(stale.status, 409, "{stale:?}");
    assert!(stale.body.contains("changed since it was shown"), "{}", stale.body);
    assert!(stale.body.contains("value=\"&#34;PS100003&#34;\""), "what is there now is shown");
    assert_eq!(std::fs::read_to_string(&rig.config).unwrap(), file);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_the_file_does_not_take_is_offered_as_text() {
    let (rig, browser) = operated().await;
    let print = seen(&browser, WORKSPACE);
    // Whoever runs as root writes everywhere: a directory in the way of the new file stops it too.
    std::fs::create_dir(rig.config.with_extension("toml.new")).unwrap();
    let form = format!("seen={print}&entry=PS100003");
    let refused = browser.order(WORKSPACE, COLLECTIONS, &form);
    assert_eq!(refused.status, 409, "{refused:?}");
    assert!(refused.body.contains("cannot be written"), "{}", refused.body);
    assert!(refused.body.contains("PS100003&#34;]"), "{}", refused.body);
    assert!(refused.body.contains("cmsync collections add lab &#39;PS100003&#39;"));
    // Said once, and by no address that somebody else may write.
    assert!(!browser.get(&format!("{IDENTITY}?said=hello")).body.contains("hello"));
    assert!(!std::fs::read_to_string(&rig.config).unwrap().contains("PS100003"));
    // A file that cannot be used says where.
    std::fs::write(&rig.config, "nonsense = 1\n").unwrap();
    let broken = browser.get(WORKSPACE);
    assert_eq!(broken.status, 422, "{broken:?}");
    assert!(broken.body.contains("nonsense"), "{}", broken.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn import_is_turned_off_and_on_again() {
    let (mut rig, browser) = operated().await;
    let set = |how: &str| {
        let form = format!("seen={}&import={how}", seen(&browser, WORKSPACE));
        browser.order(WORKSPACE, &format!("{WORKSPACE}/import"), &form)
    };
    assert!(said(&browser, &set("off")).contains("disabled"));
    rig.until_status("producer", "Paused").await;
    assert!(browser.get("/connections/lab").body.contains("Import is off"));
    rig.lab.world().change_members("PS100000", &[cmsync_lab::world::CLIENTS], &[]);
    assert!(said(&browser, &set("on")).contains("enabled"));
    rig.until_equal(&["PS100000", "PS100001"].map(ToOwned::to_owned)).await;
    assert_eq!(set("perhaps").status, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_verified_and_renewed_and_shown_nowhere() {
    let (mut rig, browser) = operated().await;
    let verify = || browser.order(IDENTITY, &format!("{IDENTITY}/verify"), "");
    assert!(said(&browser, &verify()).contains("accepted"));
    let path = format!("{IDENTITY}/renew");
    let wrong = browser.order(IDENTITY, &path, "client_secret=wr0ng-s3cret&expires=2031-05-06");
    assert_eq!(wrong.status, 422, "{wrong:?}");
    assert!(wrong.body.contains("the old one stays"), "{}", wrong.body);
    // What was typed is there still, but for the secret.
    assert_eq!(wrong.field("expires").as_deref(), Some("2031-05-06"));
    assert!(!wrong.body.contains("wr0ng-s3cret") && !rig.log().contains("wr0ng-s3cret"));
    rig.give_secret("n3w-s3cret");
    let renewed = browser.order(IDENTITY, &path, "client_secret=n3w-s3cret&expires=2031-05-06");
    assert!(said(&browser, &renewed).contains("accepted and written"), "{renewed:?}");
    let page = browser.get(IDENTITY).body;
    assert!(page.contains("2031-05-06") && page.contains("n3w…"), "{page}");
    assert!(!page.contains("n3w-s3cret") && !rig.log().contains("n3w-s3cret"));
    rig.lab.world().change_members("PS100000", &[cmsync_lab::world::CLIENTS], &[]);
    rig.until_equal(&["PS100000", "PS100001"].map(ToOwned::to_owned)).await;
}
