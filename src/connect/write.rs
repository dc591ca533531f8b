//! Writes a connection into the configuration file, keeping everything else in it: comments, order,
//! and keys that say the same.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use cmsync_schemas::print_of;
use toml_edit::{DocumentMut, Item, Table, Value};

use crate::config;

/// The file was changed by somebody else since it was shown.
#[derive(Debug, thiserror::Error)]
#[error("the configuration changed since it was shown: look at it again")]
pub(crate) struct Stale;

/// The file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("failed to write `{file}`: {source}")]
pub(crate) struct Unwritable {
    pub(crate) file: String,
    /// What it would hold.
    pub(crate) text: String,
    #[source]
    pub(crate) source: std::io::Error,
}

fn text_of(path: &Path) -> anyhow::Result<String> {
    match config::text_of(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).with_context(|| format!("failed to read `{}`", path.display())),
    }
}

/// A document; what is wrong is told by its place, never by its line.
fn parsed(path: &Path, text: &str) -> anyhow::Result<DocumentMut> {
    text.parse().map_err(|error: toml_edit::TomlError| {
        let place = config::place(text, error.span(), error.message());
        anyhow::anyhow!("`{}` is no TOML: {place}", path.display())
    })
}

/// A file in short: it differs when anything of it changed.
pub(crate) fn print(path: &Path) -> anyhow::Result<String> {
    Ok(print_of(text_of(path)?.as_bytes()))
}

/// Changes a file: `change` gets the document, and the file is replaced as a whole, so that a reader
/// sees the old one or the new one.
pub(crate) fn change(
    path: &Path,
    change: impl FnOnce(&mut DocumentMut) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    change_seen(path, None, change)
}

/// The same, of a file that was shown to a person: with its [`print`], where it was.
///
/// # Errors
/// [`Stale`] and [`Unwritable`] among others.
pub(crate) fn change_seen(
    path: &Path,
    seen: Option<&str>,
    change: impl FnOnce(&mut DocumentMut) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    // One change at a time, whichever process makes it; where nothing can be locked, the print alone
    // guards what was shown.
    let _turn = crate::platform::lock_beside(path);
    let text = text_of(path)?;
    if seen.is_some_and(|seen| seen != print_of(text.as_bytes())) {
        return Err(Stale.into());
    }
    let shown = path.display();
    let mut document = parsed(path, &text)?;
    change(&mut document)?;
    if document.to_string() == text {
        return Ok(());
    }
    raise(&mut document);
    let new = document.to_string();
    let aside = path.with_extension("toml.new");
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::create(&aside)?;
        file.write_all(new.as_bytes())?;
        file.sync_all()?;
        cmsync_files::keep_access(path, &aside);
        std::fs::rename(&aside, path)
    };
    write()
        .map_err(|source| Unwritable { file: shown.to_string(), text: new.clone(), source }.into())
}

/// Whether a file could be changed now.
pub(crate) fn try_to(path: &Path) -> std::io::Result<()> {
    let aside = path.with_extension("toml.new");
    std::fs::File::create(&aside)?;
    std::fs::remove_file(&aside)
}

/// Raises the revision, where several hosts may have the file.
fn raise(document: &mut DocumentMut) {
    let is_shared = document.get("queue").and_then(|queue| queue.get("kafka")).is_some();
    let now = document.get("revision").and_then(Item::as_integer);
    if is_shared || now.is_some() {
        document.insert("revision", toml_edit::value(now.unwrap_or(0).saturating_add(1)));
    }
}

/// The table of a connection, made where it is missing.
pub(crate) fn connection<'a>(
    document: &'a mut DocumentMut,
    name: &str,
) -> anyhow::Result<&'a mut Table> {
    let connections = document.entry("connections").or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    let connections = connections.as_table_mut().context("`connections` is not a table")?;
    let own = connections.entry(name).or_insert_with(|| Item::Table(Table::new()));
    own.as_table_mut().with_context(|| format!("`connections.{name}` is not a table"))
}

fn has(document: &DocumentMut, name: &str) -> bool {
    document.get("connections").and_then(|connections| connections.get(name)).is_some()
}

/// Whether a file holds a connection, whatever else is right or wrong in it.
pub(crate) fn holds(path: &Path, name: &str) -> anyhow::Result<bool> {
    Ok(has(&parsed(path, &text_of(path)?)?, name))
}

/// Whether a connection of a file has this file for its secret.
pub(crate) fn names_file(path: &Path, file: &Path) -> anyhow::Result<bool> {
    let document = parsed(path, &text_of(path)?)?;
    let connections = document.get("connections").and_then(Item::as_table_like);
    let file = std::path::absolute(file)?;
    let mut secrets = connections
        .into_iter()
        .flat_map(|all| all.iter())
        .filter_map(|(_, c)| c.get("workspace")?.get("client_secret_file")?.as_str());
    Ok(secrets.any(|secret| std::path::absolute(secret).is_ok_and(|secret| secret == file)))
}

/// The table of a connection that is there.
pub(crate) fn existing<'a>(
    document: &'a mut DocumentMut,
    name: &str,
) -> anyhow::Result<&'a mut Table> {
    anyhow::ensure!(has(document, name), "the file holds no `[connections.{name}]`");
    connection(document, name)
}

/// Takes a connection out.
pub(crate) fn remove(document: &mut DocumentMut, name: &str) {
    if let Some(connections) = document.get_mut("connections").and_then(Item::as_table_mut) {
        connections.remove(name);
    }
}

/// Makes `table` say what `wanted` says; what is not mentioned stays.
pub(crate) fn merge(table: &mut Table, wanted: &toml::Table) -> anyhow::Result<()> {
    let text = toml::to_string(wanted).context("failed to write the connection")?;
    let mut document: DocumentMut = text.parse().context("failed to write the connection")?;
    settle(document.as_table_mut());
    lay(table, document.as_table());
    Ok(())
}

/// Takes out of `table` what `wanted` does not say.
pub(crate) fn keep_only(table: &mut Table, wanted: &toml::Table) {
    table.retain(|key, item| match (wanted.get(key), item) {
        (None, _) => false,
        (Some(toml::Value::Table(wanted)), Item::Table(inner)) => {
            keep_only(inner, wanted);
            true
        }
        (Some(toml::Value::Table(wanted)), Item::Value(Value::InlineTable(inner))) => {
            inner.retain(|key, _| wanted.contains_key(key));
            true
        }
        _ => true,
    });
}

/// What a table says, however it is written.
pub(crate) fn plain_table(table: &Table) -> anyhow::Result<toml::Table> {
    let mut document = DocumentMut::new();
    *document.as_table_mut() = table.clone();
    settle(document.as_table_mut());
    document.to_string().parse().context("failed to read the connection as it was written")
}

fn lay(table: &mut Table, wanted: &Table) {
    for (key, item) in wanted {
        match (table.get_mut(key), item) {
            (Some(Item::Table(below)), Item::Table(above)) => lay(below, above),
            (Some(Item::Value(below)), Item::Value(above)) => {
                if plain(below).is_none() || plain(below) != plain(above) {
                    let decor = below.decor().clone();
                    *below = above.clone();
                    *below.decor_mut() = decor;
                }
            }
            (Some(Item::Value(Value::InlineTable(below))), Item::Table(above)) => {
                let mut inner = below.clone().into_table();
                lay(&mut inner, above);
                if inner.to_string() != below.clone().into_table().to_string() {
                    *below = inner.into_inline_table();
                }
            }
            (_, item) => drop(table.insert(key, item.clone())),
        }
    }
}

/// Makes tables follow their parent, wherever they stood in the text that they came from, and writes
/// lists of tables as values, one line each.
fn settle(table: &mut Table) {
    table.set_position(None);
    for (mut key, item) in table.iter_mut() {
        if let Item::Table(inner) = item {
            settle(inner);
        } else if let Item::ArrayOfTables(_) = item
            && let Ok(value) = item.clone().into_value()
        {
            *item = Item::Value(value);
            key.fmt();
        }
    }
}

/// What a value says, however it is written.
pub(crate) fn plain(value: &Value) -> Option<toml::Value> {
    let text = format!("v = {}", value.to_string().trim());
    text.parse::<toml::Table>().ok()?.remove("v")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_back_goes_and_what_else_is_there_stays() {
        let text = "# kept\na = 1\nb = 2 # goes\n[site]\nx = 1\ny = 2\n[site.sql]\nz = 3\n[w]\nv = { c = 1, d = 2 }\n";
        let mut document: DocumentMut = text.parse().unwrap();
        let wanted: toml::Table = "a = 1\n[site]\ny = 2\n[w]\nv = { d = 2 }".parse().unwrap();
        keep_only(document.as_table_mut(), &wanted);
        assert_eq!(plain_table(document.as_table()).unwrap(), wanted);
        assert!(document.to_string().contains("# kept") && !document.to_string().contains("goes"));
    }

    #[test]
    fn changes_of_several_at_once_are_all_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cmsync.toml");
        std::fs::write(&path, "[connections]\n").unwrap();
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    for n in 0..20 {
                        let name = format!("c{writer}-{n}");
                        change(path, |document| connection(document, &name).map(drop)).unwrap();
                    }
                });
            }
        });
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches("[connections.c").count(), 160);
    }

    fn changed(text: &str, wanted: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cmsync.toml");
        std::fs::write(&path, text).unwrap();
        let wanted: toml::Table = wanted.parse().unwrap();
        change(&path, |document| merge(connection(document, "c")?, &wanted)).unwrap();
        std::fs::read_to_string(&path).unwrap()
    }

    #[test]
    fn comments_order_and_what_is_not_mentioned_stay() {
        let text = "# mine\n[http]\nlisten = \"\" # none\n\n[connections.c]\n# why\ndescription = \"old\" # so\n\
                    collections = [ \"PS100001\" ]\n[connections.c.site]\nread_timeout = \"2m\"\n";
        let new =
            changed(text, "description = 'new'\ncollections = ['PS100001']\n[site]\naccount = 'a'");
        assert_eq!(
            new,
            "# mine\n[http]\nlisten = \"\" # none\n\n[connections.c]\n# why\ndescription = \"new\" # so\n\
             collections = [ \"PS100001\" ]\n[connections.c.site]\nread_timeout = \"2m\"\naccount = \"a\"\n"
        );
        assert_eq!(changed(&new, "description = 'new'"), new);
    }

    #[test]
    fn a_file_that_several_hosts_have_gets_a_higher_revision_with_each_change() {
        let text = "[queue.kafka]\nbrokers = \"a:9092\"\n";
        let once = changed(text, "description = 'a'");
        assert!(once.starts_with("revision = 1\n"), "{once}");
        assert_eq!(changed(&once, "description = 'a'"), once);
        assert!(changed(&once, "description = 'b'").starts_with("revision = 2\n"));
    }

    #[test]
    fn a_list_of_tables_stays_a_value_and_the_same_list_is_not_written_anew() {
        let wanted = "[workspace]\nrules = [{ endpoint = 'https://a', id = 'dcr-1' }]";
        let new = changed("", wanted);
        assert!(new.contains("rules = [{ endpoint = \"https://a\", id = \"dcr-1\" }]"), "{new}");
        assert_eq!(changed(&new, wanted), new);
    }

    #[test]
    fn a_connection_is_added_to_a_file_that_has_none() {
        let text = "[http]\nlisten = \"\"\n[log]\n[queue]\n[producer]\npoll_interval = '1s'\n";
        let wanted = "description = 'd'\n[site]\naccount = 'a'\n[site.authentication]\nx = 'y'";
        let new = changed(text, wanted);
        let end = "\n[connections.c]\ndescription = \"d\"\n\n[connections.c.site]\naccount = \"a\"\n\n\
                   [connections.c.site.authentication]\nx = \"y\"\n";
        assert_eq!(new, format!("{text}{end}"));
        let file: toml::Table = new.parse().unwrap();
        assert_eq!(file["connections"]["c"]["site"]["account"].as_str(), Some("a"), "{new}");
    }

    #[test]
    fn a_connection_is_in_a_file_whatever_else_is_wrong_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cmsync.toml");
        assert!(!holds(&path, "contoso").unwrap());
        std::fs::write(&path, "nonsense = 1\n[connections.contoso]\nimport = 7\n").unwrap();
        assert!(holds(&path, "contoso").unwrap() && !holds(&path, "fabrikam").unwrap());
        std::fs::write(&path, "[connections").unwrap();
        assert!(holds(&path, "contoso").is_err());
    }
}
