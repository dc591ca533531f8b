//! The lab's reader sees in random worlds what the KQL texts give there: `worlds FILE`, with the worlds
//! that `tests/kql/evaluate.py` wrote.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use cmsync_lab::workspace::Workspace;
use serde::Deserialize;
use serde_json::{Value, json};

const SITES: [&str; 2] = ["CAS", "PR1"];

/// Id, computer and NetBIOS name.
type Member = (u32, String, String);

#[derive(Deserialize)]
struct World {
    members: Vec<Vec<Value>>,
    markers: Vec<Vec<Value>>,
    /// Site, group, its members and its name.
    truth: Vec<(String, String, Vec<Member>, String)>,
}

fn rows(names: &[&str], rows: &[Vec<Value>]) -> String {
    let row = |values: &Vec<Value>| {
        let mut row: BTreeMap<&str, Value> =
            names.iter().copied().zip(values.iter().cloned()).collect();
        row.insert("TimeGenerated", json!("2026-11-24T00:00:00.000000Z"));
        json!(row)
    };
    Value::from(rows.iter().map(row).collect::<Vec<_>>()).to_string()
}

#[expect(clippy::print_stdout, reason = "this is what the example is for")]
fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).context("give the file with the worlds")?;
    let worlds: Vec<World> = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let mut groups = 0;
    for (number, world) in worlds.iter().enumerate() {
        let workspace = Workspace::default();
        let member = [
            "SiteCode",
            "GroupId",
            "ResourceId",
            "Computer",
            "NetbiosName",
            "AssignedSite",
            "Action",
            "Seq",
        ];
        let marker = [
            "SiteCode",
            "GroupId",
            "Group",
            "GroupFullName",
            "MemberCount",
            "RunId",
            "StartSeq",
            "Seq",
            "Instance",
            "Status",
        ];
        workspace.plant("Custom-ConfigMgrCollectionMember", &rows(&member, &world.members));
        workspace.plant("Custom-ConfigMgrCollection", &rows(&marker, &world.markers));
        for site in SITES {
            let view = workspace.view(site, number as u64);
            let wanted: BTreeSet<&String> =
                world.truth.iter().filter(|t| t.0 == site).map(|t| &t.1).collect();
            ensure!(
                view.groups.keys().collect::<BTreeSet<_>>() == wanted,
                "world {number}, {site}: {:?}, not {wanted:?}",
                view.groups.keys()
            );
        }
        for (site, group, wanted, name) in &world.truth {
            let view = workspace.view(site, number as u64);
            let seen = view.groups.get(group).context("a group is missing")?;
            let found: Vec<Member> = seen
                .iter()
                .map(|(id, s)| (*id, s.computer.clone(), s.netbios_name.clone()))
                .collect();
            ensure!(&found == wanted, "world {number}, {site} {group}: {found:?}, not {wanted:?}");
            ensure!(
                view.names.get(group) == Some(name),
                "world {number}, {site} {group}: {:?}",
                view.names.get(group)
            );
            groups += 1;
        }
    }
    println!("the lab reads the same {groups} groups of {} worlds", worlds.len());
    Ok(())
}
