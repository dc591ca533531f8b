//! Promises of the whole program, each kept by the real binary against the lab, and each ended by the
//! lab's comparison: what a reader of the workspace sees is what the site has.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

#[path = "promises/alerts.rs"]
mod alerts;
#[path = "promises/azure_template.rs"]
mod azure_template;
#[path = "promises/browser.rs"]
mod browser;
#[path = "promises/captures.rs"]
mod captures;
#[path = "promises/central_site.rs"]
mod central_site;
#[path = "promises/chromium.rs"]
mod chromium;
#[path = "promises/clouds.rs"]
mod clouds;
#[path = "promises/commands.rs"]
mod commands;
#[path = "promises/computer_groups.rs"]
mod computer_groups;
#[path = "promises/configuration.rs"]
mod configuration;
#[path = "promises/connect.rs"]
mod connect;
#[path = "promises/connection_life.rs"]
mod connection_life;
#[path = "promises/console.rs"]
mod console;
#[path = "promises/console_access.rs"]
mod console_access;
#[path = "promises/console_activity.rs"]
mod console_activity;
#[path = "promises/console_api.rs"]
mod console_api;
#[path = "promises/console_connect.rs"]
mod console_connect;
#[path = "promises/console_openid.rs"]
mod console_openid;
#[path = "promises/console_settings.rs"]
mod console_settings;
#[path = "promises/crashes.rs"]
mod crashes;
#[path = "promises/dashboards.rs"]
mod dashboards;
#[path = "promises/guard.rs"]
mod guard;
#[path = "promises/identities.rs"]
mod identities;
#[path = "promises/ingestion_faults.rs"]
mod ingestion_faults;
#[path = "promises/kafka.rs"]
mod kafka;
#[path = "promises/kafka_setup.rs"]
mod kafka_setup;
#[path = "promises/kerberos.rs"]
mod kerberos;
#[path = "promises/life_of_a_group.rs"]
mod life_of_a_group;
#[path = "promises/many_sites.rs"]
mod many_sites;
#[path = "promises/messages.rs"]
mod messages;
#[path = "promises/metrics.rs"]
mod metrics;
#[path = "promises/operations.rs"]
mod operations;
#[path = "promises/places.rs"]
mod places;
#[path = "promises/prometheus.rs"]
mod prometheus;
#[path = "promises/queue_limits.rs"]
mod queue_limits;
#[path = "promises/rig.rs"]
mod rig;
#[path = "promises/site_answers.rs"]
mod site_answers;
#[path = "promises/site_faults.rs"]
mod site_faults;
#[path = "promises/sql.rs"]
mod sql;
#[path = "promises/upgrades.rs"]
mod upgrades;
#[path = "promises/verify.rs"]
mod verify;
#[path = "promises/wizard.rs"]
mod wizard;

#[test]
fn every_file_of_promises_is_compiled() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/promises");
    for file in std::fs::read_dir(folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let line = format!("#[path = \"promises/{name}\"]");
        assert!(include_str!("promises.rs").contains(&line), "{line} is missing");
    }
}
