//! The example file and the code say the same.

use std::collections::BTreeSet;
use std::path::PathBuf;

use toml::{Table, Value};

use super::{StageName, check, raw, read};

fn example() -> (PathBuf, String) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cmsync.example.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    (path, text)
}

fn parsed() -> raw::File {
    let (file, mistakes) = read::read(&example().0, std::iter::empty()).unwrap();
    assert_eq!(mistakes, [], "the example uses keys that do not exist");
    file
}

#[test]
fn the_example_holds_every_option_at_its_default() {
    let mut file = parsed();
    let connection = file.connections["contoso"].clone();
    let defaults = raw::File::default();
    // Windows has it under ProgramData.
    assert_eq!(file.queue.embedded.directory, PathBuf::from("/var/lib/cmsync"));
    file.queue.embedded.directory = crate::platform::queue();
    assert_eq!(raw::File { connections: defaults.connections.clone(), ..file }, defaults);
    let default = raw::Connection::default();
    let (site, workspace) = (connection.site, connection.workspace);
    assert_eq!(connection.import, default.import);
    assert_eq!(
        (site.connect_timeout, site.read_timeout, site.allow_insecure),
        (default.site.connect_timeout, default.site.read_timeout, default.site.allow_insecure)
    );
    let groups = connection.groups;
    assert_eq!(
        raw::Groups { always_static: BTreeSet::new(), always_function: BTreeSet::new(), ..groups },
        default.groups
    );
    let wanted = default.workspace;
    assert_eq!(
        (workspace.cloud, workspace.connect_timeout, workspace.read_timeout),
        (wanted.cloud, wanted.connect_timeout, wanted.read_timeout)
    );
    let (hosts, given) = (wanted.cloud.hosts().unwrap(), workspace.endpoints);
    for (written, own) in [
        (given.authority, hosts.authority),
        (given.resource_manager, hosts.resource_manager),
        (given.ingestion_audience, hosts.ingestion_audience),
        (given.query, hosts.query),
        (given.graph, hosts.graph),
    ] {
        assert_eq!(written.unwrap(), own);
    }
}

/// Every key of a table and of those in it.
fn keys(table: &Table, found: &mut BTreeSet<String>) {
    for (key, value) in table {
        found.insert(key.clone());
        if let Value::Table(inner) = value {
            keys(inner, found);
        }
    }
}

fn every_option_of_sql() -> raw::Sql {
    raw::Sql {
        port: Some(1),
        instance: Some("x".into()),
        user: Some("x".into()),
        password_file: Some("x".into()),
        ..raw::Sql::default()
    }
}

#[test]
fn the_example_leaves_no_option_out() {
    let text = example().1;
    let (path, name) = (|| Some(PathBuf::from("x")), || Some("x".to_owned()));
    let connection = raw::Connection {
        quiet_hours: name(),
        site: raw::Site {
            authentication: Some(raw::Authentication {
                bearer_token_file: Some("x".into()),
                kerberos: Some(raw::Kerberos {
                    principal: "x".into(),
                    keytab: path(),
                    ticket_cache: name(),
                }),
                entra: Some(raw::Entra { audience: "x".into() }),
                ..Default::default()
            }),
            account: name(),
            ca_file: path(),
            proxy: name(),
            sql: Some(every_option_of_sql()),
            ..raw::Site::default()
        },
        workspace: raw::Workspace {
            endpoints: raw::Endpoints {
                authority: name(),
                resource_manager: name(),
                ingestion_audience: name(),
                query: name(),
                graph: name(),
            },
            workspace_id: name(),
            resource_id: name(),
            client_secret_file: path(),
            client_secret_expires: name(),
            certificate_file: path(),
            certificate_key_file: path(),
            token_file: path(),
            ca_file: path(),
            proxy: name(),
            ..raw::Workspace::default()
        },
        ..raw::Connection::default()
    };
    let kafka = raw::Kafka {
        ca_file: path(),
        certificate_file: path(),
        key_file: path(),
        sasl: Some(raw::Sasl { service_name: name(), ..Default::default() }),
        ..raw::Kafka::default()
    };
    let queue = raw::Queue { kafka: Some(kafka), ..Default::default() };
    let file =
        raw::File { connections: [("c".into(), connection)].into(), queue, ..Default::default() };
    let mut found = BTreeSet::new();
    keys(&Table::try_from(file).unwrap(), &mut found);
    found.remove("c");
    assert!(found.len() > 45, "{found:?}");
    for key in found {
        let is_there = text.contains(&format!("{key} = ")) || text.contains(&format!("{key}]"));
        assert!(is_there || text.contains(&format!("[{key}.")), "`{key}` is not in the example");
    }
}

/// A table that the example shows in a comment, by its heading.
fn commented(heading: &str) -> Table {
    let text = example().1;
    let heading = format!("# [{heading}]");
    let block = text.split("\n\n").find(|block| block.contains(&heading)).unwrap();
    let is_word = |(key, _): (&str, &str)| !key.contains(' ');
    let is_key = |line: &&str| line.split_once(" = ").is_some_and(is_word) || line.starts_with('[');
    let lines = block.lines().map(|line| line.trim_start_matches("# "));
    let lines = lines.skip_while(|line| !line.starts_with('[')).filter(is_key);
    toml::from_str(&lines.collect::<Vec<_>>().join("\n")).unwrap()
}

/// What is said of the brokers in a comment is what would be without it.
#[test]
fn the_example_shows_kafka_at_its_defaults() {
    let table = commented("queue.kafka");
    let written: raw::Kafka = table["queue"]["kafka"].clone().try_into().unwrap();
    let brokers = written.brokers.clone();
    let shown = raw::Kafka {
        brokers: String::new(),
        ca_file: None,
        certificate_file: None,
        key_file: None,
        sasl: None,
        schema_registry: None,
        settings: Default::default(),
        ..written
    };
    assert_eq!(shown, raw::Kafka::default());
    assert!(brokers.contains("kafka1:9093"));
}

#[test]
fn the_example_shows_the_site_database_at_its_defaults() {
    let table = commented("connections.contoso.site.sql");
    let site = table["connections"]["contoso"]["site"].clone();
    let written: raw::Sql = site["sql"].clone().try_into().unwrap();
    let default = raw::Sql::default();
    assert_eq!(written.port, Some(1433));
    assert_eq!(
        (written.encryption, written.read_only, written.connections),
        (default.encryption, default.read_only, default.connections)
    );
}

#[test]
fn the_example_lacks_nothing_but_its_files() {
    let mistakes = check::check(&parsed(), Vec::new(), &[]).unwrap_err().0;
    let paths: BTreeSet<_> = mistakes.iter().map(|m| m.path.rsplit('.').next().unwrap()).collect();
    assert_eq!(paths, BTreeSet::from(["bearer_token_file", "ca_file", "client_secret_file"]));
}

/// What is wrong with these lines of `[queue.kafka]`.
fn mistakes_of(lines: &str) -> String {
    let table: Table =
        toml::from_str(&format!("[queue.kafka]\nbrokers = \"a:1\"\n{lines}")).unwrap();
    let file: raw::File = table.try_into().unwrap();
    let mistakes =
        check::check(&file, Vec::new(), &[]).map(drop).map_or_else(|m| m.0, |()| Vec::new());
    mistakes.iter().map(|m| format!("{}: {}\n", m.path, m.message)).collect()
}

#[test]
fn ways_to_sign_in_to_brokers_that_do_not_fit_are_told() {
    for (lines, parts) in [
        ("sasl = { mechanism = \"OAUTHBEARER\" }", ["queue.kafka.sasl", "exactly one of"]),
        (
            "sasl = { mechanism = \"PLAIN\", token_file = \"/x\" }",
            ["`token_file` and `entra` are for OAUTHBEARER", "queue.kafka.sasl.username"],
        ),
        (
            "sasl = { mechanism = \"OAUTHBEARER\", entra = { client_secret_file = \"/none\" } }",
            ["queue.kafka.sasl.entra.audience: is missing", "queue.kafka.sasl.entra.tenant_id"],
        ),
        (
            "sasl = { mechanism = \"PLAIN\", kerberos = { principal = \"a@B\" } }",
            ["`kerberos` and `service_name` are for GSSAPI", "queue.kafka.sasl.username"],
        ),
        (
            "sasl = { mechanism = \"GSSAPI\", kerberos = { principal = \"a\", keytab = \"/none\" } }",
            ["queue.kafka.sasl.kerberos.principal", "queue.kafka.sasl.kerberos.keytab: `/none`"],
        ),
        ("sasl = { mechanism = \"GSSAPI\" }", ["queue.kafka.sasl.kerberos", "is missing"]),
        ("sasl = { mechanism = \"KERBEROS\" }", ["queue.kafka.sasl.mechanism", "OAUTHBEARER"]),
    ] {
        let told = mistakes_of(lines);
        assert!(parts.iter().all(|part| told.contains(part)), "{lines}: {told}");
    }
}

/// Why a file is refused, for these stages.
fn error_of(text: &str, stages: &[StageName]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cmsync.toml");
    std::fs::write(&path, text).unwrap();
    super::load(&path, stages).unwrap_err().to_string()
}

#[test]
fn a_mistake_in_the_syntax_names_its_place_and_shows_no_line() {
    let error = error_of("drain_deadline = \"1s\"\nproxy = \"http://me:hidden@proxy\n", &[]);
    assert!(error.contains("line 2, column ") && !error.contains("hidden"), "{error}");
}

#[test]
fn mistakes_are_told_in_the_words_of_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cmsync.toml");
    let missing = read::read(&path, std::iter::empty()).unwrap_err().to_string();
    assert!(missing.contains("is not there: `cmsync connect NAME` makes it"), "{missing}");
    let text = "[producer]\npoll_interval = 5\n[queue]\npartitions = \"x\"\n[http]\nlisten = 1\n\
                [console]\nloopback = \"maybe\"\n";
    std::fs::write(&path, text).unwrap();
    let variable = ("CMSYNC_QUEUE__PARTITONS".to_owned(), "1".to_owned());
    let (_, mistakes) = read::read(&path, std::iter::once(variable)).unwrap();
    let told: Vec<String> = mistakes.iter().map(|m| format!("{}: {}", m.path, m.message)).collect();
    for wanted in [
        "producer.poll_interval: must be a span of time in quotes, for example \"30s\" or \"12h\"",
        "queue.partitions: must be a whole number, without quotes",
        "http.listen: must be text in quotes",
        "console.loopback: must be one of ",
        "queue.partitons: is not a key that cmsync knows; see cmsync.example.toml (the variable \
         CMSYNC_QUEUE__PARTITONS gives it)",
    ] {
        assert!(told.iter().any(|told| told.starts_with(wanted)), "{wanted}: {told:#?}");
    }
}

#[test]
fn a_level_is_one_that_loggers_know() {
    for level in
        ["info", "WARN", "off", "info,cmsync_producer=debug", "cmsync_queue=trace", "[x]=info"]
    {
        assert!(crate::logging::is_level(level), "{level}");
    }
    for level in ["loud", "inf0", "WARNING", "info,loud", "a=b=c"] {
        assert!(!crate::logging::is_level(level), "{level}");
    }
}

#[test]
fn a_value_of_another_type_is_told_once() {
    let error = error_of("[connections.lab]\ncollections = 5\n", &[]);
    assert_eq!(error.matches("connections.lab.collections:").count(), 1, "{error}");
    assert!(error.contains("connections.lab.site.admin_service"), "the others are told: {error}");
}

#[test]
fn of_a_stage_elsewhere_files_are_not_read_and_other_mistakes_are_told() {
    let site = "[connections.lab]\n[connections.lab.site]\nadmin_service = [\"https://a\"]\n";
    for (line, is_told) in [("ca_file = \"/none\"", false), ("proxy = \"no proxy\"", true)] {
        let text = format!("{site}{line}\n");
        let key = format!("connections.lab.site.{}:", line.split(' ').next().unwrap());
        let elsewhere = error_of(&text, &[StageName::Uploader]);
        assert_eq!(elsewhere.contains(&key), is_told, "{elsewhere}");
        let here = error_of(&text, &[]);
        assert!(here.contains(&key), "{here}");
    }
}

#[test]
fn a_day_has_an_end() {
    let text = "[connections.lab.workspace]\nclient_secret_expires = \"9999-12-31\"\n";
    let error = error_of(text, &[]);
    assert!(error.contains("client_secret_expires: `9999-12-31` is no day"), "{error}");
    assert_eq!(
        crate::expiry::day_of("2027-11-30").ok().and_then(crate::expiry::end_of),
        Some(1_827_619_199)
    );
}
