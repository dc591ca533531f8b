//! Every command and every configuration in the documentation is one that this program takes.

use std::path::{Path, PathBuf};

use clap::Parser as _;
use clap::error::ErrorKind;
use toml::Table;

use crate::cli::Cli;
use crate::config;

/// The pages, with their texts.
fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let of =
        |folder: PathBuf| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let pages = of(root.to_owned()).chain(of(root.join("docs")));
    let pages: Vec<PathBuf> = pages.filter(|p| p.extension().is_some_and(|e| e == "md")).collect();
    assert!(pages.len() > 20);
    pages.into_iter().map(|page| (page.clone(), std::fs::read_to_string(page).unwrap())).collect()
}

/// Fenced blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let start = format!("```{language}");
    let (mut found, mut block) = (Vec::new(), None::<String>);
    for line in text.lines() {
        match &mut block {
            None if line == start => block = Some(String::new()),
            Some(_) if line == "```" => found.extend(block.take()),
            Some(open) => {
                open.push_str(line);
                open.push('\n');
            }
            None => {}
        }
    }
    found
}

/// Code within sentences.
fn spans(text: &str) -> Vec<String> {
    let is_fence = |line: &&str| !line.starts_with("```");
    let text = text.lines().filter(is_fence).collect::<Vec<_>>().join(" ");
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Words of a command line, quotes taken away.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for character in line.chars() {
        match (quote, character) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(character),
            (None, ' ') => words.extend(Some(std::mem::take(&mut word)).filter(|w| !w.is_empty())),
            (_, c) => word.push(c),
        }
    }
    words.extend(Some(word).filter(|w| !w.is_empty()));
    words
}

/// What is said of a command that this program does not take.
fn refused(words: &[String]) -> Option<String> {
    let error = Cli::try_parse_from(words).err()?;
    // The documentation may name a command without all that it needs.
    let is_known = matches!(
        error.kind(),
        ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelp
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            | ErrorKind::DisplayVersion
    );
    (!is_known).then(|| error.to_string())
}

/// `a list|show NAME` is two commands, and `[NAME]` may be left out.
fn alternatives(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    for word in words(&line.replace(['[', ']'], "")) {
        let parts: Vec<&str> = word.split('|').collect();
        let with = |part: &str| {
            commands.iter().map(|c| [c.as_slice(), &[part.to_owned()]].concat()).collect::<Vec<_>>()
        };
        commands = parts.into_iter().flat_map(with).collect();
    }
    commands
}

#[test]
fn every_command_in_the_documentation_is_one() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (page, text) in pages() {
        let consoles = blocks(&text, "console").concat().replace("\\\n", " ");
        let lines = consoles.lines().filter_map(|line| line.strip_prefix("$ "));
        let lines = lines.filter_map(|line| {
            let line = line.split(" # ").next().unwrap_or_default().trim_end_matches(" &").trim();
            let mut rest = words(line);
            let program = |word: &String| word == "cmsync" || word.ends_with("/cmsync");
            // What comes before is sudo, or leads into a container.
            let at = rest.iter().rposition(program)?;
            let is_run = at == 0
                || rest.get(at - 1).is_some_and(|word| word == "sudo" || word == "--")
                || rest.get(at - 1).is_some_and(|word| word == "cmsync");
            is_run.then(|| rest.split_off(at))
        });
        let inline = spans(&text).into_iter().filter(|span| span.starts_with("cmsync "));
        let inline = inline.flat_map(|span| alternatives(&span));
        for command in lines.chain(inline) {
            count += 1;
            if let Some(error) = refused(&command) {
                wrong.push(format!("{}: {}: {error}", page.display(), command.join(" ")));
            }
        }
    }
    assert!(count > 100, "{count}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_configuration_in_the_documentation_has_only_keys_that_there_are() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (page, text) in pages() {
        for block in blocks(&text, "toml") {
            count += 1;
            let mut table: Table = match block.parse() {
                Ok(table) => table,
                Err(error) => {
                    wrong.push(format!("{}: {error}", page.display()));
                    continue;
                }
            };
            // Answers of a set-up; the connection beside them is a connection.
            table.remove("setup");
            wrong.extend(config::unknown_keys(table).map(|m| format!("{}: {m}", page.display())));
        }
    }
    assert!(count >= 3, "{count}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
