//! Answers as people read them.

use cmsync_control::{Answer, ConnectionView, GroupsView, RemovalView};

/// Names of a list that stand in a table's cell, at most.
const SHOWN: usize = 3;

/// Prints an answer; false when it was a refusal.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(crate) fn print(answer: &Answer, as_json: bool) -> anyhow::Result<bool> {
    if let Answer::Refused(reason) = answer {
        eprintln!("cmsync: {reason}");
        return Ok(false);
    }
    if as_json {
        println!("{}", json(answer)?);
    } else {
        println!("{}", text(answer));
    }
    Ok(true)
}

/// Prints what was done.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}

/// The value alone: its kind is known from the command.
fn json(answer: &Answer) -> anyhow::Result<String> {
    let tagged = serde_json::to_value(answer)?;
    Ok(serde_json::to_string_pretty(tagged.get("value").unwrap_or(&tagged))?)
}

fn text(answer: &Answer) -> String {
    match answer {
        Answer::Status(views) if views.is_empty() => {
            "no connection has run yet: start `cmsync run`, or the service".into()
        }
        Answer::Status(views) => views.iter().map(connection).collect::<Vec<_>>().join("\n\n"),
        Answer::Removals(views) => removals(views),
        Answer::Log(lines) => lines.join("\n"),
        Answer::Ticket(text) => text.clone(),
        Answer::DeadLetters(views) => {
            let rows = views.iter().map(|l| {
                vec![
                    l.id.clone(),
                    l.stage.clone(),
                    l.reason.clone(),
                    since(l.first_seen),
                    l.error.clone(),
                ]
            });
            table(&["id", "stage", "reason", "since", "error"], rows, "no dead letters")
        }
        Answer::Groups(view) => groups(view),
        Answer::GroupsOf(views) => {
            let rows = views.iter().map(|m| {
                vec![m.collection.clone(), m.name.clone(), m.alias.clone(), m.computer.clone()]
            });
            table(&["collection", "name", "function", "computer"], rows, "in no group")
        }
        Answer::Members(views) => {
            let rows = views.iter().map(|m| {
                vec![
                    m.resource_id.to_string(),
                    m.computer.clone(),
                    m.netbios_name.clone(),
                    m.assigned_site.clone().unwrap_or_default(),
                ]
            });
            table(&["resource id", "computer", "NetBIOS name", "site"], rows, "no members")
        }
        Answer::Expected(_) | Answer::Searches(_) | Answer::Reporting { .. } => String::new(),
        Answer::Taken(then) => then.clone(),
        Answer::Refused(reason) => reason.clone(),
    }
}

fn groups(view: &GroupsView) -> String {
    let rows = view.groups.iter().map(|g| {
        vec![
            g.connection.clone(),
            g.collection.clone(),
            g.name.clone(),
            g.folder.clone(),
            g.members.to_string(),
            g.alias.clone(),
            if g.is_static { "static" } else { "function" }.to_owned(),
            since(g.last_snapshot),
        ]
    });
    let titles =
        ["connection", "collection", "name", "folder", "members", "function", "kind", "sent whole"];
    let GroupsView { collections, computers, .. } = view;
    let all = table(&titles, rows, "no groups yet");
    format!("{all}\n\n{collections} collections, {computers} computers with memberships")
}

/// The first names, and how many there are besides.
fn some(names: &[String], all: u64) -> String {
    let first = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match all.saturating_sub(names.len().min(SHOWN) as u64) {
        more if more > 0 && !first.is_empty() => format!("{first} and {more} more"),
        _ => first,
    }
}

fn removals(views: &[RemovalView]) -> String {
    let rows = views.iter().map(|r| {
        let what = if r.is_collection { "the collection" } else { "members" };
        let state = if r.is_dismissed { "dismissed" } else { "waits" };
        vec![
            r.connection.clone(),
            r.collection.clone(),
            r.name.clone(),
            format!("{what}, {}", r.members),
            some(&r.computers, r.members),
            since(r.since),
            state.into(),
            r.reason.clone(),
        ]
    });
    table(
        &["connection", "collection", "name", "would go", "computers", "since", "state", "reason"],
        rows,
        "no removal is held",
    )
}

fn connection(view: &ConnectionView) -> String {
    let site = if view.site_code.is_empty() { "?" } else { &view.site_code };
    let mut lines = vec![format!(
        "{} (site {site}): {} collections, {} members{}",
        view.connection,
        view.collections,
        view.members,
        if view.is_paused { ", paused" } else { "" }
    )];
    for stage in &view.stages {
        let reason =
            if stage.reason.is_empty() { String::new() } else { format!(": {}", stage.reason) };
        let success = if stage.last_success > 0 {
            format!(", last success {}", since(stage.last_success))
        } else {
            String::new()
        };
        lines.push(format!(
            "  {:<12} {} since {}{success}{reason}",
            stage.stage,
            stage.state.text().to_lowercase(),
            since(stage.since)
        ));
    }
    lines.push(format!(
        "  waiting      {} messages, {} bytes",
        view.waiting_messages, view.waiting_bytes
    ));
    if view.held_removals > 0 {
        lines.push(format!(
            "  held         {} removals wait for you: `cmsync removals list`",
            view.held_removals
        ));
    }
    if view.dead_letters > 0 {
        lines.push(format!(
            "  set aside    {} records: `cmsync dead-letters list`",
            view.dead_letters
        ));
    }
    lines.extend(view.warnings.iter().map(|warning| format!("  warning      {warning}")));
    lines.join("\n")
}

fn since(micros: i64) -> String {
    match jiff::Timestamp::from_microsecond(micros) {
        Ok(time) if micros > 0 => time.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        _ => "never".into(),
    }
}

pub(crate) fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>, empty: &str) -> String {
    let rows: Vec<Vec<String>> = rows.collect();
    if rows.is_empty() {
        return empty.into();
    }
    let head: Vec<String> = head.iter().map(|h| (*h).to_owned()).collect();
    let width = |column: usize| {
        let cells = std::iter::once(&head).chain(&rows).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    std::iter::once(&head).chain(&rows).map(line).collect::<Vec<_>>().join("\n")
}
