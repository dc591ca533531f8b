//! `cmsync connect`: from nothing to true computer groups, run again, stopped anywhere, with every
//! right that may be missing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use cmsync_lab::arm::{CUSTOM, GROUP, SUBSCRIPTION, WORKSPACE};
use cmsync_lab::server::ADMINISTRATOR;
use cmsync_lab::{Lab, Options};
use serde_json::json;

use crate::rig::{QUICK, binary, options, own_variables, small, stderr};

/// Set-up by the administrator's login.
pub(crate) const BY_CLI: &str = "[setup]\nlogin = \"azure-cli\"\n";
pub(crate) const ALL: &str = r#"[{ name = "*" }]"#;

/// A lab with a subscription, and the files of somebody who sets up.
pub(crate) struct Desk {
    pub(crate) lab: Arc<Lab>,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) config: PathBuf,
    pub(crate) answers: PathBuf,
}

impl Desk {
    pub(crate) async fn new(options: Options, setup: &str) -> Self {
        let lab = Lab::start(Options { is_bare: true, ..options }).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let (config, answers) = lab.write_answers(directory.path(), (ALL, setup), QUICK).unwrap();
        lab.write_az(&directory.path().join("bin")).unwrap();
        Self { lab, directory, config, answers }
    }

    /// With an empty workspace.
    pub(crate) async fn with_workspace(options: Options) -> Self {
        let desk = Self::new(options, BY_CLI).await;
        desk.lab.resources().put_workspace("Enabled");
        desk
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.arg("--config").arg(&self.config).args(arguments);
        let path = std::env::var("PATH").unwrap();
        let bin = self.directory.path().join("bin");
        command.env("PATH", format!("{}:{path}", bin.display()));
        own_variables().for_each(|name| {
            command.env_remove(name);
        });
        command
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// Set-up with the file of answers and more.
    pub(crate) async fn connect(&self, more: &[&str]) -> Output {
        let answers = self.answers.to_str().unwrap();
        self.run(&[&["connect", "--answers", answers], more].concat()).await
    }

    /// The file of answers.
    pub(crate) fn told(&self) -> String {
        std::fs::read_to_string(&self.answers).unwrap()
    }

    pub(crate) fn writes(&self) -> usize {
        self.lab.resources().writes.len()
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.lab.resources().ids()
    }

    /// The workspace equals the site, rows and groups.
    pub(crate) fn assert_equal(&self) {
        let all = self.lab.device_collections();
        let report = self.lab.compare(&all);
        assert!(report.equal, "{:#?}", report.differences);
        assert_eq!(self.lab.compare_groups(&all), Vec::<String>::new());
    }
}

pub(crate) fn assert_done(output: &Output) {
    assert!(output.status.success(), "{}", stderr(output));
}

fn assert_says(output: &Output, parts: &[&str]) {
    let text = stderr(output);
    assert!(!output.status.success(), "{text}");
    for part in parts {
        assert!(text.contains(part), "`{part}` is missing from: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_workspace_has_equal_groups_after_one_run_and_a_second_changes_nothing() {
    let desk = Desk::with_workspace(options(small())).await;
    let first = desk.connect(&[]).await;
    assert_done(&first);
    desk.assert_equal();
    let rule = format!("{GROUP}/providers/Microsoft.Insights/dataCollectionRules/cmsync-lab");
    let role = |name: &str, on: &str| (name.to_owned(), on.to_lowercase());
    assert_eq!(
        desk.lab.resources().roles_of(&desk.lab.options.object_id),
        [
            role("Log Analytics Contributor", WORKSPACE),
            role("Log Analytics Reader", WORKSPACE),
            role("Monitoring Metrics Publisher", &rule),
        ]
    );
    assert!(!stderr(&first).contains(&desk.lab.options.client_secret));
    let file = std::fs::read_to_string(&desk.config).unwrap();
    let writes = desk.writes();
    let second = desk.run(&["connect", "lab", "--yes"]).await;
    assert_done(&second);
    assert_eq!(desk.writes(), writes, "{}", stderr(&second));
    assert_eq!(std::fs::read_to_string(&desk.config).unwrap(), file);
    let check = desk.run(&["check"]).await;
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_synchronisation_and_the_end_of_a_connection_need_no_port() {
    let desk = Desk::with_workspace(options(small())).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let text = std::fs::read_to_string(&desk.config).unwrap();
    let listen = format!("listen = \"{}\"", taken.local_addr().unwrap());
    std::fs::write(&desk.config, text.replace("listen = \"\"", &listen)).unwrap();
    assert_done(&desk.connect(&[]).await);
    desk.assert_equal();
    let asked = desk.run(&["disconnect", "lab"]).await;
    assert_says(&asked, &["What taking `lab` back does", "`--yes`"]);
    desk.assert_equal();
    assert_done(&desk.run(&["disconnect", "lab", "--yes"]).await);
    let none = desk.run(&["status"]).await;
    assert_says(&none, &["at least one is needed", "`cmsync connect` sets one up"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_of_one_connection_and_what_else_they_hold_is_refused() {
    let desk = Desk::with_workspace(options(small())).await;
    let text = std::fs::read_to_string(&desk.answers).unwrap();
    std::fs::write(
        &desk.answers,
        format!("revision = 2\n[queue]\nmax_size = \"1GB\"\n{text}[http]\n"),
    )
    .unwrap();
    let refused = desk.connect(&["--plan"]).await;
    assert_says(
        &refused,
        &["toml: http: ", "toml: queue: ", "toml: revision: ", "the configuration"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_and_its_group_are_made_where_there_are_none() {
    let setup = format!(
        "{BY_CLI}resource_group = \"logs\"\nworkspace = \"contoso-logs\"\nlocation = \"northeurope\"\n"
    );
    let desk = Desk::new(options(small()), &setup).await;
    assert_done(&desk.connect(&[]).await);
    desk.assert_equal();
    let id = format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/logs/providers/Microsoft.OperationalInsights/workspaces/contoso-logs"
    );
    assert_eq!(desk.lab.resources().get(&id).unwrap()["location"], "northeurope");
    let writes = desk.writes();
    assert_done(&desk.connect(&[]).await);
    assert_eq!(desk.writes(), writes);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_each_step_and_run_again_it_ends_the_same() {
    let setup = format!(
        "{BY_CLI}resource_group = \"logs\"\nworkspace = \"contoso-logs\"\nlocation = \"northeurope\"\n"
    );
    let desk = Desk::new(options(small()), &setup).await;
    // Resource group, workspace, two tables, rule, diagnostic setting and three roles.
    for step in 1..=9 {
        desk.lab.faults().hangs_after_write = Some(step);
        let answers = desk.answers.to_str().unwrap();
        let mut command = desk.command(&["connect", "--answers", answers]);
        let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
        desk.lab.hung().await;
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(desk.writes(), step);
    }
    desk.lab.faults().hangs_after_write = None;
    assert_done(&desk.connect(&["--no-sync"]).await);
    assert_eq!(desk.writes(), 9, "what was made is found, and nothing else was missing");
    assert_done(&desk.run(&["connect", "lab", "--yes"]).await);
    desk.assert_equal();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_missing_right_has_its_own_message_and_remedy() {
    let desk = Desk::with_workspace(options(small())).await;
    let has = |roles: &[&str]| {
        let mut resources = desk.lab.resources();
        resources.revoke_all(ADMINISTRATOR);
        for role in roles {
            resources.grant(ADMINISTRATOR, role, &format!("/subscriptions/{SUBSCRIPTION}"));
        }
    };
    has(&[]);
    assert_says(&desk.connect(&[]).await, &["no subscription can be seen", "Reader"]);
    has(&["Reader"]);
    let table =
        ["make the table `ConfigMgrCollectionMember_CL`", "Log Analytics Contributor", WORKSPACE];
    assert_says(&desk.connect(&[]).await, &table);
    has(&["Log Analytics Contributor"]);
    let rule = ["make the data collection rule `cmsync-lab`", "Monitoring Contributor", GROUP];
    assert_says(&desk.connect(&[]).await, &rule);
    // Without the right to assign roles it goes on to the end, and says who must do what.
    has(&["Log Analytics Contributor", "Monitoring Contributor"]);
    let principal = &desk.lab.options.object_id;
    let command =
        format!("--assignee-object-id {principal} --assignee-principal-type ServicePrincipal");
    let parts =
        ["role Monitoring Metrics Publisher on cmsync-lab", "az role assignment create", &command];
    assert_says(&desk.connect(&["--wait", "0s"]).await, &parts);
    let rule = format!("{GROUP}/providers/Microsoft.Insights/dataCollectionRules/cmsync-lab");
    desk.lab.resources().grant(principal, "Monitoring Metrics Publisher", &rule);
    desk.lab.resources().grant(principal, "Log Analytics Contributor", WORKSPACE);
    desk.lab.resources().grant(principal, "Log Analytics Reader", WORKSPACE);
    assert_done(&desk.connect(&[]).await);
    desk.assert_equal();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_of_ones_own_is_enough_for_the_groups() {
    let desk = Desk::with_workspace(options(small())).await;
    let role = format!("setup.groups_role={CUSTOM}");
    assert_done(&desk.connect(&["--set", &role]).await);
    desk.assert_equal();
    let roles = desk.lab.resources().roles_of(&desk.lab.options.object_id);
    let names: Vec<&str> = roles.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Log Analytics Reader", "Monitoring Metrics Publisher", "cmsync groups"]);
    assert_done(&desk.run(&["disconnect", "lab", "--yes"]).await);
    assert_eq!(desk.lab.resources().roles_of(&desk.lab.options.object_id), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_changes_nothing_and_names_every_step() {
    let desk = Desk::with_workspace(options(small())).await;
    let before = desk.ids();
    let output = desk.connect(&["--plan"]).await;
    assert_done(&output);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text.lines().filter(|line| line.ends_with("would be made")).count(), 7, "{text}");
    assert_eq!((desk.writes(), desk.ids()), (0, before));
    assert!(!std::fs::read_to_string(&desk.config).unwrap().contains("connections"));
    assert!(!desk.directory.path().join("cmsync-connect-lab.toml").exists());
    assert_done(&desk.connect(&["--no-sync"]).await);
    let again = desk.connect(&["--plan"]).await;
    let text = String::from_utf8_lossy(&again.stdout).into_owned();
    assert_eq!(text.lines().filter(|line| line.ends_with("is there")).count(), 7, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_somebody_else_deploys_leaves_nothing_to_do() {
    let desk = Desk::with_workspace(options(small())).await;
    let file = desk.directory.path().join("cmsync.json");
    let output = desk.connect(&["--template", file.to_str().unwrap()]).await;
    assert_done(&output);
    assert_eq!(desk.writes(), 0);
    assert!(stderr(&output).contains("az deployment group create"), "{}", stderr(&output));
    let template = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(desk.lab.deploy(GROUP, &template), Vec::<String>::new());
    let (deployed, writes) = (desk.ids(), desk.writes());
    assert_done(&desk.connect(&["--no-sync"]).await);
    assert_eq!((desk.ids(), desk.writes()), (deployed, writes));
    assert_done(&desk.connect(&[]).await);
    desk.assert_equal();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_workspace_gets_an_endpoint_and_what_is_missing_is_told() {
    let desk = Desk::new(options(small()), BY_CLI).await;
    desk.lab.resources().put_workspace("Disabled");
    let output = desk.connect(&[]).await;
    assert_done(&output);
    assert!(stderr(&output).contains("Private Link Scope"), "{}", stderr(&output));
    let id = format!("{GROUP}/providers/Microsoft.Insights/dataCollectionEndpoints/cmsync-lab");
    assert!(desk.lab.resources().get(&id).is_some());
    desk.assert_equal();
}

/// What makes a set-up impossible, with the words that say so.
type Obstacle = (&'static str, fn(&Lab), &'static [&'static str]);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_way_is_named_with_its_remedy() {
    const RULE: &str = "/subscriptions/5ab5c000-0000-4000-8000-000000000001/resourceGroups/lab/providers/Microsoft.Insights/dataCollectionRules/cmsync-lab";
    let obstacles: [Obstacle; 6] = [
        (
            "a foreign rule",
            |lab| {
                drop(lab.resources().put(
                    RULE,
                    json!({"location": "westeurope", "properties": {"immutableId": "dcr-1"}}),
                ))
            },
            &["data collection rule", "cmsync did not make", "another name"],
        ),
        (
            "another site's rule",
            |lab| {
                drop(lab.resources().put(RULE, json!({"location": "westeurope", "tags": {"cmsync": "XYZ"}, "properties": {"immutableId": "dcr-1"}})))
            },
            &["taken for site XYZ"],
        ),
        (
            "a rule elsewhere",
            |lab| {
                drop(lab.resources().put(RULE, json!({"location": "eastus", "tags": {"cmsync": "CAS"}, "properties": {"immutableId": "dcr-1"}})))
            },
            &["it is in eastus, the workspace in westeurope"],
        ),
        (
            "a table that goes",
            |lab| {
                drop(lab.resources().put(&format!("{WORKSPACE}/tables/ConfigMgrCollection_CL"), json!({"properties": {"provisioningState": "Deleting", "schema": {"name": "ConfigMgrCollection_CL"}}})))
            },
            &["table ConfigMgrCollection_CL", "is being deleted"],
        ),
        (
            "a column of another type",
            |lab| {
                drop(lab.resources().put(&format!("{WORKSPACE}/tables/ConfigMgrCollection_CL"), json!({"properties": {"provisioningState": "Succeeded", "plan": "Analytics", "schema": {"name": "ConfigMgrCollection_CL", "columns": [{"name": "Seq", "type": "string"}]}}})))
            },
            &["its column Seq is of the type string instead of long"],
        ),
        (
            "a deleted workspace",
            |lab| assert!(lab.resources().take(WORKSPACE)),
            &["there is no workspace"],
        ),
    ];
    for (what, plant, parts) in obstacles {
        let desk = Desk::with_workspace(options(small())).await;
        plant(&desk.lab);
        let output = desk.connect(&["--no-sync"]).await;
        let text = stderr(&output);
        assert!(!output.status.success(), "{what}: {text}");
        for part in parts {
            assert!(text.contains(part), "{what}: `{part}` is missing from: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_answers_are_refused_before_anything_is_made() {
    let desk = Desk::with_workspace(options(small())).await;
    let secret = desk.directory.path().join("wrong-secret");
    std::fs::write(&secret, "5ec5e700-0000-4000-8000-000000000001").unwrap();
    let secret = secret.to_str().unwrap().to_owned();
    for (more, parts) in [
        (vec!["--tenant-id", "contoso.example"], vec!["AADSTS90002", "tenant_id"]),
        (vec!["--client-id", "nobody"], vec!["AADSTS700016", "client_id"]),
        (
            vec!["--client-secret-file", &secret],
            vec!["AADSTS7000215", "secret's value, not its id"],
        ),
        (vec!["--cloud", "mars"], vec!["workspace.cloud", "mars"]),
        (vec!["--collection", "PS199999"], vec!["PS199999"]),
        (vec!["--set", "colections=[]"], vec!["colections"]),
        (vec!["--set", "setup.subscripton='x'"], vec!["setup", "subscripton"]),
        (vec!["--subscription", "Other"], vec!["no subscription `Other`"]),
        (vec!["--workspace", "other"], vec!["no workspace `other`", "setup.location"]),
        (vec!["--admin-service", "http://cm01"], vec!["site.admin_service", "https"]),
    ] {
        let output = desk.connect(&more).await;
        let text = stderr(&output);
        assert!(!output.status.success(), "{more:?}: {text}");
        for part in parts {
            assert!(text.contains(part), "{more:?}: `{part}` is missing from: {text}");
        }
    }
    assert_eq!(desk.writes(), 0);
    assert!(!std::fs::read_to_string(&desk.config).unwrap().contains("connections"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_up_that_was_begun_is_discarded_and_a_connections_secret_stays() {
    let desk = Desk::with_workspace(options(small())).await;
    let beside = |name: &str| desk.config.with_file_name(name);
    let (draft, secret) = (beside("cmsync-connect-lab.toml"), beside("lab.client-secret"));
    std::fs::copy(beside("client-secret"), &secret).unwrap();
    let with_secret = ["--client-secret-file", secret.to_str().unwrap()];
    let begin = async || {
        let output =
            desk.connect(&[&with_secret[..], &["--collection", "PS199999"]].concat()).await;
        assert!(!output.status.success() && draft.exists(), "{}", stderr(&output));
    };
    let refused = async |arguments: &[&str], part: &str| {
        let output = desk.run(arguments).await;
        assert_says(&output, &[part]);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(draft.exists() && secret.exists());
    };
    begin().await;
    refused(&["connect", "other", "--discard"], "begun are lab").await;
    refused(&["connect", "lab", "--discard", "--cloud", "public"], "`workspace.cloud`").await;
    let lock = std::fs::File::create(beside("cmsync-connect-lab.lock")).unwrap();
    lock.lock().unwrap();
    refused(&["connect", "lab", "--discard"], "`lab` is being set up").await;
    assert_says(&desk.connect(&with_secret).await, &["`lab` is being set up"]);
    drop(lock);
    assert_done(&desk.run(&["connect", "lab", "--discard"]).await);
    assert!(!draft.exists() && !secret.exists());
    assert_says(&desk.run(&["connect", "lab", "--discard"]).await, &["none was begun"]);

    std::fs::copy(beside("client-secret"), &secret).unwrap();
    assert_done(&desk.connect(&[&with_secret[..], &["--no-sync"]].concat()).await);
    assert!(!draft.exists() && !beside("cmsync-connect-lab.lock").exists());
    begin().await;
    assert_done(&desk.run(&["connect", "lab", "--discard"]).await);
    assert!(!draft.exists() && secret.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_thousand_subscriptions_are_seen_and_the_right_one_is_taken_by_name() {
    let desk = Desk::with_workspace(options(small())).await;
    for number in 0..1_100 {
        let id = format!("/subscriptions/00000000-0000-4000-8000-{number:012}");
        let other = json!({"subscriptionId": id.rsplit('/').next(), "displayName": format!("Other {number}")});
        desk.lab.resources().put(&id, other);
        desk.lab.resources().grant(ADMINISTRATOR, "Reader", &id);
    }
    let open = desk.connect(&["--no-sync"]).await;
    assert_says(&open, &["setup.subscription", "and 1081 more"]);
    assert_done(&desk.connect(&["--no-sync", "--subscription", "Lab subscription"]).await);
}

/// Without a terminal and without answers, it says what it lacks.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_what_is_missing_is_named() {
    let desk = Desk::with_workspace(options(small())).await;
    let file = |path: &Path| std::fs::read_to_string(path).unwrap();
    let before = file(&desk.config);
    assert_says(&desk.run(&["connect"]).await, &["`name` is missing"]);
    assert_says(&desk.run(&["connect", "lab"]).await, &["`site.admin_service` is missing"]);
    assert_eq!(file(&desk.config), before);
}
